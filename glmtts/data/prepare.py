"""Raw recordings to training shards. Read `prepare` from the top: every step is one function.

    recordings -> clips             data.clips       decode, clean, cut, measure, level
               -> speakers          data.diarize
               -> texts             data.listening   recognise or check
               -> manifest          data.selection   keep or drop, punctuation
               -> shards            data.voice_shards
               -> report.html       data.report

All that was found lies in OUT/work, one small file an item, written whole: a run that was killed
goes on where it was, and ends with the manifest that an uninterrupted run gives.
"""

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

from glmtts import hub
from glmtts.data import listening, scribes
from glmtts.data.clips import CLIPS, CutSettings, Cutting, fingerprint
from glmtts.data.clips import RECORDS as CUT
from glmtts.data.files import read_json, write_json
from glmtts.data.listening import Listening, ListenSettings, batches
from glmtts.data.pool import Engine, Item, run
from glmtts.data.raw import Recording, recordings
from glmtts.data.report import Report, summary, write_report
from glmtts.data.selection import Selection, SelectSettings, select, write_selection
from glmtts.data.voice_shards import encode
from glmtts.errors import BadInput
from glmtts.model_folder import read_manifest
from glmtts.recognizer import missing

SETTINGS = "prepare.json"
LONGEST = 40.0


@dataclass(frozen=True)
class Settings:
    """All that decides what comes out.

    Attributes:
        model: The model that is to be trained: its tokenizer, rates and speaker encoder.
        cut: How recordings become clips.
        listen: How clips are checked.
        select: Which clips are kept.
    """

    model: str = "glmtts-nano"
    cut: CutSettings = field(default_factory=CutSettings)
    listen: ListenSettings = field(default_factory=ListenSettings)
    select: SelectSettings = field(default_factory=SelectSettings)


@dataclass(frozen=True)
class Workers:
    """Who does the work; nothing that comes out depends on it.

    Attributes:
        count: Processes, or actors on Ray.
        engine: "local" or "ray".
        gpus: Share of a GPU for each Ray actor that listens.
    """

    count: int = 1
    engine: Engine = "local"
    gpus: float = 0.0


def prepare(
    raw: Path, out: Path, settings: Settings = Settings(), workers: Workers = Workers()
) -> Report:
    """Make training data of the recordings in `raw`; a run that was killed goes on.

    Returns:
        What was kept and dropped, with warnings that name clips.

    Raises:
        BadInput: there is nothing to read, nothing was kept, or `out` holds data made with other
            settings.
        MissingExtra: an optional part is needed that is not installed.
    """
    settings = resolved(settings)
    found = recordings(raw)
    remember(out, settings)

    cutting = partial(Cutting, raw, out, settings.cut)
    todo = [recording for recording in found if not is_cut(raw, out, recording)]
    items = [{**asdict(recording), "key": recording.key} for recording in todo]
    pool: dict[str, Any] = {"workers": workers.count, "engine": workers.engine}
    run(cutting, items, **pool, name="cut")

    records = [read_json(out / CUT / f"{recording.key}.json") for recording in found]
    if not settings.listen.recognizer and any(unwritten(record) for record in records):
        raise missing()
    listener = partial(Listening, out, settings.listen)
    items = [item for record in records for item in to_hear(record) if not is_heard(out, item)]
    run(listener, items, **pool, gpus=workers.gpus, name="listen")

    heard: dict[str, Item] = {}
    seconds = [record["cpu_s"] for record in records]
    for item in (item for record in records for item in to_hear(record)):
        result = read_json(out / listening.RECORDS / f"{item['name']}.json")
        heard |= result["clips"]
        seconds.append(result["cpu_s"])
    selection = select(records, heard, settings.select)
    write_selection(out, selection)
    report = summary(records, selection, core_hours=sum(seconds) / 3600)
    write_report(out, report, selection)
    refuse_nothing(selection, report)

    encode(out, selection.kept, settings.model)
    return report


def resolved(settings: Settings) -> Settings:
    """Settings with what depends on this installation decided, checked.

    Whisper is done without where it is not installed; what else was asked for must be there.

    Raises:
        BadInput: a value is out of range.
        MissingExtra: a recogniser is not installed.
        UnknownModel: there is no such model.
    """
    if not 1.0 <= settings.cut.longest <= LONGEST:
        raise BadInput(f"Clips of {settings.cut.longest} s are not possible. Expected 1 to 40.")
    rate = read_manifest(hub.resolve(settings.model)).audio.sample_rate
    recognizer, second = settings.listen.recognizer, settings.listen.second
    for name in filter(None, (recognizer, second)):
        scribes.checked(name)
        if not scribes.installed(name) and (name != "whisper" or name == second):
            raise scribes.absent(name)
    if recognizer == "whisper" and not scribes.installed(recognizer):
        recognizer = ""
    if second and second == recognizer:
        raise BadInput(f"{second} cannot confirm what it wrote itself. Name another --second.")
    mos = settings.cut.limits.mos > 0 and find_spec("distillmos") is not None
    limits = settings.cut.limits
    return replace(
        settings,
        cut=replace(settings.cut, sample_rate=rate, judged=mos),
        listen=replace(settings.listen, limits=limits, mos=mos, recognizer=recognizer),
    )


def remember(out: Path, settings: Settings) -> None:
    """Note the settings of a folder.

    Raises:
        BadInput: it holds data made with others; the first that differs is named.
    """
    now = {name: asdict(part) for name, part in _parts(settings)}
    known = read_json(out / SETTINGS)
    if known is not None:
        # What did not exist when the folder was made had its default then.
        was, is_now = _flat(known), _flat(now)
        if not was.pop("listen.whisper", True):
            was["listen.recognizer"] = ""
        was.setdefault("listen.written_per", was["listen.per"])
        was = _flat({name: asdict(part) for name, part in _parts(Settings())}) | was
        name = next((key for key in is_now if was[key] != is_now[key]), "")
        if name:
            raise BadInput(
                f"{out} was prepared with {name} = {was[name]!r}, now it is {is_now[name]!r}. Use "
                "the same settings, or another folder."
            )
    write_json(out / SETTINGS, now)


def _parts(settings: Settings) -> list[tuple[str, Any]]:
    # What is selected may change at any time: nothing that was measured depends on it.
    return [("cut", settings.cut), ("listen", settings.listen)]


def _flat(value: dict[str, Any], before: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, item in value.items():
        inner = cast("dict[str, Any]", item) if isinstance(item, dict) else None
        flat |= {before + key: item} if inner is None else _flat(inner, f"{before}{key}.")
    return flat


def is_cut(raw: Path, out: Path, recording: Recording) -> bool:
    """Whether a recording was cut, as it is now and with what is known of it now."""
    record = read_json(out / CUT / f"{recording.key}.json")
    return (
        record is not None
        and all(record[name] == value for name, value in asdict(recording).items())
        and record["fingerprint"] == fingerprint(raw / recording.file)
    )


def to_hear(record: Item) -> list[Item]:
    """The items of the second pass for a recording that was cut."""
    names = [clip["id"] for clip in record["clips"]]
    good = [clip["id"] for clip in record["clips"] if not clip["drop"]]
    shared = {"transcript": record["transcript"], "language": record["language"], "of": len(names)}
    if record["transcript"] and len(names) > 1:
        # The transcript is divided among all clips; those that are dropped take their part of it.
        return [{**shared, "name": record["key"], "clips": names}] if good else []
    return [
        {**shared, "name": f"{record['key']}-{number:04d}", "clips": part}
        for number, part in enumerate(batches(good))
    ]


def is_heard(out: Path, item: Item) -> bool:
    """Whether these clips were listened to, with this transcript."""
    record = read_json(out / listening.RECORDS / f"{item['name']}.json")
    return (
        record is not None
        and record["transcript"] == item["transcript"]
        and sorted(record["clips"]) == sorted(item["clips"])
    )


def unwritten(record: Item) -> bool:
    """Whether a recording needs Whisper: it has no transcript, or one that must be divided."""
    clips: Sequence[Item] = [clip for clip in record["clips"] if not clip["drop"]]
    return bool(clips) and (not record["transcript"] or len(record["clips"]) > 1)


def refuse_nothing(selection: Selection, report: Report) -> None:
    """Refuse to make shards of nothing.

    Raises:
        BadInput: no clip was kept; the reasons are named.
    """
    if not selection.kept:
        reasons = ", ".join(f"{row.reason} {row.clips}" for row in report.dropped[:4])
        raise BadInput(
            f"No clip was kept ({reasons or 'no speech was found'}). report.html shows and plays "
            "what was dropped; raise a limit or bring other recordings."
        )


def emptied(out: Path) -> None:
    """Remove what a run left in `out`, the recordings' clips too, to begin anew."""
    for name in ("work", CLIPS, "train", "valid"):
        shutil.rmtree(out / name, ignore_errors=True)
    for name in (SETTINGS, "shards.json"):
        (out / name).unlink(missing_ok=True)
