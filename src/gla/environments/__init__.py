"""Environments: any Gymnasium id, any dm-control task, and those of this package (gla.environments.kinds).

``gla.environments.making.make`` returns every one of them in one shape: a flat float32 observation vector, and either a ``Box`` or a
``Discrete`` of actions (gla.environments.spaces). ``gla.environments.vector.VectorEnv`` steps many side by side. This file imports
nothing, so that the registry can be read without Gymnasium.
"""
