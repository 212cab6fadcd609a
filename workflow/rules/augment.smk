rule manifests:
    input:
        expand(
            "<results>/manifests/{dataset}.{format}",
            dataset=config["datasets"],
            format=["csv", "json"],
        ),


rule augment:
    input:
        digests=lambda w: digests(config["datasets"][w.dataset]["environments"]),
        code=code("augment.py"),
    output:
        table="<results>/manifests/{dataset}.csv",
        summary="<results>/manifests/{dataset}.json",
    # What training waits for; see there.
    priority: 3
    conda:
        "../../envs/gla.yaml"
    params:
        entry=lambda w: config["datasets"][w.dataset],
    script:
        "../scripts/augment.py"
