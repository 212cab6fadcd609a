"""The learning curve of a reference. It is not in ``gla.reference``, so that reading it does not import PyTorch."""

from pydantic import PositiveInt, model_validator

from gla.files import Description


class Curve(Description):
    """The learning curve in a reference's description."""

    mean_return: list[list[float | None]]
    num_envs: PositiveInt
    steps_per_update: PositiveInt

    @model_validator(mode="after")
    def _as_long(self):
        if len({len(row) for row in self.mean_return}) != 1 or not self.mean_return[0]:
            raise ValueError("a mean_return for each update in every row")
        return self
