"""A run as one HTML page that needs nothing else: figures, plots, players. Read `page` first."""

import base64
import io
import json
import random
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from glmtts.audio import Audio
from glmtts.errors import BadInput
from glmtts.eval import obedience
from glmtts.eval.metrics import BY_NAME, Metric, by_case, value, wanted
from glmtts.eval.run import SUMMARY_FILE, read_rows, sound_of
from glmtts.eval.tasks import TASKS
from glmtts.judges.needs import needed

REPORT_FILE = "report.html"
PLAYERS = 24
"""Cases whose sound is put into the page unless asked otherwise: half the worst, half by lot."""

STYLE = """
:root{--ink:#1d2330;--soft:#667085;--line:#e3e6ec;--bar:#4264d0;--bg:#fff;--bad:#b3261e}
@media(prefers-color-scheme:dark){:root{--ink:#e7eaf0;--soft:#98a2b3;--line:#2e3543;--bar:#8ea6ff;
--bg:#12151c;--bad:#ff8a80}svg{filter:invert(.92) hue-rotate(180deg)}}
*{box-sizing:border-box}body{margin:2rem auto;max-width:68rem;padding:0 1rem;color:var(--ink);
background:var(--bg);font:15px/1.5 system-ui,sans-serif}h1{font-size:1.6rem;margin:0}
h2{font-size:1.15rem;margin:2.2rem 0 .6rem}p.note,td.soft,th{color:var(--soft)}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{text-align:left;padding:.35rem .6rem;border-bottom:1px solid var(--line);vertical-align:top}
td.n,th.n{text-align:right}td.n,th.n,td.i{white-space:nowrap}.tiles{display:flex;flex-wrap:wrap;gap:1rem}
.tile{border:1px solid var(--line);border-radius:.6rem;padding:.8rem 1rem;min-width:11rem}
.tile b{display:block;font-size:1.7rem}.plots{display:grid;gap:1rem;
grid-template-columns:repeat(auto-fill,minmax(18rem,1fr))}svg{width:100%;height:auto}
audio{width:15rem;height:2rem}.scroll{overflow-x:auto}.bad{color:var(--bad)}
th.sort{cursor:pointer}th.sort:after{content:" ↕";opacity:.4}details summary{cursor:pointer}
"""
SCRIPT = """
document.querySelectorAll('th.sort').forEach(th=>th.onclick=()=>{
const i=[...th.parentNode.children].indexOf(th),body=th.closest('table').tBodies[0];
const up=th.dataset.up=th.dataset.up==='1'?'0':'1';
const key=r=>{const v=r.cells[i].dataset.v;return v===undefined?r.cells[i].textContent:
v===''?Infinity:+v};
[...body.rows].sort((a,b)=>{const x=key(a),y=key(b);return(x<y?-1:x>y?1:0)*(up==='1'?1:-1)})
.forEach(r=>body.append(r))});
"""


def load(folder: str | Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Summary and rows of a finished run.

    Raises:
        BadInput: the folder holds none.
    """
    path = Path(folder) / SUMMARY_FILE
    try:
        summary: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput(
            f"{folder} holds no finished evaluation ({error}). Make one with: glmtts eval TASK"
        ) from error
    return summary, list(read_rows(Path(folder)).values())


def shown(value: float | None, metric: Metric | None) -> str:
    """A figure for people."""
    if value is None:
        return "–"
    if metric is not None and metric.percent:
        return f"{100 * value:.2f} %"
    return f"{value:.3f}" if abs(value) < 100 else f"{value:.0f}"


def interval_shown(found: Mapping[str, Any], metric: Metric | None) -> str:
    """An interval for people."""
    if found["low"] is None:
        return "–"
    return f"{shown(found['low'], metric)} to {shown(found['high'], metric)}"


def write(folder: str | Path, players: int = PLAYERS) -> Path:
    """Write report.html into the folder of a finished run.

    Raises:
        BadInput: the folder holds none.
        MissingExtra: matplotlib is not installed.
    """
    folder = Path(folder)
    summary, rows = load(folder)
    path = folder / REPORT_FILE
    path.write_text(page(summary, rows, folder, players), encoding="utf-8")
    return path


def page(
    summary: Mapping[str, Any], rows: Sequence[dict[str, Any]], folder: Path, players: int
) -> str:
    """The HTML."""
    task = TASKS[summary["task"]]
    what = summary["source"].get("model") or summary["source"].get("audio", "")
    figures: dict[str, Any] = summary["metrics"]
    metrics = [m for m in wanted(list(summary["judges"])) if m.name in figures]
    first = [BY_NAME[name] for name in task.first if name in figures]
    told = f"{summary['cases']} cases, seeds {', '.join(map(str, summary['seeds']))}"
    parts = [
        f"<h1>{escape(task.name)}: {escape(str(what))}</h1>",
        f"<p class=note>{escape(task.about)}<br>{escape(told)}, finished "
        f"{escape(summary['finished'])}, glmtts {escape(summary['glmtts'])}</p>",
        _problems(summary),
        "<div class=tiles>", *(_tile(metric, figures[metric.name]) for metric in first), "</div>",
        "<h2>Figures</h2>", _figures(figures, metrics),
        "<p class=note>Means over cases (the seeds of a case are averaged first) with 95 % "
        "bootstrap intervals (BCa). A case without sound counts as the worst.</p>",
        obedience.html(summary["styles"]) if summary.get("styles") else "",
        "<h2>Distributions</h2><div class=plots>",
        *(histogram(metric, list(by_case(rows, metric).values())) for metric in metrics[:12]),
        "</div>",
        "<h2>Listen</h2>", _players(rows, folder, first or metrics, players),
        "<h2>Every case</h2>", _table(rows, metrics[:8]),
        "<h2>Judges and machine</h2>", _judges(summary),
    ]  # fmt: skip
    title = escape(f"{task.name} {what}")
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title>"
        f'<meta name=viewport content="width=device-width,initial-scale=1">'
        f"<style>{STYLE}</style><body>{''.join(parts)}<script>{SCRIPT}</script></body></html>\n"
    )


def _problems(summary: Mapping[str, Any]) -> str:
    lines: list[str] = []
    if summary["missing"]:
        one = summary["missing"] == 1
        has = "case has no sound; it counts as an error" if one else (
            "cases have no sound; they count as errors"
        )  # fmt: skip
        lines.append(f"{summary['missing']} {has}.")
    for slot, found in summary["failed"].items():
        lines.append(
            f"The judge {slot} failed on {found['count']} cases, which its figures leave out: "
            + "; ".join(found["reasons"])
        )
    return "".join(f"<p class=bad>{escape(line)}</p>" for line in lines)


def _tile(metric: Metric, found: Mapping[str, Any]) -> str:
    return (
        f"<div class=tile>{escape(metric.name.replace('_', ' '))}"
        f"<b>{shown(found['mean'], metric)}</b>"
        f"<span class=note>{interval_shown(found, metric)}</span></div>"
    )


def _figures(figures: Mapping[str, Any], metrics: Sequence[Metric]) -> str:
    groups = list(dict.fromkeys(g for m in metrics for g in figures[m.name]["groups"]))
    head = "".join(f"<th class=n>{escape(group)}" for group in groups)
    lines = [f"<div class=scroll><table><tr><th>Figure<th class=n>Mean<th>95 %<th class=n>n{head}"
             "<th>What it is"]  # fmt: skip
    for metric in metrics:
        found = figures[metric.name]
        inside = "".join(
            f"<td class=n>{shown(found['groups'].get(g, {}).get('mean'), metric)}" for g in groups
        )
        arrow = {"lower": " ↓", "higher": " ↑", "": ""}[metric.better]
        lines.append(
            f"<tr><td>{escape(metric.name.replace('_', ' '))}{arrow}"
            f"<td class=n>{shown(found['mean'], metric)}<td class=i>{interval_shown(found, metric)}"
            f"<td class=n>{found['n']}{inside}<td class=soft>{escape(metric.about)}"
        )
    return "\n".join(lines) + "</table></div>"


def histogram(metric: Metric, values: Sequence[float]) -> str:
    """How a metric is spread over the cases, as SVG.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    figure_type: Any = needed("matplotlib.figure", "Plots of a report").Figure
    if not values:
        return ""
    scale = 100.0 if metric.percent else 1.0
    data = np.asarray(values) * scale
    figure = figure_type(figsize=(4.2, 2.5), layout="tight")
    axes = figure.add_subplot()
    bins = np.histogram_bin_edges(data, bins=min(30, max(8, len(data) // 4)))
    axes.hist(data, bins=bins, color="#4264d0", alpha=0.85)
    axes.axvline(data.mean(), color="#b3261e", linewidth=1.2)
    axes.set_title(metric.name.replace("_", " ") + (" (%)" if metric.percent else ""), fontsize=10)
    axes.set_ylabel("cases", fontsize=8)
    axes.tick_params(labelsize=8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    out = io.StringIO()
    figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
    svg = out.getvalue()
    return f"<figure style='margin:0'>{svg[svg.index('<svg') :]}</figure>"


def _players(
    rows: Sequence[dict[str, Any]], folder: Path, metrics: Sequence[Metric], count: int
) -> str:
    heard = [row for row in rows if not row["missing"]]
    if not heard or count < 1:
        return "<p class=note>No sounds in this page.</p>"
    metric = metrics[0] if metrics else BY_NAME["seconds"]
    sign = 1.0 if metric.better == "higher" else -1.0

    def badness(row: dict[str, Any]) -> float:
        found = value(row, metric)
        return float("inf") if found is None else sign * found

    worst = sorted(heard, key=badness)[: (count + 1) // 2]
    rest = [row for row in heard if row not in worst]
    some = random.Random(0).sample(rest, min(count - len(worst), len(rest)))
    lines = [f"<p class=note>The {len(worst)} worst by {escape(metric.name)}, and {len(some)} by "
             "lot.</p><div class=scroll><table>"]  # fmt: skip
    for row in (*worst, *some):
        case = row["case"]
        said = row["judges"].get("cer", {}).get("detail", {}).get("heard", "")
        lines.append(
            f"<tr><td>{escape(case['id'])}<br><span class=note>{shown(value(row, metric), metric)}"
            f"</span><td><audio controls preload=none src='{_data(sound_of(row, folder))}'></audio>"
            f"<td>{escape(case['text'])}<br><span class=note>{escape(said)}</span>"
        )
    return "\n".join(lines) + "</table></div>"


def _data(path: Path) -> str:
    """A sound as a data address, Ogg Vorbis: small, and every browser plays it or nearly."""
    out = io.BytesIO()
    Audio.load(path).save(out, format="ogg")
    return "data:audio/ogg;base64," + base64.b64encode(out.getvalue()).decode()


def _table(rows: Sequence[dict[str, Any]], metrics: Sequence[Metric]) -> str:
    head = "".join(f"<th class='n sort'>{escape(m.name.replace('_', ' '))}" for m in metrics)
    lines = [f"<details><summary>{len(rows)} rows</summary><div class=scroll><table><thead><tr>"
             f"<th class=sort>Case<th class=sort>Seed<th>Text{head}</thead><tbody>"]  # fmt: skip
    for row in rows:
        cells = ""
        for metric in metrics:
            found = value(row, metric)
            data = "" if found is None else repr(found)
            cells += f"<td class=n data-v='{data}'>{shown(found, metric)}"
        problem = f"<br><span class=bad>{escape(row['error'])}</span>" if row["error"] else ""
        lines.append(
            f"<tr><td>{escape(row['case']['id'])}<td>{row['seed']}"
            f"<td>{escape(row['case']['text'])}{problem}{cells}"
        )
    return "\n".join(lines) + "</tbody></table></div></details>"


def _judges(summary: Mapping[str, Any]) -> str:
    lines = ["<table>"]
    for slot, judge in summary["judges"].items():
        lines.append(f"<tr><td>{escape(slot)}<td class=soft>{escape(judge['version'])}")
    for key, item in summary["hardware"].items():
        if item is not None:
            lines.append(f"<tr><td>{escape(key)}<td class=soft>{escape(str(item))}")
    return "\n".join(lines) + "</table>"
