# Validation, wildcards and helpers; no rules.
#
# Params are plain dictionaries with every default filled in (gla.config.normalise), one for each
# stage, so that a job runs again exactly when an entry that decides its output has changed.

from snakemake.exceptions import WorkflowError

from gla import preflight
from gla.config import ConfigError, normalise

try:
    _normalised = normalise(config)
    # What was learned by making each environment once; a new or changed one takes seconds.
    FACTS = preflight.check(_normalised, ".snakemake/environments.json")
except ConfigError as error:
    raise WorkflowError(f"the config cannot be run:\n{error}") from None
config.clear()
config.update(_normalised)


wildcard_constraints:
    environment=r"[\w-]+",
    dataset=r"[\w-]+",
    agent=r"[\w-]+",
    evaluation=r"[\w-]+",
    figure=r"[\w-]+",
    condition=r"[a-z_]+",
    lifetimes=r"\d+-\d+",


def code(*modules):
    """The package's modules that decide a stage's numbers; as inputs they are compared by content."""
    # They lie in the checkout even where results lie in a storage.
    return [local(f"src/gla/{module}") for module in modules]


CODE_ENVIRONMENTS = code(
    "environments/__init__.py",
    "environments/grid_world.py",
    "environments/point_mass.py",
    "environments/linear_control.py",
    "environments/ant_dir.py",
)
CODE_PPO = CODE_ENVIRONMENTS + code("ppo.py", "histories.py")
CODE_MODEL = code(
    "ppo.py",
    "agent.py",
    "distributions.py",
    "augment.py",
    "windows.py",
    "models/__init__.py",
    "models/tokens.py",
    "models/transformer.py",
    "models/equivariant.py",
)


def lifetime_blocks(environment):
    """Names of an environment's stores: the first and the last lifetime in each."""
    entry = config["environments"][environment]
    size, total = entry["lifetimes_per_block"], entry["lifetimes"]
    return [f"{i}-{min(i + size, total) - 1}" for i in range(0, total, size)]


def stores(environments):
    return [
        f"<results>/histories/{e}/{b}" for e in environments for b in lifetime_blocks(e)
    ]


def digests(environments):
    return [f"{store}.json" for store in stores(environments)]


def without(entry, *keys):
    """An entry less the keys that do not decide a stage's output."""
    return {k: v for k, v in entry.items() if k not in keys}


def rollouts(evaluation, agents=()):
    """Rollouts of some of an evaluation's agents (all, if none is named) and of its baselines."""
    entry = config["evaluations"][evaluation]
    pairs = [(a, c) for a in agents or entry["agents"] for c in entry["conditions"]]
    pairs += [("baseline", c) for c in entry["baselines"]]
    return [f"<results>/rollouts/{evaluation}/{a}/{c}.parquet" for a, c in pairs]
