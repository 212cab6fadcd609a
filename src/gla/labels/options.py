"""Options that all labels share."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar

from pydantic import Field

from gla.options import Options


class LabelOptions(Options):
    """Options of all labels."""

    needs: ClassVar[Mapping[str, frozenset[str]]] = {"distribution": frozenset()}
    """The labels that a loss may ask for, distribution or action, and the data that a source must provide for each."""

    def problems_of(self, agent: Any) -> Iterator[str]:
        """Yields a line for each reason why these options do not fit the agent's other options."""
        if agent.loss.wants not in self.needs:
            yield f"kind: {self.kind!r} gives {', '.join(sorted(self.needs))} (expected {agent.loss.wants} for the loss {agent.loss.kind!r})"

    def problems_with(self, agent: Any, name: str, source: Any) -> Iterator[str]:
        """Yields a line for each reason why these options do not fit the agent's windows of a source. name: the name of the
        source.
        """
        yield from ()


class DistributionOptions(LabelOptions):
    """Options of labels that can be distributions of continuous actions."""

    log_std_floor: Annotated[float, Field(ge=-20, le=20)] = -3.0
    """Lower bound of the log standard deviation of a continuous label, for losses that compare distributions."""

    def problems_of(self, agent: Any) -> Iterator[str]:
        """Yields a line for each reason why these options do not fit the agent's other options."""
        yield from super().problems_of(agent)
        if (
            agent.loss.wants != "distribution"
            and self.log_std_floor != type(self).model_fields["log_std_floor"].default
        ):
            yield (
                f"log_std_floor: {self.log_std_floor} for the loss {agent.loss.kind!r}, which reads no distribution "
                "(expected a loss that does, or no log_std_floor)"
            )
