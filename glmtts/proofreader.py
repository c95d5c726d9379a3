"""Read speech tokens back before they become sound, and tell how far they are from the text.

The tokenizer was trained with a CTC head that reads phonemes from its codes. The same head hears,
at next to no cost, when the language model skipped, repeated or garbled something.
"""

from collections.abc import Sequence

import torch
from torch.nn import functional as F

from glmtts.speech_tokenizer import SpeechTokenizer, TokenizerHeads, ctc_align
from glmtts.text.phonemes import CTC_CLASS

LAUGH_TOKENS = 12
"""Speech tokens that a laugh takes at least: half a second."""

_PHONEME = {number: phoneme for phoneme, number in CTC_CLASS.items()}


class Proofreader:
    """How badly speech tokens read as a text."""

    def __init__(self, tokenizer: SpeechTokenizer, heads: TokenizerHeads) -> None:
        """Use the codebook of `tokenizer` and the phoneme head trained with it."""
        self._codes = tokenizer.quantizer.weight
        self._heads = heads

    @torch.inference_mode()
    def misread(
        self, tokens: Sequence[int], phonemes: Sequence[str], laughs: Sequence[int] = ()
    ) -> float:
        """CTC loss of a text given its speech: 0 is perfect, above 1 much is wrong.

        A laugh says no phonemes, but it takes its time: where one should be, `LAUGH_TOKENS` tokens
        or more may be anything, at no cost (a star of Pratap et al. 2022, "Star temporal
        classification", so many times). Speech that goes on with its words there reads worse.

        Args:
            tokens: (S,) speech tokens.
            phonemes: (T,) phoneme tokens of the text (`glmtts.text.phonemes`).
            laughs: For each laugh how many phonemes stand before it, rising.

        Returns:
            Nat a phoneme; infinite where S tokens cannot spell T phonemes (and laugh).
        """
        if not phonemes:
            return 0.0
        scores = self._log_probs(tokens)
        labels = [CTC_CLASS[phoneme] for phoneme in phonemes]
        anything = range(scores.shape[1], scores.shape[1] + LAUGH_TOKENS)
        for place in reversed(laughs):
            labels[place:place] = anything
        if laughs:
            scores = torch.cat([scores, scores.new_zeros(len(tokens), LAUGH_TOKENS)], dim=1)
        loss = F.ctc_loss(
            scores[:, None], torch.tensor([labels]),
            torch.tensor([len(tokens)]), torch.tensor([len(labels)]), reduction="sum",
        )  # fmt: skip
        return float(loss) / len(phonemes)

    @torch.inference_mode()
    def heard(self, tokens: Sequence[int]) -> list[str]:
        """The phonemes that (S,) speech tokens say, read greedily."""
        classes = self._log_probs(tokens).argmax(-1)
        changed = classes.diff(prepend=classes.new_zeros(1)) != 0
        runs = [int(classes[i]) for i in changed.nonzero()[:, 0]]
        return [_PHONEME[number] for number in runs if number]

    @torch.inference_mode()
    def clarity(self, tokens: Sequence[int], phonemes: Sequence[str]) -> list[float]:
        """How clearly each token says what it should, from 0 to 1.

        The text is laid along the tokens where it fits best. A token is as clear as its phoneme or
        a pause is likely there, and no clearer than its phoneme is at its clearest token: one that
        was left out takes its neighbourhood down.

        Args:
            tokens: (S,) speech tokens.
            phonemes: (T,) phoneme tokens of the text.

        Returns:
            S values; all 0 where S tokens cannot spell T phonemes.
        """
        log_probs = self._log_probs(tokens)
        labels = [CTC_CLASS[phoneme] for phoneme in phonemes]
        path = ctc_align(log_probs, labels)
        if not path:
            return [0.0 if labels else 1.0] * len(tokens)
        where = torch.tensor(path)
        spoken = log_probs.exp()
        own = spoken.gather(-1, torch.tensor(labels)[where][:, None])[:, 0]
        best = torch.zeros(len(labels)).scatter_reduce(0, where, own, "amax")
        clear = torch.minimum(own + spoken[:, 0], best[where])
        return [float(value) for value in clear]

    @torch.inference_mode()
    def spans(self, tokens: Sequence[int], phonemes: Sequence[str]) -> list[tuple[int, int]]:
        """Where each phoneme is said: first speech token, and one past its last.

        Silence at both ends belongs to nobody, but for the token next to the speech.

        Args:
            tokens: (S,) speech tokens.
            phonemes: (T,) phoneme tokens of the text.

        Returns:
            T spans; empty where S tokens cannot spell T phonemes.
        """
        if not phonemes or not tokens:
            return []
        log_probs = self._log_probs(tokens)
        owner = ctc_align(log_probs, [CTC_CLASS[phoneme] for phoneme in phonemes])
        if not owner:
            return []
        best = [int(label) for label in log_probs.argmax(-1)]
        voiced = [place for place, label in enumerate(best) if label] or [0, len(tokens) - 1]
        first, last = max(0, voiced[0] - 1), min(len(tokens), voiced[-1] + 2)
        spans: list[tuple[int, int]] = []
        for index in range(len(phonemes)):
            mine = [place for place, label in enumerate(owner) if label == index]
            start = max(first, mine[0]) if mine else (spans[-1][1] if spans else first)
            stop = min(last, mine[-1] + 1) if mine else start
            spans.append((start, max(start, stop)))
        return spans

    def _log_probs(self, tokens: Sequence[int]) -> torch.Tensor:
        """(S,) tokens -> (S, classes) log-probabilities on the CPU, class 0 the blank."""
        ids = torch.tensor([list(tokens)], device=self._codes.device)
        scores = self._heads.phoneme_scores(F.embedding(ids, self._codes))  # (1, S, classes)
        return scores[0].float().log_softmax(-1).cpu()
