"""The kinds of sequence models. One line for each."""

from gla.kinds import Kinds

MODELS = Kinds(
    "model.kind",
    {
        "transformer": "gla.models.transformer",
        "equivariant": "gla.models.equivariant",
        "lstm": "gla.models.lstm",
        "gru": "gla.models.gru",
        "gated_delta": "gla.models.gated_delta",
        "value_iteration": "gla.models.value_iteration",
        "predictive_control": "gla.models.predictive_control",
    },
    "gla.models",
)
