"""Makes the encoding that a model uses."""

from typing import Any

from gla.encoding.kinds import ENCODINGS
from gla.environments.spaces import EnvSpec


def encoding_of(manifest: dict, turns: bool = False, spec: EnvSpec | None = None) -> Any:
    """Returns the encoding that a manifest's summary names.

    turns: whether the outputs of the model rotate with its inputs (gla.models.options.ModelOptions), so that coordinates in
    the span of each frame are enough. spec: shapes of the environment of the contexts; None: the environments of the
    manifest's sources.
    """
    kind = manifest["encoding"]["kind"]
    encoding = ENCODINGS[kind].Encoding(ENCODINGS.options(kind).model_validate(manifest["encoding"]))
    if not turns:
        return encoding
    if spec:
        return encoding.spanned([(spec.observation_size, spec.action_size, spec.discrete)])
    sources = manifest["sources"].values()
    return encoding.spanned([(s["observation_size"], s["action_size"], s["discrete"]) for s in sources])
