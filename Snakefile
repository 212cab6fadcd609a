# In-context reinforcement learning, end to end: config in, figures out.
#
#   snakemake --cores all all                                  the default config
#   snakemake --configfile config/smoke.yaml --cores all all   every rule once, in minutes
#   snakemake --cores all results/figures/NAME.pdf             one result by name
#
# One target per stage: histories, manifests, references, agents, rollouts, figures, tables. ``all`` is all of them, so that
# whatever is deleted is made again; the figures alone ask for no more than they need.

import os

from snakemake.exceptions import WorkflowError
from snakemake.utils import min_version

min_version("9.27")


def checkout(path):
    """A file of this checkout, from the working directory, which --directory may put elsewhere."""
    return os.path.relpath(os.path.join(workflow.basedir, path))


# A --configfile stands instead of the default, not on top of it.
if "environments" not in config:
    if workflow.overwrite_configfiles:
        raise WorkflowError(
            "the config cannot be run:\nenvironments: missing in "
            f"{', '.join(map(str, workflow.overwrite_configfiles))} (expected every entry "
            "there, since it stands instead of the default config)"
        )

    configfile: checkout("config/config.yaml")


include: "workflow/rules/common.smk"
include: "workflow/rules/collect.smk"
include: "workflow/rules/manifest.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/plot.smk"
include: "workflow/rules/report.smk"


rule all:
    default_target: True
    input:
        rules.histories.input,
        rules.manifests.input,
        rules.references.input,
        rules.agents.input,
        rules.rollouts.input,
        rules.figures.input,
        rules.tables.input,
        rules.cards.input,
        rules.software.output,
