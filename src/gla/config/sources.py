"""Sources: who acted in an environment, and what was recorded. Each kind (gla.sources) adds its own options."""

from typing import Any

from gla.kinds import one_of
from gla.sources.kinds import SOURCES

Source: Any = one_of(SOURCES, "ppo")
