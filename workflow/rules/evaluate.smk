rule rollouts:
    input:
        [paths.rollouts(evaluation) for evaluation in config["evaluations"]],


def evaluated_environment(wildcards):
    """The entry of the environment that an evaluation is in."""
    return config["environments"][
        config["evaluations"][wildcards.evaluation]["environment"]
    ]


def evaluated_own_code(wildcards):
    return own_code(config["evaluations"][wildcards.evaluation]["environment"])


rule evaluate_agent:
    input:
        agent="<results>/agents/{agent}/agent.json",
        # agent.json holds the weights' hash and says when they changed.
        weights=ancient("<results>/agents/{agent}/weights.safetensors"),
        digests=lambda w: paths.digests(paths.prompted(w.evaluation)),
        stores=ancient(lambda w: paths.stores(paths.prompted(w.evaluation))),
        own=evaluated_own_code,
    output:
        "<results>/rollouts/{evaluation}/{agent}/{condition}.parquet",
    benchmark:
        "<results>/benchmarks/evaluate/{evaluation}-{agent}-{condition}.tsv"
    conda:
        "../../envs/gla.yaml"
    threads: 1
    resources:
        mem_mb=lambda w: needed_mb(
            f"rollouts/{w.evaluation}/{network(w.agent)[0]}", 8000
        ),
    params:
        evaluation=lambda w: paths.settings(w.evaluation),
        environment=lambda w: paths.evaluated_in(w.evaluation),
        code=lambda w: code.rollout(
            paths.agent_entry(w.agent),
            paths.dataset_of(w.agent),
            w.condition,
            evaluated_environment(w),
            prompted=bool(paths.prompted(w.evaluation)),
        ),
    script:
        "../scripts/evaluate_agent.py"


rule references:
    input:
        paths.references(),


rule refer:
    input:
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
        mem_mb=lambda w: needed_mb(f"references/{w.environment}/{w.split}"),
    params:
        entry=lambda w: paths.referred(w.environment, w.split),
        code=lambda w: code.reference(config["environments"][w.environment]),
    script:
        "../scripts/refer.py"


def acted_by(kind):
    """Files of one kind that a baseline acts by."""
    return lambda wildcards: paths.baseline_inputs(
        wildcards.evaluation, wildcards.condition
    )[kind]


rule evaluate_baseline:
    input:
        digests=acted_by("digests"),
        stores=ancient(acted_by("stores")),
        reference=acted_by("reference"),
        own=evaluated_own_code,
    output:
        "<results>/rollouts/{evaluation}/baseline/{condition}.parquet",
    benchmark:
        "<results>/benchmarks/evaluate/{evaluation}-baseline-{condition}.tsv"
    conda:
        "../../envs/gla.yaml"
    threads: 1
    resources:
        mem_mb=lambda w: needed_mb(
            f"rollouts/{w.evaluation}/baseline/{w.condition}", 8000
        ),
    params:
        evaluation=lambda w: paths.settings(w.evaluation),
        environment=lambda w: paths.evaluated_in(w.evaluation),
        code=lambda w: code.baseline(w.condition, evaluated_environment(w)),
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


rule card:
    input:
        agent="<results>/agents/{agent}/agent.json",
        rollouts=lambda w: paths.rollouts_of(w.agent),
        verdicts="<results>/tables/verdicts.csv",
    output:
        "<results>/agents/{agent}/README.md",
    conda:
        "../../envs/gla.yaml"
    params:
        code=lambda w: code.card(paths.dataset_of(w.agent)),
    script:
        "../scripts/card.py"
