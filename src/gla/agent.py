"""The in-context agent: its model, tokens in and policy outputs out, and its folder on disk."""

import math
from dataclasses import dataclass
from pathlib import Path

import safetensors
from safetensors.torch import load_file
from torch import Tensor, nn

from gla import models
from gla.config import Agent as AgentConfig
from gla.environments import MAX_ACTION, MAX_OBSERVATION
from gla.files import CorruptFile, read_json, sha256


class AgentModel(nn.Module):
    """A sequence model and, for training alone, a head that predicts what follows.

    The optional auxiliary head predicts the next projected observation and the reward from the
    feature and the action that was taken.
    """

    def __init__(self, config: AgentConfig):
        super().__init__()
        self.sequence = models.build(config.model)
        self.auxiliary = None
        if config.auxiliary_weight > 0:
            width = config.model.width
            self.auxiliary = nn.Sequential(
                nn.Linear(width + MAX_ACTION, 2 * width), nn.GELU(), nn.Linear(2 * width, MAX_OBSERVATION + 1)
            )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens (B, T, TOKEN) to features (B, T, D) and policy outputs (B, T, 32) in float32."""
        return self.sequence(x)


@dataclass(frozen=True)
class Agent:
    """A trained agent: its model, its config, and the manifest summary it was trained on."""

    model: AgentModel
    config: AgentConfig
    manifest: dict

    @property
    def identity_projection(self) -> bool:
        """Whether it was trained without augmentation, and so acts without."""
        return self.manifest["projections"]["kind"] == "identity"


def describe(config: AgentConfig, manifest: dict, weights: Path, training: dict) -> dict:
    """The content of agent.json: everything beside the weights that acting needs."""
    return {
        "config": config.model_dump(),
        "manifest": manifest,
        "training": training,
        "weights": {"file": "weights.safetensors", "sha256": sha256(weights)},
    }


def load(folder: str | Path) -> Agent:
    """An agent from its folder. Raises CorruptFile naming the file that is missing or altered."""
    folder = Path(folder)
    body = read_json(folder / "agent.json")
    path = folder / "weights.safetensors"
    try:
        config = AgentConfig.model_validate(body["config"])
        expected, manifest = body["weights"]["sha256"], body["manifest"]
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptFile(f"{folder / 'agent.json'}: not an agent's description ({error!r})") from None
    if not path.is_file():
        raise CorruptFile(f"{path}: missing (expected the weights that {folder / 'agent.json'} describes); Snakemake makes it anew")
    if sha256(path) != expected:
        raise CorruptFile(f"{path}: altered or cut off (its hash is not the one in {folder / 'agent.json'}); delete it to have it made anew")
    try:
        with safetensors.safe_open(path, "pt") as file:
            held = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
        # A layer has a matrix of width * width at least: no memory is taken for a model that is not in the file.
        if config.model.layers * config.model.width**2 > sum(math.prod(shape) for shape in held.values()):
            raise RuntimeError(f"it is too small for {config.model.layers} layers of width {config.model.width}")
        model = AgentModel(config)
        model.load_state_dict(load_file(path))
    except (safetensors.SafetensorError, RuntimeError) as error:
        raise CorruptFile(f"{path}: does not hold this agent's weights ({error})") from None
    return Agent(model.eval(), config, manifest)
