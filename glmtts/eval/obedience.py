"""Were control tags obeyed: what was heard for what was asked, and what it cost. Read `obedience`.

For runs in which a judge of emotion told a style (`glmtts eval tags`).
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from glmtts.eval.metrics import BY_NAME, Row, value
from glmtts.text.styles import NEUTRAL

RESAMPLES = 2_000
COSTS = ("error_rate", "pinyin_error")
"""Metrics that a style should leave as they are when the same words are said neutrally."""


def obedience(rows: Sequence[Row]) -> dict[str, Any] | None:
    """What summary.json holds of styles; None where nothing was judged for its style.

    Returns:
        `confusion`: {asked: {heard: rows}}; `ratios`: {metric: {style: {"ratio", "low", "high"}}},
        the mean of a style over that of neutral speech, with a 95 % bootstrap interval over texts.
    """
    confusion: dict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        found = row["judges"].get("emotion", {})
        if row["case"].get("style") and "detail" in found:
            confusion[row["case"]["style"]][found["detail"]["style"]] += 1
    if not confusion:
        return None
    ratios = {name: found for name in COSTS if (found := _ratios(rows, name))}
    return {"confusion": {asked: dict(heard) for asked, heard in confusion.items()},
            "ratios": ratios}  # fmt: skip


def _ratios(rows: Sequence[Row], name: str) -> dict[str, dict[str, float]]:
    """A metric of each style over that of neutral speech, texts said in both."""
    by_style: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        style, one = row["case"].get("style", ""), value(row, BY_NAME[name])
        if style and one is not None:
            by_style[style][row["case"]["text"]].append(one)
    plain = by_style.pop(NEUTRAL, {})
    rng = np.random.default_rng(0)
    found: dict[str, dict[str, float]] = {}
    for style, values in by_style.items():
        texts = [said for said in values if said in plain]
        if not texts:
            continue
        pairs = np.array([(np.mean(values[t]), np.mean(plain[t])) for t in texts], np.float64)
        own, neutral = (float(mean) for mean in pairs.mean(axis=0))
        if neutral <= 0.0:
            continue  # neutral speech has no errors: nothing to divide by
        drawn = pairs[rng.integers(len(pairs), size=(RESAMPLES, len(pairs)))].mean(axis=1)
        drawn = drawn[drawn[:, 1] > 0.0]
        low, high = (float(b) for b in np.percentile(drawn[:, 0] / drawn[:, 1], [2.5, 97.5]))
        found[style] = {"ratio": own / neutral, "low": low, "high": high}
    return found


def styles_of(told: Mapping[str, Any]) -> list[str]:
    """All styles that were asked for or heard, neutral first."""
    confusion: dict[str, dict[str, int]] = told["confusion"]
    names = {*confusion, *(heard for row in confusion.values() for heard in row)}
    return sorted(names, key=lambda name: (name != NEUTRAL, name))


def text(told: Mapping[str, Any]) -> str:
    """Confusions and ratios for a terminal."""
    names = styles_of(told)
    lines = ["asked \\ heard " + "".join(f"{name:>11}" for name in names)]
    for asked in names:
        row = told["confusion"].get(asked, {})
        if row:
            share = row.get(asked, 0) / sum(row.values())
            cells = "".join(f"{row.get(name, 0):11d}" for name in names)
            lines.append(f"{asked:14}{cells}   {share:.1%} right")
    for metric, found in told["ratios"].items():
        shown = (f"{style} {one['ratio']:.2f} ({one['low']:.2f} to {one['high']:.2f})"
                 for style, one in found.items())  # fmt: skip
        lines.append(f"{metric} over neutral: {', '.join(shown)}")
    return "\n".join(lines)


def html(told: Mapping[str, Any]) -> str:
    """The same for the report."""
    names = styles_of(told)
    head = "".join(f"<th class=n>{escape(name)}" for name in names)
    lines = [f"<h2>Styles</h2><table><tr><th>asked, heard{head}<th class=n>right"]
    for asked in names:
        row = told["confusion"].get(asked, {})
        if row:
            cells = "".join(f"<td class=n>{row.get(name, 0)}" for name in names)
            share = row.get(asked, 0) / sum(row.values())
            lines.append(f"<tr><td>{escape(asked)}{cells}<td class=n>{100 * share:.1f} %")
    lines.append("</table>")
    for metric, found in told["ratios"].items():
        shown = "; ".join(
            f"{escape(style)} {one['ratio']:.2f} ({one['low']:.2f} to {one['high']:.2f})"
            for style, one in found.items()
        )
        name = escape(metric.replace("_", " "))
        lines.append(f"<p class=note>{name} over that of neutral speech: {shown}</p>")
    return "\n".join(lines)
