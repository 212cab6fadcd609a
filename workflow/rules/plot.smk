rule figures:
    input:
        expand(
            "<results>/figures/{figure}.{format}",
            figure=config["figures"],
            format=["pdf", "png", "csv"],
        ),


rule tables:
    input:
        "<results>/tables/verdicts.csv",


localrules:
    tabulate,
    plot,
    verdicts,


def judged_settings(wildcards):
    """Of each evaluation what decides its verdicts, and how many of the inputs are its own."""
    kinds = ("rollouts", "references")
    return [one | {kind: len(one[kind]) for kind in kinds} for one in paths.judged()]


rule verdicts:
    input:
        rollouts=[path for one in paths.judged() for path in one["rollouts"]],
        references=[path for one in paths.judged() for path in one["references"]],
        code=code("statistics.py", "verdicts.py"),
    output:
        ensure("<results>/tables/verdicts.csv", non_empty=True),
    conda:
        "../../envs/gla.yaml"
    params:
        evaluations=judged_settings,
    script:
        "../scripts/verdicts.py"


def drawn(wildcards, kind):
    """Inputs of a figure's table that mean one thing, and none for the kinds that do not draw it."""
    entry = config["figures"][wildcards.figure]
    if kind == "digests":
        return digests(entry["environments"])
    if kind == "by_position":
        return [f"<results>/agents/{a}/by_position.csv" for a in entry["agents"]]
    return [
        path for p in entry["panels"] for path in rollouts(p["evaluation"], p["agents"])
    ]


def table_settings(wildcards):
    """What decides a figure's numbers: for each panel its evaluation and agents, not how they are called."""
    entry = config["figures"][wildcards.figure]
    panels = [
        {"evaluation": p["evaluation"], "agents": p["agents"]} for p in entry["panels"]
    ]
    return without(entry, "style") | {"panels": panels}


def panel_settings(wildcards):
    """Of each panel: the number of its rollouts, the environment whose best return may be known, and each
    agent's training projections."""
    settings = []
    for panel in config["figures"][wildcards.figure]["panels"]:
        evaluation = config["evaluations"][panel["evaluation"]]
        environment = config["environments"][evaluation["environment"]]
        agents = panel["agents"] or evaluation["agents"]
        settings.append(
            {
                "rollouts": len(rollouts(panel["evaluation"], panel["agents"])),
                "environment": {
                    "id": environment["id"],
                    "kwargs": environment["kwargs"],
                    "tasks": paths.tasks(panel["evaluation"]),
                },
                "projections": {a: paths.projections(a) for a in agents},
            }
        )
    return settings


def figure_kind(wildcards):
    return config["figures"][wildcards.figure]["kind"]


def figure_code(wildcards):
    return code("figures/panels.py", f"figures/{figure_kind(wildcards)}.py")


rule tabulate:
    input:
        digests=lambda w: drawn(w, "digests"),
        by_position=lambda w: drawn(w, "by_position"),
        rollouts=lambda w: drawn(w, "rollouts"),
        code=CODE_ENVIRONMENTS + code("statistics.py", "verdicts.py"),
        kind=figure_code,
    output:
        report(
            "<results>/figures/{figure}.csv",
            caption="../report/figure.rst",
            category=verified(figure_kind),
            labels={"figure": "{figure}", "as": "numbers"},
        ),
    conda:
        "../../envs/gla.yaml"
    params:
        entry=table_settings,
        panels=panel_settings,
    script:
        "../scripts/tabulate.py"


rule plot:
    input:
        table="<results>/figures/{figure}.csv",
        code=code("figures/gla.mplstyle"),
        kind=figure_code,
    output:
        pdf="<results>/figures/{figure}.pdf",
        png=report(
            "<results>/figures/{figure}.png",
            caption="../report/figure.rst",
            category=verified(figure_kind),
            labels={"figure": "{figure}", "as": "drawing"},
        ),
    conda:
        "../../envs/gla.yaml"
    params:
        entry=lambda w: config["figures"][w.figure],
    script:
        "../scripts/plot.py"
