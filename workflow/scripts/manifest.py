"""Digests of histories to a dataset's manifest."""

from gla.config.datasets import Dataset
from gla.job import job
from gla.manifests import write_manifest

with job(snakemake.threads, snakemake.config["pathvars"]["results"]):
    digests = list(snakemake.input.digests)
    write_manifest(
        Dataset.model_validate(snakemake.params.entry),
        [(f"{digest.removesuffix('.json')}/history.zarr", digest) for digest in digests],
        snakemake.output.table,
        snakemake.output.summary,
    )
