"""Speech tokens to mel frames by conditional flow matching. Read `TokenToMel.sample` first.

A network (`glmtts.nn.dit.DiT`) predicts the velocity that carries noise to mel frames (Lipman et
al., "Flow Matching for Generative Modeling", 2023). It knows the speech tokens, the mel of a prompt
in front, and a speaker vector. `loss` trains it, `sample` speaks a sentence at once, and `stream`
speaks block by block: under one block pattern all of them see the same frames, so a stream gives
the frames of `sample` however its tokens arrive.

Shapes: B batch, S speech tokens, F mel frames, M mel bins, E speaker dimensions.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from glmtts.errors import BadInput
from glmtts.nn import dit
from glmtts.nn.dit import DiT, DiTConfig, StepCache
from glmtts.nn.masks import block_ends, look_ahead_ends, prompt_block_ends
from glmtts.voice import Voice


@dataclass(frozen=True)
class FlowConfig:
    """The network and how it is trained; the defaults are those of nano.

    Attributes:
        network: Dimensions and switches of the network.
        mel_mean: Subtracted from the log-mel before the flow.
        mel_std: The log-mel is divided by it, so that the flow works on unit variance.
        sigma_min: Noise left at the end of a training path.
        cosine_time: Draw training times as 1 - cos(pi / 2 * u), u uniform, or uniformly.
        drop_rate: Share of training rows without prompt mel and speaker (for guidance).
        full_attention_rate: Share of training rows with full attention; the others draw a block.
        block_tokens: Block sizes in tokens that the others draw from.
        coarse_weight: Weight of the coarse mel's L1 loss, where the network has one.
        prompt_tokens: Longest prompt; of a longer one the end is used.
        look_ahead_blocks: Under a block pattern, blocks also see part of the next one (spec §3.5).
    """

    network: DiTConfig = field(default_factory=DiTConfig)
    mel_mean: float = -4.5
    mel_std: float = 2.2
    sigma_min: float = 1e-6
    cosine_time: bool = True
    drop_rate: float = 0.2
    full_attention_rate: float = 0.5
    block_tokens: tuple[int, ...] = (12, 25, 50, 100)
    coarse_weight: float = 0.5
    prompt_tokens: int = 250
    look_ahead_blocks: bool = False

    @classmethod
    def official(cls) -> "FlowConfig":
        """The released GLM-TTS flow: 225.3 M parameters (spec §3)."""
        return cls(
            network=dit.OFFICIAL, mel_mean=0.0, mel_std=1.0, coarse_weight=0.0,
            prompt_tokens=1_000, look_ahead_blocks=True,
        )  # fmt: skip


@dataclass(frozen=True)
class FlowOptions:
    """How one utterance is drawn.

    Attributes:
        steps: Euler steps.
        guidance: Classifier-free guidance w: v = (1 + w) v_conditional - w v_unconditional (Ho &
            Salimans 2022); 0 halves the work.
        temperature: Factor on the initial noise.
        seed: Of that noise, where no generator is given.
        blocks: Attention blocks in tokens, the last repeats for ever; empty: full attention over
            prompt and sentence. A stream speaks a block as soon as it has its tokens.
    """

    steps: int = 10
    guidance: float = 0.7
    temperature: float = 1.0
    seed: int = 0
    blocks: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Refuse values that cannot be followed.

        Raises:
            BadInput: steps or a block size is not positive, or guidance or temperature is negative.
        """
        if self.steps < 1 or any(size < 1 for size in self.blocks):
            raise BadInput(f"Flow steps and block sizes must be at least 1, got {self}.")
        if not (self.guidance >= 0.0 and self.temperature >= 0.0):
            raise BadInput(f"Flow guidance and temperature must not be negative, got {self}.")


@dataclass
class FlowBatch:
    """Padded utterances to train on.

    Attributes:
        tokens: (B, S) int64 speech tokens, 0 where padded.
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


class FlowLosses(NamedTuple):
    """Scalars of one batch: what is minimised, and its two parts."""

    total: Tensor
    flow: Tensor
    coarse: Tensor


class TokenToMel(nn.Module):
    """The flow stage: a DiT and the paths it learns and follows."""

    config_type = FlowConfig

    def __init__(self, config: FlowConfig) -> None:
        """Build with fresh weights."""
        super().__init__()
        self.config = config
        self.estimator = DiT(config.network)

    def loss(self, batch: FlowBatch) -> Tensor:
        """Scalar to minimise; see `forward` for its parts."""
        return self(batch).total

    def forward(self, batch: FlowBatch, coarse_only: bool = False) -> FlowLosses:
        """Conditional flow-matching losses of a batch.

        With `coarse_only` the trunk is left out and `total` is the coarse mel's loss: a tenth of
        the work, to teach the token branch what the tokens mean first.

        Path x_t = (1 - (1 - sigma_min) t) x_0 + t x_1 from noise x_0 to mel x_1; the velocity
        x_1 - (1 - sigma_min) x_0 is regressed (mean square) over the frames outside the prompt.
        Draws prompts, times, noise and block patterns from torch's global generator.
        """
        config, network = self.config, self.config.network
        target = (batch.mel.float() - config.mel_mean) / config.mel_std  # x_1
        rows, length, _ = target.shape
        device = target.device
        start, stop = draw_span(batch, network.frames_per_token)
        dropped = torch.rand(rows, device=device) < config.drop_rate
        start, stop = start.masked_fill(dropped, 0), torch.where(dropped, batch.frames, stop)
        index = torch.arange(length, device=device)
        generated = (index >= start[:, None]) & (index < stop[:, None])  # (B, F)
        real = index < batch.frames[:, None]
        prompt = real & ~generated
        condition = target * prompt[..., None]
        speaker = batch.speaker.float() * ~dropped[:, None]

        whole = torch.rand(rows, device=device) < config.full_attention_rate
        choices = torch.tensor(config.block_tokens, device=device) * network.frames_per_token
        block = choices[torch.randint(len(choices), (rows,), device=device)]
        # A filled-in span has a prompt on both sides: such rows see everything.
        block = torch.where(whole | (stop < batch.frames), length, block)
        visible = prompt_block_ends(start, block, batch.frames, length)

        time = torch.rand(rows, device=device)
        if config.cosine_time:
            time = 1.0 - torch.cos(0.5 * math.pi * time)
        noise = torch.randn_like(target)  # x_0
        t, keep = time[:, None, None], 1.0 - config.sigma_min
        x = (1.0 - keep * t) * noise + t * target
        count = batch.frames // network.frames_per_token
        features, coarse = self.estimator.token_features(batch.tokens, speaker, length, count)
        bins = target.shape[-1]
        rough = torch.zeros((), device=device)
        if coarse is not None:
            rough = ((coarse - target).abs() * real[..., None]).sum() / (real.sum() * bins)
        if coarse_only:
            return FlowLosses(rough, torch.zeros_like(rough), rough.detach())
        # The trunk reads the coarse mel but does not shape it: it stays a mel.
        detached = None if coarse is None else coarse.detach()
        velocity = self.estimator(x, condition, features, detached, time, speaker, visible)

        error = (velocity - (target - keep * noise)).square() * generated[..., None]
        flow = error.sum() / (generated.sum() * bins).clamp(min=1)
        return FlowLosses(flow + config.coarse_weight * rough, flow.detach(), rough.detach())

    @torch.inference_mode()
    def sample(
        self,
        tokens: Tensor | Sequence[int],
        voice: Voice,
        options: FlowOptions = FlowOptions(),
        *,
        rng: torch.Generator | None = None,
    ) -> Tensor:
        """Speak all of `tokens` in `voice`.

        Args:
            tokens: (S,) speech tokens.
            voice: Its tokens and mel are the prompt in front (there may be none), with its speaker.
            options: Steps, guidance, seed, blocks.
            rng: Draws the initial noise; a new generator of `options.seed` by default.

        Returns:
            (F, M) natural log-mel, F = S * frames_per_token.

        Raises:
            BadInput: a token is not in the vocabulary, or the voice does not fit the model.
        """
        ids = self.checked_ids(tokens)
        prompt = FlowPrompt.of(self, voice, options)
        per, bins = self.config.network.frames_per_token, self.config.network.n_mels
        if not ids:
            return prompt.mel.new_zeros(0, bins)
        known, frames = len(prompt.mel), len(prompt.mel) + len(ids) * per
        noises = prompt.noise(bins), draw_noise(rng or seeded(options.seed), len(ids) * per, bins)
        x = torch.cat(noises).to(prompt.mel) * options.temperature
        features, coarse = self.estimator.token_features(
            prompt.ids([*prompt.tokens, *ids]), prompt.speaker, frames
        )
        condition = prompt.condition(0, frames)
        visible = None
        if options.blocks:
            sizes = [size * per for size in options.blocks]
            ends = look_ahead_ends if self.config.look_ahead_blocks else block_ends
            visible = ends([known, *sizes] if known else sizes, frames)[None].to(x.device)
            if known and self.config.network.streams:  # the prompt does not see the sentence at all
                first = self.estimator.token_features(
                    prompt.ids(prompt.tokens), prompt.speaker, known
                )
                features = torch.cat((first[0], features[:, known:]), 1)
                if coarse is not None and first[1] is not None:
                    coarse = torch.cat((first[1], coarse[:, known:]), 1)
        for time, step in euler(options.steps):
            x = x + step * self.velocity(
                x, condition, features, coarse, time, prompt.speaker, options, visible
            )
        return x[known:] * self.config.mel_std + self.config.mel_mean

    def stream(
        self,
        voice: Voice,
        options: FlowOptions = FlowOptions(),
        *,
        rng: torch.Generator | None = None,
    ) -> "MelStream":
        """Speak tokens as they come; joined, the pieces are what `sample` gives for all of them.

        Without `options.blocks` everything is one block, spoken when the last token is there. Who
        speaks many sentences in one voice saves the prompt's work: `open` it once.

        Raises:
            BadInput: the voice does not fit, or blocks are asked of a network that needs the whole
                utterance.
        """
        return self.open(voice, options).stream(rng=rng)

    @torch.inference_mode()
    def open(self, voice: Voice, options: FlowOptions = FlowOptions()) -> "Opening":
        """Do what does not depend on the sentence: run the prompt, the first attention block.

        Raises:
            BadInput: see `stream`.
        """
        if options.blocks and not self.config.network.streams:
            raise BadInput(
                "This flow model needs the whole sentence and cannot speak in blocks. "
                "Leave FlowOptions.blocks empty (pace: whole sentence)."
            )
        prompt = FlowPrompt.of(self, voice, options)
        caches = tuple(StepCache() for _ in range(options.steps))
        if options.blocks and prompt.tokens:
            noise = prompt.noise(self.config.network.n_mels)
            self.advance(prompt, options, caches, prompt.tokens, 0, len(prompt.tokens), noise)
        return Opening(self, voice, options, prompt, caches)

    def advance(
        self,
        prompt: "FlowPrompt",
        options: FlowOptions,
        caches: Sequence[StepCache],
        tokens: Sequence[int],
        start: int,
        stop: int,
        noise: Tensor,
    ) -> Tensor:
        """Compute one attention block after finished ones, which `caches` (one a step) remember.

        Args:
            prompt: The voice.
            options: Steps, guidance and temperature.
            caches: Are brought from token `start` to token `stop`.
            tokens: All ids known so far, the prompt's first.
            start: First token of the block.
            stop: End of the block.
            noise: ((stop - start) * frames_per_token, M).

        Returns:
            Normalised mel, of the shape of `noise`.
        """
        network = self.config.network
        per = network.frames_per_token
        # The token branch sees a bounded stretch: run it on that and cut the block out.
        first = max(0, start - self.estimator.text_emb_layer.context_tokens)
        seen = tokens[first : stop + network.lookahead_tokens]
        block = slice((start - first) * per, (stop - first) * per)
        features, coarse = self.estimator.token_features(
            prompt.ids(seen), prompt.speaker, len(seen) * per
        )
        features, coarse = features[:, block], None if coarse is None else coarse[:, block]
        condition = prompt.condition(start * per, stop * per)
        x = noise.to(prompt.mel) * options.temperature
        for (time, step), cache in zip(euler(options.steps), caches, strict=True):
            x = x + step * self.velocity(
                x, condition, features, coarse, time, prompt.speaker, options, cache=cache
            )
        return x

    def velocity(
        self,
        x: Tensor,
        condition: Tensor,
        features: Tensor,
        coarse: Tensor | None,
        time: float,
        speaker: Tensor,
        options: FlowOptions,
        visible: Tensor | None = None,
        cache: StepCache | None = None,
    ) -> Tensor:
        """Guided velocity (F, M) of x (F, M); the other tensors have one row, or two with guidance.

        The conditional and the unconditional row run as one batch.
        """
        rows = len(condition)
        out = self.estimator(
            x.expand(rows, -1, -1), condition, features, coarse, x.new_full((rows,), time), speaker,
            visible, cache=cache,
        )  # fmt: skip
        if rows == 1:
            return out[0]
        return (1.0 + options.guidance) * out[0] - options.guidance * out[1]

    def checked_ids(self, tokens: Tensor | Sequence[int]) -> list[int]:
        """Tokens as a list of ids.

        Raises:
            BadInput: one is not in the vocabulary.
        """
        ids = [int(token) for token in tokens]
        most = self.config.network.vocab_size
        for place, token in enumerate(ids):
            if not 0 <= token < most:
                raise BadInput(
                    f"Speech token {token} at place {place} is not in this model's vocabulary of "
                    f"{most}. Were the tokens made for another model?"
                )
        return ids


@dataclass(frozen=True)
class FlowPrompt:
    """A voice as the network sees it, in one row, or in two (conditional, unconditional).

    Attributes:
        tokens: Prompt ids, cut to whole tokens that have their frames.
        mel: (P, M) normalised mel of the prompt.
        speaker: (rows, E); the unconditional row is zeros.
    """

    tokens: tuple[int, ...]
    mel: Tensor
    speaker: Tensor

    @classmethod
    def of(cls, model: TokenToMel, voice: Voice, options: FlowOptions) -> "FlowPrompt":
        """Check `voice` against `model` and bring it to its device."""
        config, network = model.config, model.config.network
        weight = model.estimator.proj_out.weight
        if voice.speaker.shape != (network.speaker_dim,):
            raise BadInput(
                f"Voice {voice.name!r} has a speaker vector of shape {tuple(voice.speaker.shape)}, "
                f"this model needs ({network.speaker_dim},). Make the voice with this model."
            )
        if voice.mel.ndim != 2 or voice.mel.shape[1] != network.n_mels:
            raise BadInput(
                f"Voice {voice.name!r} has a mel of shape {tuple(voice.mel.shape)}, this model "
                f"needs (frames, {network.n_mels}). Make the voice with this model."
            )
        per = network.frames_per_token
        whole = min(len(voice.speech_tokens), len(voice.mel) // per)
        first = max(0, whole - config.prompt_tokens)
        tokens = tuple(model.checked_ids(voice.speech_tokens[first:whole]))
        mel = voice.mel[first * per : whole * per].to(weight.device, torch.float32)
        speaker = F.normalize(voice.speaker.to(weight.device, torch.float32), dim=0)[None]
        if options.guidance > 0.0:
            speaker = torch.cat((speaker, torch.zeros_like(speaker)))
        return cls(tokens, (mel - config.mel_mean) / config.mel_std, speaker)

    def ids(self, tokens: Sequence[int]) -> Tensor:
        """(rows, S): the same ids in every row."""
        return torch.tensor(tokens, device=self.mel.device).expand(len(self.speaker), -1)

    def noise(self, bins: int) -> Tensor:
        """(P, M) initial noise of the prompt: always the same, so that a voice is opened once."""
        return draw_noise(seeded(0), len(self.mel), bins)

    def condition(self, start: int, stop: int) -> Tensor:
        """(rows, stop - start, M) mel condition of frames `start` … of prompt and sentence."""
        condition = self.mel.new_zeros(len(self.speaker), stop - start, self.mel.shape[-1])
        known = self.mel[start:stop]
        condition[0, : len(known)] = known
        return condition


@dataclass(frozen=True)
class Opening:
    """A voice made ready to speak sentences with given options: its prompt is already computed.

    Attributes:
        model: Who speaks.
        voice: In which voice.
        options: How; a sentence may bring its own generator.
        prompt: The voice as the network sees it.
        caches: What the prompt's frames leave behind at each Euler step; sentences copy them.
    """

    model: TokenToMel
    voice: Voice
    options: FlowOptions
    prompt: FlowPrompt
    caches: tuple[StepCache, ...]

    def stream(self, *, rng: torch.Generator | None = None) -> "MelStream":
        """Begin a sentence; `rng` draws its noise (by default a generator of the options' seed)."""
        return MelStream(self, rng or seeded(self.options.seed))


class MelStream:
    """A sentence in progress: `push` tokens, get frames that will not change.

    A block is spoken once its tokens and the `lookahead_tokens` after them are there. For every
    Euler step a `StepCache` holds what finished frames leave behind, so each frame is computed
    once and a sentence costs as much as its length.
    """

    def __init__(self, opening: Opening, rng: torch.Generator) -> None:
        """Begin a sentence; see `TokenToMel.stream`."""
        self._opening, self._rng = opening, rng
        self._caches = [cache.copy() for cache in opening.caches]
        self._tokens = list(opening.prompt.tokens)
        self._done = len(self._tokens)
        self._blocks = 0
        self._ended = False

    @torch.inference_mode()
    def push(self, tokens: Sequence[int], *, last: bool) -> Tensor:
        """Add tokens; `last` ends the sentence and flushes what was held back.

        Returns:
            (f, M) the next frames of natural log-mel, possibly none.

        Raises:
            BadInput: a token is not in the vocabulary, or the sentence has ended.
        """
        if self._ended:
            raise BadInput("This sentence has ended. Begin another one with TokenToMel.stream.")
        model, options, prompt = self._opening.model, self._opening.options, self._opening.prompt
        network = model.config.network
        self._tokens += model.checked_ids(tokens)
        self._ended = last
        if not options.blocks:
            ready = self._tokens[len(prompt.tokens) :] if last else []
            return model.sample(ready, self._opening.voice, options, rng=self._rng)
        pieces = [prompt.mel.new_zeros(0, network.n_mels)]
        while self._done < len(self._tokens):
            stop = self._done + options.blocks[min(self._blocks, len(options.blocks) - 1)]
            if last:
                stop = min(stop, len(self._tokens))
            elif stop + network.lookahead_tokens > len(self._tokens):
                break
            frames = (stop - self._done) * network.frames_per_token
            noise = draw_noise(self._rng, frames, network.n_mels)
            pieces.append(
                model.advance(prompt, options, self._caches, self._tokens, self._done, stop, noise)
            )
            self._done, self._blocks = stop, self._blocks + 1
        return torch.cat(pieces) * model.config.mel_std + model.config.mel_mean


def euler(steps: int) -> list[tuple[float, float]]:
    """(time, step) of each Euler step on the grid 1 - cos(pi / 2 * i / steps) from 0 to 1."""
    grid = [1.0 - math.cos(0.5 * math.pi * i / steps) for i in range(steps + 1)]
    return [(a, b - a) for a, b in pairwise(grid)]


def seeded(seed: int) -> torch.Generator:
    """A generator on the CPU, so that all devices draw the same noise."""
    return torch.Generator().manual_seed(seed)


def draw_noise(rng: torch.Generator, frames: int, bins: int) -> Tensor:
    """(frames, bins) standard normal, drawn frame by frame: any split into calls draws the same."""
    draws = [torch.randn(bins, generator=rng, device=rng.device) for _ in range(frames)]
    return torch.stack(draws) if draws else torch.zeros(0, bins)


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
