"""A diffusion transformer over mel frames, with the token branch that conditions it.

Read `DiT.velocity`: frames, condition and tokens are mixed by one linear layer, pass blocks whose
norms are modulated by time and speaker (AdaLN-Zero: Peebles & Xie, "Scalable Diffusion Models with
Transformers", 2023; the layout is that of F5-TTS, Chen et al. 2024), and come out as a velocity.
Most of what a step needs does not depend on the noisy frames: `DiT.modulations` and `DiT.guide`
compute it once for all steps of an utterance. `DiT.forward` is both, for training.

Two families are configurations of one network (`DiTConfig`):

* the official one sees the whole utterance (global response normalisation, symmetric convolutions,
  absolute token positions, rotary positions on the first head only);
* the nano one is block-causal and exact in streaming: convolutions look back only, tokens are seen
  `lookahead_tokens` ahead, attention follows `visible`, and a `StepCache` carries what finished
  frames leave behind (keys, values, convolution tails).

Shapes: B batch, S tokens, F frames, M mel bins, D model dimensions, E speaker dimensions,
C conditioning dimensions (D + E), Q Euler steps.
"""

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from glmtts.nn.attention import attend
from glmtts.nn.masks import attention_bias
from glmtts.nn.packed import linear, pack
from glmtts.nn.quantizer import spread_codes


@dataclass(frozen=True)
class DiTConfig:
    """Every dimension and switch of the network; the defaults are those of nano.

    Attributes:
        n_mels: Mel bins M.
        vocab_size: Speech tokens; the embedding has one row more (a filler).
        phonemes: Classes of the phoneme that an id may tell beside its token (`told`); 0: none.
        styles: Manners of speech that it may tell, too.
        frames_per_token: Mel frames a token covers, where the network makes frames of tokens.
        dim: Model dimensions D.
        layers: Transformer blocks.
        heads: Attention heads.
        ff_dim: Inner width of the feed-forward.
        speaker_dim: Speaker vector dimensions E.
        speaker_scale: Factor on the (unit-length) speaker vector.
        speaker_modulates: Modulate the norms by the speaker beside the time.
        speaker_channels: Channels of a projected speaker vector that the condition carries beside
            the prompt mel, the same in every frame.
        token_dim: Width of the token branch.
        token_mult: Inner width of its ConvNeXt blocks, in token_dim.
        token_blocks: ConvNeXt blocks at token rate (then a learned upsampling); 0 repeats the ids.
        frame_blocks: ConvNeXt blocks at frame rate.
        lookahead_tokens: Following tokens each token sees; only where `token_blocks` > 0.
        token_speaker: Add the speaker to the token branch before its frame-rate blocks.
        coarse_mel: Predict a coarse mel from the token branch and give it to the trunk.
        grn: Global response normalisation in the ConvNeXt blocks (depends on the whole utterance).
        absolute_positions: Add a sinusoidal table (4,096 positions) to the token embeddings.
        rope_all_heads: Rotary positions on all heads, or on the first only.
        rope_interleaved: Rotate channel pairs (2k, 2k + 1), or (k, k + half).
        tanh_gelu: Tanh form of GELU in the feed-forward, or the exact one.
        causal_convs: Convolutions look back only.
        conv_kernel: Kernel of the two position convolutions.
        conv_groups: Their groups.
        shared_modulation: One modulation layer for all blocks plus a table in each (PixArt-α, Chen
            et al. 2023), or one layer in each block.
    """

    n_mels: int = 80
    vocab_size: int = 4096
    phonemes: int = 0
    styles: int = 0
    frames_per_token: int = 2
    dim: int = 256
    layers: int = 6
    heads: int = 4
    ff_dim: int = 1024
    speaker_dim: int = 256
    speaker_scale: float = 16.0
    speaker_modulates: bool = True
    speaker_channels: int = 0
    token_dim: int = 256
    token_mult: int = 2
    token_blocks: int = 4
    frame_blocks: int = 2
    lookahead_tokens: int = 3
    token_speaker: bool = True
    coarse_mel: bool = True
    grn: bool = False
    absolute_positions: bool = False
    rope_all_heads: bool = True
    rope_interleaved: bool = False
    tanh_gelu: bool = False
    causal_convs: bool = True
    conv_kernel: int = 15
    conv_groups: int = 16
    shared_modulation: bool = True

    @property
    def streams(self) -> bool:
        """Whether finished frames never depend on later ones (so that streaming is exact)."""
        return self.causal_convs and not self.grn and not self.absolute_positions

    @property
    def modulation_dim(self) -> int:
        """Width C of what modulates the norms."""
        return self.dim + (self.speaker_dim if self.speaker_modulates else 0)


OFFICIAL = DiTConfig(
    vocab_size=100_000, dim=768, layers=18, heads=12, ff_dim=1536,
    speaker_dim=192, speaker_scale=1.0, token_dim=512, token_blocks=0, frame_blocks=4,
    lookahead_tokens=0, token_speaker=False, coarse_mel=False, grn=True, absolute_positions=True,
    rope_all_heads=False, rope_interleaved=True, tanh_gelu=True, causal_convs=False,
    conv_kernel=31, conv_groups=16, shared_modulation=False,
)  # fmt: skip
"""The released GLM-TTS flow network (spec §3.4)."""


@dataclass
class StepCache:
    """What finished frames leave behind at one Euler step.

    Attributes:
        frames: How many frames are finished.
        tails: Last inputs of each position convolution, (B, kernel - 1, D).
        keys: Rotated keys of each layer, (B, H, frames, head_dim).
        values: Values of each layer, same shape.
    """

    frames: int = 0
    tails: list[Tensor] = field(default_factory=list)
    keys: list[Tensor] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)

    def copy(self) -> "StepCache":
        """A cache that goes its own way from here (the tensors are never written to)."""
        return StepCache(self.frames, [*self.tails], [*self.keys], [*self.values])


class Modulations(NamedTuple):
    """Shifts, scales and gates at each Euler step, for each row of a batch.

    Attributes:
        blocks: For each block (Q, B, 1, 6 D): shift, scale, gate of attention, of feed-forward.
        final: (Q, B, 1, 2 D): scale and shift of the last norm.
    """

    blocks: list[Tensor]
    final: Tensor


class Guide(NamedTuple):
    """What all Euler steps of a stretch of frames share.

    Attributes:
        inputs: (B, F, D) input projection of everything but the noisy frames.
        modulations: Of each step.
        rope: Cosines and sines of the rotary positions, each (F, head_dim / 2).
        bias: (B or 1, 1, F, F) added to attention scores, None for full attention.
    """

    inputs: Tensor
    modulations: Modulations
    rope: tuple[Tensor, Tensor]
    bias: Tensor | None


class TimeEmbedding(nn.Module):
    """Sinusoids of the flow time, then two linear layers: (...) -> (..., D)."""

    def __init__(self, dim: int, sinusoids: int = 256) -> None:
        """Build with fresh weights."""
        super().__init__()
        self.pairs = sinusoids // 2
        self.time_mlp = nn.Sequential(nn.Linear(sinusoids, dim), nn.SiLU(), nn.Linear(dim, dim))

    def forward(self, time: Tensor) -> Tensor:
        """(...) -> (..., D)."""
        k = torch.arange(self.pairs, device=time.device, dtype=torch.float32)
        rate = torch.exp(-k * math.log(10000.0) / (self.pairs - 1))
        angle = 1000.0 * time.float()[..., None] * rate
        waves = torch.cat((angle.sin(), angle.cos()), -1)
        return self.time_mlp(waves)


class GRN(nn.Module):
    """Global response normalisation over time (ConvNeXt V2, Woo et al. 2023)."""

    def __init__(self, dim: int) -> None:
        """Build with fresh weights."""
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(1, 1, dim))
        self.beta = nn.Parameter(torch.zeros(1, 1, dim))

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, C) -> (B, L, C)."""
        energy = x.norm(p=2, dim=1, keepdim=True)  # (B, 1, C): the whole utterance
        return self.gamma * (x * (energy / (energy.mean(-1, keepdim=True) + 1e-6))) + self.beta + x


class ConvNeXt(nn.Module):
    """One ConvNeXt block over time: (B, L, C) -> (B, L, C)."""

    kernel = 7

    def __init__(self, dim: int, inner: int, *, grn: bool, causal: bool) -> None:
        """Build with fresh weights."""
        super().__init__()
        self.causal = causal
        self.dwconv = nn.Conv1d(dim, dim, self.kernel, groups=dim)
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.pwconv1 = nn.Linear(dim, inner)
        self.grn = GRN(inner) if grn else None
        self.pwconv2 = nn.Linear(inner, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, C) -> (B, L, C)."""
        left = self.kernel - 1 if self.causal else self.kernel // 2
        y = F.pad(x.transpose(1, 2), (left, self.kernel - 1 - left))
        y = self.pwconv1(self.norm(self.dwconv(y).transpose(1, 2)))
        y = F.gelu(y)
        if self.grn is not None:
            y = self.grn(y)
        return x + self.pwconv2(y)


class TokenBranch(nn.Module):
    """Speech tokens to features of frames; knows neither time nor noise: runs once a sample."""

    def __init__(self, config: DiTConfig) -> None:
        """Build with fresh weights."""
        super().__init__()
        self.config = config
        width = config.token_dim

        def block() -> ConvNeXt:
            inner = width * config.token_mult
            return ConvNeXt(width, inner, grn=config.grn, causal=config.causal_convs)

        self.text_embed = nn.Embedding(config.vocab_size + 1, width)
        if config.phonemes:
            self.phoneme_embed = nn.Embedding(config.phonemes + 1, width, padding_idx=0)
            nn.init.zeros_(self.phoneme_embed.weight)
        if config.styles:
            self.style_embed = nn.Embedding(config.styles + 1, width, padding_idx=0)
            nn.init.zeros_(self.style_embed.weight)
        self.text_blocks = nn.ModuleList(block() for _ in range(config.frame_blocks))
        self.token_blocks = nn.ModuleList(block() for _ in range(config.token_blocks))
        if config.token_blocks:
            if config.lookahead_tokens:
                self.lookahead = nn.Conv1d(width, width, config.lookahead_tokens + 1)
            self.upsample = nn.Linear(width, width * config.frames_per_token)
        if config.token_speaker:
            self.speaker = nn.Linear(config.speaker_dim, width)

    @torch.no_grad()
    def start_from(self, codes: Tensor) -> None:
        """Start the embeddings from the (vocab_size, C) codes of the speech tokenizer."""
        weight = self.text_embed.weight
        weight[: len(codes)] = spread_codes(codes, self.config.token_dim).to(weight)
        weight[len(codes) :] = 0.0

    def embedded(self, ids: Tensor) -> Tensor:
        """(B, S) ids -> (B, S, token_dim): the token, of which phoneme, in which style."""
        if not self.config.phonemes:
            return self.text_embed(ids)
        vocabulary = self.config.vocab_size
        classes, known = ids // vocabulary, 1 + self.config.phonemes
        x = self.text_embed(ids % vocabulary) + self.phoneme_embed(classes % known)
        return x + self.style_embed(classes // known) if self.config.styles else x

    @property
    def context_tokens(self) -> int:
        """How many earlier tokens a frame depends on at most."""
        per_block = ConvNeXt.kernel - 1
        frames = self.config.frame_blocks * per_block
        at_token_rate = -(-frames // self.config.frames_per_token)
        return at_token_rate + self.config.token_blocks * per_block

    def forward(self, tokens: Tensor, speaker: Tensor, count: Tensor | None, frames: int) -> Tensor:
        """Features of each frame.

        Args:
            tokens: (B, S) ids, some perhaps `told`.
            speaker: (B, E), already scaled; zeros for the unconditional branch.
            count: (B,) real tokens of each row, None when all are.
            frames: Number of frames F; S * frames_per_token where the branch works at token rate.

        Returns:
            (B, F, token_dim).
        """
        config = self.config
        if config.token_blocks:
            x = self.embedded(tokens)
            if count is not None:  # the end of a sentence looks like padding: zeros follow it
                real = torch.arange(tokens.shape[1], device=tokens.device) < count[:, None]
                x = x * real[..., None]
            if config.lookahead_tokens:
                ahead = F.pad(x.transpose(1, 2), (0, config.lookahead_tokens))
                x = x + self.lookahead(ahead).transpose(1, 2)
            for layer in self.token_blocks:
                x = layer(x)
            # each token makes its own frames: (B, S, 2 C) -> (B, F, C)
            x = self.upsample(x).reshape(len(x), -1, config.token_dim)
            assert x.shape[1] == frames, f"{tokens.shape[1]} tokens make {x.shape[1]} frames"
        else:
            # In float32, where a ratio that is not whole may round: as the network was trained.
            place = torch.arange(frames, device=tokens.device, dtype=torch.float32)
            nearest = (place * (tokens.shape[1] / frames)).long().clamp_(max=tokens.shape[1] - 1)
            x = self.embedded(tokens[:, nearest])
        if config.absolute_positions:
            x = x + position_table(frames, config.token_dim, x.device).to(x)
        if config.token_speaker:
            x = x + self.speaker(speaker)[:, None]
        for layer in self.text_blocks:
            x = layer(x)
        return x


def told(token: int, phoneme: int, config: DiTConfig, style: int = 0) -> int:
    """The id of a token that is known to be part of a phoneme, in a style (1 …; 0: not known)."""
    if not config.phonemes:
        return token
    style = style if config.styles else 0
    return token + config.vocab_size * (phoneme + (1 + config.phonemes) * style)


def position_table(length: int, dim: int, device: torch.device, most: int = 4096) -> Tensor:
    """[cos(p w) | sin(p w)] of each position p: (length, dim); positions end at `most` - 1."""
    position = torch.arange(length, device=device, dtype=torch.float32).clamp_(max=most - 1)
    exponent = torch.arange(0, dim, 2, device=device, dtype=torch.float32)[: dim // 2] / dim
    angle = position[:, None] * (1.0 / 10000.0**exponent)
    return torch.cat((angle.cos(), angle.sin()), -1)


class PositionConv(nn.Module):
    """Two grouped convolutions with Mish: relative position from neighbours, (B, F, D)."""

    def __init__(self, config: DiTConfig) -> None:
        """Build with fresh weights."""
        super().__init__()
        self.kernel, self.causal = config.conv_kernel, config.causal_convs

        def conv() -> nn.Conv1d:
            return nn.Conv1d(config.dim, config.dim, config.conv_kernel, groups=config.conv_groups)

        self.conv1d = nn.Sequential(conv(), nn.Mish(), conv(), nn.Mish())

    def forward(self, x: Tensor, cache: StepCache | None = None) -> Tensor:
        """(B, F, D) -> (B, F, D); `cache` replaces the padding on the left."""
        convs = (self.conv1d[0], self.conv1d[2])
        if cache is not None and not cache.tails:
            cache.tails = [x.new_zeros(len(x), self.kernel - 1, x.shape[-1]) for _ in convs]
        for index, conv in enumerate(convs):
            if cache is not None:
                x = torch.cat((cache.tails[index], x), 1)
                cache.tails[index] = x[:, x.shape[1] - self.kernel + 1 :]
                y = x.transpose(1, 2)
            else:
                left = self.kernel - 1 if self.causal else self.kernel // 2
                y = F.pad(x.transpose(1, 2), (left, self.kernel - 1 - left))
            x = F.mish(conv(y)).transpose(1, 2)
        return x


class InputMixer(nn.Module):
    """Noisy frames, condition and token features -> (B, F, D)."""

    def __init__(self, config: DiTConfig) -> None:
        """Build with fresh weights."""
        super().__init__()
        self.n_mels = config.n_mels
        mels = (3 if config.coarse_mel else 2) * config.n_mels
        inputs = mels + config.speaker_channels + config.token_dim
        self.proj = nn.Linear(inputs, config.dim)
        self.conv_pos_embed = PositionConv(config)

    def fixed(self, *inputs: Tensor) -> Tensor:
        """Project all inputs but the noisy frames, each (B, F, …), to (B, F, D)."""
        return F.linear(torch.cat(inputs, -1), self.proj.weight[:, self.n_mels :], self.proj.bias)

    def forward(self, x: Tensor, fixed: Tensor, cache: StepCache | None) -> Tensor:
        """Noisy frames (B or 1, F, M) and the projection of the other inputs -> (B, F, D)."""
        x = fixed + F.linear(x, self.proj.weight[:, : self.n_mels])
        return self.conv_pos_embed(x, cache) + x


def rotary(start: int, length: int, head_dim: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cosines and sines of rotary positions `start` …: two (length, head_dim / 2) (RoFormer)."""
    exponent = torch.arange(0, head_dim, 2, device=device, dtype=torch.float32) / head_dim
    position = torch.arange(start, start + length, device=device, dtype=torch.float32)
    angle = position[:, None] * (1.0 / 10000.0**exponent)
    return angle.cos(), angle.sin()


class Attention(nn.Module):
    """Multi-head self-attention with rotary positions: (B, F, D) -> (B, F, D)."""

    def __init__(self, config: DiTConfig) -> None:
        """Build with fresh weights."""
        super().__init__()
        dim = config.dim
        self.heads, self.head_dim = config.heads, dim // config.heads
        self.rotated = config.heads if config.rope_all_heads else 1
        self.interleaved = config.rope_interleaved
        self.to_q, self.to_k, self.to_v = (nn.Linear(dim, dim) for _ in range(3))
        self.to_out = nn.ModuleList([nn.Linear(dim, dim)])

    def _rotate(self, x: Tensor, rope: tuple[Tensor, Tensor]) -> Tensor:
        """Rotate the first heads of (B, H, F, head_dim).

        Interleaved pairs come out as halves: queries and keys share that order, so no score
        changes.
        """
        cos, sin = rope if self.rotated < self.heads else (part.to(x.dtype) for part in rope)
        heads = x[:, : self.rotated]
        a, b = (heads[..., 0::2], heads[..., 1::2]) if self.interleaved else heads.chunk(2, -1)
        turned = torch.cat((a * cos - b * sin, a * sin + b * cos), -1)
        if self.rotated == self.heads:
            return turned
        if torch.is_grad_enabled():
            return torch.cat((turned.to(x.dtype), x[:, self.rotated :]), 1)
        heads.copy_(turned)  # in place: the other heads, eleven of twelve, are not copied
        return x

    def forward(
        self,
        x: Tensor,
        rope: tuple[Tensor, Tensor],
        bias: Tensor | None,
        cache: StepCache | None,
        layer: int,
    ) -> Tensor:
        """(B, F, D) -> (B, F, D); `layer` is the place of its keys and values in `cache`."""
        batch, frames, dim = x.shape
        q, k, v = (
            linear(project, x).view(batch, frames, self.heads, self.head_dim).transpose(1, 2)
            for project in (self.to_q, self.to_k, self.to_v)
        )  # (B, H, F, head_dim)
        q, k = self._rotate(q, rope), self._rotate(k, rope)
        if cache is not None:
            if len(cache.keys) > layer:
                k = torch.cat((cache.keys[layer], k), 2)
                v = torch.cat((cache.values[layer], v), 2)
                cache.keys[layer], cache.values[layer] = k, v
            else:
                cache.keys.append(k)
                cache.values.append(v)
        y = attend(q, k, v, bias)
        return linear(self.to_out[0], y.transpose(1, 2).reshape(batch, frames, dim))


class FeedForward(nn.Module):
    """Linear, GELU, linear."""

    def __init__(self, dim: int, inner: int, *, tanh_gelu: bool) -> None:
        """Build with fresh weights."""
        super().__init__()
        self.gelu = "tanh" if tanh_gelu else "none"
        opening = nn.ModuleList([nn.Linear(dim, inner)])
        self.ff = nn.ModuleList([opening, nn.Identity(), nn.Linear(inner, dim)])

    def forward(self, x: Tensor) -> Tensor:
        """(B, F, D) -> (B, F, D)."""
        opening, closing = self.ff[0].get_submodule("0"), self.ff[2]
        return linear(closing, linear(opening, x, gelu=self.gelu))


class Modulation(nn.Module):
    """Condition -> `chunks` vectors of D, zero at the start of training (AdaLN-Zero)."""

    def __init__(self, condition: int, dim: int, chunks: int) -> None:
        """Build with fresh weights."""
        super().__init__()
        self.linear = nn.Linear(condition, dim * chunks)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, condition: Tensor) -> Tensor:
        """(..., C) -> (..., 1, chunks * D)."""
        return self.linear(F.silu(condition))[..., None, :]


def modulated(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Layer norm without weights, then scale and shift of the condition."""
    return torch.addcmul(shift, F.layer_norm(x, x.shape[-1:], eps=1e-6), 1.0 + scale)


class DiTBlock(nn.Module):
    """Attention and feed-forward, both modulated and gated by time and speaker."""

    def __init__(self, config: DiTConfig) -> None:
        """Build with fresh weights."""
        super().__init__()
        if config.shared_modulation:
            self.modulation = nn.Parameter(torch.zeros(6 * config.dim))
        else:
            self.attn_norm = Modulation(config.modulation_dim, config.dim, 6)
        self.shared = config.shared_modulation
        self.attn = Attention(config)
        self.ff = FeedForward(config.dim, config.ff_dim, tanh_gelu=config.tanh_gelu)

    def modulations(self, condition: Tensor) -> Tensor:
        """(..., C), or (..., 1, 6 D) where the layer is shared -> (..., 1, 6 D) float32."""
        m = condition + self.modulation if self.shared else self.attn_norm(condition)
        return m.float()

    def forward(
        self,
        x: Tensor,
        modulation: Tensor,
        rope: tuple[Tensor, Tensor],
        bias: Tensor | None,
        rows: Tensor | None,
        cache: StepCache | None,
        layer: int,
    ) -> Tensor:
        """(B, F, D) -> (B, F, D), `modulation` is (B, 1, 6 D)."""
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = modulation.chunk(6, -1)
        inner = self.attn.to_q.weight.dtype  # that of the residual stream, or lower
        y = self.attn(modulated(x, shift_a, scale_a).to(inner), rope, bias, cache, layer)
        if rows is not None:
            y = y * rows[..., None]
        x = torch.addcmul(x, gate_a, y.to(x.dtype))
        y = self.ff(modulated(x, shift_m, scale_m).to(inner))
        return torch.addcmul(x, gate_m, y.to(x.dtype))


class DiT(nn.Module):
    """The velocity of noisy mel frames at a flow time, given tokens, a prompt mel and a speaker."""

    def __init__(self, config: DiTConfig) -> None:
        """Build with fresh weights."""
        super().__init__()
        assert config.dim % config.heads == 0, f"{config.dim} dims over {config.heads} heads"
        self.config = config
        self.time_embed = TimeEmbedding(config.dim)
        self.text_emb_layer = TokenBranch(config)
        self.emb_concator = InputMixer(config)
        self.transformer_blocks = nn.ModuleList(DiTBlock(config) for _ in range(config.layers))
        if config.shared_modulation:
            self.modulation = Modulation(config.modulation_dim, config.dim, 6)
        self.norm_out = Modulation(config.modulation_dim, config.dim, 2)
        self.proj_out = nn.Linear(config.dim, config.n_mels)
        nn.init.zeros_(self.proj_out.weight)
        nn.init.zeros_(self.proj_out.bias)
        if config.coarse_mel:
            self.coarse = nn.Linear(config.token_dim, config.n_mels)

    @torch.no_grad()
    def grow_from(self, shallower: "DiT") -> None:
        """Take over the weights of a network of fewer blocks; what is computed stays the same.

        Each block on top starts as a copy of the last one whose two outputs are zero: it adds
        nothing until it is trained.

        Args:
            shallower: All its dimensions are this network's but for the number of blocks.
        """
        state, have = shallower.state_dict(), len(shallower.transformer_blocks)
        last = f"transformer_blocks.{have - 1}."
        for name, value in list(state.items()):
            if not name.startswith(last):
                continue
            for block in range(have, len(self.transformer_blocks)):
                silent = ".attn.to_out." in name or ".ff.ff.2." in name
                copy = torch.zeros_like(value) if silent else value
                state[name.replace(last, f"transformer_blocks.{block}.")] = copy
        self.load_state_dict(state)

    def token_features(
        self, tokens: Tensor, speaker: Tensor, frames: int, count: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Run the token branch once for all Euler steps.

        Args:
            tokens: (B, S) ids.
            speaker: (B, E) unit-length vectors, zeros for the unconditional branch.
            frames: Number of frames F.
            count: (B,) real tokens of each row, None when all are.

        Returns:
            Features (B, F, token_dim) and the coarse mel (B, F, M), None where the config has none.
        """
        scaled = speaker * self.config.speaker_scale
        features = self.text_emb_layer(tokens, scaled, count, frames)
        return features, self.coarse(features).float() if self.config.coarse_mel else None

    def modulations(self, time: Tensor, speaker: Tensor) -> Modulations:
        """Shifts, scales and gates of all blocks, in one product a block.

        Args:
            time: (Q, B) or (Q, 1) in [0, 1], the time of each row at each step.
            speaker: (B, E) unit-length vectors, zeros for the unconditional branch.
        """
        c = self.time_embed(time).float().expand(-1, len(speaker), -1)
        if self.config.speaker_modulates:
            scaled = (speaker * self.config.speaker_scale).expand(len(time), -1, -1)
            c = torch.cat((c, scaled), -1)
        shared: Tensor = self.modulation(c) if self.config.shared_modulation else c
        blocks = [layer.modulations(shared) for layer in self.transformer_blocks]  # pyright: ignore
        return Modulations(blocks, self.norm_out(c).float())

    def guide(
        self,
        condition: Tensor,
        features: Tensor,
        coarse: Tensor | None,
        modulations: Modulations,
        visible: Tensor | None = None,
        start: int = 0,
    ) -> Guide:
        """Do what does not depend on the noisy frames.

        Args:
            condition: (B, F, M) prompt mel, zeros where there is none; with `speaker_channels` more
                columns where the network has such.
            features: (B or 1, F, token_dim) from `token_features`.
            coarse: (B, F, M) from `token_features`, None where the config has none.
            modulations: Of all steps.
            visible: (B, F) or (1, F) visible length of each frame, None for full attention.
            start: Position of the first frame.
        """
        rows, frames, _ = condition.shape
        features = features.expand(rows, -1, -1)
        inputs = (condition, features) if coarse is None else (condition, coarse, features)
        fixed = self.emb_concator.fixed(*(part.to(condition.dtype) for part in inputs))
        rope = rotary(start, frames, self.config.dim // self.config.heads, condition.device)
        bias = None if visible is None else attention_bias(visible, frames)
        return Guide(fixed, modulations, rope, bias)

    def velocity(
        self,
        x: Tensor,
        guide: Guide,
        step: int = 0,
        rows: Tensor | None = None,
        cache: StepCache | None = None,
    ) -> Tensor:
        """Velocity (B, F, M) of noisy frames.

        Args:
            x: (B, F, M) noisy frames, or (1, F, M) where all rows have the same.
            guide: What the steps share.
            step: Which of its steps.
            rows: (B, F) multiplies the attention output (0 on padding), None for ones.
            cache: Continues after `cache.frames` finished frames and adds these to it; the frames
                given see all of those and each other (the guide has no `bias` then).
        """
        h = self.emb_concator(x, guide.inputs, cache).float()
        for layer, (block, m) in enumerate(
            zip(self.transformer_blocks, guide.modulations.blocks, strict=True)
        ):
            h = block(h, m[step], guide.rope, guide.bias, rows, cache, layer)
        scale, shift = guide.modulations.final[step].chunk(2, -1)  # scale first here
        if cache is not None:
            cache.frames += x.shape[1]
        return self.proj_out(modulated(h, shift, scale)).float()

    def forward(
        self,
        x: Tensor,
        condition: Tensor,
        features: Tensor,
        coarse: Tensor | None,
        time: Tensor,
        speaker: Tensor,
        visible: Tensor | None = None,
        rows: Tensor | None = None,
    ) -> Tensor:
        """Velocity (B, F, M) at `time` (B,): `modulations`, `guide` and `velocity`, once each."""
        modulations = self.modulations(time[None], speaker)
        guide = self.guide(condition, features, coarse, modulations, visible)
        return self.velocity(x, guide, 0, rows)

    def packed(self, dtype: torch.dtype = torch.float32) -> None:
        """Make the blocks ready for inference on this machine, for good: see `nn.packed`.

        Args:
            dtype: Type of the blocks' matrix products; the residual stream, the norms and all other
                layers keep theirs.
        """
        for part in self.transformer_blocks.modules():
            if isinstance(part, (Attention, FeedForward)):
                part.to(dtype)
                for layer in part.modules():
                    if isinstance(layer, nn.Linear):
                        pack(layer)
