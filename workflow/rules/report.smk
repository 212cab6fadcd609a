from importlib.metadata import version
from platform import python_version


report: "../report/workflow.rst"


localrules:
    software,


rule software:
    output:
        report(
            "<results>/software.csv",
            caption="../report/software.rst",
            category=verified("provenance"),
            labels={"figure": "software", "as": "numbers"},
        ),
    conda:
        "../../envs/gla.yaml"
    params:
        code=code.software(),
        versions={
            "python": python_version(),
            **{
                package: version(package)
                for package in [
                    "torch",
                    "numpy",
                    "gymnasium",
                    "mujoco",
                    "dm-control",
                    "zarr",
                    "pandas",
                    "matplotlib",
                    "snakemake",
                ]
            },
        },
    script:
        "../scripts/software.py"
