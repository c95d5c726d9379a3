"""What a speech tokenizer hears in sound that is being learnt: gradients go through it.

The cycle of arXiv 1703.10593 with a listener that stays as it is. Used by `train.flow_cycle` and
`train.vocoder`.
"""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from glmtts import checkpoint
from glmtts.speech_tokenizer import SpeechTokenizer, TokenizerHeads
from glmtts.train.common import require


class Listener(nn.Module):
    """A speech tokenizer and its heads, frozen."""

    def __init__(self, folder: Path, device: torch.device, sample_rate: int) -> None:
        """Load both.

        Args:
            folder: A speech tokenizer with its heads in the folder `heads`.
            device: Where they listen.
            sample_rate: Of what they will hear.

        Raises:
            BadInput: the tokenizer listens at another rate.
        """
        super().__init__()
        self.tokenizer = checkpoint.load(SpeechTokenizer, folder, device=device).float()
        self.heads = checkpoint.load(TokenizerHeads, folder / "heads", device=device).float()
        self.requires_grad_(False).eval()
        rate = self.tokenizer.config.sample_rate
        require(
            sample_rate == rate,
            f"The vocoder speaks at {sample_rate} Hz and the tokenizer listens at {rate} Hz. "
            "Train a tokenizer at the vocoder's rate (model.sample_rate).",
        )
        self.spread = self.codes.var(0).sum()

    @property
    def codes(self) -> Tensor:
        """(codes, C)."""
        return self.tokenizer.quantizer.weight.float()

    def train(self, mode: bool = True) -> "Listener":
        """Stay as it is."""
        del mode
        return super().train(False)

    def hear(self, samples: Tensor, lengths: Tensor) -> Tensor:
        """Vectors near the codes, (B, S, C), of samples (B, N) of which `lengths` (B,) are real.

        N is a multiple of the samples of a token.
        """
        heard, _ = self.tokenizer.features(samples, lengths)
        return heard.float()

    def understand(self, samples: Tensor) -> Tensor:
        """The codes, (B, S, C), of whole tokens of recorded samples (B, N)."""
        with torch.no_grad():
            ids = self.tokenizer.quantizer.ids(self.hear(samples, _lengths(samples)))
        return F.embedding(ids, self.codes)

    def apart(self, heard: Tensor, goal: Tensor) -> Tensor:
        """(B, S) squared distance of vectors (B, S, C) in units of the codes' variance."""
        return (heard - goal).square().sum(-1) / self.spread

    def misheard(self, heard: Tensor, meant: Tensor) -> Tensor:
        """Divergence of what the heads read in vectors (B, S, C) from what they read in others.

        Returns:
            (B, S * upsample).
        """
        with torch.no_grad():
            right = self.heads.phoneme_logits(meant).float().log_softmax(-1)
        read = self.heads.phoneme_logits(heard).float().log_softmax(-1)
        return (right.exp() * (right - read)).sum(-1)

    def compare(self, samples: Tensor, recorded: Tensor) -> tuple[Tensor, Tensor]:
        """Means of `apart` and `misheard` of sound and a recording, both (B, N)."""
        count = samples.shape[1] // self.tokenizer.samples_per_token
        whole = count * self.tokenizer.samples_per_token
        samples, recorded = samples[:, :whole], recorded[:, :whole]
        heard = self.hear(samples, _lengths(samples))
        meant = self.understand(recorded)
        return self.apart(heard, meant).mean(), self.misheard(heard, meant).mean()


def _lengths(samples: Tensor) -> Tensor:
    return torch.full((len(samples),), samples.shape[1], device=samples.device)
