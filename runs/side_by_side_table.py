"""What engines did and what judges heard: the table of `side_by_side.py`. Read `figures` first."""

from collections.abc import Sequence
from dataclasses import asdict
from statistics import median
from typing import Any

from glmtts.eval.metrics import BY_NAME, by_case
from glmtts.eval.stats import interval

TITLES = {
    "nano": "glmtts-nano", "kokoro": "Kokoro-82M int8", "piper": "piper", "espeak": "espeak-ng",
}  # fmt: skip


def figures(speech: dict[str, Any], rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What the table tells of one engine.

    Args:
        speech: As the engine's process left it.
        rows: What judges found, see `judged`.
    """
    language_of = {row["case"]["id"]: row["case"]["language"] for row in rows}
    languages: dict[str, Any] = {}
    for language in ("zh", "en"):
        mine = [row for row in speech["rows"] if language_of[row["id"]] == language]
        said = [row for row in mine if "seconds" in row]
        heard = [row for row in rows if row["case"]["language"] == language]
        if not mine:
            continue
        found: dict[str, Any] = {
            "sentences": len(mine), "silent": len(mine) - len(said),
            "voice": speech["voices"][language],
            "speech_s": round(sum(row["seconds"] for row in said), 2),
        }  # fmt: skip
        for kind in ("cpu", "wall"):
            spent = sum(row[f"{kind}_s"] for row in said)
            found[f"rtf_{kind}"] = spent / found["speech_s"] if said else None
            first = speech["first_sound"].get(language, {}).get(f"{kind}_s")
            if first is None and said and not speech["streams"]:
                first = median(row[f"{kind}_s"] for row in said)
            found[f"first_{kind}_s"] = first
        errors = by_case(heard, BY_NAME["pinyin_error"])
        found["per"] = asdict(interval(list(errors.values())))
        found["per_above_half"] = sum(value > 0.5 for value in errors.values())
        found["mos"] = asdict(interval(list(by_case(heard, BY_NAME["mos"]).values())))
        languages[language] = found
    kept = ("engine", "versions", "threads", "load", "ready", "warming", "streams", "load_average",
            "peak_memory_mb", "sha256")  # fmt: skip
    size = round(sum(speech["weights"].values()) / 1e6, 1)
    return {**{key: speech[key] for key in kept}, "weights_mb": size, "languages": languages}


def table(result: dict[str, Any]) -> str:
    """The Markdown page."""
    machine = result["machine"]
    threads = result["threads"]
    lines = [
        "# Side by side", "",
        f"{result['date'][:10]}, {machine['cpu']}, {machine['cores']} cores of which each engine "
        f"used {threads} ({threads} thread{'s' * (threads > 1)}), {machine['system']}, "
        f"Python {machine['python']}.", "",
        "| engine | language | n | per | mos | RTF, processor | RTF, clock "
        "| first sound, processor | first sound, clock |",
        "|---|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for engine in result["engines"]:
        for language, found in engine["languages"].items():
            silent = f" ({found['silent']} silent)" if found["silent"] else ""
            cells = (
                TITLES[engine["engine"]], language, f"{found['sentences']}{silent}",
                spread(found["per"], 3), spread(found["mos"], 2),
                number(found["rtf_cpu"], 3), number(found["rtf_wall"], 3),
                milliseconds(found["first_cpu_s"]), milliseconds(found["first_wall_s"]),
            )  # fmt: skip
            lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "", "| engine | peak memory | weights | load, processor | load, clock "
        "| start to ready, processor | start to ready, clock | first use, processor | load average "
        "| voices | versions |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for engine in result["engines"]:
        versions = ", ".join(f"{name} {version}" for name, version in engine["versions"].items())
        voices = ", ".join(found["voice"] for found in engine["languages"].values())
        cells = (
            TITLES[engine["engine"]], f"{engine['peak_memory_mb']:.0f} MB",
            f"{engine['weights_mb']:.1f} MB", *(
                f"{engine[what][kind]:.2f} s"
                for what in ("load", "ready") for kind in ("cpu_s", "wall_s")
            ), f"{sum(cost['cpu_s'] for cost in engine['warming'].values()):.2f} s",
            f"{engine['load_average'][0]:.1f}", voices, versions,
        )  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    judges = "; ".join(f"{slot}: {version}" for slot, version in result["judges"].items())
    lines += [
        "",
        "The same held-out sentences for all. `per`: wrong syllables without tone (zh) or words "
        "(en), 95 % interval in brackets; `mos`: 1 to 5. RTF: seconds of work per second of sound, "
        "silence at its ends included. First sound: median over sentences, of a stream where the "
        "engine has one, else of the whole sentence. Load: of the weights, once the packages are "
        "imported; start to ready: with the interpreter and the imports; first use: a sentence of "
        "each language after that, which also reads dictionaries. Times by the clock hold what "
        "other work on the machine took (load average when the engine had ended).",
        "", f"Judges: {judges}.", "", f"Made by `{result['command']}`.", "",
    ]  # fmt: skip
    return "\n".join(lines)


def spread(value: dict[str, Any], digits: int) -> str:
    """A mean with its interval."""
    mean, low, high = value["mean"], value["low"], value["high"]
    ends = "" if low is None else f" [{low:.{digits}f}, {high:.{digits}f}]"
    return f"{mean:.{digits}f}{ends}"


def number(value: float | None, digits: int) -> str:
    """A figure, or a dash where there is none."""
    return "–" if value is None else f"{value:.{digits}f}"


def milliseconds(seconds: float | None) -> str:
    """Seconds as whole milliseconds; below ten with a digit more."""
    if seconds is None:
        return "–"
    return f"{seconds * 1e3:.{0 if seconds >= 0.01 else 1}f} ms"
