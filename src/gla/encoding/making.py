"""The encoding of a dataset, as a model sees it."""

from typing import Any

from gla.encoding.kinds import ENCODINGS
from gla.environments.spaces import EnvSpec


def encoding_of(manifest: dict, turns: bool = False, spec: EnvSpec | None = None) -> Any:
    """The encoding that a manifest's summary names.

    turns: whether outputs of the model turn with what it sees (gla.models.options.ModelOptions), so that coordinates in the span of
    each frame are enough. spec: of the environment that contexts are of; None: they are of the manifest's sources.
    """
    kind = manifest["encoding"]["kind"]
    encoding = ENCODINGS[kind].Encoding(ENCODINGS.options(kind).model_validate(manifest["encoding"]))
    if not turns:
        return encoding
    if spec:
        return encoding.spanned([(spec.observation_size, spec.action_size)])
    return encoding.spanned([(s["observation_size"], s["action_size"]) for s in manifest["sources"].values()])
