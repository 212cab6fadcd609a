rule histories:
    input:
        paths.stores(config["sources"]),
        paths.digests(config["sources"]),


def collected_code(wildcards):
    source = config["sources"][wildcards.source]
    return code.collection(source, config["environments"][source["environment"]])


rule collect:
    input:
        own=lambda w: own_code(config["sources"][w.source]["environment"]),
    output:
        store=directory("<results>/histories/{source}/{lifetimes}/history.zarr"),
        digest="<results>/histories/{source}/{lifetimes}.json",
    benchmark:
        "<results>/benchmarks/collect/{source}-{lifetimes}.tsv"
    # What training waits for; see there.
    priority: 3
    conda:
        "../../envs/gla.yaml"
    threads: 1
    resources:
        mem_mb=lambda w: needed_mb(f"histories/{w.source}"),
    params:
        source=lambda w: without(
            config["sources"][w.source], "lifetimes", "lifetimes_per_block"
        ),
        environment=lambda w: paths.acted_in(w.source),
        code=collected_code,
    script:
        "../scripts/collect.py"
