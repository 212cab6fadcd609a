"""Output for people: a summary of an agent's returns, a video of its first and last episode, and the content of a history."""

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gla.environments.making import make, time_limit
from gla.environments.spaces import UnsupportedEnvironment
from gla.files import CorruptFile, asked_for, named
from gla.options import ConfigError
from gla.statistics import mean_interval
from gla.storage import layout, reading

STATES = 100_000  # most observations in the drawing of visited states
HEIGHT = 240  # height of a video's frames in pixels


def summary(frame: pd.DataFrame) -> str:
    """Returns, as text, the first and the last return of every condition in the rows of ``Agent.learn``, and the gain: means over seeds and, if
    there are several, 95 % intervals."""
    if frame.empty:
        raise ConfigError("no episode ended (expected more steps, or a lower kwargs.max_episode_steps)")
    rows, shown = [], "{:.4g} [{:.4g}, {:.4g}]"
    for condition, own in frame.groupby("condition", sort=False):
        ends = own.groupby("seed")["episode_return"].agg(["first", "last"])
        text = {
            name: (shown if len(ends) > 1 else "{:.4g}").format(*mean_interval(values.to_numpy()))
            for name, values in (
                ("first episode", ends["first"]), ("last episode", ends["last"]), ("gain", ends["last"] - ends["first"]),
            )
        }  # fmt: skip
        rows.append({"condition": condition, "seeds": len(ends)} | text)
    return pd.DataFrame(rows).to_string(index=False) + "\n(return: mean and 95 % interval over seeds)" * any(
        row["seeds"] > 1 for row in rows
    )


def plot_returns(frame: pd.DataFrame, path: str | Path) -> None:
    """Draws the rows of ``Agent.learn`` like a figure of kind in_context."""
    from gla.figures.drawing import plot, tabulate
    from gla.figures.in_context import Options
    from gla.figures.panels import Panel

    name = str(frame["environment"].iloc[0])
    ragged = frame.groupby(["condition", "seed"]).size().nunique() > 1
    entry = Options(kind="in_context", x="env_steps" if ragged else "episode", panels=[Panel(evaluation=name)])
    with tempfile.TemporaryDirectory() as folder, named(folder), asked_for(path) as temporary:
        rows, table = f"{folder}/rows.parquet", f"{folder}/table.csv"
        frame.to_parquet(rows, index=False)
        tabulate(entry, {"rollouts": [[rows]], "optimal": [None], "tasks": [1]}, table)
        plot(entry, table, [temporary])


def video(
    agent, env, path: str | Path, episodes: int | None = None, kwargs: dict[str, Any] | None = None, **settings
) -> None:
    """Films the first and the last of an agent's episodes (20 by default) from an empty context, side by side.

    agent: a ``gla.api.LoadedAgent``. env, kwargs, settings: as in its ``learn``. Raises UnsupportedEnvironment
    if the environment or the machine cannot render.
    """
    try:
        import imageio_ffmpeg  # noqa: F401  the codec, which imageio finds
        from imageio import get_writer
    except ImportError:
        raise ImportError("--video needs imageio and ffmpeg (pip install 'imageio[ffmpeg]')") from None
    from gla.api import env_id
    from gla.progress import Progress

    episodes = episodes or 20
    made = _renderable(env_id(env), kwargs or {})
    try:
        limit = time_limit(made)
        if limit is None or settings.get("env_steps") is not None:
            raise ConfigError(
                f"video of {env!r}: the number of steps is not bounded by episodes "
                "(expected episodes instead of env_steps, and max_episode_steps in kwargs)"
            )
        policy = agent.policy(made, **settings | {"env_steps": episodes * limit})
        observation, _ = made.reset(seed=settings.get("seed", 0))
        progress = Progress(f"video {env}", episodes, "episodes")
        films: dict[int, list[np.ndarray]] = {0: [], episodes - 1: []}
        for episode in range(episodes):
            earned, done, step = 0.0, False, 0
            while not done:
                if episode in films:
                    films[episode].append(
                        _frame(made.render(), f"episode {episode + 1}, step {step}: return {earned:.4g}")
                    )
                observation, reward, terminated, truncated, _ = made.step(policy.act(observation))
                done, step, earned = terminated or truncated, step + 1, earned + float(reward)
                policy.observe(float(reward), done)
            if episode in films:
                films[episode].append(_frame(made.render(), f"episode {episode + 1}, step {step}: return {earned:.4g}"))
            observation, _ = made.reset()
            progress.advance(1)
        rate = made.metadata.get("render_fps", 30)
    finally:
        made.close()
    first, last = films[0], films[episodes - 1]
    with asked_for(path) as temporary, get_writer(temporary, fps=rate, macro_block_size=2) as writer:
        for t in range(max(len(first), len(last))):  # the shorter episode stays at its last frame
            writer.append_data(np.hstack([first[min(t, len(first) - 1)], last[min(t, len(last) - 1)]]))


def _renderable(name: str, kwargs: dict[str, Any]):
    """Returns an environment after a test that it renders. Raises UnsupportedEnvironment, which says what is missing."""
    shown = os.environ.get("MUJOCO_GL", "" if "DISPLAY" in os.environ else "disabled")
    if shown == "disabled" and sys.platform.startswith("linux"):  # set for jobs, which render nothing
        os.environ["MUJOCO_GL"] = "egl"
    made = make(name, render_mode="rgb_array", **kwargs)
    try:
        made.reset(seed=0)
        if not isinstance(made.render(), np.ndarray):
            raise RuntimeError("it returns no picture")
    except Exception as error:  # each renderer raises errors of its own types
        raise UnsupportedEnvironment(
            f"environment {name!r} cannot be rendered: {' '.join(str(error).split())} (expected one with "
            f"render_mode rgb_array; MuJoCo needs MUJOCO_GL=egl with Debian's libegl1, or MUJOCO_GL=osmesa with "
            f"libosmesa6, and MUJOCO_GL is {os.environ.get('MUJOCO_GL')!r})"
        ) from None
    return made


def _frame(picture: np.ndarray, text: str) -> np.ndarray:
    """Returns a picture, scaled to a fixed height, with a line of text above it, uint8 (rows, columns, 3)."""
    from PIL import Image, ImageDraw

    width = max(2, round(picture.shape[1] * HEIGHT / picture.shape[0] / 2) * 2)
    frame = Image.new("RGB", (max(width, HEIGHT), HEIGHT + 24), "white")
    frame.paste(Image.fromarray(picture).resize((width, HEIGHT)), (0, 24))
    ImageDraw.Draw(frame).text((6, 6), text, fill="black")
    return np.asarray(frame)


def locate(store: str | Path) -> tuple[Path, Path]:
    """Returns (store, digest) of a history, given its folder or its history.zarr. Raises CorruptFile if there is none."""
    path = Path(store)
    path = path if path.name == "history.zarr" else path / "history.zarr"
    if not path.is_dir():
        raise CorruptFile(
            f"{path}: missing (expected a folder that holds a history.zarr, such as results/histories/grid_hidden/0-31)"
        )
    beside = path.with_name("digest.json")
    return path, beside if beside.exists() else path.parent.with_suffix(".json")


def schema(store: str | Path) -> str:
    """Returns, as text, the source and the sizes of a history, and its arrays with their axes."""
    path, digest = locate(store)
    body = layout.read_digest(digest)
    arrays = reading.arrays(path, body)
    returns = pd.DataFrame(body["mean_return"], dtype=float).ffill(axis=1).bfill(axis=1)
    lines = [
        f"{path}",
        f"{body['config']['environment']['id']} ({body['source']}): {len(body['lifetimes'])} lifetimes x {body['num_envs']} streams x "
        f"{body['updates']} updates x {body['steps_per_update']} steps, {'discrete' if body['discrete'] else 'continuous'} actions",
        f"mean return {returns.iloc[:, 0].mean():.4g} in the first update, {returns.iloc[:, -1].mean():.4g} in the last",
        "",
    ]
    for name, array in sorted(arrays.items()):
        axes = ", ".join(
            f"{axis} {size}" for axis, size in zip(array.metadata.dimension_names, array.shape, strict=True)
        )
        lines.append(f"{name:<26} {array.dtype!s:<8} ({axes})")
    return "\n".join(lines)


def _noise(h: reading.History) -> tuple[str, np.ndarray] | None:
    """Returns a name for how random actions were, and its value in each update (K, U); None if no distributions were recorded."""
    if "log_std" in h.arrays:
        return "deviation", np.exp(h.log_std).mean(-1)
    if "logits" not in h.arrays:
        return None
    shifted = h.logits - h.logits.max(-1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    entropy = -(np.exp(log_p) * log_p).sum(-1)
    return "entropy (nats)", entropy.reshape(*entropy.shape[:2], h.updates, -1).mean((1, 3))


def plot_history(store: str | Path, path: str | Path) -> None:
    """Draws a history: returns and action noise by update, and the states that were visited."""
    from gla.figures.drawing import plt, styled

    h = reading.read(*locate(store))
    with styled({}):
        figure, (left, middle, right) = plt.subplots(1, 3, figsize=(8, 2.4), layout="constrained")
        left.plot(h.mean_return.T, color="0.7", linewidth=0.5)
        left.plot(pd.DataFrame(h.mean_return).mean())
        left.set(title="return, by lifetime and mean", xlabel="update")
        if noise := _noise(h):
            middle.set(title=f"action noise: {noise[0]}", xlabel="update")
            middle.plot(noise[1].T, color="0.7", linewidth=0.5)
            middle.plot(noise[1].mean(0))
            middle.set_ylim(0, 1.1 * max(noise[1].max(), 1e-6))
        else:  # the source recorded no distributions
            middle.set_axis_off()
        states = h.observation.reshape(-1, h.observation.shape[-1])
        states = states[:: -(-len(states) // STATES)].astype(float)
        states = states - states.mean(0)
        axes = np.linalg.svd(states, full_matrices=False)[2][:2]
        x, y = (states @ axes.T).T if len(axes) == 2 else (states[:, 0], np.zeros(len(states)))
        drawn = right.hexbin(x, y, gridsize=40, bins="log", mincnt=1, linewidths=0)
        right.set(title="states seen", xlabel="1st principal component", ylabel="2nd")
        figure.colorbar(drawn, ax=right, label="steps")
        with asked_for(path) as temporary:
            figure.savefig(temporary)
        plt.close(figure)
