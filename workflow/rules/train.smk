rule agents:
    input:
        expand("<results>/agents/{agent}/agent.json", agent=config["agents"]),


def training_stores(wildcards):
    dataset = config["agents"][wildcards.agent]["dataset"]
    return stores(config["datasets"][dataset]["environments"])


rule train:
    input:
        table=lambda w: f"<results>/manifests/{config['agents'][w.agent]['dataset']}.csv",
        summary=lambda w: f"<results>/manifests/{config['agents'][w.agent]['dataset']}.json",
        # The manifest's summary holds the stores' hashes: it says when they changed, they need not.
        stores=ancient(training_stores),
        code=CODE_MODEL + code("train.py"),
    output:
        weights="<results>/agents/{agent}/weights.safetensors",
        agent="<results>/agents/{agent}/agent.json",
        metrics="<results>/agents/{agent}/metrics.jsonl",
        by_position="<results>/agents/{agent}/by_position.csv",
    benchmark:
        "<results>/benchmarks/train/{agent}.tsv"
    conda:
        "../../envs/gla.yaml"
    threads: 1
    resources:
        gpu=1,
        mem_mb=8000,
        runtime=720,
    params:
        entry=lambda w: without(config["agents"][w.agent], "dataset"),
    script:
        "../scripts/train.py"
