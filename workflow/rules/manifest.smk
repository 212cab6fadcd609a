rule manifests:
    input:
        expand(
            "<results>/manifests/{dataset}.{format}",
            dataset=config["datasets"],
            format=["csv", "json"],
        ),


rule manifest:
    input:
        digests=lambda w: paths.digests(config["datasets"][w.dataset]["sources"]),
    output:
        table="<results>/manifests/{dataset}.csv",
        summary="<results>/manifests/{dataset}.json",
    # What training waits for; see there.
    priority: 3
    conda:
        "../../envs/gla.yaml"
    resources:
        mem_mb=lambda w: needed_mb(f"manifests/{w.dataset}"),
    params:
        entry=lambda w: config["datasets"][w.dataset],
        code=lambda w: code.manifest(config["datasets"][w.dataset]),
    script:
        "../scripts/manifest.py"
