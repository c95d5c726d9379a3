"""The bundled speech tokenizer as a second recogniser: sound to phonemes. Read `Ear` first.

The tokenizer of glmtts-nano was trained with a CTC head that reads Mandarin and English phonemes
off its codes. It is no kin of Whisper's decoder: it knows no words and so invents none, which is
what a second opinion on a transcript needs. The same head aligns a known text to its sound.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from glmtts import checkpoint, hub
from glmtts.audio import Audio
from glmtts.speech_tokenizer import SpeechTokenizer, TokenizerHeads, ctc_align
from glmtts.text.phonemes import CTC_CLASS, PHONEME_TOKENS

TOKENS_PER_SECOND = 25


@dataclass(frozen=True)
class Heard:
    """What the ear made of one clip.

    Attributes:
        scores: (S, classes) log-posteriors less the prior, class 0 the blank; 25 a second.
    """

    scores: Tensor

    def phonemes(self) -> list[str]:
        """The likeliest phoneme tokens: best path, repeats and blanks left out."""
        path: list[int] = self.scores.argmax(-1).tolist()  # pyright: ignore
        kept = [c for i, c in enumerate(path) if c and (i == 0 or path[i - 1] != c)]
        return [PHONEME_TOKENS[c - 1] for c in kept]

    def misread(self, phonemes: Sequence[str]) -> float:
        """CTC loss of a text in nat a phoneme: 0 is perfect, infinite where it cannot fit."""
        if not phonemes:
            return 0.0
        labels = torch.tensor([[CTC_CLASS[phoneme] for phoneme in phonemes]])
        logits = self.scores.log_softmax(-1)[:, None]  # (S, 1, classes)
        loss = F.ctc_loss(
            logits, labels, torch.tensor([len(logits)]), torch.tensor([len(phonemes)]),
            reduction="sum",
        )  # fmt: skip
        return float(loss) / len(phonemes)

    def align(self, phonemes: Sequence[str]) -> np.ndarray:
        """For each 40 ms the index of the phoneme spoken then, rising: (S,); -1 where none fits."""
        path = ctc_align(self.scores, [CTC_CLASS[phoneme] for phoneme in phonemes])
        return np.asarray(path or [-1] * len(self.scores))


class Ear:
    """Hears phonemes; always the tokenizer of glmtts-nano, whichever model is trained."""

    def __init__(self, folder: str = "glmtts-nano") -> None:
        """Load tokenizer and heads on the CPU.

        Raises:
            CheckpointError: the bundled files are damaged.
        """
        path = hub.resolve(folder) / "speech_tokenizer"
        self._tokenizer = checkpoint.load(SpeechTokenizer, path).packed()
        self._heads = checkpoint.load(TokenizerHeads, path / "heads")

    @torch.inference_mode()
    def hear(self, audio: Audio) -> Heard:
        """Listen to a clip of any rate."""
        ids = torch.tensor([list(self._tokenizer.encode(audio))])
        codes = F.embedding(ids, self._tokenizer.quantizer.weight)
        return Heard(self._heads.phoneme_scores(codes)[0])
