"""A manifest of clips to the shards that language model and flow train on. Read `encode` first.

Arrays: tokens and mel by the model that is to be trained, its speaker vectors, and the phoneme at
each token by the ear of glmtts-nano (whose tokens are as long).
"""

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from glmtts import checkpoint, hub
from glmtts.audio import Audio, log_mel
from glmtts.data.agreement import phonemes_of, units_of
from glmtts.data.ear import Ear
from glmtts.data.files import read_json, write_json
from glmtts.data.manifest import Utterance, held_out_text
from glmtts.data.shards import Clip, quantise_mel, write_shard
from glmtts.model_folder import read_manifest
from glmtts.nn.threads import at_most
from glmtts.speaker import SpeakerEncoder
from glmtts.speech_tokenizer import SpeechTokenizer

STAMP = "shards.json"
CLIPS_PER_SHARD = 200
LEAST_VALID, SHARE_VALID = 4, 0.04
"""Clips held out for validation, where there are twenty and more: at least four, and by the rule of
the manifest (`held_out_text`) about one in twenty."""


def encode(out: Path, clips: Sequence[Utterance], model: str) -> None:
    """Write `out/train` and `out/valid`; shards that are complete and still right are kept.

    Args:
        out: The folder of the manifest.
        clips: Its clips.
        model: The model that is to be trained.

    Raises:
        UnknownModel: there is no such model.
        BadAudio: a clip of the manifest cannot be read any more.
    """
    stamp = {"model": model, "clips": _digest(clips)}
    if read_json(out / STAMP) != stamp:
        for name in ("train", "valid"):
            shutil.rmtree(out / name, ignore_errors=True)
        write_json(out / STAMP, stamp)
    train, valid = divided(clips)
    jobs = [
        (out / name, index, part[index * CLIPS_PER_SHARD : (index + 1) * CLIPS_PER_SHARD])
        for name, part in (("train", train), ("valid", valid))
        for index in range(-(-len(part) // CLIPS_PER_SHARD))
    ]
    todo = [job for job in jobs if not (job[0] / f"shard-{job[1]:05d}.jsonl").exists()]
    if not todo:
        return
    encoder = ShardEncoder(out, model)
    for folder, index, part in tqdm(todo, desc="encode", unit="shard"):
        with at_most(1):
            write_shard(folder, index, *encoder(part))


def divided(clips: Sequence[Utterance]) -> tuple[list[Utterance], list[Utterance]]:
    """(clips to train on, clips to validate with), by their texts alone."""
    valid = [clip for clip in clips if held_out_text(clip.text)]
    least = LEAST_VALID if len(clips) >= 20 else 0
    if len(valid) < least:
        held = {clip.text for clip in valid}
        for clip in sorted(clips, key=lambda c: hashlib.sha1(c.text.encode()).digest()):
            held.add(clip.text)
            if sum(clip.text in held for clip in clips) >= least:
                break
        valid = [clip for clip in clips if clip.text in held]
    chosen = {clip.file for clip in valid}
    return [clip for clip in clips if clip.file not in chosen], valid


class ShardEncoder:
    """Clips to the records and arrays of one shard."""

    def __init__(self, out: Path, model: str) -> None:
        """Load tokenizer, speaker encoder and ear on the CPU.

        Raises:
            UnknownModel: there is no such model.
        """
        folder = hub.resolve(model)
        self._out = out
        self._spec = read_manifest(folder).audio
        self._tokenizer = checkpoint.load(SpeechTokenizer, folder / "speech_tokenizer").packed()
        self._speaker = checkpoint.load(SpeakerEncoder, folder / "speaker")
        self._ear = Ear()

    def __call__(
        self, clips: Sequence[Utterance]
    ) -> tuple[list[Clip], dict[str, list[np.ndarray]]]:
        """Records, and for each array its part of every clip."""
        spec = self._spec
        names = ("tokens", "alignment", "mel", "speaker")
        arrays: dict[str, list[np.ndarray]] = {name: [] for name in names}
        records: list[Clip] = []
        for clip in clips:
            audio = Audio.load(self._out / clip.file).resampled(spec.sample_rate)
            count = len(audio.samples) // spec.samples_per_token
            audio = Audio(audio.samples[: count * spec.samples_per_token], spec.sample_rate)
            units = units_of(clip.text)
            alignment = self._ear.hear(audio).align(phonemes_of(units))
            arrays["tokens"].append(np.asarray(self._tokenizer.encode(audio)[:count]))
            arrays["alignment"].append(_fitted(alignment, count))
            arrays["mel"].append(quantise_mel(log_mel(audio.samples, spec)))
            arrays["speaker"].append(self._speaker.embed(audio).numpy())
            records.append(
                Clip(clip.file, clip.lang, clip.speaker, clip.text,
                     tuple((unit.surface, unit.phonemes) for unit in units), audio.seconds)
            )  # fmt: skip
        return records, arrays


def _fitted(alignment: np.ndarray, count: int) -> np.ndarray:
    """An alignment at the ear's tokens as one at `count` tokens of the same sound."""
    at = np.minimum(np.arange(count) * len(alignment) // max(1, count), len(alignment) - 1)
    return alignment[at]


def _digest(clips: Sequence[Utterance]) -> str:
    lines: list[dict[str, Any]] = [asdict(clip) for clip in clips]
    return hashlib.sha256(json.dumps(lines).encode()).hexdigest()
