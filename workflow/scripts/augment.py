"""Digests of histories to a dataset's manifest."""

from gla import augment
from gla.config import Dataset
from gla.job import job

with job(snakemake.threads, snakemake.config["pathvars"]["results"]):
    digests = list(snakemake.input.digests)
    augment.write_manifest(
        Dataset.model_validate(snakemake.params.entry),
        [(f"{digest.removesuffix('.json')}/history.zarr", digest) for digest in digests],
        snakemake.output.table,
        snakemake.output.summary,
    )
