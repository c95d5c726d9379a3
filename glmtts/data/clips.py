"""First pass over raw recordings: decode, clean, cut, measure, level. Read `Cutting.__call__`.

Each recording becomes clips (FLAC, at the rate of the model) and one record of what was found.
"""

import hashlib
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from glmtts import checkpoint, hub
from glmtts.audio import Audio
from glmtts.data.cut import MIXED, Span, consistency, cut, taken
from glmtts.data.decode import Format, Stretch, probe, stretches
from glmtts.data.files import write_json
from glmtts.data.plugins import cleaner, diariser
from glmtts.data.pool import Item
from glmtts.data.quality import Limits, fault, levelled, measure
from glmtts.errors import BadAudio
from glmtts.speaker import SpeakerEncoder
from glmtts.vad import FRAME_SECONDS, speech_mask

CLIPS, RECORDS = "clips", "work/cut"


@dataclass(frozen=True)
class CutSettings:
    """How recordings are cut.

    Attributes:
        sample_rate: Of the clips, that of the model.
        longest: Seconds a clip may have, at most 40.
        lufs: Loudness of the clips; -24 is that of glmtts-nano's training corpus.
        limits: What a clip must reach.
        separate: Engine that takes speech out of music, see `data.plugins`.
        denoise: Engine that takes noise away.
        judged: Whether the second pass judges naturalness, see `quality.noisy`.
        diarize: Engine that tells who speaks when, see `data.plugins`; without one speaker vectors
            of the pieces between pauses do.
    """

    sample_rate: int = 24_000
    longest: float = 20.0
    lufs: float = -24.0
    limits: Limits = field(default_factory=Limits)
    separate: str = ""
    denoise: str = ""
    diarize: str = ""
    judged: bool = False


class Cutting:
    """The pass as a stage of `data.pool`."""

    def __init__(self, raw: Path, out: Path, settings: CutSettings) -> None:
        """Load the speaker encoder of glmtts-nano: thresholds belong to an encoder.

        Raises:
            GlmTtsError: an engine is not installed, or its weights are not here.
        """
        self._raw, self._out, self._settings = raw, out, settings
        folder = hub.resolve("glmtts-nano") / "speaker"
        self._embed = checkpoint.load(SpeakerEncoder, folder).embed
        engines = (("separate", settings.separate), ("denoise", settings.denoise))
        self._cleaners = [engine for kind, name in engines if (engine := cleaner(kind, name))]
        self._diariser = diariser(settings.diarize)
        (out / CLIPS).mkdir(parents=True, exist_ok=True)

    def __call__(self, item: Item) -> str:
        """Cut the recording `item["file"]`; its clips and its record are on disk afterwards.

        A file that cannot be decoded gets a record with a `problem`; nothing of it is used, since
        what stands before the damage cannot be trusted either.
        """
        began = time.process_time()
        path = self._raw / item["file"]
        record: Item = {
            **item, "fingerprint": fingerprint(path), "problem": "", "seconds": 0.0,
            "stated_seconds": 0.0, "speech_seconds": 0.0, "clips": [],
        }  # fmt: skip
        try:
            format = probe(path)
            record |= {
                "sample_rate": format.sample_rate, "channels": format.channels,
                "stated_seconds": round(format.seconds, 3),
            }  # fmt: skip
            for stretch in stretches(path, self._settings.sample_rate):
                self._cut(stretch, format, record)
        except BadAudio as error:
            record |= {"problem": str(error), "clips": [], "speech_seconds": 0.0}
            record["seconds"] = max(record["seconds"], record["stated_seconds"])
        record["seconds"] = round(record["seconds"], 3)
        record["speech_seconds"] = round(record["speech_seconds"], 3)
        record["cpu_s"] = round(time.process_time() - began, 3)
        write_json(self._out / RECORDS / f"{item['key']}.json", record)
        return item["key"]

    def _cut(self, stretch: Stretch, format: Format, record: Item) -> None:
        """Clips of one stretch: recording -> clean -> pieces -> clips -> measures -> loudness."""
        audio = stretch.audio
        record["seconds"] += audio.seconds
        if not bool(audio.samples.any()):
            return
        for clean in self._cleaners:
            audio = clean(audio)
        record["speech_seconds"] += float(speech_mask(audio).sum()) * FRAME_SECONDS
        whole = bool(record["transcript"])
        turns = self._diariser(audio) if self._diariser else []
        for span in cut(audio, self._settings.longest, self._embed, whole=whole, turns=turns):
            name = f"{record['key']}-{len(record['clips']):04d}"
            record["clips"].append(self._clip(name, audio, span, stretch.start, format))

    def _clip(self, name: str, stretch: Audio, span: Span, start: float, format: Format) -> Item:
        audio = taken(stretch, span, margin=True)
        quality = measure(audio, format.sample_rate)
        limits, judged = self._settings.limits, self._settings.judged
        clip: Item = {
            "id": name, "start": round(start + span.start, 2), "seconds": round(audio.seconds, 3),
            **asdict(quality), "drop": fault(quality, span.seconds, limits, judged),
        }  # fmt: skip
        if span.seconds >= 0.3:
            clip["vector"] = [round(float(value), 4) for value in self._embed(audio)]
            clip["consistency"] = round(consistency(audio, self._embed), 3)
            if not clip["drop"] and clip["consistency"] < MIXED:
                clip["drop"] = "two speakers in one clip"
        levelled(audio, self._settings.lufs).save(self._out / CLIPS / f"{name}.flac")
        return clip


def fingerprint(path: Path) -> str:
    """What tells a file from another that took its place: its size and the ends of its content."""
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        digest.update(file.read(1 << 16))
        if size > 1 << 16:
            file.seek(-(1 << 16), 2)
            digest.update(file.read())
    return digest.hexdigest()[:16]
