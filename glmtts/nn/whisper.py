"""Whisper's audio encoder (openai/whisper, MIT), cut after some layers, causal if wanted.

Names of the parameters are those of Hugging Face's implementation, so that published weights load.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def block_causal_mask(length: int, block: int, device: torch.device) -> Tensor:
    """(L, L) True where query i may see key j: j <= i, or both in the same block of `block`."""
    index = torch.arange(length, device=device)
    return (index[None] <= index[:, None]) | (index[None] // block == index[:, None] // block)


class Attention(nn.Module):
    """Multi-head self-attention; the key projection has no bias."""

    def __init__(self, dim: int, heads: int) -> None:
        """Build for (B, L, D)."""
        super().__init__()
        self.heads = heads
        self.k_proj = nn.Linear(dim, dim, bias=False)
        self.v_proj = nn.Linear(dim, dim)
        self.q_proj = nn.Linear(dim, dim)
        self.out_proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, L, D), mask (B, 1, 1 or L, L) True where a key is seen -> (B, L, D)."""
        b, length, dim = x.shape
        q, k, v = (
            proj(x).view(b, length, self.heads, -1).transpose(1, 2)  # (B, H, L, D / H)
            for proj in (self.q_proj, self.k_proj, self.v_proj)
        )
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.out_proj(out.transpose(1, 2).reshape(b, length, dim))


class EncoderLayer(nn.Module):
    """Pre-norm transformer layer with an exact GELU."""

    def __init__(self, dim: int, heads: int, ffn: int) -> None:
        """Build for (B, L, D)."""
        super().__init__()
        self.self_attn = Attention(dim, heads)
        self.self_attn_layer_norm = nn.LayerNorm(dim)
        self.fc1 = nn.Linear(dim, ffn)
        self.fc2 = nn.Linear(ffn, dim)
        self.final_layer_norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, L, D), mask as for `Attention` -> (B, L, D)."""
        x = x + self.self_attn(self.self_attn_layer_norm(x), mask)
        return x + self.fc2(F.gelu(self.fc1(self.final_layer_norm(x))))


class WhisperEncoder(nn.Module):
    """Mel (B, F, M) at 100 frames a second -> (B, F / 2, D), without the final layer norm."""

    def __init__(
        self, n_mels: int, dim: int, heads: int, ffn: int, layers: int, positions: int, causal: bool
    ) -> None:
        """Build with random weights; `causal` makes the two convolutions look back only."""
        super().__init__()
        self.causal = causal
        self.conv1 = nn.Conv1d(n_mels, dim, 3, padding=0 if causal else 1)
        self.conv2 = nn.Conv1d(dim, dim, 3, stride=2, padding=0 if causal else 1)
        self.embed_positions = nn.Embedding(positions, dim)
        self.layers = nn.ModuleList(EncoderLayer(dim, heads, ffn) for _ in range(layers))

    def stem(self, mel: Tensor) -> Tensor:
        """The two convolutions and the positions: (B, F, M) -> (B, F / 2, D)."""
        x = mel.transpose(1, 2)  # (B, F, M) -> (B, M, F)
        for conv in (self.conv1, self.conv2):
            x = F.gelu(conv(F.pad(x, (2, 0)) if self.causal else x))
        x = x.transpose(1, 2)  # (B, D, F / 2) -> (B, F / 2, D)
        return x + self.embed_positions.weight[: x.shape[1]]

    def forward(self, mel: Tensor, keys: Tensor, block: int | None, frozen: int = -1) -> Tensor:
        """Encode.

        Args:
            mel: (B, F, M), F even.
            keys: (B, F / 2) True where the frame is sound, not padding.
            block: Frames (50 a second) of the causal block, or None to see the whole utterance.
            frozen: How many layers (with the stem) get no gradient; -1 = none, not even the stem.
        """
        mask = keys[:, None, None, :]  # (B, 1, 1, K)
        if block is not None:
            mask = mask & block_causal_mask(keys.shape[1], block, mel.device)[None, None]
        with torch.set_grad_enabled(torch.is_grad_enabled() and frozen < 0):
            x = self.stem(mel)
        for index, layer in enumerate(self.layers):
            with torch.set_grad_enabled(torch.is_grad_enabled() and index >= frozen):
                x = layer(x, mask)
        return x
