"""The config: six kinds of entries, read once into frozen models that reject what they do not know.

environment -> source -> dataset -> agent -> evaluation -> figure, each referring to earlier ones by name. One file for each of
them holds its entry; ``whole`` puts them together, ``checks`` compares them with each other, ``reading`` turns a raw
dictionary into checked entries, ``file`` reads YAML strictly, and ``documentation`` writes the reference. This file imports
nothing, so that a job that draws a figure does not wait for PyTorch.
"""
