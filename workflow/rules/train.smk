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
                "acting.json",
            )
        ],


localrules:
    acting,


rule acting:
    input:
        # For the folder to be whole when this file is asked for; it says nothing of the agent.
        ancient("<results>/agents/{agent}/agent.json"),
    output:
        "<results>/agents/{agent}/acting.json",
    conda:
        "../../envs/gla.yaml"
    params:
        acting=lambda w: paths.agent_entry(w.agent)["acting"],
        code=code.acting(),
    script:
        "../scripts/acting.py"


rule train:
    input:
        table=lambda w: f"<results>/manifests/{paths.agent_entry(w.agent)['dataset']}.csv",
        summary=lambda w: f"<results>/manifests/{paths.agent_entry(w.agent)['dataset']}.json",
        # The manifest's summary holds the stores' hashes: it says when they changed, they need not.
        stores=ancient(lambda w: paths.stores(paths.dataset_of(w.agent)["sources"])),
        digests=ancient(lambda w: paths.digests(paths.dataset_of(w.agent)["sources"])),
        own=lambda w: [f for e in paths.trained_in(w.agent) for f in own_code(e)],
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
        mem_mb=lambda w: needed_mb(f"agents/{network(w.agent)[0]}", 8000),
    params:
        entry=lambda w: paths.training(w.agent),
        environments=lambda w: [paths.acts_in(e) for e in paths.trained_in(w.agent)],
        code=lambda w: code.training(
            paths.agent_entry(w.agent),
            paths.dataset_of(w.agent),
            [config["environments"][e] for e in paths.trained_in(w.agent)],
        ),
    script:
        "../scripts/train.py"
