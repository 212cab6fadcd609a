rule histories:
    input:
        digests(config["environments"]),


rule collect:
    input:
        code=CODE_PPO,
    output:
        # The store lies inside the declared folder, which Snakemake stamps with a file of its own.
        store=directory("<results>/histories/{environment}/{lifetimes}"),
        digest="<results>/histories/{environment}/{lifetimes}.json",
    benchmark:
        "<results>/benchmarks/collect/{environment}-{lifetimes}.tsv"
    # What training waits for; see there.
    priority: 2
    conda:
        "../../envs/gla.yaml"
    threads: 1
    resources:
        mem_mb=4000,
    params:
        entry=lambda w: without(
            config["environments"][w.environment], "lifetimes", "lifetimes_per_block"
        ),
    script:
        "../scripts/collect.py"
