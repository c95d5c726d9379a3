"""A proofreader for tests: tokens are the classes that it reads in them."""

import torch
from torch import Tensor

from glmtts.proofreader import Proofreader
from glmtts.speech_tokenizer import (
    SpeechTokenizer,
    SpeechTokenizerConfig,
    TokenizerHeads,
    TokenizerHeadsConfig,
)
from glmtts.text.phonemes import CTC_CLASS, pinyin_to_tokens

CLASSES = 1 + len(CTC_CLASS)


class Reading(TokenizerHeads):
    """Reads code n as class n: a code is a row of scores."""

    def phoneme_scores(self, codes: Tensor) -> Tensor:
        return codes


def reader(heads: type[Reading]) -> Proofreader:
    """One for whom the codes are the classes that `heads` read in them."""
    tokenizer = SpeechTokenizer(
        SpeechTokenizerConfig(dim=16, heads=2, ffn=16, layers=1, codes=CLASSES, code_dim=CLASSES)
    )
    with torch.no_grad():
        tokenizer.quantizer.weight.copy_(12.0 * torch.eye(CLASSES))
    return Proofreader(tokenizer, heads(TokenizerHeadsConfig(code_dim=CLASSES, classes=CLASSES)))


def spoken(*syllables: str) -> list[int]:
    """Tokens that say the syllables clearly, two a phoneme."""
    return [CTC_CLASS[p] for s in syllables for p in pinyin_to_tokens(s) for _ in range(2)]
