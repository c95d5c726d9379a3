"""Audio to speech tokens: Whisper's encoder, pooled to 25 Hz, and a quantiser.

Read `encode_all` first.

Official system (spec §5, paper §2.3): whisper-large-v3's first 16 layers, average pooling 2, 32,768
codes, block mask of 4 s. The nano tokenizer is the same code around whisper-base with a projection
before the quantiser. It is trained by recognising speech through the codes (CTC on phonemes) and by
a pitch estimator that must read the F0 contour from them (`TokenizerHeads`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from glmtts.audio import Audio, whisper_log_mel
from glmtts.errors import BadAudio
from glmtts.nn.quantizer import EMAQuantizer
from glmtts.nn.whisper import Pooling, WhisperEncoder

BATCH_SECONDS = 60.0
"""Sound encoded at once: enough for any machine to be busy, and small enough for its memory."""
OFFICIAL_BATCH = 128
"""Segments the official system pads to one length."""


@dataclass(frozen=True)
class SpeechTokenizerConfig:
    """What a speech tokenizer is.

    Attributes:
        n_mels: Mel bins Whisper hears (80; large-v3 128).
        dim, heads, ffn, layers: The encoder's size; `layers` counts only those used.
        positions: Rows of the position table; 1500 = 30 s, the longest segment encoded at once.
        pooling: Frames (50 a second) averaged into one token: 2 = 25 Hz, 4 = 12.5 Hz.
        codes: Codebook size.
        code_dim: Dimensions of the quantised space; 0 = `dim` without a projection (official).
        causal_block: Frames of the block-causal mask (official 200 = 4 s); 1 = causal, None = each
            frame sees the whole utterance.
        causal_convs: Left-padded convolutions (GLM-4-Voice); official and nano False.
        sample_rate: Rate the mel is computed at: 16000 as Whisper, or a multiple of 8000 above.
        pool_after: Layers before the pooling; None = all of them (official and nano).
        max_pooling: Keep the largest of the pooled frames instead of their mean.
        resampler: How other rates become `sample_rate`, see `Audio.resampled`; official "sinc".
    """

    n_mels: int = 80
    dim: int = 512
    heads: int = 8
    ffn: int = 2_048
    layers: int = 4
    positions: int = 1_500
    pooling: int = 2
    codes: int = 4_096
    code_dim: int = 64
    causal_block: int | None = None
    causal_convs: bool = False
    sample_rate: int = 24_000
    pool_after: int | None = None
    max_pooling: bool = False
    resampler: str = "soxr"

    @classmethod
    def official(cls) -> "SpeechTokenizerConfig":
        """The released tokenizer of zai-org/GLM-TTS (spec §1.3)."""
        return cls(
            n_mels=128, dim=1_280, heads=20, ffn=5_120, layers=16, codes=32_768, code_dim=0,
            causal_block=200, sample_rate=16_000, resampler="sinc",
        )  # fmt: skip

    @property
    def tokens_per_second(self) -> float:
        """Speech tokens per second of sound."""
        return 50.0 / self.pooling


class SpeechTokenizer(nn.Module):
    """Whisper-VQ: audio -> speech token ids.

    State-dict names are the official ones with the parts named, see
    `glmtts.convert.official_tokenizer`.
    """

    config_type: ClassVar[type[SpeechTokenizerConfig]] = SpeechTokenizerConfig

    def __init__(self, config: SpeechTokenizerConfig) -> None:
        """Build with random weights."""
        super().__init__()
        self.config = config
        after = config.layers if config.pool_after is None else config.pool_after
        self.encoder = WhisperEncoder(
            config.n_mels, config.dim, config.heads, config.ffn, config.layers, config.positions,
            config.causal_convs, Pooling(config.pooling, after, config.max_pooling),
        )  # fmt: skip
        self.projection = (
            nn.Sequential(nn.LayerNorm(config.dim), nn.Linear(config.dim, config.code_dim))
            if config.code_dim
            else nn.Identity()
        )
        self.quantizer = EMAQuantizer(config.codes, config.code_dim or config.dim)

    def packed(self, dtype: torch.dtype = torch.float32) -> "SpeechTokenizer":
        """Make the network ready for inference on this machine, for good, and return it.

        It cannot be saved or trained any more. Only a CPU gains by it.

        Args:
            dtype: Type of the encoder's matrix products. float32 keeps the ids; bfloat16 takes half
                the memory and, where the processor has it, half the time, and some ids differ.
        """
        self.encoder.pack(dtype)
        self.quantizer.pack()
        return self

    @property
    def samples_per_token(self) -> int:
        """Samples (at the tokenizer's own rate) covered by one token."""
        return round(self.config.sample_rate / self.config.tokens_per_second)

    def features(
        self, samples: Tensor, lengths: Tensor, frozen: int = -1, *, upstream_compat: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Vectors to be quantised: `pooled` after the projection.

        See `pooled` for the arguments; the second result is the mask (B, S) of real tokens.
        """
        x, mask = self.pooled(samples, lengths, frozen, upstream_compat=upstream_compat)
        return self.projection(x), mask

    def pooled(
        self, samples: Tensor, lengths: Tensor, frozen: int = -1, *, upstream_compat: bool = False
    ) -> tuple[Tensor, Tensor]:
        """The encoder's output at the token rate. Each row gives what it gives alone.

        Args:
            samples: (B, N) at the tokenizer's rate, zero-padded; N a multiple of the token length.
            lengths: (B,) true lengths in samples.
            frozen: Layers without gradient, see `WhisperEncoder`.
            upstream_compat: Hear the padding behind a row, as the official batches do: its last
                token may change.

        Returns:
            (B, S, D) and the mask (B, S) of real tokens, ceil(length / token length).
        """
        config = self.config
        count = -(-lengths // self.samples_per_token)
        ends = None if upstream_compat else count * self.samples_per_token
        with torch.autocast(samples.device.type, enabled=False):
            mel = whisper_log_mel(samples, config.n_mels, config.sample_rate, ends)
        keys_length = -(-lengths * 50 // config.sample_rate)
        keys = torch.arange(mel.shape[1] // 2, device=samples.device) < keys_length[:, None]
        x = self.encoder(mel, keys, config.causal_block, frozen)
        mask = torch.arange(x.shape[1], device=samples.device) < count[:, None]
        return x.float(), mask

    @torch.no_grad()
    def encode_batch(
        self, samples: Tensor, lengths: Tensor, *, upstream_compat: bool = False
    ) -> list[Tensor]:
        """Speech tokens of a padded batch of at most 30 s each: (B, N), (B,) -> B x (S,).

        See `pooled` for the arguments.
        """
        x, mask = self.features(samples, lengths, upstream_compat=upstream_compat)
        ids = self.quantizer.ids(x)
        return [row[keep] for row, keep in zip(ids, mask, strict=True)]

    def encode(self, audio: Audio, *, upstream_compat: bool = False) -> list[int]:
        """Speech tokens of a sound, 30 s at a time as the official system does.

        Args:
            audio: The sound.
            upstream_compat: See `encode_all`; of one sound it concerns the very last token, and
                that only after 30 s.

        Returns:
            ceil(seconds * tokens_per_second) ids in [0, codes).

        Raises:
            BadAudio: the sound is empty.
        """
        return self.encode_all([audio], upstream_compat=upstream_compat)[0]

    @torch.no_grad()
    def encode_all(
        self, audios: Sequence[Audio], *, upstream_compat: bool = False
    ) -> list[list[int]]:
        """Speech tokens of several sounds of any rate and length.

        Sounds are cut every 30 s. Each piece gets the tokens it has alone, though pieces of about
        one length are encoded together.

        Args:
            audios: The sounds.
            upstream_compat: Encode as the official system does when given all of them in one call:
                128 pieces are padded to the longest, and the padding is heard.

        Raises:
            BadAudio: a sound is empty.
        """
        pieces: list[Tensor] = []
        owners: list[int] = []
        for owner, audio in enumerate(audios):
            cut = self._pieces(audio)
            pieces += cut
            owners += [owner] * len(cut)
        tokens: list[list[int]] = [[] for _ in pieces]
        for batch, length in self._batches([len(piece) for piece in pieces], upstream_compat):
            samples = torch.stack(
                [F.pad(p, (0, length - len(p))) for p in (pieces[i] for i in batch)]
            )
            lengths = torch.tensor([len(pieces[i]) for i in batch], device=samples.device)
            found = self.encode_batch(samples, lengths, upstream_compat=upstream_compat)
            for index, ids in zip(batch, found, strict=True):
                tokens[index] = ids.tolist()
        out: list[list[int]] = [[] for _ in audios]
        for owner, ids in zip(owners, tokens, strict=True):
            out[owner] += ids
        return out

    def _pieces(self, audio: Audio) -> list[Tensor]:
        """A sound at the tokenizer's rate, cut every 30 s, on the device of the weights."""
        config = self.config
        samples = audio.resampled(config.sample_rate, config.resampler).samples
        if samples.numel() == 0:
            raise BadAudio("Cannot turn an empty sound into speech tokens.")
        segment = config.positions * config.sample_rate // 50
        return list(torch.split(samples.to(self.quantizer.weight), segment))

    def _batches(self, lengths: list[int], upstream_compat: bool) -> list[tuple[list[int], int]]:
        """Pieces that are encoded together, with the length that each batch is padded to."""
        token, most = self.samples_per_token, BATCH_SECONDS * self.config.sample_rate
        longest_first = sorted(range(len(lengths)), key=lambda i: -lengths[i])
        padded = [-(-length // token) * token for length in lengths]
        if upstream_compat:
            for start in range(0, len(lengths), OFFICIAL_BATCH):
                together = range(start, min(start + OFFICIAL_BATCH, len(lengths)))
                longest = max(padded[i] for i in together)
                for i in together:
                    padded[i] = longest
            longest_first.sort(key=lambda i: i // OFFICIAL_BATCH)
        batches: list[tuple[list[int], int]] = []
        for i in longest_first:
            batch, length = batches[-1] if batches else ([], 0)
            alike = padded[i] == length or (not upstream_compat and padded[i] >= 0.8 * length)
            if batch and alike and (len(batch) + 1) * length <= most:
                batch.append(i)
            else:
                batches.append(([i], padded[i]))
        return batches


@dataclass(frozen=True)
class TokenizerHeadsConfig:
    """The training heads.

    Attributes:
        code_dim: Dimensions of a code.
        dim: Width inside.
        classes: CTC classes; 0 is the blank.
        layers: Convolution blocks before the classes.
        features: Dimensions of the encoder feature that is reconstructed; 0 = none.
        prior_scale: How strongly the label prior is divided out when phonemes are read or aligned.
        upsample: How often each code is read, so that slow codes too can spell quick phonemes, and
            tell the pitch at 50 Hz: 50 / (2 x tokens a second).
    """

    code_dim: int = 64
    dim: int = 256
    classes: int = 306
    layers: int = 3
    features: int = 0
    prior_scale: float = 0.5
    upsample: int = 1


class ConvBlock(nn.Module):
    """Residual convolution over time: LayerNorm, Conv k=5, GELU, Linear."""

    def __init__(self, dim: int) -> None:
        """Build a block for (B, S, D)."""
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.conv = nn.Conv1d(dim, dim, 5, padding=2)
        self.out = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, S, D) -> (B, S, D)."""
        y = self.conv(self.norm(x).transpose(1, 2)).transpose(1, 2)
        return x + self.out(F.gelu(y))


class TokenizerHeads(nn.Module):
    """What the codes must tell: the phonemes (CTC) and the pitch (log F0 and voicing at 50 Hz)."""

    config_type: ClassVar[type[TokenizerHeadsConfig]] = TokenizerHeadsConfig

    def __init__(self, config: TokenizerHeadsConfig) -> None:
        """Build with random weights."""
        super().__init__()
        self.config = config
        self.speech_in = nn.Linear(config.code_dim, config.dim)
        self.speech = nn.Sequential(*(ConvBlock(config.dim) for _ in range(config.layers)))
        self.classes = nn.Linear(config.dim, config.classes)
        self.pitch_in = nn.Linear(config.code_dim, config.dim)
        self.pitch = nn.Sequential(*(ConvBlock(config.dim) for _ in range(2)))
        self.pitch_out = nn.Linear(config.dim, 4)  # 2 frames x (log F0, voicing)
        self.features = nn.Linear(config.code_dim, config.features) if config.features else None
        self.register_buffer("log_prior", torch.full((config.classes,), 0.0))
        self.log_prior: Tensor

    def phoneme_logits(self, codes: Tensor) -> Tensor:
        """(B, S, code dimensions) -> (B, S x upsample, classes), class 0 is the CTC blank."""
        return self.classes(self.speech(self.speech_in(self._often(codes))))

    def _often(self, codes: Tensor) -> Tensor:
        return codes.repeat_interleave(self.config.upsample, 1)

    def phoneme_scores(self, codes: Tensor) -> Tensor:
        """Log-posterior less the scaled label prior, to read and align by: (B, S, classes)."""
        log_probs = self.phoneme_logits(codes).float().log_softmax(-1)
        return log_probs - self.config.prior_scale * self.log_prior

    def pitch_curve(self, codes: Tensor) -> tuple[Tensor, Tensor]:
        """(B, S, code dimensions) -> relative log F0 (B, 2S) and voicing logits (B, 2S)."""
        out = self.pitch_out(self.pitch(self.pitch_in(self._often(codes))))
        out = out.reshape(out.shape[0], -1, 2)
        return out[..., 0], out[..., 1]


def ctc_align(log_probs: Tensor, labels: Sequence[int], *, whole: bool = True) -> list[int]:
    """Likeliest label at each step: Viterbi over the CTC graph, blanks joined to neighbours.

    Args:
        log_probs: (S, classes), class 0 the blank.
        labels: n class numbers.
        whole: All labels are spelt; else the steps are a beginning, which ends where it is
            likeliest to.

    Returns:
        S label indices 0..n-1, non-decreasing; empty when S is too short to spell the labels.
    """
    n = len(labels)
    if n == 0:
        return []
    states = torch.zeros(2 * n + 1, dtype=torch.long)
    states[1::2] = torch.tensor(labels)
    emit = log_probs.float().cpu()[:, states].numpy()  # (S, 2n + 1)
    skip = torch.zeros(2 * n + 1, dtype=torch.bool)
    skip[3::2] = states[3::2] != states[1:-2:2]
    may_skip, low = skip.numpy(), -1e30
    score = np.full(2 * n + 1, low, dtype=np.float64)
    score[:2] = emit[0, :2]
    back = np.zeros(emit.shape, dtype=np.int64)
    for step in range(1, len(emit)):
        stay, one, two = score, np.full_like(score, low), np.full_like(score, low)
        one[1:], two[2:] = score[:-1], score[:-2]
        two[~may_skip] = low
        choices = np.stack([stay, one, two])
        back[step] = choices.argmax(0)
        score = choices.max(0) + emit[step]
    if whole:
        state = 2 * n if score[2 * n] >= score[2 * n - 1] else 2 * n - 1
    else:
        state = int(score.argmax())
    if score[state] <= low / 2:
        return []
    path = [state]
    for step in range(len(emit) - 1, 0, -1):
        state -= int(back[step, state])
        path.append(state)
    path.reverse()
    # a blank belongs to the label before it for its first half, to the one after it for the rest
    out = [s // 2 if s % 2 else -1 for s in path]
    start = 0
    while start < len(out):
        if out[start] >= 0:
            start += 1
            continue
        stop = start
        while stop < len(out) and out[stop] < 0:
            stop += 1
        before = out[start - 1] if start else 0
        after = out[stop] if stop < len(out) else n - 1
        middle = (start + stop + 1) // 2 if start else start
        middle = middle if stop < len(out) else stop
        for i in range(start, stop):
            out[i] = before if i < middle else after
        start = stop
    return out
