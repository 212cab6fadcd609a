"""The kinds of labels: whose actions a model learns to predict. One line for each."""

from gla.kinds import Kinds

LABELS = Kinds(
    "labels.kind",
    {
        "recorded": "gla.labels.recorded",
        "later_policy": "gla.labels.later_policy",
        "optimal_action": "gla.labels.optimal_action",
        "trust_horizon": "gla.labels.trust_horizon",
    },
    "gla.labels",
)
