"""Lower bounds of the memory that the jobs of a config take, and of the disk space of its histories.

Estimates are in bytes, and count only data that are held at the same time in any case. A config that they reject could not have run.
"""

from collections.abc import Iterable, Iterator

from gla.conditions.roles import that_read
from gla.config.agents import Agent
from gla.config.evaluations import Evaluation
from gla.config.whole import Config
from gla.encoding.tokens import Sizes
from gla.learners.ppo import PPO
from gla.preflight import Facts
from gla.reference import STEPS
from gla.sources.options import SourceOptions
from gla.splits import tasks_of

HIDDEN = PPO.model_fields["hidden"].default  # hidden units of online learners and references, which have no key for it
PACKED = 25  # highest compression of histories, reached when a policy repeats one walk through nine states
COUNTED = 8  # numbers of an observation, or of a distribution, that are counted; the rest of large one-hot vectors takes almost no space


def population(k: int, num_envs: int, steps: int, hidden: int, facts: Facts) -> int:
    """Returns the bytes of k lifetimes of PPO: environments, a rollout, its batch and a shuffled copy, and weights with their
    moments.
    """
    d, a = facts["observation_size"], facts["action_size"]
    rollout = 4 * (2 * d + a + (2 if facts["discrete"] else a)) + 10
    batch = 2 * 4 * (d + a + 4)
    weights = 2 * 4 * 4 * hidden * (d + hidden + a)  # actor and critic; values, gradients and Adam's two moments
    return k * (num_envs * (steps * (rollout + batch) + 1000) + weights)


def collection(source: SourceOptions, facts: Facts) -> int:
    """Returns the bytes of one block of lifetimes: the source, rows that fill a chunk, and snapshots."""
    k = min(source.lifetimes, source.lifetimes_per_block)
    d, a = facts["observation_size"], facts["action_size"]
    row = 4 * (2 * d + (a if "distribution" in source.provides else 0) + (2 if facts["discrete"] else a) + 1) + 2
    rows = k * source.num_envs * min(source.updates * source.steps, 1024) * row
    if not isinstance(source, PPO):
        return rows
    snapshots = k * len(source.snapshots()) * 4 * source.hidden * (d + source.hidden + a)
    return (
        population(k, source.num_envs, source.steps, source.hidden, facts) + rows + snapshots + 4 * k * source.updates
    )


def histories(source: SourceOptions, facts: Facts) -> int:
    """Returns the bytes of all lifetimes on disk: steps, and the weights of snapshots."""
    d, a = min(facts["observation_size"], COUNTED), min(facts["action_size"], COUNTED)
    row = 4 * (2 * d + (a if "distribution" in source.provides else 0) + (2 if facts["discrete"] else a) + 1) + 2
    size = source.num_envs * source.updates * source.steps * row
    if isinstance(source, PPO):
        size += len(source.snapshots()) * 4 * source.hidden * source.hidden
    return source.lifetimes * size // PACKED


def _sizes(agent: Agent, config: Config, environments: Iterable[Facts]) -> Sizes:
    """Returns the sizes of an agent's tokens in these environments."""
    encoding = config.datasets[agent.dataset].encoding
    if not agent.model.turns:
        return encoding.sizes
    return encoding.spanned([(e["observation_size"], e["action_size"], e["discrete"]) for e in environments])


def training(agent: Agent, config: Config, facts: dict[str, Facts]) -> int:
    """Returns the bytes of one training step: weights, gradients and Adam's moments; for each token, its numbers and its
    activations.
    """
    sizes = _sizes(
        agent, config, [facts[config.sources[s].environment] for s in config.datasets[agent.dataset].sources]
    )
    training = agent.training
    each = 4 * training.length(agent) * sizes.token + training.outputs(agent) * agent.model.activations(sizes)
    return 16 * agent.model.parameters(sizes) + training.at_once * each


def state(evaluation: Evaluation, agent: Agent, config: Config, known: Facts) -> int:
    """Returns the bytes that an agent keeps of its contexts in a rollout. known: the facts about the environment."""
    steps = evaluation.env_steps or evaluation.episodes * (known["time_limit"] or evaluation.context_length)
    steps += evaluation.prompt.steps if evaluation.prompt else 0
    sizes = _sizes(agent, config, [known])
    return agent.model.state_bytes(sizes, evaluation.seeds, min(evaluation.context_length, steps))


def rollout(evaluation: Evaluation, agent: Agent | None, config: Config, known: Facts) -> int:
    """Returns the bytes of a rollout of an agent, or of a baseline if ``agent`` is None: environments, a row for each episode that is
    certain to be run, and the agent's weights and state.
    """
    limit = known["time_limit"]
    episodes = evaluation.episodes or (evaluation.env_steps // limit if limit else 0)
    size = evaluation.seeds * (1000 + 100 * episodes)
    if agent is None:
        return size
    return size + 4 * agent.model.parameters(_sizes(agent, config, [known])) + state(evaluation, agent, config, known)


def jobs(config: Config, facts: dict[str, Facts]) -> dict[str, int]:
    """Returns the bytes that each job takes, by its outputs: histories/SOURCE, manifests/DATASET, agents/AGENT, references/ENVIRONMENT/SPLIT, and
    rollouts/EVALUATION/AGENT or rollouts/EVALUATION/baseline/CONDITION."""
    found = {f"histories/{name}": collection(s, facts[s.environment]) for name, s in config.sources.items()}
    for name, d in config.datasets.items():
        streams = sum(config.sources[s].lifetimes * config.sources[s].num_envs for s in d.sources)
        found[f"manifests/{name}"] = 400 * streams
    found |= {f"agents/{name}": training(a, config, facts) for name, a in config.agents.items()}
    for name, v in config.evaluations.items():
        known, e = facts[v.environment], config.environments[v.environment]
        found |= {f"rollouts/{name}/baseline/{b}": rollout(v, None, config, known) for b in v.baselines}
        if "online_ppo" in v.baselines:
            found[f"rollouts/{name}/baseline/online_ppo"] = population(v.seeds, 1, 1, HIDDEN, known)
        if v.conditions:
            found |= {f"rollouts/{name}/{a}": rollout(v, config.agents[a], config, known) for a in v.agents}
        if set(v.baselines) & set(that_read("reference")):
            runs = len(tasks_of(e, v.split)) * e.reference.runs
            size = population(runs, e.reference.num_envs, STEPS, HIDDEN, known)
            found[f"references/{v.environment}/{v.split}"] = size
    return found


def disk(config: Config, facts: dict[str, Facts]) -> Iterator[tuple[str, str, int, str]]:
    """Yields the disk space of each source's histories and of all histories, in the form of ``demands``."""
    sizes = {name: histories(s, facts[s.environment]) for name, s in config.sources.items()}
    less = "fewer lifetimes, num_envs or steps, or a larger snapshot_every"
    for name, s in config.sources.items():
        steps = f"{s.lifetimes} lifetimes with {s.num_envs} copies of the environment, {s.updates * s.steps} steps each"
        yield f"sources.{name}", f"the history of {steps}", sizes[name], less
    if len(sizes) > 1:
        yield "sources", "all histories together", sum(sizes.values()), less


def demands(config: Config, facts: dict[str, Facts]) -> Iterator[tuple[str, str, int, str]]:
    """Yields the demand of each kind of job: the entry, what needs the memory, how many bytes, and what would need less."""
    found = jobs(config, facts)
    for name, s in config.sources.items():
        block = f"a block of {min(s.lifetimes, s.lifetimes_per_block)} lifetimes with {s.num_envs} copies of the environment, {s.steps} steps"
        hidden = f" and {s.hidden} hidden units" if isinstance(s, PPO) else ""
        less = "fewer lifetimes_per_block, num_envs or num_steps" + (", or a smaller hidden" if hidden else "")
        yield f"sources.{name}", f"{block}{hidden}", found[f"histories/{name}"], less
    for name, d in config.datasets.items():
        rows = sum(config.sources[s].lifetimes * config.sources[s].num_envs for s in d.sources)
        yield (
            f"datasets.{name}",
            f"a manifest of {rows} streams",
            found[f"manifests/{name}"],
            "fewer lifetimes or num_envs of its sources",
        )
    for name, a in config.agents.items():
        window = f"a step of {a.training.at_once} windows of {a.training.length(a)} tokens"
        yield (
            f"agents.{name}", f"{window} through {a.model.layers} layers of width {a.model.width}", found[f"agents/{name}"],
            "a smaller training.batch_size, window or model",
        )  # fmt: skip
    for name, v in config.evaluations.items():
        what, less = (
            f"a rollout of {v.seeds} seeds with a context of {v.context_length}",
            "fewer seeds or episodes, or a smaller context_length or model",
        )
        agents = [found[f"rollouts/{name}/{a}"] for a in v.agents] if v.conditions else []
        yield f"evaluations.{name}", what, max([rollout(v, None, config, facts[v.environment]), *agents]), less
        if "online_ppo" in v.baselines:
            yield (
                f"evaluations.{name}",
                f"online_ppo in {v.seeds} seeds",
                found[f"rollouts/{name}/baseline/online_ppo"],
                "fewer seeds",
            )
        if set(v.baselines) & set(that_read("reference")):
            e = config.environments[v.environment]
            runs, copies = len(tasks_of(e, v.split)) * e.reference.runs, e.reference.num_envs
            what = f"{runs} runs of {copies} copies of the environment on the tasks of split {v.split}"
            yield (
                f"environments.{v.environment}.reference",
                what,
                found[f"references/{v.environment}/{v.split}"],
                "fewer runs or num_envs",
            )
