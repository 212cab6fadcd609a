"""Learners that start from nothing and learn while they act: what an agent has to beat at as many steps.

Each has settings of its own, chosen once by ``benchmarks/online_learners.py`` on environments that agents are trained
on, and fixed since. A kind is a class that steps N seeds side by side, each learning from its own steps alone::

    Learner(spec, n, seed)
    act(observation) -> actions      (N, d) float32 to (N, a) float32, or to (N,) integers
    observe(step)                    a gla.environments.VectorStep: what followed

PPO's own loop is ``gla.ppo.Population``, so that ``gla.learners.ppo`` holds its settings alone.
"""

from gla.learners.linear import LinearActorCritic
from gla.learners.random_search import RandomSearch

KINDS = {"online_linear": LinearActorCritic, "online_ars": RandomSearch}
