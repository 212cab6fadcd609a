rule rollouts:
    input:
        [rollouts(evaluation) for evaluation in config["evaluations"]],


def evaluated_environment(wildcards, *kept):
    """What decides an environment that is acted in: its tasks are those of the evaluation's split."""
    evaluation = config["evaluations"][wildcards.evaluation]
    name = evaluation["environment"]
    entry = config["environments"][name]
    split = f"{evaluation['split']}_tasks"
    kept = ("id", "kwargs", "tasks", *kept, *([split] if split in entry else []))
    return {"name": name} | {k: entry[k] for k in kept}


def evaluated_own_code(wildcards):
    return own_code(config["evaluations"][wildcards.evaluation]["environment"])


def evaluation_settings(wildcards):
    return without(
        config["evaluations"][wildcards.evaluation],
        "environment",
        "agents",
        "conditions",
        "baselines",
    )


def rollout_mb(wildcards):
    """What a rollout needs: more where the agent's context does not fit into what is usual."""
    evaluation = config["evaluations"][wildcards.evaluation]
    model = agent_entry(wildcards)["model"]
    limit = FACTS[evaluation["environment"]]["time_limit"]
    return max(8000, 4000 + preflight.decoding_mb(evaluation, model, limit))


rule evaluate_agent:
    input:
        agent="<results>/agents/{agent}/agent.json",
        # agent.json holds the weights' hash and says when they changed.
        weights=ancient("<results>/agents/{agent}/weights.safetensors"),
        code=CODE_ENVIRONMENTS + CODE_MODEL + code("evaluate.py"),
        own=evaluated_own_code,
        model=model_code,
    output:
        "<results>/rollouts/{evaluation}/{agent}/{condition}.parquet",
    benchmark:
        "<results>/benchmarks/evaluate/{evaluation}-{agent}-{condition}.tsv"
    conda:
        "../../envs/gla.yaml"
    threads: 1
    resources:
        mem_mb=rollout_mb,
    params:
        evaluation=evaluation_settings,
        environment=evaluated_environment,
    script:
        "../scripts/evaluate_agent.py"


def last_policies(wildcards, paths):
    """Histories are needed by the baseline that acts with their last policies, and by no other."""
    if wildcards.condition != "ppo_final":
        return []
    return paths([config["evaluations"][wildcards.evaluation]["environment"]])


def trained_reference(wildcards):
    """The reference's policies, and what describes them, are needed by its baseline alone."""
    if wildcards.condition != "reference":
        return []
    return reference_files(config["evaluations"][wildcards.evaluation])


def reference_files(evaluation):
    """The policies of an evaluation's reference, and what describes them."""
    policies = paths.reference(evaluation["environment"], evaluation["split"])
    return [policies, policies.replace(".safetensors", ".json")]


rule references:
    input:
        [
            file
            for entry in config["evaluations"].values()
            if "reference" in entry["baselines"]
            for file in reference_files(entry)
        ],


def reference_settings(wildcards):
    """What decides a reference: the tasks of its split, and not how histories are collected there."""
    entry = config["environments"][wildcards.environment]
    split = f"{wildcards.split}_tasks"
    kept = ("id", "kwargs", "tasks", "reference", *([split] if split in entry else []))
    return {k: entry[k] for k in kept}


rule refer:
    input:
        code=CODE_ENVIRONMENTS + code("ppo.py", "reference.py"),
        own=lambda w: own_code(w.environment),
    output:
        policies="<results>/references/{environment}/{split}.safetensors",
        description="<results>/references/{environment}/{split}.json",
    benchmark:
        "<results>/benchmarks/refer/{environment}-{split}.tsv"
    # Long, and waited for by one rollout each: beside training, so that none is left to run alone.
    priority: 1
    conda:
        "../../envs/gla.yaml"
    threads: 1
    resources:
        mem_mb=4000,
    params:
        entry=reference_settings,
    script:
        "../scripts/refer.py"


rule evaluate_baseline:
    input:
        digests=lambda w: last_policies(w, digests),
        stores=ancient(lambda w: last_policies(w, stores)),
        reference=trained_reference,
        code=CODE_PPO + code("evaluate.py"),
        own=evaluated_own_code,
        kind=lambda w: LEARNERS if w.condition in ONLINE else [],
    output:
        "<results>/rollouts/{evaluation}/baseline/{condition}.parquet",
    benchmark:
        "<results>/benchmarks/evaluate/{evaluation}-baseline-{condition}.tsv"
    conda:
        "../../envs/gla.yaml"
    threads: 1
    resources:
        mem_mb=8000,
    params:
        evaluation=evaluation_settings,
        environment=evaluated_environment,
    script:
        "../scripts/evaluate_baseline.py"


rule cards:
    input:
        [
            f"{paths.agent(n)}/README.md"
            for a in config["agents"]
            for n in paths.networks(a)
        ],


localrules:
    card,


def agent_rollouts(wildcards):
    """An agent's rollouts wherever it is evaluated, and the baselines beside them."""
    return [
        path
        for name, entry in config["evaluations"].items()
        if paths.network(wildcards.agent)[0] in entry["agents"]
        for path in rollouts(name, [paths.network(wildcards.agent)[0]])
    ]


rule card:
    input:
        agent="<results>/agents/{agent}/agent.json",
        rollouts=agent_rollouts,
        verdicts="<results>/tables/verdicts.csv",
        code=code("card.py", "stages.py", "statistics.py"),
    output:
        "<results>/agents/{agent}/README.md",
    conda:
        "../../envs/gla.yaml"
    script:
        "../scripts/card.py"
