"""Writes the JSON Schema of the config, for editors, and config/README.md: ``python -m gla.config.documentation``.

The reference is not made from the schema, since kinds of one thing are choices without names there, and here each has a section.
"""

import inspect
import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from gla.config.agents import Agent
from gla.config.datasets import Dataset
from gla.config.environments import Environment, Reference
from gla.config.evaluations import Evaluation, Prompt
from gla.config.whole import Config
from gla.encoding.kinds import ENCODINGS
from gla.figures.kinds import FIGURES
from gla.figures.panels import Panel
from gla.kinds import Kinds
from gla.labels.kinds import LABELS
from gla.losses.kinds import LOSSES
from gla.models.kinds import MODELS
from gla.sources.kinds import SOURCES
from gla.trainers.kinds import TRAINERS
from gla.windows.kinds import WINDOWS


def json_schema() -> str:
    """Returns the JSON Schema of the config, for editors: the text of workflow/schemas/config.schema.json."""
    return json.dumps(Config.model_json_schema(), indent=2) + "\n"


_INTRODUCTION = """# The configuration

`config.yaml` is the default, `smoke.yaml` runs every rule once, and `paper.yaml` has the paper's scale. Run another config with
`snakemake --configfile config/smoke.yaml --cores all all`. It replaces the default config; the two are not merged. The paths of
results follow the names of the entries: `results/histories/{source}/`, `results/manifests/{dataset}.json`,
`results/agents/{agent}/`, `results/rollouts/{evaluation}/{agent}/`, `results/figures/{figure}.pdf`.

Six nouns refer to each other by name. An **environment** is a world and its tasks. A **source** is a learner that acts in an
environment and writes its history. A **dataset** is a list of sources and an encoding. An **agent** is a model that is trained on a
dataset, with windows, labels and a loss. An **evaluation** runs agents and baselines in an environment. A **figure** draws
evaluations, sources or agents. A new study is a new entry. A changed entry rebuilds only the results that depend on it.

Sources, encodings, windows, labels, losses, models, trainers and figures come in kinds, and each kind has its own options. `kind`
names the kind. It may be left out where the table of a kind says that it is the default. `model: lstm` is short for
`model: {kind: lstm}`.

Numbers such as `3.0e-4` need their point: YAML reads `3e-4` as text, and the config is refused. Keys that occur twice, dates, and
other text without quotes that YAML does not read as text are refused too. Merged keys (`<<: *other`) may be overridden. This file
and `workflow/schemas/config.schema.json` are written by `python -m gla.config.documentation`.
"""


def _type_of(schema: dict[str, Any]) -> str:
    """Returns a JSON Schema type in words."""
    if "oneOf" in schema:
        return "a kind, see below"
    if "anyOf" in schema:
        return " or ".join(_type_of(s) for s in schema["anyOf"])
    if "enum" in schema or "const" in schema:
        return ", ".join(f"`{v}`" for v in schema.get("enum", [schema.get("const")]))
    if "$ref" in schema:
        return "see below"
    if schema.get("type") == "array":
        return "list, see below" if "$ref" in schema["items"] else f"list of {_type_of(schema['items'])}"
    if schema.get("type") == "object":
        return "mapping"
    signs = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}
    limits = [f"{sign} {schema[key]}" for key, sign in signs.items() if key in schema]
    return " ".join([schema.get("type", "anything"), ", ".join(limits)]).strip()


def _default(name: str, field: Any, kind: str | None) -> str:
    """Returns the default of a key as YAML writes it. kind: the default of the field ``kind``, if this is such a field."""
    if name == "kind":
        return f"`{kind}`" if kind == field.default else "required"
    if field.is_required():
        return "required"
    if isinstance(field.default, BaseModel):
        return f"`{field.default.kind}`" if hasattr(field.default, "kind") else "its own defaults"
    return f"`{json.dumps(field.default)}`"


def _section(title: str, model: type[BaseModel], kind: str | None = None) -> str:
    """Returns the table of an entry's keys: its kind first, then required keys. kind: the default kind, which need not be named."""
    rows = [
        f"\n## {title}\n\n{inspect.cleandoc(model.__doc__ or '')}\n\n| key | type | default | meaning |\n|---|---|---|---|\n"
    ]
    properties = model.model_json_schema()["properties"]
    for name, field in sorted(
        model.model_fields.items(), key=lambda item: (item[0] != "kind", not item[1].is_required())
    ):
        meaning = "Which kind it is." if name == "kind" else " ".join((field.description or "").split())
        rows.append(
            f"| `{name}` | {_type_of(properties[name])} | {_default(name, field, kind)} | {meaning.replace('<', '&lt;')} |\n"
        )
    return "".join(rows)


def reference() -> str:
    """Returns the text of config/README.md: every key, its type, its default and its meaning."""

    def of(title: str, kinds: Kinds, default: str | None = None) -> list[tuple[str, Any, str | None]]:
        return [(f"{title}: kind {name}", kinds.options(name), default) for name in kinds]

    def default(model: type[BaseModel], field: str) -> str:
        return model.model_fields[field].default.kind

    sections: list[tuple] = [
        ("The whole", Config), ("environments", Environment), ("environments: reference", Reference), *of("sources", SOURCES, "ppo"),
        ("datasets", Dataset), *of("datasets: encoding", ENCODINGS, default(Dataset, "encoding")), ("agents", Agent),
        *of("agents: windows", WINDOWS, default(Agent, "windows")), *of("agents: labels", LABELS, default(Agent, "labels")),
        *of("agents: loss", LOSSES, default(Agent, "loss")), *of("agents: model", MODELS, default(Agent, "model")),
        *of("agents: training", TRAINERS, default(Agent, "training")), ("evaluations", Evaluation), ("evaluations: prompt", Prompt),
        *of("figures", FIGURES), ("figures: panels", Panel),
    ]  # fmt: skip
    return _INTRODUCTION + "".join(_section(*section) for section in sections)


if __name__ == "__main__":
    Path("workflow/schemas/config.schema.json").write_text(json_schema())
    Path("config/README.md").write_text(reference())
