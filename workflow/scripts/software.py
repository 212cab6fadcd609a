"""Writes the versions of the software into a table."""

import csv

from gla.files import atomic
from gla.job import job

with (
    job(snakemake.threads, snakemake.config["pathvars"]["results"]),
    atomic(snakemake.output[0]) as temporary,
    open(temporary, "w", newline="") as file,
):
    csv.writer(file).writerows([("package", "version"), *snakemake.params.versions.items()])
