rule agents:
    input:
        expand("<results>/agents/{agent}/agent.json", agent=config["agents"]),


def training_environments(wildcards):
    return config["datasets"][config["agents"][wildcards.agent]["dataset"]][
        "environments"
    ]


rule train:
    input:
        table=lambda w: f"<results>/manifests/{config['agents'][w.agent]['dataset']}.csv",
        summary=lambda w: f"<results>/manifests/{config['agents'][w.agent]['dataset']}.json",
        # The manifest's summary holds the stores' hashes: it says when they changed, they need not.
        stores=ancient(lambda w: stores(training_environments(w))),
        digests=ancient(lambda w: digests(training_environments(w))),
        code=CODE_MODEL + code("processes.py", "train.py"),
        model=model_code,
    output:
        weights="<results>/agents/{agent}/weights.safetensors",
        agent="<results>/agents/{agent}/agent.json",
        metrics="<results>/agents/{agent}/metrics.jsonl",
        by_position="<results>/agents/{agent}/by_position.csv",
    benchmark:
        "<results>/benchmarks/train/{agent}.tsv"
    # The longest jobs early, so that none is left to run alone: short ones can fill every gap.
    priority: 1
    conda:
        "../../envs/gla.yaml"
    threads: 1
    resources:
        # One process for each, which runs without one; profiles may ask for more, or for none.
        gpu=1,
        mem_mb=8000,
    params:
        entry=lambda w: without(config["agents"][w.agent], "dataset"),
    script:
        "../scripts/train.py"
