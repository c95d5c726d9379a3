"""Laughs put into clips of speech, and `[laughter]` into their texts. Read `Laughing.__call__`.

A laugh stands before the first word, after the last, in a pause where the text has a mark, or
alone. It is made of the clip's own voice (`glmtts.data.laughs`) and kept only when a detector is
sure of it; a clip whose voice gives no such laugh stays as it was.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from glmtts.audio import Audio
from glmtts.data.laughs import draw, laugh, timbre
from glmtts.data.manifest import Utterance, read_clips, read_manifest, to_line, write_manifest
from glmtts.errors import BadInput
from glmtts.text.styles import LAUGHTER, tag
from glmtts.text.units import HANZI

Heard = Callable[[Audio], float]
"""How surely somebody laughs in a sound, 0 to 1 (`glmtts.judges.laughter`)."""

ENOUGH = 0.3
"""Probability from which a made laugh is kept; from 0.1 on, the judge calls it a laugh."""
TRIES = 8
"""Laughs made of one clip before it is left without one."""
ALONE = 0.06
"""Share of clips that are a laugh and nothing else."""
WITHIN = 0.5
"""Share of clips with a pause in which somebody laughs there, not before or after the words."""
TAG = tag(LAUGHTER)
INNER_MARK = re.compile(r"[，。！？；：、,.!?;:]+(?=\s*[^\s，。！？；：、,.!?;:])")
"""A mark between words."""
BEFORE_S, AFTER_S = 0.08, 0.15
"""Silence around speech, as `teacher.trim` leaves it."""
SHORTEST_PAUSE_S = 0.08


@dataclass(frozen=True)
class Laughed:
    """A clip with a laugh in it.

    Attributes:
        text: What it says, `[laughter]` in its place.
        samples: (N,) float32.
        laugh: From when to when somebody laughs, in seconds.
    """

    text: str
    samples: np.ndarray
    laugh: tuple[float, float]


class Laughing:
    """Puts laughs into clips."""

    def __init__(self, heard: Heard, enough: float = ENOUGH) -> None:
        """Keep what `heard` gives at least `enough`."""
        self._heard, self._enough = heard, enough

    def __call__(
        self, text: str, samples: np.ndarray, sample_rate: int, rng: np.random.Generator
    ) -> Laughed | None:
        """The clip with one laugh in it, or None where no laugh of this voice passed.

        Args:
            text: What the clip says, without tags.
            samples: (N,) speech, trimmed.
            sample_rate: Of the speech.
            rng: Draws the place and the laugh.
        """
        try:
            voice = timbre(samples, sample_rate)
        except BadInput:
            return None
        for _ in range(TRIES):
            made = laugh(voice, draw(rng), rng) * np.float32(rng.uniform(0.7, 1.0))
            if self._heard(Audio(torch.from_numpy(made), sample_rate)) < self._enough:
                continue
            clip = _put(text, samples, made, sample_rate, rng)
            if self._heard(Audio(torch.from_numpy(clip.samples), sample_rate)) >= self._enough:
                return clip
        return None


def _put(
    text: str, samples: np.ndarray, made: np.ndarray, sample_rate: int, rng: np.random.Generator
) -> Laughed:
    """Put a laugh somewhere: within the words half the time where that is possible."""

    def silence(seconds: float) -> np.ndarray:
        return np.zeros(round(seconds * sample_rate), np.float32)

    if rng.random() < ALONE:
        at, text, samples = 0, "", samples[:0]
    else:
        inner = pauses(text, samples, sample_rate)
        places = [(0, 0), (len(text), len(samples))]
        if inner and rng.random() < WITHIN:
            places = inner
        place, at = places[int(rng.integers(len(places)))]
        text = _tagged(text, place)
    before = BEFORE_S if at == 0 else rng.uniform(0.02, 0.12)
    after = AFTER_S if at == len(samples) else rng.uniform(0.02, 0.12)
    parts = [samples[:at], silence(before), made, silence(after), samples[at:]]
    start = (at + len(parts[1])) / sample_rate
    joined = np.concatenate(parts).astype(np.float32)
    return Laughed(
        text or TAG, joined, (round(start, 3), round(start + len(made) / sample_rate, 3))
    )


def _tagged(text: str, place: int) -> str:
    """`text` with the tag at `place`; where Latin letters are written, spaces around it."""
    before, after = text[:place].rstrip(), text[place:].lstrip()
    gap = "" if re.search(f"[{HANZI}]", text) else " "
    return gap.join(part for part in (before, TAG, after) if part)


def pauses(text: str, samples: np.ndarray, sample_rate: int) -> list[tuple[int, int]]:
    """Places between the words where the speaker pauses: after a mark, (character, sample).

    The pauses are heard: the longest are those of the marks, one each. Where there are too few of
    them it is not known which is which, and there are none.
    """
    marks = [match.end() for match in INNER_MARK.finditer(text)]
    hop = sample_rate // 100
    frames = samples[: len(samples) // hop * hop].reshape(-1, hop)
    level = np.sqrt(np.square(frames, dtype=np.float64).mean(axis=1))
    loud = np.flatnonzero(level > max(0.004, 0.03 * float(level.max(initial=0.0))))
    lengths = np.diff(loud)
    silent = np.flatnonzero(lengths > SHORTEST_PAUSE_S * 100)
    if not marks or len(silent) < len(marks):
        return []
    silent = np.sort(silent[np.argsort(-lengths[silent], kind="stable")[: len(marks)]])
    middles = [(int(loud[i]) + 1 + int(loud[i + 1])) // 2 * hop for i in silent]
    return list(zip(marks, middles, strict=True))


def add_laughs(manifest: Path, out: Path, heard: Heard, *, share: float, seed: int) -> int:
    """Copy the clips of a manifest into the folder `out`, with laughs in a share of them.

    Clips that have a tag already, or a style other than happy, stay as they are. What becomes of a
    clip depends on (clip, seed) alone; a run that was interrupted goes on where it was.

    Args:
        manifest: Its clips are read, and not touched.
        out: Gets `manifest.jsonl` and the clips as FLAC.
        heard: Tells laughs.
        share: Of clips that are to get a laugh.
        seed: Same seed, same laughs.

    Returns:
        Number of laughs.

    Raises:
        BadInput: the manifest or a clip is missing.
        BadAudio: a clip cannot be decoded.
        MissingExtra: pyworld is not installed.
    """
    records, put = read_manifest(manifest), Laughing(heard)
    (out / "clips").mkdir(parents=True, exist_ok=True)
    journal = out / "journal.jsonl"
    made = read_manifest(journal) if journal.exists() else []
    write_manifest(journal, made)  # a last line cut short by a kill is gone now
    left = records[len(made) :]
    bar = tqdm(read_clips(manifest.parent, left), total=len(records), initial=len(made))
    with journal.open("a", encoding="utf-8") as lines:
        for index, (record, audio) in enumerate(bar, len(made)):
            rng = np.random.default_rng([seed, index])
            clip = None
            if rng.random() < share and record.style in ("", "happy") and TAG not in record.text:
                clip = put(record.text, audio.samples.numpy(), audio.sample_rate, rng)
            if clip is not None:
                audio = Audio(torch.from_numpy(clip.samples), audio.sample_rate)
                record = with_laugh(record, clip, audio.seconds)
            name = f"clips/{index:06d}.flac"
            audio.save(out / name)
            made.append(replace(record, file=name, shard=None))
            lines.write(to_line(made[-1]))
            lines.flush()
    write_manifest(out / "manifest.jsonl", made)
    return sum(record.laugh is not None for record in made)


def with_laugh(record: Utterance, clip: Laughed, seconds: float) -> Utterance:
    """What the manifest says of the clip with a laugh in it."""
    if clip.text == TAG:
        record = replace(record, pinyin=() if record.pinyin is not None else None, phonemes="")
    return replace(record, text=clip.text, seconds=round(seconds, 3), laugh=clip.laugh)
