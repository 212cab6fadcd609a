rule figures:
    input:
        expand(
            "<results>/figures/{figure}.{format}",
            figure=config["figures"],
            format=["pdf", "png", "csv"],
        ),


localrules:
    tabulate,
    plot,


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
    """Of each panel: the number of its rollouts, and the environment whose best return may be known."""
    settings = []
    for panel in config["figures"][wildcards.figure]["panels"]:
        environment = config["environments"][
            config["evaluations"][panel["evaluation"]]["environment"]
        ]
        settings.append(
            {
                "rollouts": len(rollouts(panel["evaluation"], panel["agents"])),
                "environment": {
                    key: environment[key] for key in ("id", "kwargs", "tasks")
                },
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
        code=CODE_ENVIRONMENTS + code("statistics.py"),
        kind=figure_code,
    output:
        report(
            ensure("<results>/figures/{figure}.csv", non_empty=True),
            caption="../report/figure.rst",
            category=figure_kind,
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
            category=figure_kind,
            labels={"figure": "{figure}", "as": "drawing"},
        ),
    conda:
        "../../envs/gla.yaml"
    params:
        entry=lambda w: config["figures"][w.figure],
    script:
        "../scripts/plot.py"
