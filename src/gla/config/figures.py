"""Figures of evaluations, sources and agents. Each kind (gla.figures) adds its own options."""

from typing import Any

from gla.figures.kinds import FIGURES
from gla.kinds import one_of

Figure: Any = one_of(FIGURES)
