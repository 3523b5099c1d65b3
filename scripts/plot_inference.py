# SPDX-License-Identifier: Apache-2.0
"""Draws what `smolvla bench inference --json` has measured: latency over cameras, a panel a file.

. ./env.sh
python scripts/plot_inference.py bench_out/inference*.json --output docs/images/inference.png
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

COLORS = {"torch": "#0072B2", "openvino": "#D55E00", "lerobot": "#555555"}
NAMES = {"torch": "PyTorch", "openvino": "OpenVINO", "lerobot": "LeRobot"}
STYLES = {"float32": ":", "bfloat16": "--", "int8": "-"}


def draw(reports: Sequence[dict[str, Any]], path: Path) -> None:
    """Write the picture, one panel per report."""
    figure = Figure(figsize=(4.6 * len(reports), 4.4), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(reports), squeeze=False, sharey=True)[0]
    for axes, report in zip(panels, reports, strict=True):
        lines: dict[tuple[str, str], list[tuple[int, float]]] = {}
        for row in report["results"]:
            if not row["busy"] and row["real_time_chunking"] == "off":
                point = (row["cameras"], 1e3 * row["total"])
                lines.setdefault((row["engine"], row["dtype"]), []).append(point)
        for (engine, dtype), points in lines.items():
            label = f"{NAMES[engine]} {dtype}"
            color, style = COLORS[engine], STYLES[dtype]
            axes.plot(*zip(*points, strict=True), style, color=color, marker="o", label=label)
        axes.set_xticks(sorted({x for points in lines.values() for x, _ in points}))
        axes.set_xlabel("cameras")
        axes.set_title(f"limited to {report['isa']}" if report["isa"] else "all instructions")
        axes.set_ylim(bottom=0.0)
        axes.grid(alpha=0.25)
        axes.legend(fontsize=8)
    panels[0].set_ylabel("one chunk [ms]")
    first = reports[0]
    figure.suptitle(f"{first['processor']['name']}, {first['threads']} threads", fontsize=11)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def main(argv: Sequence[str] | None = None) -> int:
    """Draw the files that are named."""
    parser = argparse.ArgumentParser(description="Draw latency over cameras and engines.")
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--output", type=Path, default=Path("bench_out/inference.png"))
    arguments = parser.parse_args(argv)
    draw([json.loads(file.read_text("utf-8")) for file in arguments.files], arguments.output)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
