# SPDX-License-Identifier: Apache-2.0
"""``smolvla dataset describe``: a vision-language model writes the sentences of a dataset.

The authors of SmolVLA let Qwen2.5-VL-3B-Instruct look at the frames of community datasets, whose
tasks are called "Task 1" or nothing, and write short, uniform sentences (arXiv 2506.01844,
section 4.1). The answers go into a table (CSV) first, which may be edited, and from there into a
new dataset.
"""

from __future__ import annotations

import argparse
import csv
import io
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from html import escape
from itertools import islice
from pathlib import Path

import numpy as np
from smolvla_core.console import (
    DONE,
    INTERRUPTED,
    NO,
    command_parser,
    could_not_run,
    raise_on_interrupt,
)
from smolvla_core.settings import (
    SettingError,
    add_arguments,
    from_arguments,
    setting,
)
from tqdm import tqdm

from smolvla_learning.dataset import Dataset, DatasetError
from smolvla_learning.dataset.layout import complete_file
from smolvla_learning.describing.models import (
    ModelError,
    ModelSettings,
    Picture,
    Prompt,
    VisionLanguageModel,
    beside,
    fitted,
    jpeg,
    make_model,
)
from smolvla_learning.describing.relabel import Segment, relabel, segments
from smolvla_learning.describing.sentences import MAX_WORDS, cleaned, problem_of, question

PROG = "smolvla dataset describe"


@dataclass(frozen=True, kw_only=True)
class DescribeSettings(ModelSettings):
    """What writes the sentences, what it is shown, and where they go."""

    output: Path | None = setting(
        None, "The new dataset, a folder that does not exist; without it only the table is made."
    )
    table: Path | None = setting(
        None,
        "CSV file of the sentences, which an interrupted run continues and you may edit (default: "
        "DATASET-sentences.csv beside the dataset, of a hub id in the present folder); a page "
        "(.html) to look at them stands beside it.",
    )
    frames: int = setting(4, "Pictures of each camera, from begin to end of the sentence.", 1, 32)
    cameras: tuple[str, ...] = setting((), "Cameras that are shown (default: all).")
    tries: int = setting(3, "How often is asked until an answer is an instruction.", 1, 10)
    batch_size: int = setting(1, "Prompts that a model in this process answers at once.", 1, 256)


@dataclass
class Row:
    """A row of the table.

    Attributes:
        episode: its index.
        before: the sentence up to now.
        after: the new one; empty where there is none yet.
        problem: why the last answer is not taken; empty for nothing.
    """

    episode: int
    before: str
    after: str = ""
    problem: str = ""

    @property
    def key(self) -> tuple[int, str]:
        """Which segment it is of."""
        return self.episode, self.before


COLUMNS = [field.name for field in fields(Row)]


class Table:
    """The sentences, in a file that is complete after each change.

    Args:
        path: of the CSV file.
        wanted: the segments of the dataset.

    Raises:
        DatasetError: the file is of another dataset, or no such table.
    """

    def __init__(self, path: Path, wanted: Sequence[Segment]) -> None:
        self.path = path
        self.rows = [Row(segment.episode, segment.task) for segment in wanted]
        self._by_key = {row.key: row for row in self.rows}
        if path.exists():
            self._read()

    def _read(self) -> None:
        try:
            text = self.path.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            raise DatasetError(f"{self.path}: is not in UTF-8; save it as CSV in UTF-8") from error
        # Spreadsheets save with semicolons where the comma is decimal.
        comma = max(",;\t", key=text.partition("\n")[0].count)
        lines = csv.DictReader(io.StringIO(text, newline=""), delimiter=comma)
        lacking = [name for name in COLUMNS if name not in (lines.fieldnames or ())]
        if lacking:
            raise DatasetError(
                f"{self.path}: is no table of sentences: it lacks the column {', '.join(lacking)}"
            )
        seen = set()
        for line in lines:
            where = f"{self.path}, line {lines.line_num}"
            episode, before = (line["episode"] or "").strip(), line["before"] or ""
            row = self._by_key.get((int(episode), before)) if episode.isdecimal() else None
            if row is None:
                raise DatasetError(
                    f"{where}: episode '{episode}' has no sentence '{before}' in this dataset; "
                    "choose another --table"
                )
            if row.key in seen:
                raise DatasetError(f"{where}: episode {episode} stands there twice; remove one")
            seen.add(row.key)
            row.after = cleaned(line["after"] or "")
            row.problem = problem_of(row.after) if row.after else line["problem"] or ""

    def write(self) -> None:
        """Write the file."""
        with (
            complete_file(self.path) as partial,
            partial.open("w", newline="", encoding="utf-8") as file,
        ):
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(asdict(row) for row in self.rows)

    @property
    def missing(self) -> list[Row]:
        """Rows without a sentence."""
        return [row for row in self.rows if not row.after]

    @property
    def wrong(self) -> list[Row]:
        """Rows whose sentence breaks the rules, as somebody wrote it."""
        return [row for row in self.rows if row.after and row.problem]


def pictures_of(dataset: Dataset, segment: Segment, settings: DescribeSettings) -> list[Picture]:
    """Return what a model is shown: moments of a segment, each with its cameras side by side.

    Raises:
        DatasetError: there is no such camera, or its images are damaged.
    """
    count = min(settings.frames, len(segment.frames))
    chosen = np.linspace(0, len(segment.frames) - 1, count).round().astype(int)
    wanted = [segment.frames[at] for at in chosen]
    columns = [
        _frames(dataset, camera, segment.episode, wanted, settings.size)
        for camera in _cameras(dataset, settings.cameras)
    ]
    return [beside(moment) for moment in zip(*columns, strict=True)]


def _cameras(dataset: Dataset, wished: Sequence[str]) -> list[str]:
    if not dataset.cameras:
        raise DatasetError(
            f"{dataset.folder}: has no color camera, so there is nothing to look at"
        )
    if not wished:
        return dataset.cameras
    by_name = {camera.rpartition(".")[2]: camera for camera in dataset.cameras}
    unknown = [name for name in wished if name not in by_name and name not in dataset.cameras]
    if unknown:
        raise DatasetError(
            f"{dataset.folder}: has no camera {', '.join(unknown)}; it has {', '.join(by_name)}"
        )
    return [by_name.get(name, name) for name in wished]


def _frames(
    dataset: Dataset, camera: str, episode: int, wanted: Sequence[int], size: int
) -> list[Picture]:
    images = islice(dataset.frames(camera, episode), max(wanted) + 1)
    chosen = {at: image for at, image in enumerate(images) if at in set(wanted)}
    return [fitted(chosen[at], size) for at in wanted]


def ask(
    model: VisionLanguageModel, shown: Sequence[tuple[Row, Sequence[Picture]]], tries: int
) -> None:
    """Let a model write the sentences of rows; a row of which no answer fits keeps the problem.

    Raises:
        ModelError: it does not answer.
    """
    open_rows = list(shown)
    for _ in range(tries):
        if not open_rows:
            return
        prompts = [Prompt(images, question(row.before, row.problem)) for row, images in open_rows]
        for (row, _), text in zip(open_rows, model.answer(prompts), strict=True):
            sentence = cleaned(text)
            row.problem = problem_of(sentence)
            if not row.problem:
                row.after = sentence
            else:
                row.problem = f"'{sentence[:80]}': {row.problem}"
        open_rows = [(row, images) for row, images in open_rows if not row.after]


def describe(
    dataset: Dataset,
    settings: DescribeSettings,
    table: Table,
    make: Callable[[], VisionLanguageModel],
) -> None:
    """Fill the rows that the table lacks; each is in its file before the next is asked for.

    Raises:
        DatasetError: images cannot be read.
        ModelError: the model does not answer; what it has answered is in the table.
    """
    missing = {row.key: row for row in table.missing}
    todo = [segment for segment in segments(dataset) if (segment.episode, segment.task) in missing]
    if not todo:
        return
    _cameras(dataset, settings.cameras)  # before a model is loaded
    folder = pictures_folder(table.path)
    model = make()
    bar = tqdm(total=len(todo), unit="sentence", disable=None)
    with bar:
        for group in _groups(todo, model.batch):
            shown = []
            for segment in group:
                row = missing[segment.episode, segment.task]
                images = pictures_of(dataset, segment, settings)
                _keep(folder, row, images)
                shown.append((row, images))
            ask(model, shown, settings.tries)
            table.write()
            bar.update(len(group))


def _groups(todo: Sequence[Segment], size: int) -> Iterator[Sequence[Segment]]:
    for begin in range(0, len(todo), size):
        yield todo[begin : begin + size]


def pictures_folder(table: Path) -> Path:
    """Return where the pictures of a table's page are."""
    return table.with_name(f"{table.stem}-pictures")


def _picture(folder: Path, row: Row) -> Path:
    return folder / f"episode-{row.episode:06d}-{zlib.crc32(row.before.encode()):08x}.jpg"


def _keep(folder: Path, row: Row, images: Sequence[Picture]) -> None:
    small = [fitted(image, 240) for image in images]
    folder.mkdir(parents=True, exist_ok=True)
    _picture(folder, row).write_bytes(jpeg(beside(small), 75))


def page(table: Table, title: str) -> str:
    """Return the page (HTML) that shows pictures, sentences of before, and the new ones."""
    folder = pictures_folder(table.path)
    rows = []
    for row in table.rows:
        image = _picture(folder, row)
        shown = f'<img loading="lazy" src="{folder.name}/{image.name}">' if image.exists() else ""
        kind = ' class="open"' if row.problem or not row.after else ""
        rows.append(
            f"<tr{kind}><td>{row.episode}</td><td>{shown}</td><td>{escape(row.before)}</td>"
            f"<td>{escape(row.after)}</td><td>{escape(row.problem)}</td></tr>"
        )
    style = (
        "body{font:15px/1.5 system-ui,sans-serif;margin:2em;color:#1c1e22}"
        "td,th{padding:.3em .8em;border-bottom:1px solid #ddd;text-align:left;"
        "vertical-align:top}img{max-width:40em}tr.open td{background:#fdf1e8}"
    )
    head = "".join(f"<th>{name}</th>" for name in ("episode", "pictures", *COLUMNS[1:]))
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}'
        f"</title><style>{style}</style></head><body><h1>{escape(title)}</h1>\n"
        f"<p>Edit {escape(table.path.name)} (column after), then give the same command with "
        f"--output.</p><table><tr>{head}</tr>\n" + "\n".join(rows) + "</table></body></html>\n"
    )


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    made = command_parser(
        PROG,
        "Let a vision-language model write the sentence of each episode: into a table to look at "
        "and edit, and from there into a new dataset.",
        f"{PROG} data/cubes --server http://localhost:8000/v1 --output data/cubes_described",
        "0 done, 1 sentences are missing or break the rules, 2 it could not be done, 130 Ctrl-C, "
        "the same command continues",
    )
    made.add_argument("dataset", help="folder, or owner/name[@revision] on the hub")
    add_arguments(made, DescribeSettings)
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    arguments = parser().parse_args(argv)
    raise_on_interrupt()
    try:
        settings = from_arguments(DescribeSettings, arguments)
        return _run(arguments.dataset, settings)
    except (DatasetError, ModelError, SettingError, OSError) as error:
        return could_not_run(PROG, error)
    except KeyboardInterrupt:
        print(f"{PROG}: interrupted; the same command continues", file=sys.stderr)
        return INTERRUPTED


def _table_of(source: str) -> Path:
    folder = Path(source).expanduser()
    if folder.exists():
        folder = folder.resolve()
        return folder.with_name(f"{folder.name}-sentences.csv")
    return Path(f"{source.partition('@')[0].replace('/', '-')}-sentences.csv")


def _listed(rows: Sequence[Row]) -> str:
    """Return the problems of the first rows, to be put behind a text."""
    shown = [f"episode {row.episode}: {row.problem or 'none'}" for row in rows[:3]]
    more = f" and {len(rows) - 3} more" if len(rows) > 3 else ""
    return f"; {'; '.join(shown)}{more}" if shown else ""


def _run(source: str, settings: DescribeSettings) -> int:
    dataset = Dataset.open(source)
    if settings.output is not None and settings.output.exists():
        raise DatasetError(f"{settings.output}: exists; choose another --output")
    path = settings.table or _table_of(source)
    table = Table(path, segments(dataset))

    def make() -> VisionLanguageModel:
        if not settings.model and not settings.server:
            raise SettingError(
                "model",
                f"is not given, and {len(table.missing)} of {len(table.rows)} sentences are "
                f"missing in {path}{_listed(table.wrong)}: name a --model or a --server, or write "
                "them yourself",
            )
        return make_model(settings, settings.batch_size)

    try:
        if not path.exists():
            table.write()
        describe(dataset, settings, table, make)
    finally:
        good = len(table.rows) - len(table.missing) - len(table.wrong)
        title = f"{good} of {len(table.rows)} sentences"
        with complete_file(path.with_suffix(".html")) as partial:
            partial.write_text(page(table, f"{dataset.folder.name}: {title}"), encoding="utf-8")
        print(f"{title} are in {path}; {path.with_suffix('.html')} shows them", flush=True)
    if open_rows := [*table.missing, *table.wrong]:
        print(
            f"{PROG}: {len(open_rows)} sentences are missing or break the rules (one, imperative, "
            f"at most {MAX_WORDS} words){_listed(open_rows)}. Write them into {path}; what is "
            "empty there is asked for again",
            file=sys.stderr,
        )
        return NO
    if settings.output is None:
        print("look at them, edit the table, then give the same command with --output")
        return DONE
    count = relabel(dataset, {row.key: row.after for row in table.rows}, settings.output)
    print(f"{settings.output}: {dataset.num_episodes} episodes, {count} different sentences")
    return DONE


if __name__ == "__main__":
    raise SystemExit(main())
