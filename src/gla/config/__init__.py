"""The config: six kinds of entries, which are read once into frozen models that reject unknown keys.

environment -> source -> dataset -> agent -> evaluation -> figure, where each refers to earlier ones by name. Each has a file
for its entry. ``whole`` puts the entries together, ``checks`` compares them with each other, ``reading`` turns a raw
dictionary into checked entries, ``file`` reads YAML strictly, and ``documentation`` writes the reference. This file imports
nothing, so that a job that draws a figure does not wait for PyTorch.
"""
