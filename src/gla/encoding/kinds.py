"""The kinds of encodings: how steps become tokens, and outputs distributions over actions. One line for each."""

from gla.kinds import Kinds

ENCODINGS = Kinds(
    "encoding.kind",
    {"projected": "gla.encoding.projected", "tabular": "gla.encoding.tabular", "scaled": "gla.encoding.scaled"},
    "gla.encoding",
)
