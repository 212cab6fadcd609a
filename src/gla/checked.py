"""A config that is checked once, with everything that Snakemake needs to know of it, and without PyTorch.

Snakemake reads the config in the process of every job, and a check takes seconds, since kinds are imported and environments are made.
The findings are therefore cached under the hash of the config, of this package's code and of the modules of the user's own
environments. Only the sizes of memory and disk, and whether results can be written, are looked up each time.
"""

import contextlib
import importlib.util
import itertools
import json
import math
import os
import shutil
import sys
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from gla.files import CorruptFile, fingerprint, read_json, sha256, write_json
from gla.kinds import packages
from gla.options import MOST_STEPS, ConfigError, check_values

CACHE = ".snakemake/checked.json"
KEPT = 20  # configs in the cache
PLENTY = 4 * 10**9  # bytes of contexts in a rollout above which there is a warning
MOST_FILES = 2000  # largest package that is read as a whole
COMPILED = {".pyc", ".pyo", ".so", ".pyd", ".o", ".a", ".dll", ".dylib"}
MOST_MEMORY = 4 * 10**12  # bytes; of machines that jobs are submitted to nothing else is known


class Checked(NamedTuple):
    """The findings about a config.

    config: normalised (``gla.config.reading.normalise``). facts: the facts about each
    environment (``gla.preflight.all_facts``). jobs: a lower bound of the memory of each job, in bytes (``gla.demands.jobs``).
    demands: the same by entries, with words for errors (``gla.demands.demands``). disk: a lower bound of the disk space
    of histories (``gla.demands.disk``). warnings: one line each. trees: the package's modules (``gla.code.scan``).
    """

    config: dict[str, Any]
    facts: dict[str, dict[str, Any]]
    jobs: dict[str, int]
    demands: list[Any]
    disk: list[Any]
    warnings: list[str]
    trees: dict[str, Any]


def modules(env_id: str) -> list[str]:
    """Returns the files of the module that an id such as ``module:Name-v0`` names, or of the whole package that holds this
    module. Other ids have none.

    The files of a package are its code and its data, such as tables and models, except hidden and compiled files. If there
    are more than MOST_FILES, only the code counts, since all are read whenever a job starts. Paths below the current folder
    are relative to it. The module is located without importing it, and its imports from elsewhere are not followed.
    """
    module, colon, _ = env_id.partition(":")
    try:
        spec = importlib.util.find_spec(module.partition(".")[0]) if colon else None
    except (ImportError, ValueError):
        spec = None
    if spec is None:  # reported when the environment is made
        return []
    folders = spec.submodule_search_locations
    found: Iterable[str | Path | None] = [spec.origin]
    if folders is not None:
        found = list(itertools.islice(_beside(folders), MOST_FILES + 1))
        if len(found) > MOST_FILES:
            found = [p for folder in folders for p in Path(folder).rglob("*.py")]
    files, here = sorted({Path(p).absolute() for p in found if p and Path(p).is_file()}), Path.cwd()
    return [os.fspath(p.relative_to(here) if p.is_relative_to(here) else p) for p in files]


def _beside(folders: Iterable[str]) -> Iterator[Path]:
    """Yields the files of a package, except hidden and compiled ones."""
    for folder, inner, names in (found for start in folders for found in os.walk(start)):
        inner[:] = [name for name in inner if not name.startswith(".") and name != "__pycache__"]
        own = (Path(folder, name) for name in names if not name.startswith("."))
        yield from (path for path in own if path.suffix not in COMPILED and path.is_file())


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # an optional one
        return ""


def _key(raw: dict[str, Any]) -> str | None:
    """Returns the hash of everything that decides the findings; None for a config that JSON changes, such as one with numbers
    for keys.
    """
    if json.loads(json.dumps(raw)) != raw:
        return None
    package = Path(__file__).parent
    files = {
        p.relative_to(package).as_posix(): sha256(p)
        for ending in ("py", "mplstyle")
        for p in sorted(package.rglob(f"*.{ending}"))
    }
    environments = raw.get("environments") if isinstance(raw, dict) else None
    entries = environments.values() if isinstance(environments, dict) else ()
    ids = [str(e.get("id")) for e in entries if isinstance(e, dict)] + [f"{package}:" for package in packages()]
    own = {path: sha256(path) for id in ids for path in modules(id)}
    versions = [
        _version(p) for p in ("gymnasium", "mujoco", "dm-control", "shimmy", "envpool", "matplotlib", "pydantic")
    ]
    return fingerprint([raw, files, own, versions])


def checked(
    raw: dict[str, Any], memory: int | None = None, cache: str | Path = CACHE, disk: float | None = None
) -> Checked:
    """Checks a raw config and returns the findings. memory: bytes that a job may fill; None: this machine's memory. disk: bytes that
    histories may fill; None: the whole file system that results are written to.

    cache: a JSON file of earlier findings. Raises ConfigError with one line for each fault: key, value, what was expected.
    """
    check_values(raw)  # before the whole config is walked through
    before: Any = None
    with contextlib.suppress(CorruptFile, OSError):
        before = read_json(cache)
    known, key = dict(before) if isinstance(before, dict) else {}, _key(raw)
    if key in known:
        with contextlib.suppress(TypeError):
            found = Checked(**known[key])
            if problems := list(_no_room(found, memory, disk)):
                raise ConfigError("\n".join(problems))
            return found
    found = _check(raw, memory, disk, Path(cache).parent / "environments.json")
    if key is not None:
        kept = dict(list(known.items())[-KEPT:]) | {key: found._asdict()}
        with contextlib.suppress(OSError):  # without a cache only time is lost
            write_json(cache, kept)
    return found


def no_folder(results: str) -> Iterator[str]:
    """Yields a line if the folder of results cannot be made because there is a file at its path or at that of a parent folder."""
    for path in (Path(results), *Path(results).parents):
        if os.path.lexists(path) and not os.path.isdir(path):
            yield f"pathvars.results: {results!r}, but {str(path)!r} is no folder (expected a folder)"


def _machine(where: str) -> int:
    """Returns how many bytes of this machine a job may fill: memory, swap and, for training, GPUs."""
    size = psutil.virtual_memory().total + psutil.swap_memory().total
    if where.startswith("agents."):
        import torch  # slow to import, and needed only if memory is too small

        size += sum(torch.cuda.get_device_properties(i).total_memory for i in range(torch.cuda.device_count()))
    return size


def too_large(demands: Iterable[Any], memory: int | None) -> Iterator[str]:
    """Yields a line for each entry whose jobs cannot fit into memory. memory: bytes that a job may fill; None: this machine's
    memory.
    """
    have = psutil.virtual_memory().total if memory is None else memory
    for where, what, size, less in demands:
        if size > have and size > (most := _machine(where) if memory is None else memory):
            yield f"{where}: {what} takes at least {size / 1e9:.0f} GB (expected at most the {most / 1e9:.0f} GB there are: {less})"


def too_large_for_a_disk(demands: Iterable[Any], have: float) -> Iterator[str]:
    """Yields a line for each entry whose histories do not fit on a disk of ``have`` bytes."""
    for where, what, size, less in demands:
        if size > have:
            yield f"{where}: {what} takes at least {size / 1e9:.0f} GB on disk (expected at most the {have / 1e9:.0f} GB that it has: {less})"


def _no_room(found: Checked, memory: int | None, disk: float | None) -> Iterator[str]:
    """Yields a line if results cannot be written, and for each entry that does not fit into memory or on the disk."""
    yield from no_folder(found.config["pathvars"]["results"])
    yield from too_large(found.demands, memory)
    yield from too_large_for_a_disk(found.disk, _disk(found.config["pathvars"]["results"]) if disk is None else disk)


def _disk(results: str) -> float:
    """Returns the size in bytes of the file system that a folder of results is on, or will be; infinity if the size is not known."""
    folder = Path(results).absolute()
    return shutil.disk_usage(next(p for p in (folder, *folder.parents) if os.path.isdir(p))).total or math.inf


def _check(raw: dict[str, Any], memory: int | None, disk: float | None, cache: Path) -> Checked:
    # Slow to import, and needed only for a new config.
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
    problems += preflight.sources(config, facts)
    problems += preflight.conditions(config, facts)
    problems += preflight.encodings(config, facts)
    problems += preflight.models(config, facts)
    problems += preflight.trainers(config, facts)
    problems += preflight.figures(config, facts)
    normalised = ordered(config)
    contexts = {
        name: {a: demands.state(v, config.agents[a], config, facts[v.environment]) for a in v.agents}
        for name, v in config.evaluations.items()
    }
    needed, stored = (list(map(list, own(config, facts))) for own in (demands.demands, demands.disk))
    warnings = list(_warnings(config, facts, contexts))
    found = Checked(normalised, facts, demands.jobs(config, facts), needed, stored, warnings, {})
    problems += _no_room(found, memory, disk)
    for name, f in normalised["figures"].items():
        problems += drawable.problems(f"figures.{name}", f)
    if problems:
        raise ConfigError("\n".join(problems))
    return found._replace(trees=code.scan())


def _warnings(config: Any, facts: dict[str, Any], contexts: dict[str, dict[str, int]]) -> Iterator[str]:
    """Yields a line for each setting that can be run but may be a mistake."""
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
    """Prints the warnings."""
    for line in found.warnings:
        print(f"warning: {line}", file=sys.stderr)
