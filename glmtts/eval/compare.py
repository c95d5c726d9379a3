"""Is run B better than run A? Paired over the cases that all have. Read `compare`."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Any

from glmtts.errors import BadInput
from glmtts.eval.metrics import BY_NAME, by_case, wanted
from glmtts.eval.report import load, shown
from glmtts.eval.stats import paired


def compare(a: str | Path, *b: str | Path) -> dict[str, Any]:
    """Every metric of two finished runs, case by case.

    A metric is compared only where the same judge in the same version heard all runs. B may be
    several runs, such as one of each seed of a training: of each case their mean is compared, so
    the interval is one over cases, not over seeds.

    Returns:
        {"a", "b", "cases", "metrics": {name: {"a", "b", "difference": {mean, low, high, n},
        "relative", "p", "verdict"}}, "left_out": {name: why}}.

    Raises:
        BadInput: a folder holds no finished run, or no case is in all.
    """
    if not b:
        raise BadInput("Give the runs that are to be compared with A.")
    runs = [load(folder) for folder in (a, *b)]
    texts = [{row["case"]["id"]: row["case"]["text"] for row in rows} for _, rows in runs]
    common = {
        case
        for case, text in texts[0].items()
        if all(others.get(case) == text for others in texts[1:])
    }
    named = ", ".join(map(str, b))
    if not common:
        raise BadInput(
            f"{a} and {named} have no case with the same name and text: nothing to compare."
        )
    summaries = [summary for summary, _ in runs]
    slots = [s for s in summaries[0]["judges"] if all(s in other["judges"] for other in summaries)]
    left_out: dict[str, str] = {}
    found: dict[str, Any] = {}
    for metric in wanted(slots):
        versions = [
            s["judges"][metric.judge]["version"] if metric.judge else None for s in summaries
        ]
        if other := [version for version in versions if version != versions[0]]:
            left_out[metric.name] = f"judged by {versions[0]} and by {other[0]}"
            continue
        values = [by_case(rows, metric) for _, rows in runs]
        cases = sorted(common.intersection(*values))
        if not cases:
            continue
        of_b = [fmean(one[case] for one in values[1:]) for case in cases]
        result = paired([values[0][case] for case in cases], of_b)
        found[metric.name] = {**asdict(result), "verdict": verdict(asdict(result), metric.better)}
    return {"a": str(a), "b": named, "cases": len(common), "metrics": found, "left_out": left_out}


def verdict(found: Mapping[str, Any], better: str) -> str:
    """Whether B is "better" or "worse" than A; "" where the interval of the difference holds 0."""
    low, high = found["difference"]["low"], found["difference"]["high"]
    if low is None or low <= 0.0 <= high or not better:
        return ""
    return "better" if (low > 0.0) == (better == "higher") else "worse"


def to_text(result: Mapping[str, Any]) -> str:
    """The comparison as a table for people."""
    lines = [
        f"A {result['a']}", f"B {result['b']}", f"{result['cases']} cases in common", "",
        f"{'metric':22} {'A':>9} {'B':>9} {'B - A':>9}  {'95 % interval':24} {'rel.':>7} {'p':>7}",
    ]  # fmt: skip
    for name, row in result["metrics"].items():
        metric, difference = BY_NAME[name], row["difference"]
        bounds = "–"
        if difference["low"] is not None:
            bounds = f"{shown(difference['low'], metric)} to {shown(difference['high'], metric)}"
        relative = "–" if row["relative"] is None else f"{100 * row['relative']:+.1f}%"
        lines.append(
            f"{name:22} {shown(row['a'], metric):>9} {shown(row['b'], metric):>9} "
            f"{shown(difference['mean'], metric):>9}  {bounds:24} {relative:>7} {row['p']:>7.3f} "
            f" {row['verdict']}".rstrip()
        )
    lines += [f"{name}: left out, {why}" for name, why in result["left_out"].items()]
    return "\n".join(lines)
