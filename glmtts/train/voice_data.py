"""The clips a voice is trained on: are they enough, of one speaker, of this model?"""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from glmtts.data.files import read_json
from glmtts.data.shards import Clip, Corpus, dequantise_mel
from glmtts.errors import BadInput
from glmtts.model_folder import read_manifest
from glmtts.text.tokenizer import TextTokenizer
from glmtts.text_reader import TextReader
from glmtts.voice import Prompt, Turn, Voice

LONGEST, SHORTEST = 10.0, 3.0
"""Seconds of the clip that becomes the reference."""


class Part(Corpus):
    """Some clips of a corpus, as a corpus."""

    def __init__(self, corpus: Corpus, chosen: list[int]) -> None:
        """Keep the clips of these numbers."""
        self.clips = [corpus.clips[index] for index in chosen]
        self._where = [corpus._where[index] for index in chosen]  # pyright: ignore
        self._arrays = corpus._arrays  # pyright: ignore


def checked(
    data: Path, model: str, speaker: str = "", least: float = 60.0
) -> tuple[Corpus, Corpus, str]:
    """(clips to train on, clips to validate with, the speaker).

    Raises:
        BadInput: the folder holds no prepared data, data for another model, too little, or several
            speakers of whom none was named.
    """
    stamp = read_json(data / "shards.json")
    if stamp is None:
        raise BadInput(
            f"{data} holds no prepared data. Make it with: glmtts data prepare RAW_DIR {data}"
        )
    if stamp["model"] != model:
        raise BadInput(
            f"{data} was prepared for the model {stamp['model']!r}, not {model!r}: their speech "
            f"tokens differ. Prepare it with: --model {model}"
        )
    whole = Corpus(data / "train")
    held = (data / "valid").is_dir()
    valid = Corpus(data / "valid") if held else whole
    speaker = _chosen(whole, speaker, data)
    train = _of(whole, speaker)
    seconds = sum(clip.seconds for clip in train)
    if seconds < least:
        raise BadInput(
            f"{data} holds {seconds:.0f} s of speech of {speaker!r} to train on; at least "
            f"{least:.0f} s are needed, 5 to 20 minutes make a good voice. {_left_out(data)}"
            f"With less, clone: glmtts voice add NAME {data / train.clips[0].id}"
        )
    others = [index for index, clip in enumerate(valid) if clip.speaker == speaker]
    return train, Part(valid, others) if others else train, speaker


def _left_out(data: Path) -> str:
    """What the preparation warned of, for it may be why there is so little."""
    report: dict[str, Any] = read_json(data / "report.json") or {}
    warnings: list[str] = report.get("warnings", [])
    kept = [text for text in warnings if not text.startswith("Only ")]
    return "".join(f"{text} " for text in kept)


def _chosen(corpus: Corpus, speaker: str, data: Path) -> str:
    found = corpus.by_speaker()
    if speaker in found:
        return speaker
    named = ", ".join(
        f"{name} ({len(clips)} clips such as {corpus.clips[clips[0]].id})"
        for name, clips in found.items()
    )
    if speaker:
        raise BadInput(f"{data} holds no speaker {speaker!r}. Known: {named}.")
    if len(found) > 1:
        raise BadInput(
            f"{data} holds {len(found)} speakers: {named}. A voice is one speaker: name it with "
            "--speaker, or prepare the data with --speakers main."
        )
    return next(iter(found))


def _of(corpus: Corpus, speaker: str) -> Corpus:
    return Part(corpus, corpus.by_speaker()[speaker])


def reference(corpus: Corpus, speaker: str, model: Path) -> Voice:
    """The most typical clip as a voice, with the mean speaker vector of all clips.

    Args:
        corpus: Clips of one speaker.
        speaker: Its label, the name of the voice.
        model: Folder of the model.

    Raises:
        BadInput: no clip has a usable length.
    """
    manifest = read_manifest(model)
    vectors = np.stack([corpus.array("speaker", i) for i in range(len(corpus))]).astype(np.float32)
    mean = vectors.mean(0)
    mean /= np.linalg.norm(mean)
    longest = min(LONGEST, manifest.prompt_tokens / manifest.audio.tokens_per_second)
    usable = [i for i, clip in enumerate(corpus) if SHORTEST <= clip.seconds <= longest]
    if not usable:
        usable = [i for i, clip in enumerate(corpus) if clip.seconds <= longest]
    if not usable:
        raise BadInput(f"All clips are longer than {longest:.0f} s. Prepare with --longest 10.")
    chosen = max(usable, key=lambda i: float(vectors[i] @ mean))
    clip: Clip = corpus.clips[chosen]
    tokens = tuple(int(token) for token in corpus.array("tokens", chosen))
    reader = TextReader(TextTokenizer.load(model / "text_tokenizer"), manifest.phonemes)
    mel = dequantise_mel(corpus.array("mel", chosen))[
        : len(tokens) * manifest.audio.frames_per_token
    ]
    return Voice(
        name=speaker, transcript=clip.text,
        prompt=Prompt((Turn(tuple(reader.transcript(clip.text)), tokens),), own=1),
        speech_tokens=tokens, mel=mel, speaker=torch.from_numpy(mean), language=clip.lang,
    )  # fmt: skip
