"""All curves of a run in one picture, `curves.png`."""

import json
from math import ceil
from pathlib import Path

COLUMNS = 4


def draw_curves(out: Path) -> Path | None:
    """Draw every quantity of `metrics.jsonl` over the steps, each in a panel of its own.

    Needs matplotlib (extra `train`).

    Returns:
        The picture, or None where there is no matplotlib or nothing to draw.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return None
    series = read_series(out / "metrics.jsonl")
    if not series:
        return None
    rows = ceil(len(series) / COLUMNS)
    figure = Figure(figsize=(3.5 * COLUMNS, 2.0 * rows), layout="tight")
    for place, (name, points) in enumerate(series.items(), 1):
        axes = figure.add_subplot(rows, COLUMNS, place)
        axes.plot(*zip(*points, strict=True), linewidth=0.8, marker="." if len(points) < 40 else "")
        axes.set_title(name, fontsize=8)
        axes.tick_params(labelsize=6)
    figure.savefig(out / "curves.png", dpi=110)
    return out / "curves.png"


def read_series(path: Path) -> dict[str, list[tuple[int, float]]]:
    """(step, value) of each quantity; of a step that was done twice, the later values."""
    series: dict[str, dict[int, float]] = {}
    if path.is_file():
        for line in path.read_text(encoding="utf-8").splitlines():
            row: dict[str, float] = json.loads(line)
            step = int(row.pop("step"))
            row.pop("seconds", None)
            for name, value in row.items():
                series.setdefault(name, {})[step] = value
    return {name: sorted(points.items()) for name, points in series.items()}
