"""Learners: algorithms that learn with gradients, or by search, while they act.

``gla.learners.ppo`` is PPO for whole populations. Sources, references and the baseline ``online_ppo`` use it, and RL^2
shares its advantages (``gla.learners.advantages``). The others
learn from scratch with every step, and are baselines that an agent has to beat in the same number of steps. The settings of
each were chosen once by ``benchmarks/online_learners.py`` on environments that agents are trained on, and are fixed. A class
steps N seeds side by side, and each seed learns only from its own steps::

    Learner(spec, n, seed)
    act(observation) -> actions      (N, d) float32 to (N, a) float32, or to (N,) integers
    observe(step)                    learns from the outcome, a gla.environments.VectorStep
"""
