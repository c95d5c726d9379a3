"""What a flow is trained on: padded utterances, what of them is to be filled in, what comes of it.

Shapes: B batch, S speech tokens, F mel frames, M mel bins, E speaker dimensions.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor


@dataclass
class FlowBatch:
    """Padded utterances to train on.

    Attributes:
        tokens: (B, S) int64 speech tokens, some perhaps `told`; 0 where padded.
        mel: (B, F, M) log-mel, F = S * frames_per_token.
        frames: (B,) real frames of each row, a multiple of frames_per_token.
        joint: (B,) frame where another clip of the speaker ends and the utterance begins: that
            much is prompt. 0 where a row is one clip; its prompt is then drawn.
        speaker: (B, E) unit-length speaker vectors.
    """

    tokens: Tensor
    mel: Tensor
    frames: Tensor
    joint: Tensor
    speaker: Tensor

    def to(self, device: torch.device | str) -> "FlowBatch":
        """The same batch on `device`."""
        parts = (self.tokens, self.mel, self.frames, self.joint, self.speaker)
        return FlowBatch(*(part.to(device, non_blocking=True) for part in parts))


@dataclass(frozen=True)
class FlowTask:
    """What the rows of a batch are to fill in.

    Attributes:
        target: (B, F, M) normalised mel.
        real: (B, F) frames that are no padding.
        generated: (B, F) frames to be filled in.
        prompt: (B, F) the other real ones.
        condition: (B, F, M + speaker_channels) what the network sees of the prompt and the speaker.
        tokens: (B, S) ids, perhaps told.
        count: (B,) real tokens.
        speaker: (B, E), zeros in unconditional rows.
        visible: (B, F) frames each frame may see, see `nn.masks`.
    """

    target: Tensor
    real: Tensor
    generated: Tensor
    prompt: Tensor
    condition: Tensor
    tokens: Tensor
    count: Tensor
    speaker: Tensor
    visible: Tensor


class FlowLosses(NamedTuple):
    """Scalars of one batch: what is minimised, and its two parts."""

    total: Tensor
    flow: Tensor
    coarse: Tensor


def mean_over(values: Tensor, frames: Tensor) -> Tensor:
    """Mean of values (B, F, M) over the frames (B, F) that are marked."""
    return (values * frames[..., None]).sum() / (frames.sum() * values.shape[-1]).clamp(min=1)


def draw_span(batch: FlowBatch, frames_per_token: int) -> tuple[Tensor, Tensor]:
    """Which frames of each row to generate, as (start, stop), each (B,); the rest is its prompt.

    A joined row generates its second clip. Of the others, 30 % have no prompt, 50 % a prompt of up
    to half their length in front, 20 % keep both ends and fill in 50-100 % between (Voicebox, Le et
    al. 2023).
    """
    tokens = batch.frames // frames_per_token
    kind, share, place = torch.rand(3, len(tokens), device=tokens.device)
    share = torch.where(kind < 0.3, 1.0, 0.5 + 0.5 * share)
    wanted = (tokens * share).ceil().long().clamp(min=1)
    spare = tokens - wanted
    start = torch.where(kind < 0.8, spare, (spare * place).long()) * frames_per_token
    stop = start + wanted * frames_per_token
    joined = batch.joint > 0
    start = torch.where(joined, batch.joint, start)
    return start, torch.where(joined, batch.frames, stop)
