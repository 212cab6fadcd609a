rule rollouts:
    input:
        [rollouts(evaluation) for evaluation in config["evaluations"]],


def evaluated_environment(wildcards, *left_out):
    name = config["evaluations"][wildcards.evaluation]["environment"]
    return {"name": name} | without(
        config["environments"][name], "lifetimes", "lifetimes_per_block", *left_out
    )


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
    model = config["agents"][wildcards.agent]["model"]
    limit = FACTS[evaluation["environment"]]["time_limit"]
    return max(8000, 4000 + preflight.decoding_mb(evaluation, model, limit))


rule evaluate_agent:
    input:
        agent="<results>/agents/{agent}/agent.json",
        # agent.json holds the weights' hash and says when they changed.
        weights=ancient("<results>/agents/{agent}/weights.safetensors"),
        code=CODE_ENVIRONMENTS + CODE_MODEL + code("evaluate.py"),
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
        environment=lambda w: evaluated_environment(w, "ppo", "streams", "seed"),
    script:
        "../scripts/evaluate_agent.py"


def last_policies(wildcards, paths):
    """Histories are needed by the baseline that acts with their last policies, and by no other."""
    if wildcards.condition != "ppo_final":
        return []
    return paths([config["evaluations"][wildcards.evaluation]["environment"]])


def baseline_environment(wildcards):
    """PPO's settings decide the baseline that learns, and no other."""
    left_out = ["seed"] if wildcards.condition == "ppo" else ["ppo", "streams", "seed"]
    return evaluated_environment(wildcards, *left_out)


rule evaluate_baseline:
    input:
        digests=lambda w: last_policies(w, digests),
        stores=ancient(lambda w: last_policies(w, stores)),
        code=CODE_PPO + code("evaluate.py"),
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
        environment=baseline_environment,
    script:
        "../scripts/evaluate_baseline.py"


rule cards:
    input:
        expand("<results>/agents/{agent}/README.md", agent=config["agents"]),


localrules:
    card,


def agent_rollouts(wildcards):
    """An agent's rollouts wherever it is evaluated, and the baselines beside them."""
    return [
        path
        for name, entry in config["evaluations"].items()
        if wildcards.agent in entry["agents"]
        for path in rollouts(name, [wildcards.agent])
    ]


rule card:
    input:
        agent="<results>/agents/{agent}/agent.json",
        rollouts=agent_rollouts,
        code=code("card.py", "statistics.py"),
    output:
        "<results>/agents/{agent}/README.md",
    conda:
        "../../envs/gla.yaml"
    script:
        "../scripts/card.py"
