"""The kinds of losses. One line for each."""

from gla.kinds import Kinds

LOSSES = Kinds(
    "loss.kind",
    {
        "divergence": "gla.losses.divergence",
        "action_likelihood": "gla.losses.action_likelihood",
        "q_values": "gla.losses.q_values",
    },
    "gla.losses",
)
