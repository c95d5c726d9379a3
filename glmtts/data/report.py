"""What a preparation did, as numbers, as lines for the terminal and as a page with players."""

import html
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from glmtts.data.files import write_json, write_text
from glmtts.data.pool import Item
from glmtts.data.selection import OTHER, Drop, Selection

T = TypeVar("T")

LITTLE_SECONDS = 60.0
"""Less speech than this makes no voice."""
FEW_SECONDS = 300.0
"""Less speech than this makes a poor one."""
EXAMPLES = 6
"""Clips of a kind that the page plays, and that a warning names."""
STEPS = ("decode", "voice activity and cutting", "quality", "listening", "speaker")


@dataclass(frozen=True)
class Step:
    """Hours that went into a step and came out of it."""

    name: str
    hours_in: float
    hours_out: float


@dataclass(frozen=True)
class Dropped:
    """How many clips were dropped for one reason."""

    step: str
    reason: str
    clips: int
    seconds: float
    examples: tuple[str, ...]


@dataclass(frozen=True)
class Report:
    """A preparation in numbers.

    Attributes:
        files: Recordings.
        kept: Clips.
        seconds: Of speech kept.
        speakers: Seconds of usable speech of each speaker.
        steps: Hours in and out, in their order.
        dropped: By reason, most first.
        pause_s: From which gap on a comma was written, for each speaker.
        core_hours: Processor time of cutting and listening, earlier runs included.
        hours_per_core_hour: Hours of recordings for each of them.
        warnings: What a person should look at; they name clips.
    """

    files: int
    kept: int
    seconds: float
    speakers: dict[str, float]
    steps: tuple[Step, ...]
    dropped: tuple[Dropped, ...]
    pause_s: dict[str, float]
    core_hours: float
    hours_per_core_hour: float
    warnings: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    def lines(self) -> list[str]:
        """For the terminal."""
        rows = [f"{self.files} recordings, {self.kept} clips kept, {self.seconds / 60:.1f} min"]
        rows += [
            f"  {s.name:28} {s.hours_in:8.3f} h in {s.hours_out:8.3f} h out" for s in self.steps
        ]
        rows += [
            f"  dropped, {d.reason:28} {d.clips:5} clips {d.seconds / 60:7.1f} min"
            for d in self.dropped
        ]
        rows.append(f"  {self.hours_per_core_hour:.1f} hours of recordings an hour of one core")
        return rows + [f"warning: {text}" for text in self.warnings]


def summary(records: Sequence[Item], selection: Selection, *, core_hours: float) -> Report:
    """Count what happened.

    Args:
        records: What the first pass found, by recording.
        selection: What was kept and dropped.
        core_hours: Processor time spent.
    """
    raw = sum(record["seconds"] for record in records)
    decoded = sum(record["seconds"] for record in records if not record["problem"])
    clips = sum(clip["seconds"] for record in records for clip in record["clips"])
    kept = sum(clip.seconds for clip in selection.kept)
    left, steps = clips, [Step(STEPS[0], _hours(raw), _hours(decoded))]
    steps.append(Step(STEPS[1], _hours(decoded), _hours(clips)))
    for name, key in ((STEPS[2], "quality"), (STEPS[3], "listen"), (STEPS[4], "speaker")):
        gone = sum(drop.seconds for drop in selection.dropped if drop.step == key)
        steps.append(Step(name, _hours(left), _hours(left - gone)))
        left -= gone
    return Report(
        files=len(records), kept=len(selection.kept), seconds=round(kept, 1),
        speakers={name: round(value, 1) for name, value in selection.speakers.items()},
        steps=tuple(steps), dropped=tuple(_reasons(selection.dropped)), pause_s=selection.pause_s,
        core_hours=round(core_hours, 4),
        hours_per_core_hour=round(raw / 3600 / core_hours, 1) if core_hours else 0.0,
        warnings=tuple(_warnings(selection, kept)),
    )  # fmt: skip


def _hours(seconds: float) -> float:
    return round(max(0.0, seconds) / 3600, 4)


def _reasons(dropped: Sequence[Drop]) -> list[Dropped]:
    groups: dict[tuple[str, str], list[Drop]] = {}
    for drop in dropped:
        reason = "undecodable" if drop.step == "decode" else drop.reason
        groups.setdefault((drop.step, reason), []).append(drop)
    rows = [
        Dropped(step, reason, len(group), round(sum(d.seconds for d in group), 1),
                tuple(d.file if step == "decode" else d.name for d in group[:EXAMPLES]))
        for (step, reason), group in groups.items()
    ]  # fmt: skip
    return sorted(rows, key=lambda row: (-row.clips, row.reason))


def _warnings(selection: Selection, seconds: float) -> list[str]:
    found: list[str] = []
    if seconds < FEW_SECONDS:
        much = "too little for a voice" if seconds < LITTLE_SECONDS else "little for a voice"
        found.append(
            f"Only {seconds:.0f} s of speech were kept, {much}: bring 5 minutes, better 20."
        )
    for row in _reasons(selection.dropped):
        named = ", ".join(row.examples) + (", …" if row.clips > len(row.examples) else "")
        if row.step == "decode":
            found.append(f"{row.clips} files cannot be read: {named}.")
        elif row.reason == OTHER:
            found.append(
                f"Someone else speaks in {row.clips} clips ({row.seconds:.0f} s), which are left "
                f"out: {named}. Keep everybody with --speakers all."
            )
        elif row.reason.startswith("two speakers"):
            found.append(f"Two people speak in one clip: {named}.")
        elif row.reason.startswith("language"):
            found.append(f"Another {row.reason} is spoken in {row.clips} clips: {named}.")
        elif row.reason in ("transcript mismatch", "recognisers disagree"):
            found.append(f"The text is not what is said in {row.clips} clips: {named}.")
    return found


def write_report(out: Path, report: Report, selection: Selection) -> None:
    """Write `report.json` and `report.html`."""
    write_json(out / "report.json", report.to_dict())
    write_text(out / "report.html", page(report, selection))


def page(report: Report, selection: Selection) -> str:
    """The report as one HTML page; its players find the clips beside it."""
    facts = list(selection.facts.values())
    parts = [
        f"<h1>{report.kept} clips, {report.seconds / 60:.1f} min</h1>",
        "".join(f'<p class="warning">{_safe(text)}</p>' for text in report.warnings),
        "<h2>Hours</h2>",
        _table(("step", "in", "out"), [(s.name, s.hours_in, s.hours_out) for s in report.steps]),
        f"<p>{report.hours_per_core_hour} hours of recordings an hour of one core "
        f"({report.core_hours} core hours).</p>",
        "<h2>Speakers</h2>",
        _table(
            ("speaker", "usable seconds", "a pause is, s"),
            [(n, v, report.pause_s.get(n, "")) for n, v in report.speakers.items()],
        ),
        "<h2>Why clips were dropped</h2>",
        _table(
            ("step", "reason", "clips", "seconds"),
            [(d.step, d.reason, d.clips, d.seconds) for d in report.dropped],
        ),
        "<h2>Clips that were kept</h2>",
        _histogram("length, s", [clip.seconds for clip in selection.kept]),
        _histogram("SNR, dB", [fact["snr_db"] for fact in facts]),
        _histogram("bandwidth, Hz", [fact["bandwidth_hz"] for fact in facts]),
        _histogram("phonemes that the ear disputes", [fact["per"] for fact in facts]),
        _histogram("MOS", [fact["mos"] for fact in facts if fact["mos"] is not None]),
        "<h2>Listen</h2>",
        _players((c.file, f"{c.speaker}: {c.text}") for c in _spread(selection.kept)),
    ]
    for row in report.dropped:
        if row.step != "decode":
            group = [drop for drop in selection.dropped if drop.reason == row.reason]
            parts.append(f"<h3>Dropped: {_safe(row.reason)}</h3>")
            parts.append(
                _players((f"clips/{d.name}.flac", d.text or d.file) for d in _spread(group))
            )
    return _PAGE.replace("BODY", "\n".join(parts))


def _spread(items: Sequence[T]) -> list[T]:
    """A few items, evenly spaced."""
    places = np.unique(np.linspace(0, len(items) - 1, min(EXAMPLES, len(items))).astype(int))
    return [items[place] for place in places]


def _safe(value: object) -> str:
    return html.escape(str(value))


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    cells = "".join(f"<th>{_safe(name)}</th>" for name in head)
    lines = ("".join(f"<td>{_safe(value)}</td>" for value in row) for row in rows)
    return f"<table><tr>{cells}</tr>" + "".join(f"<tr>{line}</tr>" for line in lines) + "</table>"


def _players(clips: Iterable[tuple[str, str]]) -> str:
    return "".join(
        f'<p><audio controls preload="none" src="{_safe(file)}"></audio> {_safe(text)}</p>'
        for file, text in clips
    )


def _histogram(name: str, values: Sequence[float], bins: int = 24) -> str:
    """A drawing of how values are spread, with the least and the largest written below."""
    if not values:
        return f"<p>{_safe(name)}: not measured</p>"
    counts, edges = np.histogram(values, bins)
    bars = "".join(
        f'<rect x="{12 * k}" y="{60 - 60 * c / counts.max():.1f}" width="11" '
        f'height="{60 * c / counts.max():.1f}"><title>{a:.3g} to {b:.3g}: {c}</title></rect>'
        for k, (c, a, b) in enumerate(zip(counts, edges[:-1], edges[1:], strict=True))
    )
    text = f"{_safe(name)}: {edges[0]:.3g} to {edges[-1]:.3g}, median {np.median(values):.3g}"
    return f'<figure><svg width="{12 * bins}" height="60">{bars}</svg><p>{text}</p></figure>'


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Training data</title><style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 1rem }
table { border-collapse: collapse } td, th { padding: .2rem .8rem; text-align: left }
tr:nth-child(even) { background: #8881 }
.warning { border-left: 4px solid #d60; padding-left: 1rem }
figure { display: inline-block; margin: 0 2rem 1rem 0 } rect { fill: #47a }
audio { height: 2rem; vertical-align: middle }
</style></head><body>
BODY
</body></html>
"""
