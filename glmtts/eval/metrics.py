"""From what judges found in a row to figures of a run. Read `METRICS`, then `summarised`."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from glmtts.eval.stats import interval

Row = Mapping[str, Any]
"""A line of results.jsonl."""


@dataclass(frozen=True)
class Metric:
    """One figure.

    Attributes:
        name: Of the figure.
        about: What it is.
        judge: The judge it comes from; "" for what is measured while speaking.
        get: Of a row with what that judge found; None where the metric does not apply.
        missing: What a row without sound counts; None: nothing.
        better: "lower", "higher", or "" where neither is.
        percent: Shown as a percentage.
    """

    name: str
    about: str
    judge: str
    get: Callable[[Row, Mapping[str, Any]], float | None]
    missing: float | None = None
    better: str = "lower"
    percent: bool = False


def _value(row: Row, found: Mapping[str, Any]) -> float | None:
    return float(found["value"])


def _detail(key: str) -> Callable[[Row, Mapping[str, Any]], float | None]:
    def get(row: Row, found: Mapping[str, Any]) -> float | None:
        value = found["detail"].get(key)
        return None if value is None else float(value)

    return get


def _small_error(row: Row, found: Mapping[str, Any]) -> float | None:
    return float(found["value"]) if found["value"] <= 0.5 else None


def _hit(row: Row, found: Mapping[str, Any]) -> float | None:
    return float(bool(found["detail"]["laughs"])) if _asked(row, found) else None


def _false_alarm(row: Row, found: Mapping[str, Any]) -> float | None:
    return None if _asked(row, found) else float(bool(found["detail"]["laughs"]))


def _asked(row: Row, found: Mapping[str, Any]) -> bool:
    return bool(found["detail"]["asked"]) or row["case"].get("laugh") is not None


def _laugh_offset(row: Row, found: Mapping[str, Any]) -> float | None:
    """Seconds between the middle of the laugh that was heard and the span it should lie in."""
    span = row["case"].get("laugh") or found["detail"].get("place")
    laughs = found["detail"]["laughs"]
    if span is None or not laughs:
        return None
    middles = [(start + end) / 2 for start, end, _ in laughs]
    return min(max(span[0] - middle, 0.0, middle - span[1]) for middle in middles)


def _timing(key: str) -> Callable[[Row, Mapping[str, Any]], float | None]:
    def get(row: Row, found: Mapping[str, Any]) -> float | None:
        return row.get("timing", {}).get(key)

    return get


METRICS: tuple[Metric, ...] = (
    Metric("error_rate", "characters (zh) or words (en) wrong", "cer", _value, 1.0, percent=True),
    Metric("error_rate_below_50", "the same without cases above 50 %", "cer", _small_error,
           percent=True),
    Metric("pinyin_error", "syllables without tone (en: words) wrong", "cer", _detail("per"), 1.0,
           percent=True),
    Metric("tone_error", "syllables with tone (en: words) wrong", "cer", _detail("tone_per"), 1.0,
           percent=True),
    Metric("phoneme_error", "phonemes wrong", "per", _value, 1.0, percent=True),
    Metric("likelihood", "log-probability of the text", "likelihood", _value, None, "higher"),
    Metric("similarity", "cosine to the prompt's speaker", "sim", _value, 0.0, "higher"),
    Metric("drift", "1 - cosine of the first and the last third's speaker", "drift", _value, 1.0),
    Metric("mos", "opinion score 1 to 5, guessed", "mos", _value, 1.0, "higher"),
    Metric("emotion", "probability of the style", "emotion", _value, 0.0, "higher"),
    Metric("emotion_accuracy", "the style is the likeliest", "emotion", _detail("right"), 0.0,
           "higher", percent=True),
    Metric("laughter_hits", "a laugh is heard where one is asked for", "laughter", _hit, 0.0,
           "higher", percent=True),
    Metric("laughter_false_alarms", "a laugh is heard where none is asked for", "laughter",
           _false_alarm, percent=True),
    Metric("laughter_offset_s", "seconds from its place to the laugh", "laughter", _laugh_offset),
    Metric("f0_spread", "standard deviation of F0 in semitones", "pitch", _value, None, ""),
    Metric("f0_median_hz", "median F0", "pitch", _detail("median_hz"), None, ""),
    Metric("pace", "seconds for each second the text usually takes", "pace", _value, None, ""),
    Metric("runaways", "loops, endless speech, long silences", "pace", _detail("runaway"), 1.0,
           percent=True),
    Metric("seconds", "length of the speech", "pace", _detail("seconds"), None, ""),
    Metric("first_sound_s", "time to the first sound", "", _timing("first_s")),
    Metric("real_time_factor", "seconds of work for each second of speech", "",
           _timing("real_time_factor")),
)  # fmt: skip
BY_NAME = {metric.name: metric for metric in METRICS}


def value(row: Row, metric: Metric) -> float | None:
    """What a row counts in a metric; None where it does not apply or its judge has failed."""
    if row["missing"]:
        laughs = metric.judge == "laughter" and row["case"].get("style") != "laughter"
        return None if laughs else metric.missing
    if not metric.judge:
        return metric.get(row, {})
    found = row["judges"].get(metric.judge)
    if found is None or "failed" in found:
        return None
    return metric.get(row, found)


def by_case(rows: Sequence[Row], metric: Metric) -> dict[str, float]:
    """The value of each case, its seeds averaged: cases are independent, seeds are not."""
    found: defaultdict[str, list[float]] = defaultdict(list)
    for row in rows:
        if (one := value(row, metric)) is not None:
            found[row["case"]["id"]].append(one)
    return {case: float(np.mean(values)) for case, values in found.items()}


def wanted(judges: Sequence[str]) -> list[Metric]:
    """The metrics that these judges (and the clock) give."""
    return [metric for metric in METRICS if metric.judge in (*judges, "")]


def summarised(rows: Sequence[Row], judges: Sequence[str]) -> dict[str, Any]:
    """Every metric over all rows, and for each language and subset.

    Returns:
        {metric: {"mean", "low", "high", "n", "groups": {group: {the same}}}}; metrics that apply to
        no row are left out.
    """
    groups: dict[str, list[Row]] = {}
    for key in ("language", "subset"):
        names = sorted({row["case"].get(key, "") for row in rows} - {""})
        if len(names) > 1:
            groups |= {n: [r for r in rows if r["case"].get(key, "") == n] for n in names}
    figures: dict[str, Any] = {}
    for metric in wanted(judges):
        # A row without sound has no time either; with no sound made here, there is no clock.
        values = by_case(rows, metric)
        if not values:
            continue
        figures[metric.name] = {**asdict(interval(list(values.values()))), "groups": {}}
        for name, part in groups.items():
            if inside := by_case(part, metric):
                figures[metric.name]["groups"][name] = asdict(interval(list(inside.values())))
    if pooled := _pooled(rows):
        figures["error_rate_pooled"] = {
            "mean": pooled, "low": None, "high": None, "n": len(rows), "groups": {}
        }  # fmt: skip
    return figures


def _pooled(rows: Sequence[Row]) -> float | None:
    """All errors of the run for all units; a row without sound counts as nothing heard."""
    found = [row["judges"].get("cer") for row in rows if not row["missing"]]
    details = [one["detail"] for one in found if one and "detail" in one]
    units = sum(detail["units"] for detail in details)
    if not units or any(row["missing"] for row in rows):
        return None
    wrong = sum(d["substitutions"] + d["deletions"] + d["insertions"] for d in details)
    return wrong / units
