"""A Llama decoder: token ids to hidden states. Parameter names are those of Hugging Face's Llama.

Architecture: Touvron et al. 2023 (RMSNorm, rotary positions, SwiGLU) with grouped-query attention
(Ainslie et al. 2023). The output head belongs to the caller.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from glmtts.errors import BadInput
from glmtts.nn.cache import KVCache, Places, SlotCache, empty_cache
from glmtts.nn.gaze import Gaze, look
from glmtts.nn.int8 import Int8Linear, exact_kernels
from glmtts.nn.norm import RMSNorm, compute_dtype
from glmtts.nn.rope import rotary, rotate


@dataclass(frozen=True)
class LlamaConfig:
    """Sizes of a Llama; the names in brackets are those of a Hugging Face `config.json`.

    Attributes:
        vocab_size: Rows of the embedding.
        hidden_size: Width D.
        layers: Number of layers (num_hidden_layers).
        heads: Query heads (num_attention_heads).
        kv_heads: Key and value heads, a divisor of `heads` (num_key_value_heads).
        head_dim: Width of a head.
        ffn_size: Width of the feed-forward layer (intermediate_size).
        rope_theta: Base of the rotary angles.
        rms_eps: Added to the mean square in each norm (rms_norm_eps).
        dropout: Share dropped of what enters the stream, in training only.
    """

    vocab_size: int
    hidden_size: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn_size: int
    rope_theta: float = 10_000.0
    rms_eps: float = 1e-5
    dropout: float = 0.0


def blocked_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, block: int = 128) -> Tensor:
    """Attention under a causal mask, `block` queries at a time over the keys up to their end.

    For training on a CPU: 134 ms forward and backward for (16, 5, 512, 64) in bfloat16, compiled,
    where scaled_dot_product_attention takes 328 ms (its backward has no bfloat16 products).

    Args:
        q: (B, H, L, hd).
        k: (B, kv_heads, L, hd), with `v`.
        v: As `k`.
        mask: (B, 1 or H, L, L) additive; no key after the query may be visible.
        block: Queries at a time.

    Returns:
        (B, H, L, hd).
    """
    group = q.shape[1] // k.shape[1]
    if group > 1:
        k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
    q = q * q.shape[-1] ** -0.5
    parts: list[Tensor] = []
    for start in range(0, q.shape[2], block):
        end = min(start + block, q.shape[2])
        scores = q[:, :, start:end] @ k[:, :, :end].mT + mask[:, :, start:end, :end]
        parts.append(scores.softmax(-1) @ v[:, :, :end])
    return torch.cat(parts, 2)


def held(
    y: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    head: int,
    sight: Tensor,
    seen: Tensor | None = None,
) -> Tensor:
    """Compute one head again in the rows where it is held near its place (`nn.gaze`), in place.

    Args:
        y: (R, kv_heads, group, hd) what all heads heard.
        q: (R, kv_heads, group, hd).
        k: (R, kv_heads, L, hd), with `v`.
        v: As `k`.
        head: Its number among the query heads.
        sight: (R, 4) what it may see.
        seen: (R, L) keys that are there; None: all.

    Returns:
        (R,) the text position it looked at.
    """
    kv, member = head // q.shape[2], head % q.shape[2]
    own_q, own_k, own_v = q[:, kv : kv + 1, member], k[:, kv], v[:, kv]  # (R, 1, hd), (R, L, hd)
    # No product of matrices: its rounding depends on how many rows there are.
    scores = (own_q * own_k).sum(-1, dtype=torch.float32)
    if seen is not None:
        scores = scores.masked_fill(~seen, float("-inf"))
    visible, at = look(scores, sight)
    if seen is not None:
        visible = visible & seen
    again = F.scaled_dot_product_attention(
        own_q[:, None], own_k[:, None], own_v[:, None], visible[:, None, None]
    )[:, 0, 0]
    y[:, kv, member] = torch.where(sight[:, 2:3] > 0, again, y[:, kv, member])
    return at


def _additive(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """0 where a mask is true, -inf elsewhere."""
    zeros = torch.zeros(mask.shape, dtype=dtype, device=mask.device)
    return zeros.masked_fill_(~mask, float("-inf"))


class Attention(nn.Module):
    """Grouped-query self-attention with rotary positions."""

    def __init__(self, config: LlamaConfig) -> None:
        """Make the four projections, without biases."""
        super().__init__()
        self.heads, self.kv_heads, self.head_dim = config.heads, config.kv_heads, config.head_dim
        width, kv_width = config.heads * config.head_dim, config.kv_heads * config.head_dim
        self.q_proj = nn.Linear(config.hidden_size, width, bias=False)
        self.k_proj = nn.Linear(config.hidden_size, kv_width, bias=False)
        self.v_proj = nn.Linear(config.hidden_size, kv_width, bias=False)
        self.o_proj = nn.Linear(width, config.hidden_size, bias=False)
        self.qkv: Int8Linear | None = None

    def pack(self) -> None:
        """Go over to 8-bit weights; the first three projections become one."""
        three = [self.q_proj.weight, self.k_proj.weight, self.v_proj.weight]
        self.qkv = Int8Linear(torch.cat(three))
        del self.q_proj, self.k_proj, self.v_proj
        self.o_proj = Int8Linear(self.o_proj.weight)

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries (B, heads, L, hd), keys and values (B, kv_heads, L, hd) before rotation."""
        if self.qkv is not None:
            size = self.head_dim
            sizes = [self.heads * size, self.kv_heads * size, self.kv_heads * size]
            parts = self.qkv(x).split(sizes, -1)
        else:
            parts = (self.q_proj(x), self.k_proj(x), self.v_proj(x))
        return tuple(part.unflatten(-1, (-1, self.head_dim)).transpose(1, 2) for part in parts)

    def forward(
        self,
        x: Tensor,
        cos: Tensor,
        sin: Tensor,
        mask: Tensor | None,
        cache: KVCache | None,
        layer: int,
    ) -> Tensor:
        """(B, L, D) -> (B, L, D); `mask` is additive (B, 1 or H, L, keys), None means causal."""
        rows, length, _ = x.shape
        q, k, v = self.project(x)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        if cache is not None:
            k, v = cache.append(layer, k, v)
        if mask is not None and cache is None and x.device.type == "cpu":
            y = blocked_attention(q, k, v, mask)
        else:
            y = F.scaled_dot_product_attention(
                q, k, v, mask, is_causal=mask is None and length > 1,
                enable_gqa=self.kv_heads != self.heads,
            )  # fmt: skip
        return self.o_proj(y.transpose(1, 2).reshape(rows, length, -1))

    def together(self, x: Tensor) -> Tensor:
        """All projections of new positions: (R, D) -> (R, heads + 2 kv_heads, hd)."""
        if self.qkv is not None:
            y = self.qkv(x)
        else:
            y = torch.cat([self.q_proj(x), self.k_proj(x), self.v_proj(x)], -1)
        return y.unflatten(-1, (-1, self.head_dim))

    def step(
        self,
        x: Tensor,
        cos: Tensor,
        sin: Tensor,
        cache: SlotCache,
        places: Places,
        layer: int,
        gaze: Gaze | None = None,
    ) -> Tensor:
        """One new position of each slot: (R, D) -> (R, D); one head may be held by `gaze`."""
        parts = self.together(x)
        values_at = self.heads + self.kv_heads
        turned = rotate(parts[:, :values_at], cos, sin)
        cache.write(layer, places, turned[:, self.heads :], parts[:, values_at:])
        keys, values = cache.keys[layer], cache.values[layer]
        # The query heads that share keys stand in the place of query positions.
        q = turned[:, : self.heads].unflatten(1, (self.kv_heads, -1))
        sight = None if gaze is None else gaze.sight(places)
        heard: list[Tensor] = []
        looked: list[Tensor] = []
        if places.runs is None:
            seen = torch.arange(cache.capacity, device=x.device) <= places.positions[:, None]
            heard.append(F.scaled_dot_product_attention(q, keys, values, seen[:, None, None]))
            if gaze is not None and sight is not None:
                looked.append(held(heard[0], q, keys, values, gaze.head, sight, seen))
        for start, end, slot, length in places.runs or ():
            at = slice(slot, slot + end - start)
            k, v = keys[at, :, :length], values[at, :, :length]
            y = F.scaled_dot_product_attention(q[start:end], k, v)
            if gaze is not None and sight is not None:
                looked.append(held(y, q[start:end], k, v, gaze.head, sight[start:end]))
            heard.append(y)
        if gaze is not None:
            gaze.note(places, torch.cat(looked))
        y = heard[0] if len(heard) == 1 else torch.cat(heard)
        return self.o_proj(y.reshape(len(x), -1))

    def scores(self, x: Tensor, cos: Tensor, sin: Tensor, head: int) -> Tensor:
        """Scores of one query head before masking: (B, L, D) -> (B, L, L) float32."""
        size, group = self.head_dim, self.heads // self.kv_heads
        start, kv_start = head * size, head // group * size
        if self.qkv is None:
            wq, wk = self.q_proj.weight, self.k_proj.weight
        else:
            wq, wk = self.qkv.weight[: self.heads * size], self.qkv.weight[self.heads * size :]
        q = F.linear(x, wq[start : start + size])[:, None]  # (B, 1, L, hd)
        k = F.linear(x, wk[kv_start : kv_start + size])[:, None]
        with torch.autocast(x.device.type, enabled=False):
            cos, sin = cos.float(), sin.float()
            q, k = rotate(q.float(), cos, sin)[:, 0], rotate(k.float(), cos, sin)[:, 0]
            return q @ k.mT * size**-0.5


class FeedForward(nn.Module):
    """SwiGLU (Shazeer 2020)."""

    def __init__(self, config: LlamaConfig) -> None:
        """Make the three projections, without biases."""
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.ffn_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.ffn_size, bias=False)
        self.down_proj = nn.Linear(config.ffn_size, config.hidden_size, bias=False)
        self.gate_up: Int8Linear | None = None

    def pack(self) -> None:
        """Go over to 8-bit weights; the first two projections become one."""
        self.gate_up = Int8Linear(torch.cat([self.gate_proj.weight, self.up_proj.weight]))
        del self.gate_proj, self.up_proj
        self.down_proj = Int8Linear(self.down_proj.weight)

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, D) -> (B, L, D)."""
        if self.gate_up is not None:
            gate, up = self.gate_up(x).chunk(2, -1)
            return self.down_proj(F.silu(gate) * up)
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    """Attention and feed-forward, each behind a norm and added to the stream."""

    def __init__(self, config: LlamaConfig) -> None:
        """Make the parts."""
        super().__init__()
        self.self_attn = Attention(config)
        self.mlp = FeedForward(config)
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_eps)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_eps)
        self.dropout = config.dropout

    def forward(
        self,
        x: Tensor,
        cos: Tensor,
        sin: Tensor,
        mask: Tensor | None,
        cache: KVCache | None,
        layer: int,
    ) -> Tensor:
        """(B, L, D) -> (B, L, D)."""
        heard = self.self_attn(self.input_layernorm(x), cos, sin, mask, cache, layer)
        x = x + F.dropout(heard, self.dropout, self.training)
        thought = self.mlp(self.post_attention_layernorm(x))
        return x + F.dropout(thought, self.dropout, self.training)

    def step(
        self,
        x: Tensor,
        cos: Tensor,
        sin: Tensor,
        cache: SlotCache,
        places: Places,
        layer: int,
        gaze: Gaze | None = None,
    ) -> Tensor:
        """(R, D) -> (R, D)."""
        x = x + self.self_attn.step(self.input_layernorm(x), cos, sin, cache, places, layer, gaze)
        return x + self.mlp(self.post_attention_layernorm(x))


class Llama(nn.Module):
    """Embedding, layers and the final norm. Nothing on the module changes while it runs."""

    def __init__(self, config: LlamaConfig) -> None:
        """Draw weights: normal, deviation 0.02, smaller where a layer writes into the stream."""
        super().__init__()
        self.sizes = config
        self.packed = False
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_eps)
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2:
                writes = name.endswith(("o_proj.weight", "down_proj.weight"))
                nn.init.normal_(parameter, std=0.02 / (2 * config.layers) ** (0.5 * writes))

    def cache(self, rows: int, capacity: int) -> KVCache:
        """An empty cache for `rows` sequences of up to `capacity` positions."""
        c = self.sizes
        weight = self.embed_tokens.weight
        dtype = torch.float32 if self.packed else None
        return empty_cache(c.layers, rows, c.kv_heads, capacity, c.head_dim, weight, dtype)

    @torch.no_grad()
    def pack(self) -> None:
        """Go over to 8-bit linear layers, one after the other, for decoding on a CPU.

        Activations are float32 from then on. The model cannot be trained or saved afterwards.

        Raises:
            BadInput: the model is not on a CPU, or on one without fitting kernels.
        """
        device = self.embed_tokens.weight.device
        if device.type != "cpu" or not exact_kernels():
            raise BadInput(
                f"8-bit decoding needs an x86 processor, not {device} with the kernels "
                f"{torch.backends.quantized.engine!r}. Use bfloat16 or float32."
            )
        for layer in self.layers:
            layer.self_attn.pack()  # pyright: ignore
            layer.mlp.pack()  # pyright: ignore
        for module in self.modules():
            if isinstance(module, RMSNorm):  # computed in float32: not to be converted each time
                module.float()
        self.packed = True

    def embed(self, ids: Tensor) -> Tensor:
        """(...) ids -> (..., D) in the type of the activations."""
        x = self.embed_tokens(ids)
        return x.float() if self.packed else x

    def step(
        self, ids: Tensor, cache: SlotCache, places: Places, gaze: Gaze | None = None
    ) -> Tensor:
        """One more position of some slots: (R,) ids -> (R, D) after the final norm.

        The lengths of the slots stay as they are, and so do the places of `gaze`.
        """
        x = self.embed(ids)
        cos, sin = (table[:, 0] for table in self.rotary(places.positions[:, None], x.dtype))
        for index, layer in enumerate(self.layers):
            own = gaze if gaze is not None and index == gaze.layer else None
            x = layer.step(x, cos, sin, cache, places, index, own)  # pyright: ignore
        return self.norm(x)

    def rotary(self, positions: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Cosines and sines for `positions` (B, L)."""
        return rotary(positions, self.sizes.head_dim, self.sizes.rope_theta, dtype)

    def forward(
        self,
        ids: Tensor,
        *,
        positions: Tensor | None = None,
        mask: Tensor | None = None,
        cache: KVCache | None = None,
        tap: int | None = None,
        aligned: tuple[int, int, Tensor] | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Hidden states of every position.

        Args:
            ids: (B, L) int64.
            positions: (B, L) rotary positions; by default they count on from the cache.
            mask: (B, L, L) bool, true where a query (second axis) sees a key; by default causal.
                Not together with a cache.
            cache: Past keys and values; the new ones are appended.
            tap: A layer whose normalised input is wanted too (for `Attention.scores`).
            aligned: A layer, one of its query heads and the `mask` of that head; with `mask` only.

        Returns:
            (B, L, D) after the final norm, and the (B, L, D) asked for by `tap` or None.
        """
        rows, length = ids.shape
        past = cache.length if cache is not None else 0
        assert mask is None or cache is None, "a mask and a cache do not go together"
        if positions is None:
            positions = torch.arange(past, past + length, device=ids.device).expand(rows, -1)
        x = F.dropout(self.embed(ids), self.sizes.dropout, self.training)
        dtype = compute_dtype(x)
        if past and length > 1:
            seen = torch.ones(length, past + length, dtype=torch.bool, device=ids.device)
            mask = seen.tril(past).expand(rows, -1, -1)
        bias = None
        if mask is not None:  # additive, made once: every layer would convert it again
            bias = _additive(mask, dtype)[:, None]
        cos, sin = self.rotary(positions, dtype)
        tapped = None
        for index, layer in enumerate(self.layers):
            if index == tap:
                tapped = layer.input_layernorm(x)  # pyright: ignore[reportCallIssue]
            seen = bias
            if aligned is not None and index == aligned[0]:
                assert bias is not None, "one head has a mask of its own beside that of the others"
                seen = bias.repeat(1, self.sizes.heads, 1, 1)
                seen[:, aligned[1]] = _additive(aligned[2], dtype)
            x = layer(x, cos, sin, seen, cache, index)
        if cache is not None:
            cache.advance(length)
        return self.norm(x), tapped
