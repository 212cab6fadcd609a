"""The kinds of encodings: what a token holds, and how an output becomes a distribution over actions. One line for each."""

from gla.kinds import Kinds

ENCODINGS = Kinds("encoding.kind", {"projected": "gla.encoding.projected", "tabular": "gla.encoding.tabular"})
