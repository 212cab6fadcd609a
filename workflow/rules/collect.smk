# Environments that have histories.
SOURCES = [e for e, entry in config["environments"].items() if entry["ppo"]]


rule histories:
    input:
        stores(SOURCES),
        digests(SOURCES),


rule collect:
    input:
        code=CODE_PPO,
        own=lambda w: own_code(w.environment),
    output:
        store=directory("<results>/histories/{environment}/{lifetimes}/history.zarr"),
        digest="<results>/histories/{environment}/{lifetimes}.json",
    benchmark:
        "<results>/benchmarks/collect/{environment}-{lifetimes}.tsv"
    # What training waits for; see there.
    priority: 3
    conda:
        "../../envs/gla.yaml"
    threads: 1
    resources:
        mem_mb=4000,
    params:
        entry=lambda w: without(
            config["environments"][w.environment], *NOT_OF_HISTORIES
        ),
    script:
        "../scripts/collect.py"
