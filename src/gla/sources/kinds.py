"""The kinds of sources: who acts, and what is recorded. One line for each."""

from gla.kinds import Kinds

SOURCES = Kinds(
    "sources.kind",
    {
        "ppo": "gla.sources.ppo",
        "random": "gla.sources.random",
        "q_learning": "gla.sources.q_learning",
        "noisy_oracle": "gla.sources.noisy_oracle",
        "behaviours": "gla.sources.behaviours",
        "ucb": "gla.sources.ucb",
        "thompson": "gla.sources.thompson",
    },
    "gla.sources",
)
