"""The command ``gla``. Each subcommand is a few lines that call the package's functions.

PyTorch is imported only by the subcommands that need it, so that help is instant. Exit status: 0 for success, 1 for a failure
while working, 2 for wrong usage or a wrong config, 130 for an interruption. All but the first come with one line on stderr.
"""

import argparse
import importlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gla import GENERAL, __version__, agents, progress, watchdog
from gla.conditions.roles import IN_CONTEXT, of_role, usual

EXAMPLES = {
    None: """examples:
  gla learn --agent grid --env gla/GridWorld-v0 --plot out.png
  gla inspect results/histories/grid_hidden/0-31""",
    "learn": """examples:
  gla learn --env CartPole-v1 --plot out.png
  gla learn --agent grid --env gla/GridWorld-v0 --kwargs "{start: [1, 1], goal: [0, 2]}"
  gla learn --agent point_mass --env Hopper-v5 --episodes 20 --video out.mp4 --plot out.png
  gla learn --agent point_mass --env dm_control/cartpole-swingup-v0 --steps 1000 --rows out.csv
  gla learn --agent point_mass --import mymodule --env MyEnv-v0""",
    "judge": "example:\n  gla judge --policy mymodule:make --env CartPole-v1 --episodes 100 --plot out.png",
    "verify": "example:\n  gla verify results",
    "inspect": "example:\n  gla inspect results/histories/grid_hidden/0-31 --plot history.png",
    "export": "example:\n  gla export --minari results/histories/grid_hidden/0-31 --id grid/ppo-v0 --to minari",
    "new": "example:\n  gla new mylab",
    "run": "examples:\n  gla run config.yaml\n  gla run config.yaml --cores 2 --dry-run all",
    "card": "example:\n  gla card results/agents/grid_hidden",
}


ROWS, DRAWINGS = (".csv", ".parquet"), (".png", ".pdf", ".svg")


def _can_be_written(option: str, path: str | None, endings: tuple[str, ...] = ()) -> None:
    """Raises ConfigError for a file that could not be written, before work is done for it."""
    from gla.options import ConfigError

    if path is None:
        return
    if not os.path.isdir(os.path.dirname(path) or "."):
        raise ConfigError(f"{option}: {path!r} (expected a file in a folder that exists)")
    if endings and not path.endswith(endings):
        raise ConfigError(f"{option}: {path!r} (expected a file whose name ends with {' or '.join(endings)})")


def _prepare(a: argparse.Namespace) -> dict[str, Any]:
    """Checks the files that a command is to write, and returns the arguments of ``LoadedAgent.learn`` and ``gla.judge`` that are options."""
    _can_be_written("--rows", a.rows, ROWS)
    _can_be_written("--plot", a.plot, DRAWINGS)
    if sys.platform.startswith("linux"):  # read when MuJoCo is imported
        os.environ.setdefault("MUJOCO_GL", "egl" if getattr(a, "video", None) else "disabled")
    sys.path.insert(0, os.getcwd())
    for module in a.imports:
        importlib.import_module(module)
    from gla.config import file
    from gla.options import ConfigError

    kwargs = file.parse(a.kwargs, "--kwargs")
    if not isinstance(kwargs, dict):
        raise ConfigError(f"--kwargs: {a.kwargs!r} (expected a mapping such as '{{goal: [2, 2]}}')")
    return {
        "kwargs": kwargs,
        "episodes": a.episodes,
        "env_steps": a.steps,
        "seed": a.seed,
        "seeds": a.seeds,
        "threads": a.threads,
    }


def _show(a: argparse.Namespace, judgement: Any) -> None:
    """Prints a judgement, and writes the files that were asked for."""
    from gla.files import named

    print(judgement)
    if a.rows:
        with named(a.rows):
            judgement.rows.to_parquet(a.rows, index=False) if a.rows.endswith(".parquet") else judgement.rows.to_csv(
                a.rows, index=False
            )
    if a.plot:
        judgement.plot(a.plot)


def _learn(a: argparse.Namespace) -> None:
    _can_be_written("--video", a.video)
    asked = _prepare(a)
    from gla import api, judging, watch
    from gla.config import file

    if a.temperature is not None:
        asked["temperature"] = a.temperature
    if a.cooling:
        asked["cooling"] = file.parse(a.cooling, "--cooling")
    agent = api.load(a.agent)
    _show(a, judging.judged(agent.learn(a.env, conditions=a.conditions, **asked), a.seeds))
    if a.video:
        for one in ("seeds", "threads"):
            del asked[one]
        watch.video(agent, a.env, a.video, **asked)


def _judge(a: argparse.Namespace) -> None:
    asked = _prepare(a)
    from gla import judging
    from gla.options import ConfigError

    module, _, name = a.policy.partition(":")
    if not name:
        raise ConfigError(f"--policy: {a.policy!r} (expected MODULE:FUNCTION, such as mymodule:make)")
    if (make := getattr(importlib.import_module(module), name, None)) is None:
        raise ConfigError(f"--policy: {a.policy!r} (expected a function of module {module}, which has no {name})")
    _show(a, judging.judge(make, a.env, conditions=a.conditions, batched=a.batched, name=name, **asked))


def _verify(a: argparse.Namespace) -> int:
    problems = importlib.import_module("gla.verify").verify(a.folder)
    print("\n".join(problems) or f"{a.folder}: nothing is missing, altered or cut off")
    return 1 if problems else 0


def _inspect(a: argparse.Namespace) -> None:
    from gla import watch

    _can_be_written("--plot", a.plot, DRAWINGS)
    print(watch.schema(a.store))
    if a.plot:
        watch.plot_history(a.store, a.plot)


def _export(a: argparse.Namespace) -> None:
    from gla import export

    print(export.minari(a.store, a.id, a.to))


def _card(a: argparse.Namespace) -> None:
    from gla import card
    from gla.options import ConfigError

    written = Path(a.agent) / "README.md"
    if written.exists() and not (a.rollouts or a.verdicts):
        raise ConfigError(
            f"{written}: a card, whose scores would be lost (expected rollouts or --verdicts, whose returns the new one reports, or no card)"
        )
    print(card.write(a.agent, a.rollouts, a.verdicts))


def _new(a: argparse.Namespace) -> None:
    from gla.options import ConfigError

    folder = Path(a.name)
    if not a.name.isidentifier() or a.name.startswith("gla"):
        raise ConfigError(
            f"name: {a.name!r} (expected a name that a Python module may have, and that does not begin with gla)"
        )
    if folder.exists():
        raise ConfigError(f"name: {a.name!r}, which is there (expected a new folder)")
    templates = Path(__file__).parent / "template"
    for template in sorted(templates.rglob("*.in")):
        path = folder / str(template.relative_to(templates).with_suffix("")).replace("NAME", a.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(template.read_text().replace("NAME", a.name))
    print(f"{folder}: a package to begin with. Next: pip install --editable {folder}; cd {folder}; gla run config.yaml")


def _run(a: argparse.Namespace) -> int:
    from gla.options import ConfigError

    if not Path(a.config).is_file():
        raise ConfigError(f"config: {a.config!r} (expected a file)")
    snakefile = Path(__file__).parent / "pipeline/Snakefile"
    words = ["--snakefile", snakefile, "--configfile", a.config, *(a.arguments or ["--cores", "all", "all"])]
    return subprocess.call([sys.executable, "-m", "snakemake", *map(str, words)])


def _add_environment(c: argparse.ArgumentParser, conditions: list[str]) -> None:
    """Adds the options of commands that let an agent act in an environment."""
    c.add_argument("--env", required=True, help="the environment: a Gymnasium id, or dm_control/<domain>-<task>-v0")
    c.add_argument(
        "--import",
        dest="imports",
        action="append",
        default=[],
        metavar="MODULE",
        help="Python module that registers the id of --env, imported first; may be repeated",
    )
    c.add_argument(
        "--kwargs",
        default="{}",
        metavar="YAML",
        help="keyword arguments for gymnasium.make, such as '{max_episode_steps: 100}'",
    )
    length = c.add_mutually_exclusive_group()
    length.add_argument(
        "--episodes",
        type=int,
        help="number of episodes in each seed (default: 20, or 1,000 steps where 20 episodes may take more than 4,000)",
    )
    length.add_argument(
        "--steps", type=int, help="number of steps in each seed, for environments whose episodes never end"
    )
    c.add_argument(
        "--seeds",
        type=int,
        default=16,
        help="number of independent runs, each of which starts with an empty context (default: %(default)s)",
    )
    c.add_argument(
        "--seed",
        type=int,
        default=0,
        help="random seed of environments, projections and action noise (default: %(default)s)",
    )
    c.add_argument(
        "--conditions", nargs="+", default=conditions, metavar="CONDITION",
        help=f"the agent, its controls and baselines that are run and compared (default: {' '.join(conditions)})",
    )  # fmt: skip
    c.add_argument(
        "--threads",
        type=int,
        default=1,
        help="number of PyTorch's threads; small models are slower with several (default: %(default)s)",
    )
    c.add_argument(
        "--rows",
        metavar="CSV",
        help="write a table with a row for each condition, seed and episode to this file (CSV or Parquet)",
    )
    c.add_argument("--plot", metavar="PNG", help="draw the return of each episode into this file (PNG, PDF or SVG)")


def parser() -> argparse.ArgumentParser:
    """Returns the parser of all subcommands and their options."""
    top = argparse.ArgumentParser(
        prog="gla", description="Agents that learn in context: make them, let them learn, watch them.",
        epilog=EXAMPLES[None], formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    top.add_argument("--version", action="version", version=f"gla {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, run: Callable, help: str) -> argparse.ArgumentParser:
        made = commands.add_parser(
            name, help=help, description=f"{help[0].upper()}{help[1:]}.", epilog=EXAMPLES[name],
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )  # fmt: skip
        made.set_defaults(run=run)
        return made

    c = command("learn", _learn, "let an agent learn in an environment that it may never have seen")
    c.add_argument(
        "--agent",
        default=GENERAL,
        help=f"folder of a trained agent, or the name of one that is installed: {', '.join(agents())} (default: %(default)s)",
    )
    _add_environment(c, [*usual(IN_CONTEXT), *of_role("calm")])
    c.add_argument(
        "--temperature", type=float, help="factor on the action noise; 0 removes it (default: the agent's own)"
    )
    c.add_argument(
        "--cooling",
        metavar="YAML",
        help="how the temperature falls from the first step on, such as '{steps: 1000, temperature: 0.3}' (default: the agent's own, or not at all if --temperature is given)",
    )
    c.add_argument(
        "--video",
        metavar="MP4",
        help="film the first and the last episode of one further run, side by side, into this file",
    )
    c = command("judge", _judge, "judge whether any agent of your own learns, as agents of this package are judged")
    c.add_argument(
        "--policy",
        required=True,
        metavar="MODULE:FUNCTION",
        help="function make(env, seed) that returns a new agent, or what gla.learner returns; the module is looked for here too",
    )
    c.add_argument(
        "--batched",
        action="store_true",
        help="the function is make(env, seeds) of one agent that acts in all runs at once",
    )
    _add_environment(c, [*usual(IN_CONTEXT), *of_role("calm"), *usual(of_role("online"))])

    c = command(
        "new", _new, "write a package of your own to begin with: an environment, a kind of labels, and a config"
    )
    c.add_argument("name", help="name of the package, in a new folder of this name")
    c = command("run", _run, "run the pipeline of a config, from histories to figures")
    c.add_argument("config", help="the config, a YAML file")
    c.add_argument(
        "arguments",
        nargs=argparse.REMAINDER,
        metavar="...",
        help="what Snakemake takes, options and targets (default: --cores all all)",
    )
    c = command("verify", _verify, "check that no file of results is missing, altered or cut off")
    c.add_argument("folder", nargs="?", default="results", help="folder of results (default: %(default)s)")
    c = command("inspect", _inspect, "print what a history holds, and draw it")
    c.add_argument("store", help="folder that holds a history.zarr, or the history.zarr itself")
    c.add_argument("--plot", metavar="PNG", help="draw returns, action noise and visited states into this file")
    c = command("export", _export, "write a history in the format of another library")
    c.add_argument("store", help="folder that holds a history.zarr, or the history.zarr itself")
    c.add_argument(
        "--minari", action="store_true", required=True, help="write a Minari dataset (the only format so far)"
    )
    c.add_argument("--id", required=True, help="name of the dataset, such as grid/ppo-v0")
    c.add_argument(
        "--to", metavar="FOLDER", help="folder in which Minari keeps its datasets (default: ~/.minari/datasets)"
    )
    c = command("card", _card, "write an agent's model card, README.md in its folder")
    c.add_argument("agent", help="folder of a trained agent")
    c.add_argument("rollouts", nargs="*", help="Parquet files of rollouts whose returns the card reports")
    c.add_argument(
        "--verdicts",
        metavar="CSV",
        help="table of verdicts, such as results/tables/verdicts.csv, of which the card reports the agent's rows",
    )
    return top


def main(arguments: list[str] | None = None) -> int:
    """Runs one command and returns its exit status."""
    a = parser().parse_args(arguments)
    watchdog.ends = True
    progress.print_anything()
    try:
        return a.run(a) or 0
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        from gla.environments.spaces import UnsupportedEnvironment
        from gla.job import errors
        from gla.options import ConfigError

        if os.environ.get("GLA_DEBUG") or not isinstance(error, (*errors(), ImportError)):
            raise
        print(f"gla {a.command}: error: {error}", file=sys.stderr)
        return 2 if isinstance(error, ConfigError | UnsupportedEnvironment | ImportError) else 1


if __name__ == "__main__":
    sys.exit(main())
