# Validation, wildcards and helpers; no rules.
#
# Params are plain dictionaries with every default filled in (gla.config.normalise), one for each
# stage, so that a job runs again exactly when an entry that decides its output has changed.

import atexit
from contextlib import ExitStack

from snakemake.exceptions import WorkflowError

from gla import config_file, preflight
from gla.config import NOT_OF_HISTORIES, ONLINE, ConfigError, normalise
from gla.files import Busy, CorruptFile, check, writing
from gla.stages import Stages

# Of jobs that run on other machines the number is limited, and of those that run here the cores.
_elsewhere = workflow.resource_settings.nodes is not None
try:
    if workflow.is_main_process:
        # Of two equal keys Snakemake takes the last; here the files are read to be checked, and for nothing else.
        for _path in workflow.configfiles:
            config_file.read(_path)
        _normalised = normalise(config)
        # What was learned by making each environment once; a new or changed one takes seconds.
        FACTS = preflight.check(
            _normalised, memory=preflight.MOST_MEMORY if _elsewhere else None
        )
    else:  # a job of a config that was checked
        _normalised = normalise(config)
        FACTS = preflight.facts_of(_normalised)
except ConfigError as error:
    raise WorkflowError(f"the config cannot be run:\n{error}") from None
config.clear()
config.update(_normalised)


wildcard_constraints:
    environment=r"[\w-]+",
    dataset=r"[\w-]+",
    agent=r"(?!baseline/)[\w-]+(\.\d+)?",
    evaluation=r"[\w-]+",
    figure=r"[\w-]+",
    condition=r"[a-z_]+",
    lifetimes=r"\d+-\d+",
    split=r"test|validation|training",


def code(*modules):
    """The package's modules that decide a stage's numbers; as inputs they are compared by content."""
    # They lie in the checkout even where results lie in a storage, or in another --directory.
    return [local(checkout(f"src/gla/{module}")) for module in modules]


CODE_ENVIRONMENTS = code(
    "environments/__init__.py",
    "environments/grid_world.py",
    "environments/point_mass.py",
    "environments/linear_control.py",
    "environments/random_control.py",
    "environments/ant_dir.py",
    "environments/envpool.py",
)


def own_code(environment):
    """The module of an environment of one's own, whose id is MODULE:NAME; wherever it lies, it is no part of the package."""
    return [
        local(path)
        for path in preflight.sources(config["environments"][environment]["id"])
    ]


CODE_PPO = CODE_ENVIRONMENTS + code("ppo.py", "histories.py")
LEARNERS = code(
    "learners/__init__.py",
    "learners/linear.py",
    "learners/ppo.py",
    "learners/random_search.py",
    "learners/scale.py",
)
CODE_MODEL = code(
    "ppo.py",
    "agent.py",
    "distributions.py",
    "augment.py",
    "windows.py",
    "models/__init__.py",
    "models/attention.py",
    "models/tokens.py",
)


# Held until the process ends: Snakemake removes outputs before their jobs, which could see that somebody writes them, begin.
_held = ExitStack()
atexit.register(_held.close)


onstart:
    if not workflow.storage_settings.default_storage_provider:
        try:
            _held.enter_context(writing(config["pathvars"]["results"], "run"))
        except Busy as error:
            raise WorkflowError(str(error)) from None


paths = Stages(config, "<results>")


def agent_entry(wildcards):
    """The entry of an agent, or of one of its further networks, NAME.1, NAME.2, ..."""
    return config["agents"][paths.network(wildcards.agent)[0]]


def model_code(wildcards):
    """The file of an agent's kind of model."""
    return code(f"models/{agent_entry(wildcards)['model']['kind']}.py")


stores, digests, rollouts = paths.stores, paths.digests, paths.rollouts


def without(entry, *keys):
    """An entry less the keys that do not decide a stage's output."""
    return {k: v for k, v in entry.items() if k not in keys}


def verified(category):
    """The category of a report's file. Snakemake asks for it before it embeds the file, and a damaged one stops the report."""

    def checked(wildcards, output):
        try:
            for path in output:
                check(path)
        except CorruptFile as error:
            raise WorkflowError(str(error)) from None
        return category(wildcards) if callable(category) else category

    return checked
