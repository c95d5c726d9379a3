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
        return heard

    def understand(self, samples: Tensor) -> Tensor:
        """The codes, (B, S, C), of whole tokens of recorded samples (B, N)."""
        with torch.no_grad():
            ids = self.tokenizer.quantizer.ids(self.hear(samples, _lengths(samples)))
        return F.embedding(ids, self.codes)

    def losses(self, heard: Tensor, meant: Tensor) -> tuple[Tensor, Tensor]:
        """How far what is heard lies from what was meant, both (B, S, C).

        Returns:
            (B, S) squared distance in units of the codes' variance, and (B, S * upsample)
            divergence of what the heads read in the one from what they read in the other.
        """
        apart = (heard - meant).square().sum(-1) / self.spread
        with torch.no_grad():
            right = self.heads.phoneme_logits(meant).float().log_softmax(-1)
        read = self.heads.phoneme_logits(heard).float().log_softmax(-1)
        return apart, (right.exp() * (right - read)).sum(-1)

    def compare(self, samples: Tensor, recorded: Tensor) -> tuple[Tensor, Tensor]:
        """Means of `losses` of sound that shall be heard as a recording is, both (B, N)."""
        count = samples.shape[1] // self.tokenizer.samples_per_token
        whole = count * self.tokenizer.samples_per_token
        samples, recorded = samples[:, :whole], recorded[:, :whole]
        heard = self.hear(samples, _lengths(samples))
        apart, less = self.losses(heard, self.understand(recorded))
        return apart.mean(), less.mean()


def _lengths(samples: Tensor) -> Tensor:
    return torch.full((len(samples),), samples.shape[1], device=samples.device)
