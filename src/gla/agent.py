"""The in-context agent: its model, which turns tokens into policy outputs, and its folder on disk."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import safetensors
import torch
from safetensors.torch import load_file
from torch import nn

from gla.config.agents import Agent
from gla.encoding.making import encoding_of
from gla.environments.spaces import EnvSpec
from gla.files import ANEW, CorruptFile, Description, check, read_description, sha256
from gla.manifests import Summary
from gla.models.building import AgentModel
from gla.models.kinds import MODELS
from gla.options import ConfigError

LAYERS = 1000  # most layers of a model that is read


class Training(Description):
    """How an agent was trained."""

    parameters: int
    tokens: int
    precision: str
    torch: str
    validation_loss: float
    constant_loss: float


class Weights(Description):
    """The file that holds an agent's weights."""

    file: Literal["weights.safetensors"]
    sha256: str


class AgentDescription(Description):
    """The content of agent.json."""

    config: Agent
    manifest: Summary
    training: Training
    weights: Weights


@dataclass(frozen=True)
class TrainedAgent:
    """A trained agent: its model, its config, and the manifest summary it was trained on."""

    model: AgentModel
    config: Agent
    manifest: dict

    def within(self, spec: EnvSpec) -> tuple[Any, nn.Module]:
        """Returns the encoding of an environment's steps as tokens (gla.encoding), and the sequence model for such tokens,
        with the same weights."""
        options, sequence = self.config.model, self.model.sequence
        encoding = encoding_of(self.manifest, options.turns, spec)
        if not options.turns:
            return encoding, sequence
        with torch.device("meta"):
            other = MODELS[options.kind].SequenceModel(options, encoding.sizes)
        other.load_state_dict(sequence.state_dict(), assign=True)
        return encoding, other.eval()


def describe(config: Agent, manifest: dict, weights: Path, training: dict) -> dict:
    """Returns the content of agent.json: everything except the weights that is needed to act."""
    return {
        "config": config.model_dump(exclude={"acting"}),
        "manifest": manifest,
        "training": training,
        "weights": {"file": "weights.safetensors", "sha256": sha256(weights)},
    }


def read_described(folder: str | Path, anywhere: bool = False) -> dict[str, Any]:
    """Returns the content of agent.json. Raises CorruptFile if it, or the file of weights next to it, is missing, altered or another
    agent's.

    anywhere: whether the folder may be a copy with another name in a folder of results.
    """
    described, weights = Path(folder) / "agent.json", Path(folder) / "weights.safetensors"
    body = read_description(described, AgentDescription, anywhere)
    if not weights.is_file():
        raise CorruptFile(
            f"{weights}: missing (expected the weights that {described} describes); Snakemake makes it again"
        )
    check(weights, anywhere)
    if sha256(weights) != body["weights"]["sha256"]:
        raise CorruptFile(f"{weights}: not what {described} describes; {ANEW}")
    return body


def load(folder: str | Path, anywhere: bool = False) -> TrainedAgent:
    """Loads an agent from its folder. Raises CorruptFile as ``read_described`` does, and if the weights do not fit the model."""
    body, path = read_described(folder, anywhere), Path(folder) / "weights.safetensors"
    config = Agent.model_validate(body["config"])
    sizes = encoding_of(body["manifest"]).sizes
    try:
        with safetensors.safe_open(path, "pt") as file:
            held = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
        # Shapes are compared before memory is taken: a model on the meta device costs almost nothing.
        if config.model.layers > (LAYERS if config.model.shared else min(LAYERS, len(held))):
            raise RuntimeError(f"it is too small for {config.model.layers} layers")
        with torch.device("meta"):
            expected = {name: list(x.shape) for name, x in AgentModel(config, sizes).state_dict().items()}
        for name in sorted(held.keys() | expected.keys()):
            if held.get(name) != expected.get(name):
                raise RuntimeError(f"{name} is of shape {held.get(name)}; expected {expected.get(name)}")
        model = AgentModel(config, sizes)
        model.load_state_dict(load_file(path))
    except ConfigError as error:
        raise ConfigError(f"{Path(folder) / 'agent.json'}: {error}") from None
    except (safetensors.SafetensorError, RuntimeError, ValueError, TypeError, OverflowError) as error:
        said = " ".join(str(error).split())[:300]
        raise CorruptFile(f"{path}: does not hold this agent's weights ({said}); {ANEW}") from None
    return TrainedAgent(model.eval(), config, body["manifest"])
