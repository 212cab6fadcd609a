"""Puts what the demo's page loads into the site: agents as ONNX models, and ONNX Runtime Web from npm. MkDocs calls ``on_post_build``."""

import json
import shutil
import warnings
from pathlib import Path

import gymnasium as gym
import torch
from torch import Tensor, nn

import gla
from gla.encoding.tokens import Encoded, nothing, token
from gla.in_context import InContext

AGENTS = {"grid": "gla/GridWorld-v0", "point_mass": "gla/PointMass-v0"}  # installed agents, and where they act
CONTEXTS = 16  # that act side by side
PACKAGES = Path(__file__).parent / "demo/node_modules/onnxruntime-web/dist"
RUNTIME = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
OUTCOME = ("observation", "action", "reward", "end")  # of the last step, and the observation after it
MOMENTS = ("n", "first", "total", "squares")  # the state of a Standardiser


def context_of(agent, env_id: str) -> InContext:
    """Returns the agent in the demo's contexts, which are empty."""
    envs = gym.make_vec(
        env_id,
        CONTEXTS,
        vectorization_mode="sync",
        vector_kwargs={"autoreset_mode": gym.vector.AutoresetMode.SAME_STEP},
    )
    return agent.policy(envs).context


class Keys:
    """What a model with attention saw so far: all keys and values, (layers, 2, B, H, n, head). n may be 0.

    In place of the ring buffer of gla.models.attention, since in ONNX nothing is written in place.
    """

    def __init__(self, memory: Tensor, position: Tensor):
        self.memory, self.position, self.grown = memory, position, []

    def push(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Returns all keys and values with the current token's, (B, H, n + 1, head)."""
        grown = [torch.cat([before, new], 2) for before, new in zip(self.memory[layer], (key, value), strict=True)]
        self.grown.append(torch.stack(grown))
        return grown[0], grown[1]

    def mask(self) -> None:
        """Returns that all may be seen."""


class Step(nn.Module):
    """One step of an agent in B contexts as a function of tensors alone: ``InContext`` without its sampling.

    Maps observations (B, d), the last actions (B, a) or (B,), rewards and ends (B,), and the state to the means of the next actions, or
    their logits, and their log-deviations, both (B, a), and to the next state. In empty contexts the last step counts for nothing.
    """

    def __init__(self, context: InContext):
        super().__init__()
        if context.agent.config.eta != "none":
            raise ValueError(
                f"eta {context.agent.config.eta!r} (expected none, since the demo tells the agent no improvement)"
            )
        self.encoding, self.model, self.frames = context.encoding, context.model, context.frames
        self.empty = {
            "position": torch.zeros((), dtype=torch.long),
            "memory": context.state.memory[..., :0, :].clone(),
            "previous": nothing(context.n, self.encoding.sizes).observation,
        }
        self.moments = []  # of the encoding's state: name, part and field
        for part, size in (("observation", context.spec.observation_size), ("reward", 1)):
            for field in MOMENTS if self.encoding.options.standardise else ():
                self.moments.append((f"{part}_{field}", part, field))
                numbers = 1 if field == "n" else size
                self.empty[f"{part}_{field}"] = torch.zeros(context.n, 1, numbers, dtype=torch.float64)

    def forward(self, observation: Tensor, action: Tensor, reward: Tensor, end: Tensor, *values: Tensor):
        state, seen = dict(zip(self.empty, values, strict=True)), self.encoding.seen()
        for name, part, field in self.moments:
            setattr(getattr(seen, part), field, state[name])
        begun = state["position"] > 0
        told = self.encoding.reward(reward.unsqueeze(1), seen) * begun
        if self.moments:
            seen.reward.forget(~begun.expand(len(reward)))
        done = self.encoding.act(action.unsqueeze(1), self.frames) * begun
        before = Encoded(state["previous"], done, told, torch.where(begun, end, 1.0).unsqueeze(1))
        shown = self.encoding.observe(observation.unsqueeze(1), self.frames, seen)
        keys = Keys(state["memory"], state["position"].clone())  # the model counts on
        output = self.model.step(token(before, shown, torch.zeros(len(reward), 1)).squeeze(1), keys).unsqueeze(1)
        mean, log_std = (x.squeeze(1) for x in self.encoding.distribution(output, self.frames.a))
        after = {"position": keys.position, "memory": torch.stack(keys.grown), "previous": shown}
        after |= {name: getattr(getattr(seen, part), field) for name, part, field in self.moments}
        return mean, log_std, *(after[name] for name in self.empty)


def export(context: InContext, path: Path) -> None:
    """Writes a step of an agent as an ONNX model. Its state has the inputs ``NAME`` and the outputs ``next_NAME``."""
    step, n, spec = Step(context).eval(), context.n, context.spec
    actions = torch.zeros(n, dtype=torch.long) if spec.discrete else torch.zeros(n, spec.action_size)
    inputs = (torch.zeros(n, spec.observation_size), actions, torch.zeros(n), torch.zeros(n))
    with torch.no_grad():
        state = [
            x.clone() for x in step(*inputs, *step(*inputs, *step.empty.values())[2:])[2:]
        ]  # of more than one step
    lengths = tuple({4: torch.export.Dim.DYNAMIC} if name == "memory" else None for name in step.empty)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            step, (*inputs, *state), dynamo=True, verbose=False,
            input_names=[*OUTCOME, *step.empty], output_names=["policy_mean", "policy_log_std", *(f"next_{name}" for name in step.empty)],
            dynamic_shapes=(None, None, None, None, lengths),
        )  # fmt: skip
    program.save(str(path))


def on_post_build(config) -> None:
    """Writes the agents and the runtime into the site's folder ``demo``. Raises FileNotFoundError if npm has not installed the runtime."""
    folder = Path(config["site_dir"]) / "demo"
    for name in RUNTIME:
        if not (PACKAGES / name).is_file():
            raise FileNotFoundError(
                f"{PACKAGES / name}: missing (expected after npm ci --prefix docs/demo, which make site runs)"
            )
        shutil.copyfile(PACKAGES / name, folder / name)
    for name, env_id in AGENTS.items():
        agent = gla.load(name)
        export(context_of(agent, env_id), folder / f"{name}.onnx")
        (folder / f"{name}.json").write_text(json.dumps({"temperature": agent.acting.temperature}))
