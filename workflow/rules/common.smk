# Validation, wildcards and helpers; no rules.
#
# What a job is made from is worked out in gla.paths. Params are plain dictionaries with every default filled in, one for each
# stage, so that a job runs again exactly when an entry that decides its output has changed; and ``code``, the hashes of the
# syntax trees of the script and the modules that decide it.

import atexit
import functools
import math
from contextlib import ExitStack

from snakemake.exceptions import WorkflowError

from gla import checked
from gla.code import Code, documentation, scan_scripts
from gla.config import file as config_file
from gla.figures.kinds import FIGURES
from gla.files import CorruptFile, check, writing
from gla.networks import network
from gla.options import ConfigError
from gla.paths import Paths, without

# Of jobs that run on other machines the number is limited, and of those that run here the cores.
_elsewhere = workflow.resource_settings.nodes is not None
try:
    if workflow.is_main_process:
        # Of two equal keys Snakemake takes the last; here the files are read to be checked, and for nothing else.
        for _path in workflow.configfiles:
            config_file.read(_path)
    # A job is of a config that was checked where it was started. How much a storage holds is not known.
    _stored = workflow.storage_settings.default_storage_provider
    CHECKED = checked.checked(
        config,
        checked.MOST_MEMORY if _elsewhere or not workflow.is_main_process else None,
        disk=math.inf if _stored or not workflow.is_main_process else None,
    )
except ConfigError as error:
    raise WorkflowError(f"the config cannot be run:\n{error}") from None
if workflow.is_main_process:
    checked.warn(CHECKED)
config.clear()
config.update(CHECKED.config)
if workflow.is_main_process:
    # The captions of figures are the docstrings of their kinds' files. They decide no result, and so they are in no params.
    config["captions"] = {
        kind: documentation(module) for kind, module in FIGURES.modules.items()
    }


wildcard_constraints:
    source=r"[\w-]+",
    environment=r"[\w-]+",
    dataset=r"[\w-]+",
    agent=r"(?!baseline/)[\w-]+(\.\d+)?",
    evaluation=r"[\w-]+",
    figure=r"[\w-]+",
    condition=r"[a-z_]+",
    lifetimes=r"\d+-\d+",
    split=r"test|validation|training",


paths = Paths(config, "<results>")
code = Code(CHECKED.trees | scan_scripts(f"{workflow.basedir}/workflow/scripts"))


# Asked for every job, and a package may have many files.
own_files = functools.cache(checked.modules)


def own_code(environment):
    """Files of the module of a user's own environment, whose id is MODULE:NAME. They are no part of the package, and so
    they are inputs, which are compared by content."""
    return [
        local(path) for path in own_files(config["environments"][environment]["id"])
    ]


def needed_mb(job, usual=4000):
    """Memory that a job asks for: what is usual; or, where that is more, what the check of the config found that it surely takes
    (gla.demands.jobs), with room for the rest. Where a GPU holds a part of it, a profile can ask for less.
    """
    return max(usual, 4000 + CHECKED.jobs.get(job, 0) // 10**6)


# Held until the process ends: Snakemake removes outputs before their jobs, which could see that somebody writes them, begin.
_held = ExitStack()
atexit.register(_held.close)


def hold_results():
    """Take the folder of results for this process, or refuse to go on."""
    if not workflow.storage_settings.default_storage_provider:
        try:
            _held.enter_context(writing(config["pathvars"]["results"], "run"))
        except OSError as error:  # another run is there, or no folder can be made
            raise WorkflowError(str(error)) from None


onstart:
    hold_results()


_delete_output = workflow.delete_output


def _delete_held_output(only_temp=False, dryrun=False):
    if not dryrun:
        hold_results()
    _delete_output(only_temp=only_temp, dryrun=dryrun)


# --delete-all-output and --delete-temp-output start nothing, and so there is no hook that they run before they delete.
workflow.delete_output = _delete_held_output


def verified(category):
    """The category of a report's file. Snakemake asks for it before it embeds the file, and a damaged one stops the report, as
    does one whose hash is gone. In a storage no file has its hash."""
    stored = bool(workflow.storage_settings.default_storage_provider)

    def checked_first(wildcards, output):
        try:
            for path in output:
                check(path, copies=stored)
        except CorruptFile as error:
            raise WorkflowError(str(error)) from None
        return category(wildcards) if callable(category) else category

    return checked_first
