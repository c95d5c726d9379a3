"""Manifest to training shards, in two passes: the speech tokenizer is trained on the first.

1. `encode_audio`: clips of a manifest -> shards with samples, F0 and units (tokenizer, vocoder).
2. `encode_tokens`: those shards -> shards with speech tokens, the phoneme spoken at each token,
   mels and speaker vectors (language model, flow). Compact: 15 MB an hour, nearly all of it mel.

Both write whole shards and skip those that are complete, so a killed run goes on where it was.
"""

import zlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
import soxr
import torch
from torch import Tensor
from tqdm import tqdm

from glmtts.audio import Audio, AudioSpec, log_mel
from glmtts.data.augment import recorded
from glmtts.data.manifest import Utterance, read_clips, read_manifest, split_of
from glmtts.data.pitch import track_pitch
from glmtts.data.shards import Clip, Corpus, quantise_mel, write_shard
from glmtts.data.teacher_units import corpus_units
from glmtts.errors import BadInput
from glmtts.speaker import SpeakerEncoder
from glmtts.speech_tokenizer import SpeechTokenizer, TokenizerHeads, ctc_align
from glmtts.text.phonemes import CTC_CLASS
from glmtts.text.styles import tag

T = TypeVar("T")
CLIPS_PER_SHARD = 1_000


def encode_audio(
    manifest: Path, out: Path, spec: AudioSpec = AudioSpec(), workers: int = 2
) -> dict[str, int]:
    """Write `out/train`, `out/valid_text` and `out/valid_speaker` shards with `audio` and `f0`.

    Returns:
        Clips written for each split.

    Raises:
        BadInput: the manifest or an archive it names is missing.
        BadAudio: a clip cannot be decoded.
    """
    splits: dict[str, list[Utterance]] = {"train": [], "valid_text": [], "valid_speaker": []}
    for record in read_manifest(manifest):
        splits[split_of(record.text, record.speaker)].append(record)
    jobs: list[tuple[Path, Path, int, list[Utterance], AudioSpec]] = []
    for name, records in splits.items():
        records.sort(key=lambda r: (r.shard, r.file))
        for index, part in enumerate(_chunks(records, CLIPS_PER_SHARD)):
            if not (out / name / f"shard-{index:05d}.jsonl").exists():
                jobs.append((manifest.parent, out / name, index, part, spec))
    with ProcessPoolExecutor(workers) as pool:
        list(tqdm(pool.map(_audio_shard, jobs), total=len(jobs), unit="shard", desc="audio"))
    return {name: len(records) for name, records in splits.items()}


def _audio_shard(job: tuple[Path, Path, int, list[Utterance], AudioSpec]) -> None:
    folder, out, index, records, spec = job
    clips: list[Clip] = []
    arrays: dict[str, list[np.ndarray]] = {"audio": [], "f0": [], "laugh": []}
    for record, audio in read_clips(folder, records):
        samples = audio.resampled(spec.sample_rate).samples.numpy()
        samples = samples[: len(samples) // spec.samples_per_token * spec.samples_per_token]
        pcm = np.clip(np.round(samples * 32767.0), -32768, 32767).astype(np.int16)
        units = tuple((surface, tuple(phones)) for surface, phones in corpus_units(asdict(record)))
        if record.style:  # the language model reads it in front of the text
            units = ((tag(record.style), ()), *units)
        seconds = len(pcm) / spec.sample_rate
        clips.append(Clip(record.file, record.lang, record.speaker, record.text, units, seconds))
        arrays["audio"].append(pcm)
        arrays["f0"].append(track_pitch(pcm, spec.sample_rate, spec.hop_length))
        laugh = np.round(np.array(record.laugh or ()) * spec.tokens_per_second)
        arrays["laugh"].append(laugh.astype(np.int16))
    write_shard(out, index, clips, arrays)


def encode_tokens(
    source: Path,
    out: Path,
    tokenizer: SpeechTokenizer,
    heads: TokenizerHeads,
    speaker: SpeakerEncoder,
    spec: AudioSpec = AudioSpec(),
    batch_seconds: float = 60.0,
    speed: float = 1.0,
    as_recorded: bool = False,
) -> None:
    """Write shards with `tokens`, `alignment`, `mel` and `speaker` for the shards in `source`.

    With a `speed` other than 1 the clips are resampled first (1.1: a tenth faster and higher),
    which makes new speakers out of old ones; their label becomes "SPEAKER x1.1". With `as_recorded`
    they pass through `augment.recorded` (noise, codecs; the same for a clip each time): mixed with
    the clean shards they are the prompts that people really have.

    Raises:
        BadInput: `source` holds no shards, or `speed` is not within 0.5..2.
    """
    if not 0.5 <= speed <= 2.0:
        raise BadInput(f"Speed {speed} is out of range; expected 0.5 to 2.")
    corpus = Corpus(source)
    for index, part in enumerate(
        tqdm(list(_chunks(range(len(corpus)), CLIPS_PER_SHARD)), unit="shard", desc=str(source))
    ):
        if (out / f"shard-{index:05d}.jsonl").exists():
            continue
        part.sort(key=lambda i: corpus.length("audio", i))  # similar lengths: little padding
        arrays: dict[str, list[np.ndarray]] = {k: [] for k in ("tokens", "alignment", "mel")}
        sounds: list[Audio] = []
        for batch in _by_seconds(corpus, part, batch_seconds, spec.sample_rate):
            samples = [_at_speed(corpus.array("audio", i), speed, spec) for i in batch]
            if as_recorded:
                samples = [
                    _recorded(sound, corpus.clips[i].id, spec)
                    for sound, i in zip(samples, batch, strict=True)
                ]
            rows = tokens_and_alignment(
                tokenizer, heads, samples, [_labels(corpus.clips[i]) for i in batch],
                [_laugh(corpus, i, speed) for i in batch],
            )  # fmt: skip
            for sound, (tokens, alignment) in zip(samples, rows, strict=True):
                arrays["tokens"].append(tokens)
                arrays["alignment"].append(alignment)
                arrays["mel"].append(quantise_mel(log_mel(sound, spec)))
                sounds.append(Audio(sound, spec.sample_rate))
        arrays["speaker"] = list(speaker.embed_batch(sounds).numpy())
        clips = [corpus.clips[i] for i in part]
        if speed != 1.0:
            clips = [
                replace(clip, speaker=f"{clip.speaker} x{speed:g}", seconds=sound.seconds)
                for clip, sound in zip(clips, sounds, strict=True)
            ]
        write_shard(out, index, clips, arrays)


@torch.inference_mode()
def tokens_and_alignment(
    tokenizer: SpeechTokenizer,
    heads: TokenizerHeads,
    samples: Sequence[Tensor],
    labels: Sequence[Sequence[int]],
    laughs: Sequence[slice] = (),
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Speech tokens of each sound, and for each the index of the label spoken then (-1 unknown).

    Args:
        tokenizer: Its rate is that of `samples`.
        heads: The CTC head trained with it.
        samples: (N,) each, a multiple of the token length.
        labels: CTC classes of each sound.
        laughs: Tokens of each sound in which somebody laughs; they say no label.
    """
    lengths = torch.tensor([len(s) for s in samples])
    padded = torch.nn.utils.rnn.pad_sequence(list(samples), batch_first=True)
    with torch.autocast(
        "cpu", torch.bfloat16, enabled=tokenizer.quantizer.weight.device.type == "cpu"
    ):
        x, mask = tokenizer.features(padded.to(tokenizer.quantizer.weight), lengths)
    ids = tokenizer.quantizer.ids(x.float())
    codes = torch.nn.functional.embedding(ids, tokenizer.quantizer.weight)
    scores = heads.phoneme_scores(codes)
    rows: list[tuple[np.ndarray, np.ndarray]] = []
    for row, count in enumerate(map(int, mask.sum(1))):
        words = np.ones(count, dtype=bool)
        if laughs:
            words[laughs[row]] = False
        path = np.full(count, -1)
        path[words] = ctc_align(scores[row, :count][torch.from_numpy(words)], labels[row]) or -1
        rows.append((ids[row, :count].cpu().numpy(), path))
    return rows


def _at_speed(pcm: np.ndarray, speed: float, spec: AudioSpec) -> Tensor:
    """16-bit samples -> float samples played `speed` times as fast, whole tokens long."""
    samples = pcm / np.float32(32768)
    if speed != 1.0:
        samples = soxr.resample(samples, spec.sample_rate * speed, spec.sample_rate)
        samples = samples[: len(samples) // spec.samples_per_token * spec.samples_per_token]
    return torch.from_numpy(samples)


def _recorded(samples: Tensor, name: str, spec: AudioSpec) -> Tensor:
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    return torch.from_numpy(recorded(samples.numpy(), spec.sample_rate, rng))


def _labels(clip: Clip) -> list[int]:
    return [CTC_CLASS[phone] for _, phones in clip.units for phone in phones]


def _laugh(corpus: Corpus, index: int, speed: float) -> slice:
    """The tokens of a clip's laugh, none where nobody laughs."""
    if not corpus.holds("laugh") or not corpus.length("laugh", index):
        return slice(0, 0)
    start, stop = corpus.array("laugh", index)
    return slice(round(float(start) / speed), round(float(stop) / speed))


def _chunks(items: Iterable[T], size: int) -> Iterable[list[T]]:
    iterator = iter(items)
    while part := list(islice(iterator, size)):
        yield part


def _by_seconds(
    corpus: Corpus, indices: Sequence[int], seconds: float, rate: int
) -> Iterable[list[int]]:
    part: list[int] = []
    for i in indices:
        if part and sum(corpus.length("audio", j) for j in (*part, i)) > seconds * rate:
            yield part
            part = []
        part.append(i)
    yield part
