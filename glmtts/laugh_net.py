"""A small net that tells where somebody laughs in speech tokens.

The phoneme head hears that no words are said in a laugh, as it does in a pause or a murmur; this
net tells them apart (`Proofreader.misread`, the reward `laughs` of GRPO).
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class LaughConfig:
    """Of a `LaughNet`.

    Attributes:
        code_dim: Of the codebook that the tokens are looked up in.
        width: Hidden units.
        reach: Tokens that are heard before and after the one in question.
        about: What it was taught with, for reports.
    """

    code_dim: int = 64
    width: int = 24
    reach: int = 4
    about: str = ""


class LaughNet(nn.Module):
    """Codes of speech tokens -> a score for each: a window of codes, one hidden layer."""

    config_type: ClassVar[type[LaughConfig]] = LaughConfig

    def __init__(self, config: LaughConfig) -> None:
        """Build with random weights."""
        super().__init__()
        self.config = config
        window = 2 * config.reach + 1
        self.window = nn.Conv1d(config.code_dim, config.width, window, padding=config.reach)
        self.out = nn.Conv1d(config.width, 1, 1)

    def forward(self, codes: Tensor) -> Tensor:
        """Logits of a laugh: (B, S, code_dim) -> (B, S)."""
        return self.out(torch.tanh(self.window(codes.transpose(1, 2))))[:, 0]

    @torch.inference_mode()
    def chances(self, codes: Tensor) -> Tensor:
        """How likely each token is part of a laugh: (S, code_dim) -> (S,)."""
        return self(codes[None])[0].sigmoid()
