"""Which frames a frame may see: block patterns as visible lengths, one integer a row.

Every mask of the flow stage is "row i sees columns 0 … visible[i] - 1", so a mask is a vector; the
square matrix is made once a forward by `attention_bias`.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def block_ends(sizes: Sequence[int], length: int) -> Tensor:
    """End of the block each frame is in: (length,) int64.

    Args:
        sizes: Block sizes in frames; the last one repeats for ever. Empty: one block of everything.
        length: Number of frames.
    """
    ends = torch.full((length,), length, dtype=torch.int64)
    start = 0
    for index in range(length if sizes else 0):
        if start >= length:
            break
        size = sizes[min(index, len(sizes) - 1)]
        assert size > 0, f"block sizes must be positive, got {list(sizes)}"
        ends[start : start + size] = min(start + size, length)
        start += size
    return ends


def look_ahead_ends(sizes: Sequence[int], length: int, *, upstream: bool = False) -> Tensor:
    """Block ends of the official system, whose blocks also see part of the next one (spec §3.5).

    Row i of the block [b, b + B) sees up to b + B + max(0, need - look), where look = b + B - 1 - i
    is what its own block leaves ahead of it and need = B // 2 is what a stream holds back.

    Args:
        sizes: Block sizes in frames; the last one repeats for ever.
        length: Number of frames.
        upstream: As the reference implementation: need is two thirds of blocks above 172 frames,
            though its stream holds back one half.
    """
    rows: list[int] = []
    start, index = 0, 0
    while len(rows) < length:
        size = sizes[min(index, len(sizes) - 1)]
        assert size > 0, f"block sizes must be positive, got {list(sizes)}"
        need = int(size / 1.5) if upstream and size > 172 else size // 2
        for row in range(start, min(start + size, length)):
            rows.append(start + size + max(0, need - (start + size - 1 - row)))
        start, index = start + size, index + 1
    return torch.tensor(rows, dtype=torch.int64).clamp_(max=length)


def upstream_block_frames(tokens: int) -> int:
    """Frames that the reference implementation takes `tokens` for in its masks.

    The constants are those of an older model (12.5 tokens a second, 22,050 Hz, hop 256): 25 tokens
    make 172 frames, where the released model makes 50 (spec §3.5).
    """
    return int(tokens / 12.5 * 22050 / 256)


def prompt_block_ends(prompt: Tensor, block: Tensor, frames: Tensor, length: int) -> Tensor:
    """Visible lengths of a padded batch, each row with its own prompt and block size.

    The prompt is the first block; blocks of equal size follow.

    Args:
        prompt: (B,) frames of the prompt, 0 for none.
        block: (B,) block size in frames; at least the row's length means full attention.
        frames: (B,) real frames of each row; padding is never visible.
        length: Padded length F.

    Returns:
        (B, F) int64, at least 1.
    """
    index = torch.arange(length, device=frames.device).expand(len(frames), -1)
    full = (block >= frames)[:, None]
    after = index - prompt[:, None]
    ends = prompt[:, None] + (after.div(block[:, None], rounding_mode="floor") + 1) * block[:, None]
    ends = torch.where(after < 0, prompt[:, None], ends)
    ends = torch.where(full | (index >= frames[:, None]), frames[:, None], ends)
    return torch.minimum(ends, frames[:, None]).clamp(min=1)


def attention_bias(visible: Tensor, columns: int) -> Tensor:
    """(B, F) visible lengths -> (B, 1, F, columns) float: 0 where visible, -inf elsewhere."""
    hidden = torch.arange(columns, device=visible.device) >= visible[..., None]
    bias = torch.zeros_like(hidden, dtype=torch.float32).masked_fill_(hidden, float("-inf"))
    return bias[:, None]
