"""Second pass, over clips: what is said, and is it so? Read `Listening.__call__`.

Two recognisers listen: one writes words (Whisper, or another of `data.scribes`), the ear of
glmtts-nano (`data.ear`) hears phonemes. A transcript that was given must be confirmed by one of
them, a transcript that was written here must be confirmed by the ear. Where a second one that
writes words is asked for, it decides instead of the ear.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from glmtts.audio import Audio
from glmtts.cloning import language_of
from glmtts.data.agreement import error_rate, keys, phonemes_of, sounds, split, units_of
from glmtts.data.clips import CLIPS
from glmtts.data.ear import Ear
from glmtts.data.files import write_json
from glmtts.data.pauses import gaps, spelled
from glmtts.data.pool import Item
from glmtts.data.quality import Limits, mos_judge, noisy
from glmtts.data.scribes import Scribe, scribe
from glmtts.errors import BadText
from glmtts.recognizer import LANGUAGES, missing
from glmtts.text.units import Unit

RECORDS = "work/heard"
FOREIGN = 0.6
"""Probability from which a language other than Mandarin and English counts as heard."""


@dataclass(frozen=True)
class ListenSettings:
    """How clips are checked.

    Attributes:
        language: "zh" or "en": others are left out; empty: both are kept.
        recognizer: Who writes words, see `data.scribes`; empty: nobody, all need transcripts.
        second: Who must agree with a transcript; empty: the ear.
        mos: Whether naturalness is judged.
        per: Largest share of phonemes by which the ear may differ from a given transcript; beyond
            it the recogniser decides. Of clean clips of the teacher corpus the worst differs by
            0.31, of those whose transcript lacks its last third the best by 0.40.
        written_per: The same for a transcript that was written here, which nobody else confirms. Of
            70 clips of a real speaker (Asterisk's prompts) the median is 0.32, 95 % are below 0.49;
            the text of another clip differs by 0.62 at least.
        wer: Largest share of words or Hanzi (by sound) by which a recogniser may differ from a
            transcript.
        limits: For the MOS.
    """

    language: str = ""
    recognizer: str = "whisper"
    second: str = ""
    mos: bool = False
    per: float = 0.35
    written_per: float = 0.5
    wer: float = 0.15
    limits: Limits = field(default_factory=Limits)


class Listening:
    """The pass as a stage of `data.pool`: the clips of one recording, or some of them."""

    def __init__(self, out: Path, settings: ListenSettings) -> None:
        """Load what listens.

        Raises:
            GlmTtsError: a recogniser is wanted that is not known or not installed.
        """
        self._out, self._settings = out, settings
        self._ear = Ear()
        self._scribe = scribe(settings.recognizer) if settings.recognizer else None
        self._second = scribe(settings.second) if settings.second else None
        self._mos = mos_judge() if settings.mos else None

    def __call__(self, item: Item) -> str:
        """Listen to the clips `item["clips"]`; what was heard is on disk afterwards."""
        began = time.process_time()
        sound = {name: Audio.load(self._out / CLIPS / f"{name}.flac") for name in item["clips"]}
        given = self._given(item, sound)
        heard = {
            name: self._clip(audio, given.get(name), item["language"])
            for name, audio in sound.items()
        }
        record = {
            "transcript": item["transcript"], "clips": heard,
            "cpu_s": round(time.process_time() - began, 3),
        }  # fmt: skip
        write_json(self._out / RECORDS / f"{item['name']}.json", record)
        return item["name"]

    def _given(self, item: Item, sound: dict[str, Audio]) -> dict[str, list[Unit]]:
        """The transcript of each clip, where the recording has one.

        That of a long recording is divided by what a recogniser hears in its clips.

        Raises:
            MissingExtra: it has to be divided and no recogniser is installed.
        """
        if not item["transcript"]:
            return {}
        try:
            units = units_of(item["transcript"])
        except BadText:
            return {name: [] for name in sound}
        if item["of"] == 1:
            return dict.fromkeys(sound, units)
        if self._scribe is None:
            raise missing()
        language = item["language"] or language_of(item["transcript"])
        heard = [written(self._scribe, audio, language) for audio in sound.values()]
        return dict(zip(sound, split(units, heard), strict=True))

    def _clip(self, audio: Audio, given: list[Unit] | None, language: str) -> Item:
        """Everything known of one clip by listening; `drop` is empty where it may stay."""
        out: Item = {
            "text": "", "given": given is not None, "language": language, "per": None, "wer": None,
            "heard": "", "mos": None, "gaps": [], "drop": "",
        }  # fmt: skip
        units = given
        if units is None:
            # Where one language is wanted, another is only looked for when the text is disputed.
            out["language"] = out["language"] or self._settings.language or self._language(audio)
            if out["language"] in LANGUAGES:
                if self._scribe is None:
                    raise missing()
                units = written(self._scribe, audio, out["language"])
                out["heard"] = spelled(units)
        else:
            out["language"] = out["language"] or language_of(spelled(units))
        out["drop"] = self._foreign(out["language"])
        if not out["drop"] and not any(unit.phonemes for unit in units or ()):
            out["drop"] = "no words"
        if not out["drop"]:
            assert units is not None
            self._check(audio, units, out)
        if not out["drop"] and self._mos is not None:
            out["mos"] = self._mos(audio)
            if out["mos"] < self._settings.limits.mos:
                out["drop"] = "unnatural (MOS)"
            elif noisy(audio, out["mos"], self._settings.limits):
                out["drop"] = "noise or music"
        return out

    def _check(self, audio: Audio, units: Sequence[Unit], out: Item) -> None:
        """Compare a text with what is heard, and measure its pauses."""
        limits = self._settings
        out["text"] = spelled(units)
        phonemes = phonemes_of(units)
        heard = self._ear.hear(audio)
        out["per"] = round(error_rate(sounds(phonemes), sounds(heard.phonemes())), 3)
        agreed = out["per"] <= (limits.per if out["given"] else limits.written_per)
        # The words decide where that was asked for, and of a voice the ear does not know well.
        judge = self._second or (self._scribe if out["given"] and not agreed else None)
        if judge is not None:
            found = written(judge, audio, out["language"])
            out["heard"] = spelled(found)
            out["wer"] = round(error_rate(keys(units), keys(found)), 3)
            agreed = out["wer"] <= limits.wer
        if not agreed:
            listens = self._scribe or judge
            likely = self._language(audio, listens) if listens else out["language"]
            out["drop"] = "transcript mismatch" if out["given"] else "recognisers disagree"
            if likely not in ("", out["language"]):
                out["drop"] = f"language ({likely})"
            return
        out["gaps"] = gaps(audio, units, heard.align(phonemes))

    def _language(self, audio: Audio, listens: Scribe | None = None) -> str:
        """The language heard: "zh", "en", or another when it is likely enough; "" for none."""
        listens = listens or self._scribe
        if listens is None:
            raise missing()
        known = listens.languages(audio)
        if not known:
            return ""
        likely = max(known, key=lambda name: known[name])
        if likely not in LANGUAGES and known[likely] >= FOREIGN:
            return likely
        return max(LANGUAGES, key=lambda name: known.get(name, 0.0))

    def _foreign(self, language: str) -> str:
        wanted = self._settings.language
        if language in LANGUAGES and wanted in ("", language):
            return ""
        return f"language ({language})" if language else "no words"


def written(scribe: Scribe, audio: Audio, language: str) -> list[Unit]:
    """The units of what a recogniser writes, none where it hears no words."""
    text = scribe.written(audio, language)
    try:
        return units_of(text) if any(map(str.isalnum, text)) else []
    except BadText:
        return []


def batches(names: Sequence[str], size: int = 16) -> list[list[str]]:
    """The clips of a recording in parts that are listened to at once."""
    rest = iter(names)
    return list(iter(lambda: list(islice(rest, size)), []))
