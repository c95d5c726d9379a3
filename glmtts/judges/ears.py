"""Speech recognisers that write down what a judge has to compare. Read `Ears` first.

`WhisperBase` works offline: its weights come in packages. Those of seed-tts-eval, Paraformer for
Mandarin and Whisper-large-v3 for English, are used when they are on the machine.
"""

from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from glmtts.audio import Audio
from glmtts.errors import BadInput
from glmtts.judges.needs import Weights, needed
from glmtts.judges.words import simplified
from glmtts.recognizer import SAMPLE_RATE, Recognizer, TimedWord

PARAFORMER = Weights(
    "Paraformer-zh", "cer=official",
    "iic/speech_seaco_paraformer_large_asr_nat-zh-cn-16k-common-vocab8404-pytorch", "modelscope",
    "model.pt",
)  # fmt: skip
WHISPER_LARGE = Weights("Whisper-large-v3", "cer=official", "openai/whisper-large-v3")


class Ears(Protocol):
    """A recogniser.

    Attributes:
        version: Which model in which version.
    """

    version: str

    def hear(self, audio: Audio, language: str) -> str:
        """What is said; empty where nothing is."""
        ...

    def times(self, audio: Audio, text: str, language: str) -> Sequence[TimedWord] | None:
        """When each word of a text is said; None when this recogniser cannot tell."""
        ...


class WhisperBase:
    """Whisper-base out of packages: weak, but the same everywhere and offline."""

    def __init__(self) -> None:
        """Load it.

        Raises:
            MissingExtra: faster-whisper or the weights are not installed.
        """
        self._recognizer = Recognizer()
        self.version = f"whisper-base int8, faster-whisper {metadata.version('faster-whisper')}"

    def hear(self, audio: Audio, language: str) -> str:
        """See `Ears`."""
        return self._recognizer.heard(audio, language).text

    def times(self, audio: Audio, text: str, language: str) -> Sequence[TimedWord] | None:
        """See `Ears`; None beyond the 30 s that Whisper hears at once."""
        if audio.seconds > 30.0:
            return None
        return self._recognizer.aligned(audio, text, language)


class Paraformer:
    """Paraformer-zh through FunASR, for Mandarin: the recogniser of seed-tts-eval."""

    def __init__(self, weights: str | Path = "") -> None:
        """Load it from a folder, or from ModelScope's cache.

        Raises:
            MissingExtra: funasr is not installed.
            MissingWeights: the weights are not here.
        """
        auto = needed("funasr", "Paraformer-zh").AutoModel
        folder = PARAFORMER.found(weights).parent
        device = "cuda" if torch.cuda.is_available() else "cpu"
        self._model = auto(model=str(folder), disable_update=True, device=device)
        self.version = f"paraformer-zh, funasr {metadata.version('funasr')}"

    def hear(self, audio: Audio, language: str) -> str:
        """See `Ears`."""
        if language != "zh":
            raise BadInput(f"Paraformer-zh hears Mandarin, not {language!r}.")
        result = self._model.generate(input=_samples(audio), batch_size_s=300)
        return simplified(str(result[0]["text"]))

    def times(self, audio: Audio, text: str, language: str) -> Sequence[TimedWord] | None:
        """See `Ears`."""
        return None


class WhisperLarge:
    """Whisper-large-v3 through transformers, for English: the recogniser of seed-tts-eval."""

    def __init__(self, weights: str | Path = "") -> None:
        """Load it from a folder, or from Hugging Face's cache.

        Raises:
            MissingExtra: transformers is not installed.
            MissingWeights: the weights are not here.
        """
        transformers = needed("transformers", "Whisper-large-v3")
        folder = str(WHISPER_LARGE.found(weights))
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self._processor = transformers.WhisperProcessor.from_pretrained(folder)
        model = transformers.WhisperForConditionalGeneration.from_pretrained(folder)
        self._model = model.to(self._device).eval()
        self.version = f"whisper-large-v3, transformers {metadata.version('transformers')}"

    @torch.inference_mode()
    def hear(self, audio: Audio, language: str) -> str:
        """See `Ears`."""
        heard = self._processor(
            _samples(audio), sampling_rate=SAMPLE_RATE, return_tensors="pt"
        ).input_features.to(self._device)
        names = {"zh": "chinese", "en": "english"}
        ids = self._model.generate(heard, language=names[language], task="transcribe")
        text = str(self._processor.batch_decode(ids, skip_special_tokens=True)[0]).strip()
        return simplified(text) if language == "zh" else text

    def times(self, audio: Audio, text: str, language: str) -> Sequence[TimedWord] | None:
        """See `Ears`."""
        return None


class ByLanguage:
    """Paraformer for Mandarin and Whisper-large-v3 for English, each loaded when first needed."""

    def __init__(self, weights: str | Path = "") -> None:
        """Remember where both are looked for.

        Args:
            weights: A folder that holds `paraformer-zh/` and `whisper-large-v3/`; else the caches
                of their hubs are looked in.
        """
        self._weights = Path(weights) if weights else None
        self._ears: dict[str, Ears] = {}
        self.version = "paraformer-zh (zh), whisper-large-v3 (en), as in seed-tts-eval"

    def _for(self, language: str) -> Ears:
        if language not in self._ears:
            if language == "zh":
                self._ears[language] = Paraformer(self._folder("paraformer-zh"))
            else:
                self._ears[language] = WhisperLarge(self._folder("whisper-large-v3"))
        return self._ears[language]

    def _folder(self, name: str) -> str:
        return str(self._weights / name) if self._weights else ""

    def hear(self, audio: Audio, language: str) -> str:
        """See `Ears`."""
        return self._for(language).hear(audio, language)

    def times(self, audio: Audio, text: str, language: str) -> Sequence[TimedWord] | None:
        """See `Ears`."""
        return self._for(language).times(audio, text, language)


def _samples(audio: Audio) -> np.ndarray:
    """(N,) float32 at the rate that recognisers hear."""
    return audio.resampled(SAMPLE_RATE).samples.float().cpu().numpy()
