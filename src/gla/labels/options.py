"""What all labels share."""

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar

from pydantic import Field

from gla.options import Options


class LabelOptions(Options):
    """Options of all labels."""

    log_std_floor: Annotated[float, Field(ge=-20, le=20)] = -3.0
    """Smallest log standard deviation of a continuous label."""

    gives: ClassVar[frozenset[str]] = frozenset({"distribution"})
    """What a loss may ask for: distribution, action."""
    needs: ClassVar[frozenset[str]] = frozenset()
    """What a source must provide for distributions."""

    def needs_for(self, wants: str) -> frozenset[str]:
        """What a source must provide for what a loss wants. Actions every source writes."""
        return frozenset() if wants == "action" and wants in self.gives else self.needs

    def problems_of(self, agent: Any) -> Iterator[str]:
        """What is wrong with these options for an agent's other options."""
        if agent.loss.wants not in self.gives:
            yield f"kind: {self.kind!r} gives {', '.join(sorted(self.gives))} (expected {agent.loss.wants} for the loss {agent.loss.kind!r})"

    def problems_with(self, agent: Any, name: str, source: Any) -> Iterator[str]:
        """What is wrong with these options for an agent's windows of a source. name: the source's."""
        yield from ()
