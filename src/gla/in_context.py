"""An agent in contexts that begin empty (Kirsch et al., 2023, Algorithm 2), under one of its conditions."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from gla.agent import TrainedAgent
from gla.conditions.kinds import runner
from gla.config.environments import Environment
from gla.config.evaluations import Evaluation
from gla.encoding.tokens import Encoded, nothing, token
from gla.environments.spaces import EnvSpec, UnsupportedEnvironment
from gla.manifests import TEST, TRAIN
from gla.policies import sample_action
from gla.rollout import EpisodeRows, RecordedSteps, check_finite, environments_of, most_steps, run_all
from gla.splits import seed_of


def frame_seeds(encoding: Any, evaluation: Evaluation) -> np.ndarray | None:
    """Returns the seeds that the frames of the test seeds are drawn from, (N,); None if all contexts are alike. encoding: that of the
    agent.
    """
    if not encoding.varies:
        return None
    if evaluation.projections == "seen":
        return TRAIN + np.arange(evaluation.seeds) % encoding.options.pool(True)
    return TEST + seed_of(evaluation) * 2**20 + np.arange(evaluation.seeds)


class InContext:
    """One agent in N contexts that begin empty: ``act`` on the current observations, then ``observe`` the outcome.

    spec: the environment's shapes. evaluation: its ``seeds`` is N, and its ``seed`` decides the frames. steps: number of
    steps in which eta goes from its first value to its last, where it stays. Raises UnsupportedEnvironment if the agent's
    encoding cannot hold the environment.
    """

    def __init__(self, agent: TrainedAgent, spec: EnvSpec, evaluation: Evaluation, steps: int):
        self.agent, self.spec, self.evaluation, self.steps, self.t = agent, spec, evaluation, steps, 0
        n = self.n = evaluation.seeds
        self.encoding, self.model = agent.within(spec)
        self.encoding.check(evaluation.environment, spec)
        if agent.config.model.counts_states and not spec.states:
            raise UnsupportedEnvironment(
                f"environment {evaluation.environment!r}: observations of {spec.observation_size} numbers (expected Discrete ones, whose "
                f"values a model of kind {agent.config.model.kind!r} counts)"
            )
        self.device = next(self.model.parameters()).device
        self.generator = torch.Generator().manual_seed(seed_of(evaluation))
        self.frames, self.seen = (
            self.encoding.frames(frame_seeds(self.encoding, evaluation), n, spec),
            self.encoding.seen(),
        )
        shown = evaluation.prompt.steps if evaluation.prompt else 0
        self.state = self.model.initial_state(n, min(evaluation.context_length, steps + shown))
        self.previous = nothing(n, self.encoding.sizes)  # the part of a token that holds the previous step

    def _see(self, observation: np.ndarray, expert: bool = False) -> Tensor:
        """Maps observations (N, d) to outputs (N, 1, sizes.output). expert: whether an expert acts on them."""
        evaluation = self.evaluation
        seen = self.encoding.observe(torch.from_numpy(observation).unsqueeze(1), self.frames, self.seen)
        done = min(1.0, self.t / max(1, self.steps - 1))
        eta = evaluation.eta[0] + (evaluation.eta[1] - evaluation.eta[0]) * done
        told = float(expert and self.agent.config.model.told)
        eta = torch.full((self.n, 1), eta if self.agent.config.eta != "none" else told)
        shown = token(self.previous, seen, eta).squeeze(1).to(self.device)
        self.previous = self.previous._replace(observation=seen)
        return self.model.step(shown, self.state).cpu().unsqueeze(1)

    @torch.inference_mode()
    def act(self, observation: np.ndarray) -> np.ndarray:
        """Maps observations (N, d) to actions, (N, a) or integers (N,)."""
        evaluation, encoding = self.evaluation, self.encoding
        output = self._see(observation)
        # Checked before sampling, since an integer drawn from NaN logits would look like any other.
        check_finite(f"environment {evaluation.environment!r}", "the agent's output", output.numpy(), self.t)
        mean, log_std = (x.squeeze(1) for x in encoding.distribution(output, self.frames.a))
        temperature = temperature_at(evaluation, self.t)
        action = sample_action(mean, None if self.spec.discrete else log_std, self.generator, temperature)
        self.previous = self.previous._replace(action=encoding.act(action.unsqueeze(1), self.frames))
        self.t += 1
        return action.numpy()

    @torch.inference_mode()
    def watch(self, observation: np.ndarray, action: np.ndarray) -> None:
        """Records the actions of another policy on observations (N, d), in the form that ``act`` returns. ``observe`` is
        called next.
        """
        self._see(observation, self.evaluation.prompt is not None and self.evaluation.prompt.expert)
        self.previous = self.previous._replace(
            action=self.encoding.act(torch.from_numpy(action).unsqueeze(1), self.frames)
        )

    @torch.inference_mode()
    def observe(self, reward: np.ndarray, done: np.ndarray) -> None:
        """Records the rewards of the actions (N,), and where an episode ended (N,)."""
        value = self.encoding.reward(torch.from_numpy(reward).float().unsqueeze(1), self.seen)
        self.previous = self.previous._replace(reward=value, end=torch.from_numpy(done).float().unsqueeze(1))

    @torch.inference_mode()
    def forget(self, streams: np.ndarray) -> None:
        """Empties the contexts for which (N,) bool is true, after an episode's end, so that they are as before their first step."""
        rows = torch.from_numpy(streams)
        self.state.forget(rows)

        def emptied(x: Tensor) -> Tensor:
            return torch.where(rows.view(-1, *[1] * (x.dim() - 1)), 0.0, x)

        before = self.previous
        self.previous = Encoded(emptied(before.observation), emptied(before.action), emptied(before.reward), before.end)
        if self.seen is not None:
            self.seen.forget(rows)


def temperature_at(evaluation: Evaluation, step: int) -> float:
    """Returns the temperature of an agent after so many steps."""
    if evaluation.cooling is None:
        return evaluation.temperature
    done = min(1.0, step / evaluation.cooling.steps)
    return evaluation.temperature + (evaluation.cooling.temperature - evaluation.temperature) * done


def run_agent(
    agent: TrainedAgent,
    entry: Environment,
    evaluation: Evaluation,
    condition: str,
    label: str = "agent",
    shown: RecordedSteps | None = None,
) -> EpisodeRows:
    """Runs the agent in context, with all seeds side by side, and returns the rows. condition: ``agent``, or one of its controls
    (gla.conditions), which also applies to the prompt. shown: the evaluation's prompt."""
    envs, observe = environments_of(entry, evaluation), runner(condition).observe
    try:
        context = InContext(agent, envs.spec, evaluation, most_steps(envs, evaluation))
        for t in range(shown.reward.shape[1] if shown else 0):
            context.watch(shown.observation[:, t], shown.action[:, t])
            observe(context, shown.reward[:, t], shown.done[:, t])
        return run_all(
            envs, evaluation, label, lambda observation, _t: context.act(observation),
            lambda step, *_: observe(context, step.reward, step.terminated | step.truncated),
        )  # fmt: skip
    finally:
        envs.close()
