"""Which clips are kept, as whom, with which text. Read `select` first: it is a pure function."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from glmtts.data.agreement import units_of
from glmtts.data.diarize import labels
from glmtts.data.files import write_text
from glmtts.data.manifest import Utterance, to_line
from glmtts.data.pauses import inner, repaired, spelled, threshold
from glmtts.data.pool import Item
from glmtts.text.phonemes import tokens_to_reading
from glmtts.text.readings import IS_HANZI
from glmtts.text.units import Unit

MANIFEST, DROPPED = "manifest.jsonl", "dropped.jsonl"
OTHER = "another speaker"


@dataclass(frozen=True)
class SelectSettings:
    """Which clips are kept.

    Attributes:
        speakers: "main" keeps the one who speaks longest; "all" labels everybody; any other word
            is the name of the only speaker: nobody is told apart.
        punctuation: Put commas where pauses are.
    """

    speakers: str = "main"
    punctuation: bool = True


@dataclass(frozen=True)
class Drop:
    """A clip (or a whole file) that is not kept."""

    name: str
    file: str
    seconds: float
    step: str
    """"decode", "quality", "speaker" or "listen"."""
    reason: str
    speaker: str = ""
    text: str = ""


@dataclass(frozen=True)
class Selection:
    """What came of all clips.

    Attributes:
        kept: In the order of the manifest.
        dropped: In the order of the recordings.
        speakers: Seconds of usable speech of each speaker, most first.
        pause_s: From which gap on a comma was written, for each speaker.
        facts: What was measured of each clip that was kept, by its name.
    """

    kept: list[Utterance]
    dropped: list[Drop]
    speakers: dict[str, float]
    pause_s: dict[str, float]
    facts: dict[str, Item]


def select(records: Sequence[Item], heard: dict[str, Item], settings: SelectSettings) -> Selection:
    """Decide over all clips of all recordings.

    Args:
        records: What the first pass found, by recording.
        heard: What the second pass heard, by clip.
        settings: Which to keep.
    """
    dropped: list[Drop] = []
    good: list[tuple[Item, Item]] = []  # (recording, clip)
    for record in records:
        if record["problem"]:
            dropped.append(
                Drop(record["key"], record["file"], record["seconds"], "decode", record["problem"])
            )
        for clip in record["clips"]:
            if clip["drop"]:
                dropped.append(_drop(record, clip, "quality", clip["drop"]))
            else:
                good.append((record, clip))
    names = _speakers(good, settings)
    spoken: dict[str, float] = {}
    for (_, clip), name in zip(good, names, strict=True):
        spoken[name] = spoken.get(name, 0.0) + clip["seconds"]
    spoken = dict(sorted(spoken.items(), key=lambda row: (-row[1], row[0])))
    main = next(iter(spoken), "")

    kept: list[tuple[Item, Item, str]] = []
    for (record, clip), name in zip(good, names, strict=True):
        found = heard[clip["id"]]
        if found["drop"]:
            dropped.append(_drop(record, clip, "listen", found["drop"], name, found))
        elif settings.speakers == "main" and name != main:
            dropped.append(_drop(record, clip, "speaker", OTHER, name, found))
        else:
            kept.append((record, clip, name))

    units = {clip["id"]: units_of(heard[clip["id"]]["text"]) for _, clip, _ in kept}
    pause_s = _thresholds(kept, heard, units) if settings.punctuation else {}
    clips: list[Utterance] = []
    for _, clip, name in kept:
        found, said = heard[clip["id"]], units[clip["id"]]
        if name in pause_s:
            said = repaired(said, found["gaps"], pause_s[name], remove=not found["given"])
        clips.append(_utterance(clip, name, found["language"], said))
    facts = {clip["id"]: {**clip, **heard[clip["id"]]} for _, clip, _ in kept}
    return Selection(clips, dropped, spoken, pause_s, facts)


def _drop(
    record: Item, clip: Item, step: str, reason: str, speaker: str = "", found: Item | None = None
) -> Drop:
    text = found["text"] or found["heard"] if found else ""
    return Drop(clip["id"], record["file"], clip["seconds"], step, reason, speaker, text)


def _speakers(good: Sequence[tuple[Item, Item]], settings: SelectSettings) -> list[str]:
    """A label for each clip: that of a table, the only one there is, or one found by ear."""
    if settings.speakers not in ("main", "all"):
        return [settings.speakers] * len(good)
    unknown = [index for index, (record, _) in enumerate(good) if not record["speaker"]]
    clips = [good[index][1] for index in unknown]
    found = labels([clip["vector"] for clip in clips], [clip["seconds"] for clip in clips])
    names = [record["speaker"] for record, _ in good]
    for index, number in zip(unknown, found, strict=True):
        names[index] = f"speaker{number}"
    return names


def _thresholds(
    kept: Sequence[tuple[Item, Item, str]], heard: dict[str, Item], units: dict[str, list[Unit]]
) -> dict[str, float]:
    """From which gap on each speaker means a pause."""
    gaps: dict[str, list[float]] = {}
    for _, clip, name in kept:
        found = heard[clip["id"]]["gaps"]
        gaps.setdefault(name, []).extend(inner(units[clip["id"]], found) if found else [])
    return {name: round(threshold(values), 3) for name, values in gaps.items()}


def _utterance(clip: Item, speaker: str, language: str, units: Sequence[Unit]) -> Utterance:
    pinyin = tuple(
        tokens_to_reading(unit.phonemes)
        for unit in units
        if unit.phonemes and IS_HANZI.match(unit.surface)
    )
    return Utterance(
        file=f"clips/{clip['id']}.flac", lang=language, speaker=speaker, text=spelled(units),
        seconds=clip["seconds"], pinyin=pinyin if language == "zh" else None,
    )  # fmt: skip


def write_selection(out: Path, selection: Selection) -> None:
    """Write the manifest, in the form that `glmtts data encode` reads too, and what was dropped."""
    write_text(out / MANIFEST, "".join(map(to_line, selection.kept)))
    lines = [json.dumps(asdict(drop), ensure_ascii=False) for drop in selection.dropped]
    write_text(out / DROPPED, "".join(f"{line}\n" for line in lines))
