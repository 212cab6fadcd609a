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
    output:
        report(
            ensure("<results>/tables/verdicts.csv", non_empty=True),
            caption="../report/verdicts.rst",
            category=verified("verdicts"),
            labels={"figure": "verdicts", "as": "numbers"},
        ),
    conda:
        "../../envs/gla.yaml"
    params:
        evaluations=judged_settings,
        code=code.verdicts(paths.conditions(one["name"] for one in paths.judged())),
    script:
        "../scripts/verdicts.py"


def figure_kind(wildcards):
    return config["figures"][wildcards.figure]["kind"]


def drawn_conditions(wildcards):
    panels = config["figures"][wildcards.figure].get("panels", [])
    return paths.conditions(p["evaluation"] for p in panels)


def table_code(wildcards):
    environments = [p["environment"] for p in paths.panels(wildcards.figure)]
    return code.table(figure_kind(wildcards), environments, drawn_conditions(wildcards))


rule tabulate:
    input:
        digests=lambda w: paths.drawn(w.figure)["digests"],
        by_position=lambda w: paths.drawn(w.figure)["by_position"],
        rollouts=lambda w: paths.drawn(w.figure)["rollouts"],
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
        entry=lambda w: paths.tabled(w.figure),
        panels=lambda w: paths.panels(w.figure),
        code=table_code,
    script:
        "../scripts/tabulate.py"


rule plot:
    input:
        table="<results>/figures/{figure}.csv",
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
        code=lambda w: code.drawing(figure_kind(w), drawn_conditions(w)),
    script:
        "../scripts/plot.py"
