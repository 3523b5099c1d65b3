# SPDX-License-Identifier: Apache-2.0
"""The page of an evaluation: figures with intervals, and films of failures. One HTML file."""

from __future__ import annotations

import base64
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from smolvla_learning.dataset.video import EpisodeVideo, VideoOptions

from smolvla_sim.play import measures
from smolvla_sim.world.rendering import CameraRenderer
from smolvla_sim.world.simulation import Simulation

if TYPE_CHECKING:
    from smolvla_sim.evaluate import EpisodeResult

FILMS = 6
"""Failures that are filmed, the first ones."""
_CAMERAS = ("beauty", "wrist")
_SIZE = (320, 240)
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em;
  color: #1c1e22; background: #fff }
table { border-collapse: collapse; margin: .5em 0 1.5em }
th, td { text-align: left; padding: .2em 1em .2em 0; border-bottom: 1px solid #ddd;
  white-space: nowrap }
td.number { text-align: right; font-variant-numeric: tabular-nums }
tr.failed td { background: #fdf1e8 }
svg { display: block } video { display: block; max-width: 100%; background: #000 }
figure { display: inline-block; width: 27em; margin: 0 1em 1em 0; vertical-align: top }
"""
_BAR_WIDTH = 260  # pixels of 100 %


class Film:
    """Films episodes, each picture at the time of a command.

    Args:
        rate: commands per second.

    Raises:
        smolvla_sim.world.rendering.RenderingError: no OpenGL works.
    """

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._renderer: CameraRenderer | None = None
        self._pictures: list[NDArray[np.uint8]] = []

    def watch(self, simulation: Simulation) -> None:
        """Take a picture of this instant."""
        if self._renderer is None:
            self._renderer = CameraRenderer(simulation.model, _CAMERAS, _SIZE)
        images = self._renderer.render(simulation.data)
        self._pictures.append(np.hstack([images[camera] for camera in _CAMERAS]))

    def take(self) -> bytes:
        """Return what was filmed since the last call as MP4 (H.264)."""
        pictures, self._pictures = self._pictures, []
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "film.mp4")
            height, width, _ = pictures[0].shape
            options = VideoOptions(crf=26, keyframe_interval=100)
            video = EpisodeVideo(path, max(1, round(self._rate)), height, width, options)
            for picture in pictures:
                video.add(picture)
            video.finish()
            return path.read_bytes()

    def close(self) -> None:
        """Free the renderer."""
        if self._renderer is not None:
            self._renderer.close()


def films(
    results: Sequence[EpisodeResult],
    rate: float,
    player: Callable[[Callable[[Simulation], None]], Callable[[int], EpisodeResult]],
) -> dict[int, bytes]:
    """Play the first failures again and return seed -> MP4.

    Args:
        results: of all episodes.
        rate: commands per second.
        player: is given what to call with each command; returns what plays a seed.
    """
    seeds = [result.seed for result in results if not result.success][:FILMS]
    if not seeds:
        return {}
    with ExitStack() as stack:
        film = Film(rate)
        stack.callback(film.close)
        play = player(film.watch)
        taken = {}
        for seed in seeds:
            play(seed)
            taken[seed] = film.take()
    return taken


def page(
    title: str,
    results: Sequence[EpisodeResult],
    numbers: Mapping[str, Any],
    filmed: Mapping[int, bytes],
) -> str:
    """Return the page as HTML that needs no other file.

    Args:
        title: what was evaluated, a line.
        results: of at least one episode.
        numbers: their summary.
        filmed: seed -> MP4 of its episode.
    """
    episodes, failures = len(results), numbers["failures"]
    shares = [("success", numbers["successes"]), *failures.items()]
    tasks = Counter(result.task for result in results)
    done = Counter(result.task for result in results if result.success)
    interval = "95 % interval"
    parts = [
        f"<p>{escape(title)}</p>",
        "<h2>Outcomes</h2>",
        _table(
            ("outcome", "episodes", "share", interval, ""),
            [
                _share(kind, count, episodes)
                for kind, count in shares
                if count or kind == "success"
            ],
        ),
        "<h2>Success by instruction</h2>" if len(tasks) > 1 else "",
        _table(
            ("instruction", "done", "share", interval, ""),
            [_share(task, done[task], count) for task, count in sorted(tasks.items())],
        )
        if len(tasks) > 1
        else "",
        "<p>Intervals of shares are Clopper and Pearson's.</p>",
        f"<p>Mean graded score {numbers['mean_score']:.3f}.{_time(numbers)}</p>",
        "<h2>Failures</h2>" if filmed else "",
        *(_figure(result, filmed[result.seed]) for result in results if result.seed in filmed),
        "<h2>Episodes</h2>",
        _table(
            ("seed", "instruction", "outcome", "score", "time [s]", "chunks", "last refusal"),
            [_episode(result) for result in results],
        ),
    ]
    name = f"success {numbers['successes']} of {episodes}"
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{name}</title>'
        f"<style>{_STYLE}</style></head><body>\n<h1>{name}</h1>\n"
        + "\n".join(filter(None, parts))
        + "\n</body></html>\n"
    )


def _time(numbers: Mapping[str, Any]) -> str:
    if numbers["seconds_per_success"] is None:
        return ""
    low, high = numbers["seconds_interval"]
    mean = numbers["seconds_per_success"]
    return f" Time per success {mean:.2f} s (95 % interval of the mean {low:.2f} to {high:.2f} s)."


def _table(head: Sequence[str], rows: Sequence[str]) -> str:
    heads = "".join(f"<th>{name}</th>" for name in head)
    return f"<table><tr>{heads}</tr>\n" + "\n".join(rows) + "</table>"


def _share(what: str, count: int, episodes: int) -> str:
    """Return a row: how many of the episodes, with the interval as text and as a bar."""
    low, high = measures.clopper_pearson(count, episodes)
    start, end, at = (_BAR_WIDTH * share for share in (low, high, count / episodes))
    bar = (
        f'<svg width="{_BAR_WIDTH}" height="16" role="img">'
        f'<rect width="{_BAR_WIDTH}" y="6" height="4" fill="#e4e4e4"/>'
        f'<rect x="{start:.1f}" width="{end - start:.1f}" y="4" height="8" fill="#56B4E9"/>'
        f'<rect x="{at - 1.5:.1f}" width="3" height="16" fill="#0072B2"/></svg>'
    )
    return (
        f'<tr><td>{escape(what)}</td><td class="number">{count} of {episodes}</td>'
        f'<td class="number">{100 * count / episodes:.1f} %</td>'
        f"<td>{100 * low:.1f} to {100 * high:.1f} %</td><td>{bar}</td></tr>"
    )


def _figure(result: EpisodeResult, film: bytes) -> str:
    data = base64.b64encode(film).decode()
    return (
        f'<figure><video controls muted loop src="data:video/mp4;base64,{data}"></video>'
        f"<figcaption>seed {result.seed}, {escape(result.task)}: {escape(result.outcome)}, score "
        f"{result.score:.2f}</figcaption></figure>"
    )


def _episode(result: EpisodeResult) -> str:
    row = '<tr class="failed">' if not result.success else "<tr>"
    texts = (result.task, result.outcome)
    figures = (f"{result.score:.2f}", f"{result.seconds:.2f}", str(result.chunks))
    return (
        f'{row}<td class="number">{result.seed}</td>'
        + "".join(f"<td>{escape(text)}</td>" for text in texts)
        + "".join(f'<td class="number">{figure}</td>' for figure in figures)
        + f"<td>{escape(result.refusal)}</td></tr>"
    )
