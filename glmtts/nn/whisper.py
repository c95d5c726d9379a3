"""Whisper's audio encoder (openai/whisper, MIT), cut after some layers, causal if wanted.

Names of the parameters are those of Hugging Face's implementation, so that published weights load.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from glmtts.nn.packed import PackedLinear, linear, pack


def block_causal_mask(length: int, block: int, device: torch.device) -> Tensor:
    """(L, L) True where query i may see key j: j <= i, or both in the same block of `block`."""
    index = torch.arange(length, device=device)
    return (index[None] <= index[:, None]) | (index[None] // block == index[:, None] // block)


def attention_mask(keys: Tensor, block: int | None) -> Tensor:
    """(B or 1, 1, 1 or L, L) True where query i may see key j, of keys (B, L) that are sound.

    A block of 1 is plain causal attention: what is behind the sound need not be hidden from it.
    """
    if block == 1:
        return block_causal_mask(keys.shape[1], block, keys.device)[None, None]
    mask = keys[:, None, None, :]
    if block is not None:
        mask = mask & block_causal_mask(keys.shape[1], block, keys.device)[None, None]
    return mask


def packed_weights(layer: nn.Linear) -> PackedLinear | None:
    """What `pack` gave a layer; None where it could not."""
    return getattr(layer, "packed", None)


def give_up_weights(*layers: nn.Linear) -> None:
    """Free the plain weights of packed layers: no gradient and no checkpoint can follow."""
    for layer in layers:
        layer.weight = nn.Parameter(layer.weight.to("meta"), requires_grad=False)


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
        self._three: PackedLinear | None = None

    def pack(self) -> None:
        """Lay the weights out, the three input projections as one; see `WhisperEncoder.pack`."""
        parts = (self.q_proj, self.k_proj, self.v_proj)
        three = nn.Linear(self.k_proj.in_features, 3 * self.k_proj.in_features, device="meta")
        three.weight = nn.Parameter(torch.cat([part.weight for part in parts]))
        none = torch.zeros_like(self.q_proj.bias)
        three.bias = nn.Parameter(torch.cat([self.q_proj.bias, none, self.v_proj.bias]))
        pack(three)
        pack(self.out_proj)
        if (packed := packed_weights(three)) is not None:
            self._three = packed
            give_up_weights(*parts, self.out_proj)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, L, D), mask (B or 1, 1, 1 or L, L) True where a key is seen -> (B, L, D)."""
        b, length, dim = x.shape
        if self._three is not None and self._three.takes(x):
            parts = self._three(x, None).chunk(3, -1)
        else:
            parts = (self.q_proj(x), self.k_proj(x), self.v_proj(x))
        q, k, v = (
            part.view(b, length, self.heads, -1).transpose(1, 2)  # (B, H, L, D / H)
            for part in parts
        )
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return linear(self.out_proj, out.transpose(1, 2).reshape(b, length, dim))


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

    def pack(self, dtype: torch.dtype) -> None:
        """Lay the weights out; see `WhisperEncoder.pack`."""
        for part in (self.self_attn, self.fc1, self.fc2):
            part.to(dtype)
        self.self_attn.pack()
        for layer in (self.fc1, self.fc2):
            pack(layer)
            if packed_weights(layer) is not None:
                give_up_weights(layer)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, L, D), mask as for `Attention` -> (B, L, D)."""
        kind = self.fc1.bias.dtype  # that of the residual stream, or a narrower one
        x = x + self.self_attn(self.self_attn_layer_norm(x).to(kind), mask)
        y = linear(self.fc1, self.final_layer_norm(x).to(kind), gelu="none")
        return x + linear(self.fc2, y)


@dataclass(frozen=True)
class Pooling:
    """How frames are joined.

    Attributes:
        size: Frames that become one; a last incomplete group is filled with zeros.
        after: Layers before it; the rest see pooled frames and a block shorter by `size`.
        largest: Keep the largest value of a group instead of the mean.
    """

    size: int
    after: int
    largest: bool = False

    def __call__(self, x: Tensor) -> Tensor:
        """(B, L, D) -> (B, ceil(L / size), D), float32."""
        rows = F.pad(x.transpose(1, 2).float(), (0, -x.shape[1] % self.size))  # (B, D, L)
        pool = F.max_pool1d if self.largest else F.avg_pool1d
        return pool(rows, self.size).transpose(1, 2)


class WhisperEncoder(nn.Module):
    """Mel (B, F, M) at 100 frames a second -> (B, S, D), without the final layer norm.

    The stem halves the frames, `pooling` joins them further; S = ceil(F / 2 / pooling.size).
    """

    def __init__(
        self,
        n_mels: int,
        dim: int,
        heads: int,
        ffn: int,
        layers: int,
        positions: int,
        causal: bool,
        pooling: Pooling,
    ) -> None:
        """Build with random weights; `causal` makes the two convolutions look back only."""
        super().__init__()
        self.causal = causal
        self.pooling = pooling
        self.conv1 = nn.Conv1d(n_mels, dim, 3, padding=0 if causal else 1)
        self.conv2 = nn.Conv1d(dim, dim, 3, stride=2, padding=0 if causal else 1)
        self.embed_positions = nn.Embedding(positions, dim)
        self.layers = nn.ModuleList(EncoderLayer(dim, heads, ffn) for _ in range(layers))

    def pack(self, dtype: torch.dtype = torch.float32) -> None:
        """Lay the layers' weights out for inference on a CPU, for good: see `nn.packed`.

        The plain weights are given up, so that memory does not grow.

        Args:
            dtype: Type of the matrix products; the residual stream and the norms keep theirs.
        """
        for layer in self.layers:
            assert isinstance(layer, EncoderLayer)
            layer.pack(dtype)

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
            block: Frames (50 a second) of the causal block, 1 = causal attention, None = see the
                whole utterance.
            frozen: How many layers (with the stem) get no gradient; -1 = none, not even the stem.
        """
        pooling = self.pooling
        mask = attention_mask(keys, block)
        with torch.set_grad_enabled(torch.is_grad_enabled() and frozen < 0):
            x = self.stem(mel)
        for index, layer in enumerate(self.layers):
            if index == pooling.after:
                x = pooling(x).to(x.dtype)
                mask = attention_mask(
                    keys[:, :: pooling.size], block and max(1, block // pooling.size)
                )
            with torch.set_grad_enabled(torch.is_grad_enabled() and index >= frozen):
                x = layer(x, mask)
        return pooling(x) if pooling.after == len(self.layers) else x
