"""An agent's model card: its training data, its scores and its limits. It is made from agent.json and rollouts alone."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import yaml

from gla.agent import AgentDescription
from gla.config.agents import Agent
from gla.encoding.making import encoding_of
from gla.files import CorruptFile, atomic, read_csv, read_description
from gla.networks import network
from gla.rows import read_rows
from gla.statistics import mean_interval
from gla.trainers.kinds import ACTING

NAMES = ("agent", "evaluation", "split", "verdict")
NUMBERS = (
    "first_episode", "last", "control_last", "beats_online", "beats_online_low", "beats_online_high", "score_above_calm",
    "score_above_calm_low", "score_above_calm_high", "training_seeds", "seeds",
)  # fmt: skip
OVERFITTED = ", which is less: **it predicts nothing in lifetimes that it was not trained on**, and has only memorised the others"


def write(folder: str | Path, rollouts: Sequence[str] = (), verdicts: str | Path | None = None) -> Path:
    """Writes README.md into an agent's folder. rollouts: Parquet files whose returns it reports. verdicts: the table of
    verdicts, of which it reports the agent's rows. Raises CorruptFile for a damaged file."""
    path = Path(folder) / "README.md"
    table = None if verdicts is None else read_csv(verdicts, NAMES, NUMBERS, dtype=dict.fromkeys(NAMES, str))
    text = render(
        Path(folder).name,
        read_description(path.with_name("agent.json"), AgentDescription),
        [read_rows(r) for r in rollouts],
        table,
    )
    with atomic(path) as temporary:
        temporary.write_text(text)
    return path


def render(name: str, body: dict, frames: Sequence[pd.DataFrame] = (), verdicts: pd.DataFrame | None = None) -> str:
    """Returns the card's text. name: the name of the network. body: the content of agent.json. frames: rollouts of agents and
    baselines. verdicts: a table of ``gla.verdicts``."""
    agent, number = network(name)
    try:
        config, manifest, training = body["config"], body["manifest"], body["training"]
        encoding, sizes = manifest["encoding"], encoding_of(manifest).sizes
        varies = encoding.get("projections") == "gaussian"
        better = training["validation_loss"] < training["constant_loss"]
        sources = _table(
            ["source", "environment", "observation", "action", "return, first to last"],
            [
                [n, e["environment"], e["observation_size"], f"{e['action_size']} {'discrete' if e['discrete'] else 'continuous'}",
                 f"{e['return_first']:.4g} to {e['return_last']:.4g}"]
                for n, e in manifest["sources"].items()
            ],
        )  # fmt: skip
        any_size = encoding["kind"] == "scaled"
        pool = (
            f"{encoding['train']:,} random projections to {sizes.observation} and {sizes.action} dimensions"
            if varies
            else "no projection of tokens: the model projects by itself"
            if any_size
            else "no projection: observations and actions are padded with zeros"
        )
        optimiser, whole = config["training"], Agent.model_validate(config)
        context, acts = whole.training.length(whole), whole.training.kind in ACTING
        return f"""---
{_metadata(name, agent, verdicts)}---
# {name}

A model of kind {config["model"]["kind"]} with {
            training["parameters"]:,} weights, meant to learn an environment from its rewards while
it acts, without any change of its weights. Whether it does is under Verdicts. To use it:
`gla.load(FOLDER)`, or `gla learn --agent FOLDER --env ID`.

## Trained on
{"Its own actions in the tasks of these histories" if acts else "Learning histories"}, under {pool}:

{sources}

{optimiser["steps"]:,} steps of {optimiser["batch_size"]} {"lifetimes" if acts else "windows"} of {
            context:,} transitions, {training["tokens"]:,} in all, {"" if acts else _how(config)}in {
            training["precision"]
        } with PyTorch
{training["torch"]}. Held-out loss {training["validation_loss"]:.4g} {
            "(minus the reward of a step); acting at random" if acts else "nats per step; the best constant output"
        } has {training["constant_loss"]:.4g}{"" if better else OVERFITTED}.

## Verdicts
{_verdicts(agent, verdicts)}

## Scores of this network
{_scores(agent, number, frames)}

## Limits
- {
            "It saw one layout of observations and actions and cannot be expected to act under another."
            if not (varies or any_size)
            else "It was trained only on the environments above; of others, nothing is known but what the verdicts say."
        }
- {"Any number of" if any_size else f"Up to {sizes.observation}"} observation and {
            "" if any_size else f"{sizes.action} "
        }action dimensions, no images. It saw contexts of {context:,} transitions; more is extrapolation.
- A rising return is no proof of learning from reward: compare with the same agent with its rewards hidden, and shuffled.
- For research. Nothing was done to make it act safely.

Weights: `{body["weights"]["file"]}`, SHA-256 `{body["weights"]["sha256"]}`.
"""
    except (KeyError, TypeError) as error:
        raise CorruptFile(f"agent.json of {name!r}: not an agent's description ({error!r})") from None


def _how(config: dict) -> str:
    """Describes windows, labels and loss in the words of the config."""
    windows, labels, loss = config["windows"], config["labels"], config["loss"]
    if config["training"]["kind"] == "prediction":
        return f"windows of kind {windows['kind']}, of which it predicts each step from those before it, "
    gap = f" and gap {windows['gap']}" if "gap" in windows else ""
    return f"windows of kind {windows['kind']}{gap}, labels of kind {labels['kind']}, loss of kind {loss['kind']}, "


def _metadata(name: str, agent: str, verdicts: pd.DataFrame | None) -> str:
    """Returns the YAML that model hubs read, with the last returns of all networks as results.

    It is written without huggingface_hub, which is optional, and which reads it in the tests.
    """
    head = {
        "license": "apache-2.0",
        "library_name": "gla",
        "tags": ["reinforcement-learning", "in-context-reinforcement-learning"],
    }
    results = [
        {
            "task": {"type": "reinforcement-learning", "name": row["verdict"]},
            "dataset": {"type": row["evaluation"], "name": row["evaluation"]},
            "metrics": [{"type": "mean_return", "name": "return, last fifth of episodes", "value": float(f"{row['last']:.4g}")}],
        }
        for _, row in _tested(agent, verdicts).iterrows() if pd.notna(row["last"])
    ]  # fmt: skip
    return yaml.safe_dump(
        head | ({"model-index": [{"name": name, "results": results}]} if results else {}), sort_keys=False
    )


def _tested(agent: str, table: pd.DataFrame | None) -> pd.DataFrame:
    """Returns the agent's rows of the table of verdicts that are about test tasks."""
    return table[(table["agent"] == agent) & (table["split"] == "test")] if table is not None else pd.DataFrame()


def _verdicts(agent: str, table: pd.DataFrame | None) -> str:
    own = _tested(agent, table)
    if own.empty:
        return "None are known."

    def cell(row, name: str, interval: str = "") -> str:
        if pd.isna(row[name]):
            return ""
        return f"{row[name]:.3g}" + (
            f" [{row[f'{interval}_low']:.3g}, {row[f'{interval}_high']:.3g}]" if interval else ""
        )

    rows = [
        [row["evaluation"], row["verdict"], f"{cell(row, 'first_episode')} to {cell(row, 'last')}", cell(row, "control_last"),
         cell(row, "beats_online", "beats_online"), cell(row, "score_above_calm", "score_above_calm"),
         f"{row['training_seeds']} x {row['seeds']}"]
        for _, row in own.iterrows()
    ]  # fmt: skip
    head = ["evaluation", "verdict", "first episode to last fifth", "best control's last fifth", "above the best online learner",
            "score above doing nothing", "networks x seeds"]  # fmt: skip
    return (
        "By the rule of `gla.verdicts`, corrected over all of the config's evaluations. The score is 0 at the better of random and zero "
        "action and 1 at PPO that was trained for long. In brackets: 95 % intervals.\n\n" + _table(head, rows)
    )


def _scores(name: str, number: int, frames: Sequence[pd.DataFrame]) -> str:
    rows = []
    for frame in frames:
        for (environment, agent, condition), own in frame.groupby(["environment", "agent", "condition"], sort=False):
            if agent == name:
                own = own[own["training_seed"] == number]
            if agent in (name, "baseline") and not own.empty:
                ends = own.groupby("seed")["episode_return"].agg(["first", "last"])
                cells = [
                    "{:.4g} [{:.4g}, {:.4g}]".format(*mean_interval(ends[x].to_numpy())) for x in ("first", "last")
                ]
                rows.append([environment, condition, *cells, len(ends)])
    if not rows:
        return "None are known."
    rows.sort(key=lambda r: r[0])
    head = ["environment", "condition", "first episode", "last episode", "seeds"]
    return "Return in context, mean and 95 % interval over seeds.\n\n" + _table(head, rows)


def _table(head: list[str], rows: list[list]) -> str:
    return "\n".join("| " + " | ".join(map(str, row)) + " |" for row in [head, ["---"] * len(head), *rows])
