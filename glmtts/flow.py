"""Speech tokens to mel frames by conditional flow matching. Read `TokenToMel.sample` first.

A network (`glmtts.nn.dit.DiT`) predicts the velocity that carries noise to mel frames (Lipman et
al., "Flow Matching for Generative Modeling", 2023). It knows the speech tokens, the mel of a prompt
in front, and a speaker vector. `loss` trains it, `sample` speaks a sentence at once, and `stream`
speaks block by block. A network that looks back only (nano) computes each block once, and its
stream gives the frames of `sample`; one that needs the whole utterance (the official one) runs
again over all there is at each block, holding on to what it has spoken. Neither depends on how its
tokens arrive.

Shapes: B batch, S speech tokens, F mel frames, M mel bins, E speaker dimensions.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from glmtts.errors import BadInput
from glmtts.nn import dit
from glmtts.nn.dit import DiT, DiTConfig, Guide, Modulations, StepCache
from glmtts.nn.flow_batch import FlowBatch, FlowLosses, FlowTask, draw_span, mean_over
from glmtts.nn.masks import (
    block_ends,
    look_ahead_ends,
    prompt_block_ends,
    upstream_block_frames,
)
from glmtts.nn.threads import at_most
from glmtts.voice import Voice
from glmtts.wanted import check_wanted


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
        look_ahead_blocks: Under a block pattern, blocks also see half of the next one (spec §3.5).
        token_rate: Speech tokens a second.
        frame_rate: Mel frames a second.
        linear_grid: Steps of equal length, or on the grid 1 - cos(pi / 2 * i / steps).
        drop_tokens: The unconditional row hears token 0 throughout, or the tokens.
        guided: Guidance that it learnt to speak with in a single row; it takes no other. 0: none.
        speaker_parts: Sizes of the vectors that the speaker vector is made of, each of unit length;
            empty: it is one. The first part is what `speaker_channels` projects.
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
    token_rate: float = 25.0
    frame_rate: float = 50.0
    linear_grid: bool = False
    drop_tokens: bool = False
    guided: float = 0.0
    speaker_parts: tuple[int, ...] = ()

    def frames(self, tokens: int, upstream: bool = False) -> int:
        """Mel frames of `tokens`, rounded down.

        `upstream` does it in floating point like the reference implementation, which at 25 tokens
        and 50 frames a second loses a frame at 29, 57, 58 … tokens (spec §3.1).
        """
        if upstream:
            return int(tokens / self.token_rate * self.frame_rate)
        return int(tokens * Fraction(self.frame_rate) / Fraction(self.token_rate))

    def whole_tokens(self, frames: int) -> int:
        """Most tokens that have all their frames within `frames`."""
        return int(-(-(frames + 1) * Fraction(self.token_rate) // Fraction(self.frame_rate))) - 1

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
        steps: Steps from noise to mel.
        guidance: Classifier-free guidance w: v = (1 + w) v_conditional - w v_unconditional (Ho &
            Salimans 2022); 0 halves the work. None: 0.7, or 0 for a flow that learnt to do without.
        temperature: Factor on the initial noise.
        laugh_temperature: The same in tokens of a laugh; None: no other. Breath is made of noise.
        seed: Of that noise, where no generator is given.
        blocks: Attention blocks in tokens, the last repeats for ever; empty: the sentence is one.
            A stream speaks a block as soon as it has its tokens. The prompt is a block of its own
            in front, which a voice computes once; but a network that needs the whole utterance
            attends to everything from everywhere where no blocks are asked for.
        upstream_compat: Do as the reference implementation does where it is wrong, to compare with
            it: frames are counted in floating point; a prompt that ends within a token leaves its
            last frames at the head of the sentence; blocks are masked at the rates of an older
            model, and a stream takes the prompt for a single token and draws its noise anew at each
            block (spec §3.1, §3.5, §7). In `sample`, `blocks` then begin with the prompt.
        second_order: Bend each step by the velocity of the one before (Adams-Bashforth) instead of
            going straight (Euler), at no cost: six such steps of nano come as near to the solution
            as ten straight ones (0.105 and 0.106 in log-mel).
    """

    steps: int = 10
    guidance: float | None = None
    temperature: float = 1.0
    laugh_temperature: float | None = None
    seed: int = 0
    blocks: tuple[int, ...] = ()
    upstream_compat: bool = False
    second_order: bool = False

    def __post_init__(self) -> None:
        """Refuse values that cannot be followed.

        Raises:
            BadInput: steps or a block size is not positive, or guidance or temperature is negative.
        """
        if self.steps < 1 or any(size < 1 for size in self.blocks):
            raise BadInput(f"Flow steps and block sizes must be at least 1, got {self}.")
        scales = (self.guidance or 0.0, self.temperature, self.laugh_temperature or 0.0)
        if not all(scale >= 0.0 for scale in scales):
            raise BadInput(f"Flow guidance and temperatures must not be negative, got {self}.")


class TokenToMel(nn.Module):
    """The flow stage: a DiT and the paths it learns and follows."""

    config_type = FlowConfig

    def __init__(self, config: FlowConfig) -> None:
        """Build with fresh weights."""
        super().__init__()
        self.config = config
        network = config.network
        made = network.frames_per_token * config.token_rate
        assert not network.token_blocks or made == config.frame_rate, f"frames a second: {config}"
        self.estimator = DiT(network)
        if network.speaker_channels:
            parts = (*config.speaker_parts, network.speaker_dim)
            self.spk_embed_affine_layer = nn.Linear(parts[0], network.speaker_channels)

    def loss(self, batch: FlowBatch) -> Tensor:
        """Scalar to minimise; see `forward` for its parts."""
        return self(batch).total

    def forward(
        self, batch: FlowBatch, coarse_only: bool = False, teacher: "Guided | None" = None
    ) -> FlowLosses:
        """Conditional flow-matching losses of a batch.

        With `coarse_only` the trunk is left out and `total` is the coarse mel's loss: a tenth of
        the work, to teach the token branch what the tokens mean first.

        With a `teacher` its guided velocity is learnt instead, and no row is unconditional: what
        comes out needs no guidance, so that speaking takes half the work (Meng et al., "On
        Distillation of Guided Diffusion Models", 2023, with one fixed guidance).

        Path x_t = (1 - (1 - sigma_min) t) x_0 + t x_1 from noise x_0 to mel x_1; the velocity
        x_1 - (1 - sigma_min) x_0 is regressed (mean square) over the frames outside the prompt.
        Draws prompts, times, noise and block patterns from torch's global generator.
        """
        config = self.config
        task = self.task(batch, 0.0 if teacher else config.drop_rate)
        rows = len(task.target)
        time = torch.rand(rows, device=task.target.device)
        if config.cosine_time:
            time = 1.0 - torch.cos(0.5 * math.pi * time)
        noise = torch.randn_like(task.target)  # x_0
        t, keep = time[:, None, None], 1.0 - config.sigma_min
        x = (1.0 - keep * t) * noise + t * task.target
        features, coarse = self.features_of(task)
        rough = torch.zeros((), device=x.device)
        if coarse is not None:
            rough = mean_over((coarse - task.target).abs(), task.real)
        if coarse_only:
            return FlowLosses(rough, torch.zeros_like(rough), rough.detach())
        velocity = self.velocity_at(x, time, task, features, coarse)

        right = task.target - keep * noise
        if teacher is not None:
            right = teacher.velocity(
                x, task.prompt, task.target, task.tokens, task.count, time, task.speaker,
                task.visible,
            )  # fmt: skip
        flow = mean_over((velocity - right).square(), task.generated)
        return FlowLosses(flow + config.coarse_weight * rough, flow.detach(), rough.detach())

    def task(self, batch: FlowBatch, drop_rate: float) -> FlowTask:
        """What the rows of a batch are to fill in, drawn from torch's global generator.

        Args:
            batch: Clips, alone or behind another one.
            drop_rate: Share of rows that are unconditional: no prompt, no speaker.
        """
        config, network = self.config, self.config.network
        target = (batch.mel.float() - config.mel_mean) / config.mel_std  # x_1
        rows, length, _ = target.shape
        device = target.device
        start, stop = draw_span(batch, network.frames_per_token)
        dropped = torch.rand(rows, device=device) < drop_rate
        start, stop = start.masked_fill(dropped, 0), torch.where(dropped, batch.frames, stop)
        index = torch.arange(length, device=device)
        generated = (index >= start[:, None]) & (index < stop[:, None])  # (B, F)
        real = index < batch.frames[:, None]
        prompt = real & ~generated
        speaker = batch.speaker.float() * ~dropped[:, None]
        condition = target * prompt[..., None]
        if network.speaker_channels:
            projected = self.speaker_channels(speaker) * ~dropped[:, None]
            condition = torch.cat((condition, projected[:, None].expand(-1, length, -1)), -1)

        whole = torch.rand(rows, device=device) < config.full_attention_rate
        choices = torch.tensor(config.block_tokens, device=device) * network.frames_per_token
        block = choices[torch.randint(len(choices), (rows,), device=device)]
        # A filled-in span has a prompt on both sides: such rows see everything.
        block = torch.where(whole | (stop < batch.frames), length, block)
        visible = prompt_block_ends(start, block, batch.frames, length)
        tokens = torch.where(dropped[:, None], self.unconditional(batch.tokens), batch.tokens)
        count = batch.frames // network.frames_per_token
        return FlowTask(target, real, generated, prompt, condition, tokens, count, speaker, visible)

    def features_of(self, task: FlowTask) -> tuple[Tensor, Tensor | None]:
        """Features (B, F, token_dim) of its tokens and their coarse mel (B, F, M)."""
        length = task.target.shape[1]
        return self.estimator.token_features(task.tokens, task.speaker, length, task.count)

    def velocity_at(
        self, x: Tensor, time: Tensor, task: FlowTask, features: Tensor, coarse: Tensor | None
    ) -> Tensor:
        """Velocity (B, F, M) at x (B, F, M) and times (B,), for training.

        The trunk reads the coarse mel but does not shape it: it stays a mel.
        """
        detached = None if coarse is None else coarse.detach()
        return self.estimator(
            x, task.condition, features, detached, time, task.speaker, task.visible
        )

    def follow(
        self, task: FlowTask, options: FlowOptions, features: Tensor, coarse: Tensor | None
    ) -> Tensor:
        """The normalised mel (B, F, M) that speaking ends at, with all steps in the gradient."""
        x = torch.randn_like(task.target) * options.temperature
        rows = len(x)
        for time, step in self.grid(options.steps):
            times = torch.full((rows,), time, device=x.device)
            x = x + step * self.velocity_at(x, times, task, features, coarse).float()
        return x

    @torch.inference_mode()
    def sample(
        self,
        tokens: Tensor | Sequence[int],
        voice: Voice,
        options: FlowOptions = FlowOptions(),
        *,
        rng: torch.Generator | None = None,
        laughing: Sequence[bool] = (),
    ) -> Tensor:
        """Speak all of `tokens` in `voice`.

        Args:
            tokens: (S,) speech tokens.
            voice: Its tokens and mel are the prompt in front (there may be none), with its speaker.
            options: Steps, guidance, seed, blocks.
            rng: Draws the initial noise; a new generator of `options.seed` by default.
            laughing: (S,) which tokens are of a laugh; empty: none.

        Returns:
            (F, M) natural log-mel, F = S * frames_per_token.

        Raises:
            BadInput: a token is not in the vocabulary, or the voice does not fit the model.
        """
        prompt = FlowPrompt.of(self, voice, options)
        ids = self.checked_ids(tokens)
        return self.sentence(prompt, options, ids, rng or seeded(options.seed), laughing)

    def sentence(
        self,
        prompt: "FlowPrompt",
        options: FlowOptions,
        tokens: Sequence[int],
        rng: torch.Generator,
        laughing: Sequence[bool] = (),
    ) -> Tensor:
        """Speak all of `tokens` after `prompt`: (F, M) natural log-mel."""
        config, bins, known = self.config, self.config.network.n_mels, len(prompt.mel)
        if not tokens:
            return prompt.mel.new_zeros(0, bins)
        ids = [*prompt.tokens, *tokens]
        frames = config.frames(len(ids), options.upstream_compat)
        if options.upstream_compat:
            noise = draw_noise(rng, frames, bins)
            sizes = [upstream_block_frames(size) for size in options.blocks]
        else:
            noise = torch.cat((prompt.noise(bins), draw_noise(rng, frames - known, bins)))
            blocks = options.blocks or (len(tokens),) * config.network.streams
            sizes = [known] * bool(blocks and known) + [*map(config.frames, blocks)]
        noise = noise * self.temperatures(options, 0, len(prompt.tokens), laughing, frames)
        mel, _ = self.speak(prompt, options, ids, noise, sizes)
        return mel[known:] * config.mel_std + config.mel_mean

    def speak(
        self,
        prompt: "FlowPrompt",
        options: FlowOptions,
        tokens: Sequence[int],
        noise: Tensor,
        sizes: Sequence[int],
        held: Sequence[Tensor] = (),
    ) -> tuple[Tensor, list[Tensor]]:
        """Follow the flow over prompt and sentence at once.

        Args:
            prompt: The voice.
            options: Steps and guidance.
            tokens: All ids, the prompt's first.
            noise: (F, M) initial noise of all frames, with its temperature.
            sizes: Attention blocks in frames, the last repeats for ever; empty: full attention.
            held: (f, M) for each step: the frames before `f` enter that step as given.

        Returns:
            (F, M) normalised mel, and the (F, M) that entered each step.
        """
        config, frames, known = self.config, len(noise), len(prompt.mel)
        visible = None
        if sizes and config.look_ahead_blocks:
            visible = look_ahead_ends(sizes, frames, upstream=options.upstream_compat)[None]
        elif sizes:
            visible = block_ends(sizes, frames)[None]
        features, coarse = self.token_features(prompt, tokens, frames)
        if (
            sizes and known and config.network.streams
        ):  # the prompt does not see the sentence at all
            first = self.token_features(prompt, prompt.tokens, known)
            features = torch.cat((first[0], features[:, known:]), 1)
            if coarse is not None and first[1] is not None:
                coarse = torch.cat((first[1], coarse[:, known:]), 1)
        guide = self.estimator.guide(
            prompt.condition(0, frames), features, coarse, prompt.modulations,
            None if visible is None else visible.to(prompt.mel.device),
        )  # fmt: skip
        x, entered = noise.to(prompt.mel), list[Tensor]()
        solver = Solver(options.second_order)
        for index, (_, step) in enumerate(self.grid(options.steps)):
            if held:
                x = torch.cat((held[index], x[len(held[index]) :]))
            entered.append(x)
            x = solver(x, self.velocity(x, guide, index, options), step)
        return x, entered

    def token_features(
        self, prompt: "FlowPrompt", tokens: Sequence[int], frames: int
    ) -> tuple[Tensor, Tensor | None]:
        """Run the token branch, once for both rows where these do not differ."""
        ids = prompt.ids(tokens)
        return self.estimator.token_features(ids, prompt.speaker[: len(ids)], frames)

    def stream(
        self,
        voice: Voice,
        options: FlowOptions = FlowOptions(),
        *,
        rng: torch.Generator | None = None,
    ) -> "MelStream | PrefixStream":
        """Speak tokens as they come; joined, the pieces are what `sample` gives for all of them.

        (Of a network that needs the whole utterance, they are near to that: see `PrefixStream`.)
        Without `options.blocks` everything is one block, spoken when the last token is there. Who
        speaks many sentences in one voice saves the prompt's work: `open` it once.

        Raises:
            BadInput: the voice does not fit the model.
        """
        return self.open(voice, options).stream(rng=rng)

    @torch.inference_mode()
    def open(self, voice: Voice, options: FlowOptions = FlowOptions()) -> "Opening":
        """Do what does not depend on the sentence: run the prompt, the first attention block.

        Raises:
            BadInput: see `stream`.
        """
        prompt = FlowPrompt.of(self, voice, options)
        caches = tuple(StepCache() for _ in range(options.steps))
        if prompt.tokens and self.config.network.streams:
            noise = prompt.noise(self.config.network.n_mels) * options.temperature
            self.advance(prompt, options, caches, prompt.tokens, 0, len(prompt.tokens), noise)
        return Opening(self, options, prompt, caches)

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
            options: Steps and guidance.
            caches: Are brought from token `start` to token `stop`.
            tokens: All ids known so far, the prompt's first.
            start: First token of the block.
            stop: End of the block.
            noise: ((stop - start) * frames_per_token, M), with its temperature.

        Returns:
            Normalised mel, of the shape of `noise`.
        """
        network = self.config.network
        per = network.frames_per_token
        # The token branch sees a bounded stretch: run it on that and cut the block out.
        first = max(0, start - self.estimator.text_emb_layer.context_tokens)
        seen = tokens[first : stop + network.lookahead_tokens]
        block = slice((start - first) * per, (stop - first) * per)
        features, coarse = self.token_features(prompt, seen, len(seen) * per)
        guide = self.estimator.guide(
            prompt.condition(start * per, stop * per), features[:, block],
            None if coarse is None else coarse[:, block], prompt.modulations, start=start * per,
        )  # fmt: skip
        x = noise.to(prompt.mel)
        solver = Solver(options.second_order)
        for index, (_, step) in enumerate(self.grid(options.steps)):
            x = solver(x, self.velocity(x, guide, index, options, caches[index]), step)
        return x

    def temperatures(
        self,
        options: FlowOptions,
        start: int,
        known: int,
        laughing: Sequence[bool],
        frames: int,
    ) -> Tensor:
        """(F, 1) factors on the noise of `frames` frames.

        Args:
            options: Its temperatures.
            start: The token they begin with.
            known: How many tokens stand before the sentence.
            laughing: (S,) which tokens of the sentence are of a laugh; empty: none.
            frames: F.
        """
        factors = torch.full((frames, 1), options.temperature)
        if options.laugh_temperature is None:
            return factors
        first = self.config.frames(start)
        for place, laughs in enumerate(laughing, known):
            if laughs and place >= start:
                own = slice(
                    self.config.frames(place) - first, self.config.frames(place + 1) - first
                )
                factors[own] = options.laugh_temperature
        return factors

    def velocity(
        self,
        x: Tensor,
        guide: Guide,
        step: int,
        options: FlowOptions,
        cache: StepCache | None = None,
    ) -> Tensor:
        """Guided velocity (F, M) of x (F, M); the guide has one row, or two with guidance.

        The conditional and the unconditional row run as one batch.

        Raises:
            Cancelled: nobody waits for it any more.
        """
        check_wanted()
        out = self.estimator.velocity(x[None], guide, step, cache=cache)
        if len(out) == 1:
            return out[0]
        guidance = self.guidance(options)
        return (1.0 + guidance) * out[0] - guidance * out[1]

    def guidance(self, options: FlowOptions) -> float:
        """The guidance that `options` ask of this flow.

        Raises:
            BadInput: it learnt to do without, and some is asked for.
        """
        if not self.config.guided:
            return 0.7 if options.guidance is None else options.guidance
        if options.guidance:
            raise BadInput(
                f"This flow holds a guidance of {self.config.guided:g} inside and takes no other, "
                f"got {options.guidance:g}. Leave guidance out, or set it to 0."
            )
        return 0.0

    def grid(self, steps: int) -> list[tuple[float, float]]:
        """(time, step) of each step from 0 to 1."""
        if self.config.linear_grid:
            times = [i / steps for i in range(steps + 1)]
        else:
            times = [1.0 - math.cos(0.5 * math.pi * i / steps) for i in range(steps + 1)]
        return [(a, b - a) for a, b in pairwise(times)]

    def speaker_channels(self, speaker: Tensor) -> Tensor:
        """Speaker vectors (B, E) -> what the condition carries of them (B, speaker_channels)."""
        layer = self.spk_embed_affine_layer
        return layer(speaker[:, : layer.in_features])

    def unconditional(self, ids: Tensor) -> Tensor:
        """Ids as the unconditional row hears them: without phonemes, or as nothing at all.

        So guidance leads towards the phonemes that are told, too.
        """
        if self.config.drop_tokens:
            return torch.zeros_like(ids)
        network = self.config.network
        return ids % network.vocab_size if network.phonemes else ids

    def packed(self, dtype: torch.dtype = torch.float32) -> "TokenToMel":
        """Make the network ready for inference on this machine, for good, and return it.

        Args:
            dtype: Type of the transformer's matrix products. float32 keeps every digit; bfloat16 is
                faster where the processor has it: nano's log-mel then differs by 0.001 on average,
                0.009 at most, a hundredth of what ten steps instead of sixty change.
        """
        self.estimator.packed(dtype)
        return self

    def checked_ids(self, tokens: Tensor | Sequence[int]) -> list[int]:
        """Tokens as a list of ids.

        Raises:
            BadInput: one is not in the vocabulary.
        """
        ids = [int(token) for token in tokens]
        network = self.config.network
        most = network.vocab_size * (1 + network.phonemes) * (1 + network.styles)
        for place, token in enumerate(ids):
            if not 0 <= token < most:
                raise BadInput(
                    f"Speech token {token} at place {place} is not in this model's vocabulary of "
                    f"{most}. Were the tokens made for another model?"
                )
        return ids


@dataclass(frozen=True)
class Guided:
    """A trained flow and the guidance that another one shall learn to do without.

    Attributes:
        model: The flow.
        guidance: See `FlowOptions`.
        plain: Teaches the rows that tell no style in its place: one that has heard styled speech
            need not speak the best plain speech.
    """

    model: TokenToMel
    guidance: float
    plain: TokenToMel | None = None

    @torch.no_grad()
    def velocity(
        self,
        x: Tensor,
        prompt: Tensor,
        target: Tensor,
        tokens: Tensor,
        count: Tensor,
        time: Tensor,
        speaker: Tensor,
        visible: Tensor,
    ) -> Tensor:
        """The guided velocity (B, F, M) of noisy frames.

        Args:
            x: (B, F, M) noisy frames.
            prompt: (B, F) which of them are prompt.
            target: (B, F, M) the normalised mel, of which the prompt is shown.
            tokens: (B, S) ids.
            count: (B,) real tokens of each row.
            time: (B,) flow time of each row.
            speaker: (B, E) unit-length speaker vectors.
            visible: (B, F) visible length of each frame.
        """
        given = (x, prompt, target, tokens, count, time, speaker, visible)
        if self.plain is None:
            return self._of(self.model, *given)
        network = self.model.config.network
        styled = (tokens >= network.vocab_size * (1 + network.phonemes)).any(1)
        out = torch.empty_like(target)
        for rows, model in ((styled, self.model), (~styled, self.plain)):
            if bool(rows.any()):
                out[rows] = self._of(model, *(part[rows] for part in given)).to(out)
        return out

    def _of(
        self, model: TokenToMel, x: Tensor, prompt: Tensor, target: Tensor, tokens: Tensor,
        count: Tensor, time: Tensor, speaker: Tensor, visible: Tensor,
    ) -> Tensor:  # fmt: skip
        rows, length = len(x), x.shape[1]
        condition = target * prompt[..., None]
        blind = torch.zeros_like(condition)
        if model.config.network.speaker_channels:
            projected = model.speaker_channels(speaker)[:, None].expand(-1, length, -1)
            condition = torch.cat((condition, projected), -1)
            blind = torch.cat((blind, torch.zeros_like(projected)), -1)
        ids = torch.cat((tokens, model.unconditional(tokens)))
        speakers = torch.cat((speaker, torch.zeros_like(speaker)))
        features, coarse = model.estimator.token_features(ids, speakers, length, count.repeat(2))
        both = model.estimator(
            x.repeat(2, 1, 1), torch.cat((condition, blind)), features, coarse, time.repeat(2),
            speakers, visible.repeat(2, 1),
        )  # fmt: skip
        return (1.0 + self.guidance) * both[:rows] - self.guidance * both[rows:]


@dataclass(frozen=True)
class FlowPrompt:
    """A voice as the network sees it, in one row, or in two (conditional, unconditional).

    Attributes:
        tokens: Prompt ids; those of whole tokens that have their frames.
        mel: (P, M) normalised mel of the prompt.
        speaker: (rows, E); the unconditional row is zeros.
        channels: (rows, speaker_channels) that the condition carries of the speaker.
        modulations: Shifts, scales and gates of all steps.
        unconditional: Ids as the unconditional row hears them.
        alike: Both rows have the same token features.
    """

    tokens: tuple[int, ...]
    mel: Tensor
    speaker: Tensor
    channels: Tensor
    modulations: Modulations
    unconditional: Callable[[Tensor], Tensor]
    alike: bool

    @classmethod
    def of(cls, model: TokenToMel, voice: Voice, options: FlowOptions) -> "FlowPrompt":
        """Check `voice` and `options` against `model`, and bring the voice to its device."""
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
        tokens, mel = model.checked_ids(voice.speech_tokens), voice.mel
        if not options.upstream_compat:
            whole = min(len(tokens), config.whole_tokens(len(mel)))
            tokens = tokens[max(0, whole - config.prompt_tokens) : whole]
            end = config.frames(whole)
            mel = mel[end - config.frames(len(tokens)) : end]
        mel = (mel.to(weight.device, torch.float32) - config.mel_mean) / config.mel_std
        speaker = voice.speaker.to(weight.device, torch.float32)
        sizes = [*config.speaker_parts] or [network.speaker_dim]
        parts = torch.split(speaker, sizes)
        speaker = torch.cat([F.normalize(part, dim=0) for part in parts])[None]
        guided = model.guidance(options) > 0.0
        if guided:
            speaker = torch.cat((speaker, torch.zeros_like(speaker)))
        channels = mel.new_zeros(len(speaker), network.speaker_channels)
        if network.speaker_channels:
            channels[:1] = model.speaker_channels(speaker[:1])
        times = torch.tensor([time for time, _ in model.grid(options.steps)], device=mel.device)
        with at_most(1):  # few rows, whose sums round by the number of threads
            modulations = model.estimator.modulations(times[:, None], speaker)
        same = not config.drop_tokens and not network.phonemes and not network.token_speaker
        alike = same or not guided
        unconditional = model.unconditional
        return cls(tuple(tokens), mel, speaker, channels, modulations, unconditional, alike)

    def ids(self, tokens: Sequence[int]) -> Tensor:
        """(rows, S) ids of both rows, (1, S) where they are alike."""
        row = torch.tensor([tokens], device=self.mel.device)
        return row if self.alike else torch.cat((row, self.unconditional(row)))

    def noise(self, bins: int) -> Tensor:
        """(P, M) initial noise of the prompt: always the same, so that a voice is opened once."""
        return draw_noise(seeded(0), len(self.mel), bins)

    def condition(self, start: int, stop: int) -> Tensor:
        """(rows, stop - start, M + speaker_channels) condition of frames `start` … of the whole."""
        known, bins = self.mel[start:stop], self.mel.shape[-1]
        condition = self.channels[:, None].repeat(1, stop - start, 1)
        condition = torch.cat(
            (self.mel.new_zeros(len(self.speaker), stop - start, bins), condition), -1
        )
        condition[0, : len(known), :bins] = known
        return condition


@dataclass(frozen=True)
class Opening:
    """A voice made ready to speak sentences with given options: its prompt is already computed.

    Attributes:
        model: Who speaks.
        options: How; a sentence may bring its own generator.
        prompt: The voice as the network sees it.
        caches: What the prompt's frames leave behind at each Euler step; sentences copy them.
    """

    model: TokenToMel
    options: FlowOptions
    prompt: FlowPrompt
    caches: tuple[StepCache, ...]

    def stream(self, *, rng: torch.Generator | None = None) -> "MelStream | PrefixStream":
        """Begin a sentence; `rng` draws its noise (by default a generator of the options' seed)."""
        rng = rng or seeded(self.options.seed)
        exact = not self.options.blocks or self.model.config.network.streams
        return MelStream(self, rng) if exact else PrefixStream(self, rng)


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
        self._laughing: list[bool] = []
        self._done = len(self._tokens)
        self._blocks = 0
        self._ended = False

    @torch.inference_mode()
    def push(self, tokens: Sequence[int], *, last: bool, laughing: Sequence[bool] = ()) -> Tensor:
        """Add tokens; `last` ends the sentence and flushes what was held back.

        Args:
            tokens: (s,) the next ids.
            last: They end the sentence.
            laughing: (s,) which of them are of a laugh; empty: none.

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
        self._laughing += laughing or [False] * len(tokens)
        self._ended = last
        known = len(prompt.tokens)
        if not network.streams:
            ready = self._tokens[known:] if last else []
            return model.sentence(prompt, options, ready, self._rng, self._laughing)
        pieces = [prompt.mel.new_zeros(0, network.n_mels)]
        while self._done < len(self._tokens):
            stop = self._done + self._size(len(self._tokens))
            if last:
                stop = min(stop, len(self._tokens))
            elif stop + network.lookahead_tokens > len(self._tokens):
                break
            frames = (stop - self._done) * network.frames_per_token
            noise = draw_noise(self._rng, frames, network.n_mels)
            noise *= model.temperatures(options, self._done, known, self._laughing, frames)
            pieces.append(
                model.advance(prompt, options, self._caches, self._tokens, self._done, stop, noise)
            )
            self._done, self._blocks = stop, self._blocks + 1
        return torch.cat(pieces) * model.config.mel_std + model.config.mel_mean

    def _size(self, most: int) -> int:
        """Tokens of the next block, `most` if the sentence is a single one."""
        blocks = self._opening.options.blocks or (most,)
        return blocks[min(self._blocks, len(blocks) - 1)]


class PrefixStream:
    """A sentence in progress with a network that needs the whole utterance (spec §7).

    At each block the network runs again over prompt and sentence so far. Half of the newest block
    is held back until what follows is known: so far the attention of its frames looks ahead. Frames
    that were spoken enter every step of later runs as they entered their own, so that what follows
    joins them; noise is drawn once for each frame.
    """

    def __init__(self, opening: Opening, rng: torch.Generator) -> None:
        """Begin a sentence; see `TokenToMel.stream`."""
        self._opening, self._rng = opening, rng
        self._tokens = list(opening.prompt.tokens)
        self._laughing: list[bool] = []
        self._done = len(self._tokens)
        self._blocks = 0
        self._noise = torch.zeros(0)
        self._held: list[Tensor] = []
        self._spoken = 0
        self._tail = opening.prompt.mel[:0]
        self._ended = False

    @torch.inference_mode()
    def push(self, tokens: Sequence[int], *, last: bool, laughing: Sequence[bool] = ()) -> Tensor:
        """As `MelStream.push`.

        Returns:
            (f, M) the next frames of natural log-mel, possibly none.

        Raises:
            BadInput: a token is not in the vocabulary, or the sentence has ended.
        """
        if self._ended:
            raise BadInput("This sentence has ended. Begin another one with TokenToMel.stream.")
        config, blocks = self._opening.model.config, self._opening.options.blocks
        self._tokens += self._opening.model.checked_ids(tokens)
        self._laughing += laughing or [False] * len(tokens)
        self._ended = last
        pieces = [self._tail[:0]]
        while self._done < len(self._tokens):
            size = blocks[min(self._blocks, len(blocks) - 1)]
            if not last and self._done + size > len(self._tokens):
                break
            self._done = min(self._done + size, len(self._tokens))
            self._blocks += 1
            pieces.append(self._run(size))
        if last:
            pieces.append(self._tail)
        return torch.cat(pieces) * config.mel_std + config.mel_mean

    def _run(self, size: int) -> Tensor:
        """Run over everything so far, whose last block has `size` tokens; return what is final."""
        model, options, prompt = self._opening.model, self._opening.options, self._opening.prompt
        config, compat, known = model.config, options.upstream_compat, len(prompt.mel)
        frames, bins = config.frames(self._done, compat), config.network.n_mels
        if compat:
            self._noise = draw_noise(self._rng, frames, bins)
            sizes = [upstream_block_frames(count) for count in (1, *options.blocks)]
        else:
            earlier = self._noise if len(self._noise) else prompt.noise(bins)
            fresh = draw_noise(self._rng, frames - len(earlier), bins)
            self._noise = torch.cat((earlier, fresh))
            sizes = [known] * bool(known) + [*map(config.frames, options.blocks)]
        ids = self._tokens[: self._done]
        factors = model.temperatures(options, 0, len(prompt.tokens), self._laughing, frames)
        noise = self._noise * factors
        mel, entered = model.speak(prompt, options, ids, noise, sizes, self._held)
        mel, ahead = mel[known:], size // 2
        final = max(self._spoken, len(mel) - config.frames(ahead))
        piece, self._tail = mel[self._spoken : final], mel[final:]
        self._spoken = final
        hold = known + final
        if compat:  # one frame for the prompt
            rate = config.frame_rate
            hold = max(0, int((len(mel) / rate - ahead / config.token_rate) * rate) + 2)
        self._held = [x[:hold] for x in entered]
        return piece


class Solver:
    """Steps along a velocity that was measured at their beginning."""

    def __init__(self, second_order: bool) -> None:
        """Go straight (Euler), or bend by the step before (Adams-Bashforth of order two)."""
        self._second_order = second_order
        self._before: tuple[Tensor, float] | None = None

    def __call__(self, x: Tensor, velocity: Tensor, step: float) -> Tensor:
        """Where a step of length `step` from `x` leads."""
        rate = velocity
        if self._second_order and self._before is not None:
            earlier, length = self._before
            rate = velocity + (velocity - earlier) * (0.5 * step / length)
        self._before = velocity, step
        return x + step * rate


def seeded(seed: int) -> torch.Generator:
    """A generator on the CPU, so that all devices draw the same noise."""
    return torch.Generator().manual_seed(seed)


def draw_noise(rng: torch.Generator, frames: int, bins: int) -> Tensor:
    """(frames, bins) standard normal, drawn frame by frame: any split into calls draws the same."""
    draws = [torch.randn(bins, generator=rng, device=rng.device) for _ in range(frames)]
    return torch.stack(draws) if draws else torch.zeros(0, bins)
