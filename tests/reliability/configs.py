"""Wrong configs, as a user writes them: edits of ``config/smoke.yaml``, and files of nothing else.

Each is read as Snakemake's jobs read their config, in a process with 500 megabytes more than the package takes, and must be refused
in one line for each fault, with the key, the value and what was expected.
"""

import shutil
import sys
import tempfile
from pathlib import Path

from injections import Job, Limited, Outcome, content

from gla.checked import checked
from gla.config import file
from gla.labels.kinds import LABELS
from gla.losses.kinds import LOSSES
from gla.models.kinds import MODELS
from gla.sources.kinds import SOURCES
from gla.windows.kinds import WINDOWS

SMOKE = (Path(__file__).parents[2] / "config/smoke.yaml").read_text()
SECONDS = 5.0

# Numbers: the key of each, and what stands in smoke.yaml.
INTEGERS = {
    "sources.grid.lifetimes": "lifetimes: 4", "sources.grid.lifetimes_per_block": "lifetimes_per_block: 2",
    "sources.grid.num_envs": "num_envs: 2", "sources.grid.num_updates": "num_updates: 6", "sources.grid.update_epochs": "update_epochs: 2",
    "environments.grid.reference.runs": "runs: 2", "datasets.projected.encoding.train": "train: 64",
    "agents.grid_gap1.windows.chunks": "chunks: 4", "agents.grid_gap1.model.layers": "layers: 2",
    "agents.grid_gap1.training.batch_size": "batch_size: 8", "agents.grid_gap1.seeds": "seeds: 2", "evaluations.grid.seeds": "seeds: 8",
    "evaluations.pendulum.context_length": "context_length: 32",
}  # fmt: skip
WRONG_INTEGERS = ("0", "-1", "1000000000000000", "18446744073709551616", "1.5", "1e3", ".nan", "[1]", "two")
FLOATS = {
    "sources.grid.learning_rate": "learning_rate: 3.0e-3", "agents.projected_max.loss.prediction_weight": "prediction_weight: 1.0",
    "evaluations.grid_validation.temperature": "temperature: 0.5",
}  # fmt: skip
WRONG_FLOATS = ("-1.0e-9", "1.0e+30", "1e-3", ".inf", ".nan", "half", "[0.1]")

# Elsewhere: what stands in smoke.yaml, what a user wrote in its place, and what the error must have.
EDITS: list[tuple[str, str, str]] = [
    # Keys that are there twice
    ("  pendulum:\n    id:", "  grid:\n    id:", "line 13: environments.grid: in line 7 already"),
    ("  projected_max:\n", "  grid_gap1:\n", "agents.grid_gap1: in line 52 already"),
    ("num_envs: 2\n", "num_envs: 2\n    num_envs: 4\n", "sources.grid.num_envs: in line"),
    ("datasets:\n  grid:", "datasets:\n  grid: {sources: [pendulum]}\n  grid:", "datasets.grid: in line"),
    ("figures:\n", "agents: {}\nfigures:\n", "agents: in line 51 already"),
    (" layers: 2, width: 32", " layers: 2, layers: 3, width: 32", "agents.grid_gap1.model.layers: in line"),
    ("gap: 1,", 'gap: 1, "gap": 2,', "agents.grid_gap1.windows.gap: in line"),
    ("    reference: *short\n", "    <<: *short\n    <<: *short\n", "environments.pendulum.<<: in line"),
    # Not what a config is made of
    ("episodes: 4}", "episodes: 2024-01-01}", "evaluations.grid.episodes: '2024-01-01' is of type timestamp"),
    ("title: Grid world", "title: 2024-01-01", "title: '2024-01-01' is of type timestamp"),
    ("title: Grid world", "title: !!binary aGVsbG8=", "title: 'aGVsbG8=' is of type binary"),
    ("agents: [projected_max]\n", "agents: !!set {projected_max}\n", "evaluations.pendulum.agents: a collection is of type set"),
    ("sources: [grid]\n", "sources: !!omap [grid: 1]\n", "is of type omap"),
    ("gap: 1,", "gap: !!python/object/apply:os.system ['touch owned'],", "agents.grid_gap1.windows.gap: a collection is of type python"),
    ("gap: 1,", "gap: !gap 1,", "agents.grid_gap1.windows.gap: '1' is of type !gap"),
    ("gap: 1,", "gap: !!int one,", "agents.grid_gap1.windows.gap: 'one'"),
    ("gap: 1,", "gap: =,", "agents.grid_gap1.windows.gap: '=' is of type value"),
    ("  grid_gap1:", "  ? [a, b]\n  : 3\n  grid_gap1:", "agents: a key that is a list or a mapping"),
    ("kwargs: {max_episode_steps: 50}", "kwargs: &k {max_episode_steps: 50, more: *k}", "environments.pendulum.kwargs.more: holds itself"),
    ("agents: [projected_max]\n", "agents: &a [*a]\n", "evaluations.pendulum.agents[0]: holds itself"),
    ("    kwargs: {max", "    kwargs: &k {<<: *k, max", "holds itself"),
    ("gap: 1,", f"gap: {'9' * 5000},", "agents.grid_gap1.windows.gap: '9999"),
    ("gap: 1,", f"gap: 0x{'f' * 5000},", "an integer of 20000 bits"),
    ("title: Grid world", 'title: "\\ud800"', "expected text that UTF-8 can hold"),
    ("title: Grid world", 'title: "\\q"', "unknown escape character"),
    ("title: Grid world", "title: Grid\0world", "line 80: character U+0000"),
    ("\n    num_envs: 2", "\n\tnum_envs: 2", "found character '\\t'"),
    ("figures:\n", "---\nfigures:\n", "but found another document"),
    ("model: *tiny", "model: *small", "found undefined alias 'small'"),
    ("figures:\n", "figures: [\n", "expected one document of YAML"),
    ("title: Grid world", "title: 'Grid world", "expected one document of YAML"),
    ("title: Grid world", "title: Grid: world", "expected ',' or '}', but got ':'"),
    ("num_envs: 2\n", "num_envs:2\n", "expected one document of YAML"),
    ("    lifetimes: 4\n", "   lifetimes: 4\n", "expected one document of YAML"),
    ("kwargs: {max_episode_steps: 50}", f"kwargs: {{a: {'[' * 9000}{']' * 9000}}}", "nested more than 32 deep"),
    ("kwargs: {max_episode_steps: 50}", f"kwargs: {{a: {'[' * 100}{']' * 100}}}", "environments.pendulum.kwargs: nested more than 32 deep"),
    ("title: Grid world", f"title: {'x' * 300_000}", "more than 262144 bytes"),
    # Of the wrong kind
    ("environments:\n  grid:", "environment:\n  grid:", "environment: unknown key"),
    ("environments:\n  grid:", "environments:\n  a grid:", "environments.a grid: not a usable name"),
    ("lifetimes: 4\n", "lifetime: 4\n", "sources.grid.lifetime: unknown key (value 4;"),
    ("    num_updates: 6\n", "    updates: 6\n", "sources.grid.updates: unknown key (value 6;"),
    ("    reference: &short", "    ppo: {num_updates: 6}\n    reference: &short", "environments.grid.ppo: unknown key"),
    ("steps: 20, batch_size", "steps: 20, batch: 8, batch_size", "agents.grid_gap1.training.batch: unknown key (value 8;"),
    ("gap: 1,", "gap: min,", "agents.grid_gap1.windows.gap: 'min'"),
    ("gap: 1,", "gap: [2, 1],", "agents.grid_gap1.windows.gap: [2, 1]"),
    ("gap: 1,", "gap: 600000000000,", "agents.grid_gap1.windows.gap: 600000000000"),
    ("standardise: false", "standardise: nope", "datasets.grid.encoding.standardise: 'nope'"),
    ("labels: later_policy", "labels: both", f"agents.projected_max.labels.kind: 'both' (expected one of {', '.join(LABELS)})"),
    ("eta: return", "eta: returns", "agents.projected_max.eta: 'returns'"),
    ("dataset: grid\n", "dataset: grids\n", "agents.grid_gap1.dataset: 'grids' is not defined"),
    ("    environment: pendulum\n    kind", "    environment: pendulums\n    kind", "sources.pendulum.environment: 'pendulums' is not defined"),
    ("    environment: pendulum\n    agents", "    environment: pendulums\n    agents", "evaluations.pendulum.environment: 'pendulums' is not"),
    ("split: validation", "split: valid", "evaluations.grid_validation.split: 'valid'"),
    ("projections: identity", "projections: none", "datasets.grid.encoding.projections: 'none'"),
    ("kind: sources", "kind: bars", "figures.sources.kind: 'bars'"),
    ("x: env_steps", "x: time", "figures.figure5.x: 'time'"),
    ("agents: [projected_max]\n", "agents: projected_max\n", "evaluations.pendulum.agents: 'projected_max'"),
    ("  results: results/smoke", "  results:", "pathvars.results: None"),
    ("  results: results/smoke", "  result: results", "expected results, where results go"),
    ("  results: results/smoke", "  results: results/{agent}", "expected results, where results go"),
    ("  results: results/smoke", "  results: <results>/smoke", "expected results, where results go"),
    ("  results: results/smoke", f"  results: results/{'x' * 256}", "expected results, where results go"),
    ("  results: results/smoke", '  results: "results\\0"', "expected results, where results go"),
    # Of another kind, or of none
    ("    kind: ppo\n", "    kind: a2c\n", f"sources.grid.kind: 'a2c' (expected one of {', '.join(SOURCES)})"),
    ("    kind: ppo\n", "    kind: random\n", "sources.grid.update_epochs: unknown key (value 2; expected no such key: it is an option of ppo and"),
    ("kind: rising_quality", "kind: rising", f"agents.projected_max.windows.kind: 'rising' (expected one of {', '.join(WINDOWS)})"),
    ("gap: 1,", "gap: 1, switch: false,", "agents.grid_gap1.windows.switch: unknown key (value False; expected no such key: it is an option of rising"),
    ("kind: divergence", "kind: likelihood", f"agents.projected_max.loss.kind: 'likelihood' (expected one of {', '.join(LOSSES)})"),
    ("kind: divergence", "kind: action_likelihood", "agents.projected_max.labels.kind: 'later_policy' gives distribution (expected action for"),
    ("&tiny {kind: transformer", "&tiny {kind: gpt", f"agents.grid_gap1.model.kind: 'gpt' (expected one of {', '.join(MODELS)})"),
    ("&tiny {kind: transformer", "&tiny {kind: lstm", "agents.grid_gap1.model.heads: unknown key (value 2; expected no such key: it is an option of"),
    ("model: *tiny", "model: {kind: equivariant, key_heads: 2}", "agents.projected_max.model.key_heads: unknown key (value 2; expected no such key"),
    ("model: *tiny", "model: 3", "agents.projected_max.model: 3 (expected a mapping with a kind)"),
    ("model: *tiny", "model: [lstm]", "agents.projected_max.model: ['lstm'] (expected a mapping with a kind)"),
    ("{kind: projected, projections: identity, standardise: false}", "tabular", "datasets.grid.encoding.states: missing"),
    ("kind: sources, sources", "sources", "figures.sources.kind: missing (expected a kind)"),
    # Of parts that do not fit each other
    ("\ndatasets:\n  grid:\n    sources: [grid]", "  walk: {environment: grid, kind: random}\n\ndatasets:\n  grid:\n    sources: [grid, walk]",
     "agents.grid_gap1.labels: 'recorded' needs distribution, which source 'walk' of kind 'random' does not write (expected sources of"),
    ("{kind: projected, train: 64, validation: 16}", "{kind: tabular, states: 9, actions: 4}", "'InvertedPendulum-v5': continuous actions (expected"),
    ("{kind: projected, projections: identity, standardise: false}", "{kind: tabular, states: 8, actions: 4}", "9 observation dimensions (expected at"),
    # Names that are too long for a file's
    ("  figure3:", f"  {'x' * 240}:", "a name of 240 characters (expected at most 100)"),
    ("  pendulum:\n    environment: pendulum\n    agents", f"  {'x' * 101}:\n    environment: pendulum\n    agents", "a name of 101 characters (expected at most 100)"),
    # Out of range
    ("validation: 16", "validation: 2199023255552", "datasets.projected.encoding.validation: 2199023255552"),
    ("sources: [grid]\n", "sources: [grid]\n    held_out_lifetimes: 1.0e-300\n", "held_out_lifetimes: 1e-300"),
    ("sources: [grid]\n", "sources: [grid]\n    held_out_lifetimes: 0.99\n", "leaves none to train on"),
    ("lifetimes: 4\n", "lifetimes: 4\n    seed: 18446744073709551615\n", "sources.grid.seed: 18446744073709551615"),
    ("lifetimes: 4\n", "lifetimes: 4\n    seed: 1073741824\n", "sources.grid.seed: 1073741824"),
    ("    seeds: 2\n", "    seeds: 2\n    seed: 18446744073709551616\n", "agents.grid_gap1.seed: 18446744073709551616"),
    ("temperature: 0.5", "seed: 1048576", "evaluations.grid_validation.seed: 1048576"),
    ("    model: &tiny", "    labels: {log_std_floor: -1.0e+300}\n    model: &tiny", "agents.grid_gap1.labels.log_std_floor: -1e+300"),
    ("gap: 1,", "gap: 1, from_start: 1.1,", "agents.grid_gap1.windows.from_start: 1.1"),
    ("steps: 20, batch_size", "steps: 20, weight_decay: 1.0e+300, batch_size", "agents.grid_gap1.training.weight_decay: 1e+300"),
    ("temperature: 0.5", "eta: [0.0, 1.0e+300]", "evaluations.grid_validation.eta.1: 1e+300"),
    ("context_length: 32", "context_length: 32\n    episodes: 4", "episodes 4 and env_steps 60"),
    ("tasks: [{goal: [2, 2]}, {goal: [2, 1]}]", "tasks: {task: [0, 1000000000000]}", "are 1000000000000 tasks (expected at most 10000)"),
    ("    tasks: [{goal: [2, 2]}, {goal: [2, 1]}]", "    tasks: {task: [5, 5]}", "is an empty range"),
    ("num_steps: 20\n", "num_steps: 1000000\n    num_updates: 2147\n", "sources.grid.num_updates: in line"),
    ("num_updates: 6\n    num_steps: 20", "num_updates: 107374183\n    num_steps: 20", "each copy of the environment (expected less than 2147483648)"),
    # More than there is memory for, and more jobs than can be planned
    ("batch_size: 8", "batch_size: 1000000", "agents.grid_gap1: a step of 1000000 windows"),
    ("width: 32, heads: 2", "width: 1000000, heads: 2", "through 2 layers of width 1000000 takes at least"),
    ("&tiny {kind: transformer", "&tiny {kind: equivariant", "agents.projected_max.loss.prediction_weight: 1.0 (expected 0"),
    ("model: &tiny {kind: transformer, layers: 2", "model: {kind: equivariant, channels: 100000, layers: 2", "undefined alias"),
    ("num_envs: 2\n    num_updates: 6\n    num_steps: 20", "num_envs: 1000000\n    num_updates: 6\n    num_steps: 1000", "sources.grid: a block of"),
    ("learning_rate: 3.0e-3\n", "learning_rate: 3.0e-3\n    hidden: 1000000\n", "1000000 hidden units takes at least"),
    ("lifetimes: 2\n", "lifetimes: 1000000\n    lifetimes_per_block: 1\n", "sources.pendulum.lifetimes: 1000000 in blocks of 1"),
    ("    seeds: 2\n", "    seeds: 1000000\n", "agents.grid_gap1.seeds: 1000000: 8000000 jobs"),
    ("reference: *short", "reference: {runs: 1000000, num_envs: 1000000}", "environments.pendulum.reference: 1000000 runs"),
    ("seeds: 8, episodes: 4}", "seeds: 1048576, episodes: 1000000}", "evaluations.grid: a rollout of 1048576 seeds"),
    ("tasks: [{goal: [2, 2]}, {goal: [2, 1]}]", "kwargs: {max_episode_steps: 1000000000}", "evaluations.grid.episodes: 4 of up to 1000"),
    # What only environments and Matplotlib know
    ("id: gla/GridWorld-v0", "id: gla/GridWorld-v9", "environments.grid.id: environment 'gla/GridWorld-v9'"),
    ("id: InvertedPendulum-v5", "id: Humanoid-v5", "datasets.projected.sources: 'pendulum': environment 'Humanoid-v5': 348 observation dimensions"),
    ("id: InvertedPendulum-v5", f"id: {'x' * 1000}", "environments.pendulum.id: 'xxxx"),
    ("max_episode_steps: 50", "max_steps: 50", "environments.pendulum.kwargs: environment 'InvertedPendulum-v5' with {'max_steps': 50}"),
    ("max_episode_steps: 50", "max_episode_steps: .nan", "environments.pendulum.kwargs.max_episode_steps: nan"),
    ("{goal: [2, 1]}]\n    val", "{goal: [9, 9]}]\n    val", "environments.grid.tasks[1]"),
    ("{goal: [2, 1]}]\n    val", "{size: 1000000}]\n    val", "size 1000000 (expected 1 to 100)"),
    ("title: Grid world", "title: '$\\frac{$'", "figures.figure3.panels[0].title: '$\\\\frac{$' (expected text that Matplotlib can draw"),
    ("title: Grid world", "labels: ['$x^$', b]", "figures.figure3.panels[0].labels[0]: '$x^$'"),
    ("title: Grid world", f"title: {'x' * 201}", "figures.figure3.panels.0.title: 'xxxx"),
    *[
        ("x: env_steps", f"style: {{{key}: {value}}}", f"figures.figure5.style.{key}: ")
        for key, value in (
            ("font.sise", "7"), ("font.size", "big"), ("font.size", "1.0e+9"), ("savefig.dpi", "1.0e+9"), ("savefig.dpi", "0"),
            ("figure.dpi", "-1"), ("figure.figsize", "[1.0e+9, 1]"), ("figure.figsize", "[1]"), ("lines.linestyle", "zigzag"),
            ("savefig.pad_inches", "1000"), ("font.size", "{}"), ("axes.prop_cycle", "red"),
        )
    ],
    ("x: env_steps", "style: {figure.subplot.left: 5}", "figures.figure5.style: {'figure.subplot.left': 5}"),
]  # fmt: skip


def _repeated(first: str, form: str) -> bytes:
    """Ten lines, each of which holds the one before nine times."""
    lines = [f"a0: &a0 {first}", *(f"a{i}: &a{i} {form.format(', '.join([f'*a{i - 1}'] * 9))}" for i in range(1, 11))]
    return "\n".join(lines).encode()


# Files of nothing else, and what the error must have.
FILES: list[tuple[bytes, str]] = [
    (b"", "None (expected a mapping"),
    (b"- environments\n", "['environments'] (expected a mapping"),
    (b"environments\n", "'environments' (expected a mapping"),
    (b"agents: {}\n", "environments: missing"),
    (b"environments: {}\nagents: {\xff: 1}\n", "line 2: byte 0xff (expected text in UTF-8)"),
    ("environments: {}\n".encode("utf-16"), "line 1: byte 0xff (expected text in UTF-8)"),
    (b"\x00" * 1000, "line 1: character U+0000"),
    (b"\x7fELF\x02\x01\x01\x00", "line 1: character U+007F"),
    (b"%YAML 9.0\n---\nenvironments: {}\n", "line 1: found incompatible YAML document"),
    # A few lines that stand for billions of values, and of keys.
    (_repeated("[x]", "[{}]"), "more than 200000 values"),
    (_repeated("{a: 1, b: 2}", "{{<<: [{}]}}"), "merges more than 200000 keys"),
]


def texts() -> list[tuple[bytes, str]]:
    """Every wrong config, and what its error must have."""
    numbers = [(key, old, wrong) for key, old in INTEGERS.items() for wrong in WRONG_INTEGERS]
    numbers += [(key, old, wrong) for key, old in FLOATS.items() for wrong in WRONG_FLOATS]
    # An alias is read where it stands last.
    last = {
        "environments.grid.reference.runs": "environments.pendulum.reference.runs",
        "agents.grid_gap1.model.layers": "agents.projected_max.model.layers",
        "agents.grid_gap1.training.batch_size": "agents.projected_max.training.batch_size",
    }
    numbers = [(last.get(key, key) if wrong == ".nan" else key, old, wrong) for key, old, wrong in numbers]
    edits = [(old, f"{old.partition(':')[0]}: {wrong}", key) for key, old, wrong in numbers] + EDITS
    assert not (gone := [old for old, _, _ in edits if old not in SMOKE]), gone
    return [(SMOKE.replace(old, new, 1).encode(), words) for old, new, words in edits] + FILES


class Write:
    """A config file, where the job runs."""

    def __init__(self, text: bytes):
        self.text = text

    def __call__(self) -> None:
        Path("config.yaml").write_bytes(self.text)


def _read() -> None:
    checked(file.read("config.yaml"))


def wrong_configs(folder: Path, every: int = 1) -> Outcome:
    """Read every n-th wrong config. noticed: refused by name, in time and in memory; lost: accepted, or a file was made."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    right = Job(Limited(Write(SMOKE.encode()), _read), folder)
    if right.end():  # which also leaves there what making the environments told
        raise RuntimeError(right.said)
    wrong, before, noticed, lost = texts()[::every], content(folder).keys(), 0, 0
    for text, words in wrong:
        running = Job(Limited(Write(text), _read), folder)
        status, seconds = running.end(), float(running.said.split("\nSECONDS ")[-1].split()[0])
        lines = running.said.partition("\nerror: ")[2].splitlines()
        told = status == 1 and "Traceback" not in running.said and words in running.said and seconds < SECONDS
        if not (told and lines and all("expected" in line for line in lines)):
            print(f"not told of {words!r}: status {status}, {seconds} s, {running.said[-1500:]}", file=sys.stderr)
        else:
            noticed += 1
        lost += status == 0 or content(folder).keys() != before
    return Outcome(len(wrong), noticed, lost)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        print(wrong_configs(Path(name) / "work"))
