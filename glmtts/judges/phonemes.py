"""Are the phonemes those of the text? The speech tokenizer's own head reads them. See `Per`.

Where characters are ambiguous, phonemes are not: a recogniser that writes characters cannot tell
whether 长 was said as chang2 or zhang3, this one can.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional

from glmtts import checkpoint, hub
from glmtts.errors import BadInput, BadText
from glmtts.judges.base import Sample, Score, Verdict, judged
from glmtts.judges.words import STYLE_TAG, edits
from glmtts.speech_tokenizer import SpeechTokenizer, TokenizerHeads, ctc_align
from glmtts.text.frontend import Frontend
from glmtts.text.phonemes import CTC_CLASS

BLANK = 0
NAMES = {number: name.strip("<|>") for name, number in CTC_CLASS.items()}


def phonemes_of(text: str) -> list[str]:
    """Phoneme tokens of a text; readings written in it (长[zhang3]) are followed.

    Raises:
        BadText: nothing in it can be spoken.
    """
    said = STYLE_TAG.sub("", text)
    return [p for sentence in Frontend()(said) for p in sentence.phonemes]


class Per:
    """Phoneme error rate by the CTC head of glmtts-nano's speech tokenizer, at most 1.

    Lexical tones count. A model that speaks tokens of this tokenizer was trained beside the head:
    as a judge of glmtts-nano it is partial, as a reward it is cheap.
    The credit of a speech token is the probability the head gives to its phoneme.
    """

    name = "per"

    def __init__(self, model: str = "glmtts-nano", *, tokens: bool = False) -> None:
        """Load the tokenizer of a model with its training heads.

        Args:
            model: Name or folder.
            tokens: Also give each speech token its credit.

        Raises:
            BadInput: the model's tokenizer has no heads.
        """
        folder = hub.resolve(model) / "speech_tokenizer"
        if not (folder / "heads").is_dir():
            raise BadInput(
                f"The tokenizer of {model} was saved without its training heads, which read "
                "phonemes. Use glmtts-nano, or a recogniser (cer)."
            )
        self._tokenizer = checkpoint.load(SpeechTokenizer, folder)
        self._heads = checkpoint.load(TokenizerHeads, folder / "heads")
        self.tokens = tokens
        self.version = f"CTC head of {model}'s tokenizer"

    def __call__(self, samples: Sequence[Sample]) -> list[Verdict]:
        """See `glmtts.judges.base.Judge`."""
        return judged(samples, self.judge)

    @torch.inference_mode()
    def judge(self, sample: Sample) -> Score:
        """Read one sample.

        Raises:
            BadText: nothing in the text can be spoken.
        """
        wanted = phonemes_of(sample.text)
        if not wanted:
            raise BadText("The text has no phonemes to compare with.")
        ids = torch.tensor([self._tokenizer.encode(sample.audio)])
        codes = functional.embedding(ids, self._tokenizer.quantizer.weight)
        scores = self._heads.phoneme_scores(codes)[0]  # (S, classes)
        best = [int(n) for n in scores.argmax(-1)]
        found = [n for i, n in enumerate(best) if n != BLANK and (i == 0 or best[i - 1] != n)]
        labels = [CTC_CLASS[name] for name in wanted]
        names = [NAMES[n] for n in labels]
        heard = [NAMES.get(n, str(n)) for n in found]
        different = edits(names, heard)
        tokens = None
        if self.tokens:
            path = ctc_align(scores, labels)
            tokens = np.zeros(len(best), np.float32)
            if path:
                # The head fires at one token of each phoneme and is blank at the others.
                chance = scores.softmax(-1)
                step = torch.arange(len(best))
                tokens = (chance[step, torch.tensor(labels)[torch.tensor(path)]]
                          + chance[:, BLANK]).clamp(max=1.0).numpy().astype(np.float32)  # fmt: skip
        detail: dict[str, object] = {"read": " ".join(heard), "phonemes": different.length}
        return Score(min(1.0, different.rate), tokens, detail)
