"""Writes a dataset's manifest from the digests of its histories."""

from gla.config.datasets import Dataset
from gla.files import with_stores
from gla.job import job
from gla.manifests import write_manifest

with job(snakemake.threads, snakemake.config["pathvars"]["results"]):
    write_manifest(
        Dataset.model_validate(snakemake.params.entry),
        with_stores(snakemake.input.digests),
        snakemake.output.table,
        snakemake.output.summary,
    )
