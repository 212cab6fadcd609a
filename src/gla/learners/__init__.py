"""Learners: what learns with gradients, or by search, while it acts.

``gla.learners.ppo`` is PPO for whole populations; sources, references and the baseline ``online_ppo`` are made with it. The others
start from nothing and learn from every step: what an agent has to beat at as many steps. Each has settings of its own, chosen once
by ``benchmarks/online_learners.py`` on environments that agents are trained on, and fixed since. A class steps N seeds side by side,
each learning from its own steps alone::

    Learner(spec, n, seed)
    act(observation) -> actions      (N, d) float32 to (N, a) float32, or to (N,) integers
    observe(step)                    a gla.environments.VectorStep: what followed
"""
