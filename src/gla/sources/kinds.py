"""The kinds of sources: who acts, and what is written down. One line for each."""

from gla.kinds import Kinds

SOURCES = Kinds("sources.kind", {"ppo": "gla.sources.ppo", "random": "gla.sources.random"})
