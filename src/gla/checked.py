"""A config that was checked once, and everything that Snakemake asks of it, without PyTorch.

Snakemake reads the config in every job's process, and checking it takes seconds: kinds are imported, environments are made. So
what was found is kept, under the hash of the config, of this package's code and of the modules of the user's own environments.
"""

import contextlib
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from gla.files import CorruptFile, fingerprint, read_json, sha256, write_json
from gla.options import MOST_STEPS, ConfigError

CACHE = ".snakemake/checked.json"
KEPT = 20  # configs
PLENTY = 4 * 10**9  # bytes of contexts in a rollout that are worth a warning
MOST_MEMORY = 4 * 10**12  # bytes; of machines that jobs are submitted to nothing else is known


class Checked(NamedTuple):
    """What is known of a config.

    config: normalised (``gla.config.reading.normalise``). facts: of each environment (``gla.preflight.all_facts``). contexts: bytes
    that an agent keeps in an evaluation, by evaluation and agent. warnings: a line each. trees: of the package's modules
    (``gla.code.scan``).
    """

    config: dict[str, Any]
    facts: dict[str, dict[str, Any]]
    contexts: dict[str, dict[str, int]]
    warnings: list[str]
    trees: dict[str, Any]


def _key(raw: dict[str, Any], memory: int | None) -> str:
    """Of everything that decides what a check finds."""
    package = Path(__file__).parent
    files = {p.relative_to(package).as_posix(): sha256(p) for p in sorted(package.rglob("*.py"))}
    environments = raw.get("environments") if isinstance(raw, dict) else None
    ids = [e["id"] for e in environments.values() if isinstance(e, dict) and ":" in str(e.get("id"))] if isinstance(environments, dict) else []
    own = {}
    if ids:
        from gla.preflight import modules

        own = {path: sha256(path) for id in ids for path in modules(str(id))}
    versions = [version(p) for p in ("gymnasium", "mujoco", "dm-control", "shimmy", "matplotlib", "pydantic")]
    return fingerprint([raw, memory, files, own, versions])


def checked(raw: dict[str, Any], memory: int | None = None, cache: str | Path = CACHE) -> Checked:
    """A raw config, checked. memory: bytes that a job may fill; None: this machine's.

    cache: a JSON file of what was found before. Raises ConfigError with one line for each fault: key, value, what was expected.
    """
    before: Any = None
    with contextlib.suppress(CorruptFile, OSError):
        before = read_json(cache)
    known = dict(before) if isinstance(before, dict) else {}
    try:
        key = _key(raw, memory)
    except TypeError:  # something that no config holds; the check says what
        key = ""
    if key in known:
        with contextlib.suppress(TypeError):
            return Checked(**known[key])
    found = _check(raw, memory, Path(cache).parent / "environments.json")
    kept = dict(list(known.items())[-KEPT:]) | {key: found._asdict()}
    with contextlib.suppress(OSError):  # a folder that cannot be written costs time alone
        write_json(cache, kept)
    return found


def _check(raw: dict[str, Any], memory: int | None, cache: Path) -> Checked:
    # Slow, and needed for a new config alone.
    from gla import code, demands, drawable, preflight
    from gla.config.reading import load, ordered

    config = load(raw)
    facts, problems = preflight.all_facts(config, cache), []
    for name, v in config.evaluations.items():
        limit = facts[v.environment]["time_limit"]
        if v.episodes and not limit:
            problems.append(
                f"evaluations.{name}.episodes: {v.episodes}, but {v.environment!r} has no time limit, so they need not end "
                f"(expected environments.{v.environment}.kwargs.max_episode_steps, or env_steps instead of episodes)"
            )
        if v.episodes and limit and v.episodes * limit > MOST_STEPS:
            problems.append(
                f"evaluations.{name}.episodes: {v.episodes} of up to {limit} steps in {v.environment!r} "
                f"(expected at most {MOST_STEPS} steps in all)"
            )
    problems += preflight.encodings(config, facts)
    problems += demands.problems(config, facts, memory)
    normalised = ordered(config)
    for name, f in normalised["figures"].items():
        problems += drawable.problems(f"figures.{name}", f)
    if problems:
        raise ConfigError("\n".join(problems))
    contexts = {
        name: {a: demands.state(v, config.agents[a], config, facts[v.environment]["time_limit"]) for a in v.agents}
        for name, v in config.evaluations.items()
    }
    return Checked(normalised, facts, contexts, list(_warnings(config, facts, contexts)), code.scan())


def _warnings(config: Any, facts: dict[str, Any], contexts: dict[str, dict[str, int]]) -> Iterator[str]:
    """Lines for what can be run, and may not be what was meant."""
    for name, v in config.evaluations.items():
        limit = facts[v.environment]["time_limit"]
        if v.env_steps and limit and v.env_steps < limit:
            yield (
                f"evaluations.{name}.env_steps: {v.env_steps}, but an episode of {v.environment!r} may last {limit}; those that do "
                f"not finish are not counted (expected at least {limit})"
            )
        if (most := max(contexts[name].values(), default=0)) > PLENTY:
            yield f"evaluations.{name}: {v.seeds} seeds with a context of {v.context_length} keep {most // 10**6} MB"


def warn(found: Checked) -> None:
    """Print the warnings."""
    for line in found.warnings:
        print(f"warning: {line}", file=sys.stderr)
