rule agents:
    input:
        [
            f"{paths.agent(n)}/{file}"
            for a in config["agents"]
            for n in paths.networks(a)
            for file in (
                "weights.safetensors",
                "agent.json",
                "metrics.jsonl",
                "by_position.csv",
            )
        ],


def training_environments(wildcards):
    return config["datasets"][agent_entry(wildcards)["dataset"]]["environments"]


def training_settings(wildcards):
    """An agent's settings with the seed of this network: how many others there are decides nothing."""
    entry = agent_entry(wildcards)
    seed = entry["seed"] + paths.network(wildcards.agent)[1]
    return without(entry, "dataset", "seeds") | {"seed": seed}


rule train:
    input:
        table=lambda w: f"<results>/manifests/{agent_entry(w)['dataset']}.csv",
        summary=lambda w: f"<results>/manifests/{agent_entry(w)['dataset']}.json",
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
    priority: 2
    conda:
        "../../envs/gla.yaml"
    threads: 1
    resources:
        # One process for each, which runs without one; profiles may ask for more, or for none.
        gpu=1,
        mem_mb=8000,
    params:
        entry=training_settings,
    script:
        "../scripts/train.py"
