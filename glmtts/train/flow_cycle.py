"""Teach a flow to be understood: `glmtts train flow-cycle --recipe nano`. Read `Teaching` first.

Flow matching regresses velocities, all frames and bins alike; after the few steps that speaking
takes, what is wrong with the mel is mostly what nobody asked about. Here the flow speaks as it will
(`TokenToMel.follow`: all steps are in the gradient), the vocoder makes sound of its mel, and the
tokenizer listens: the sound shall be written as the very tokens it was made of (cycle consistency,
arXiv 1703.10593, with a tokenizer that stays as it is). A critic of mels keeps it from paying for
clarity with naturalness.

    code      distance of what the tokenizer hears to the codes of the tokens
    phonemes  divergence of what its heads read in the sound from what they read in the codes
    pitch     how far the vocoder's pitch of the mel is from that of the recorded one, in semitones
              (harmonic vocoders): a code stands for the middle of many sounds, so that without this
              the melody narrows, and styles with it
    mel       L1 to the recorded mel
    coarse    the same of the coarse mel
    anchor    distance to the velocities of the flow it started from (or another), told any style
    critic    from `critic_from` on: a least-squares critic, and its features matched; clips that
              are told a style are not shown to it, since rules made them what they are

Needs shards with tokens, mel and speaker, and for a flow that is told phonemes their alignment. It
teaches any flow with its vocoder and tokenizer, best one that already needs no guidance.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import clip_grad_norm_

from glmtts import checkpoint
from glmtts.audio import Audio
from glmtts.data.flow_batches import FlowBatches
from glmtts.data.shards import Corpus
from glmtts.flow import FlowOptions, TokenToMel
from glmtts.nn.flow_batch import FlowBatch, FlowTask, mean_over
from glmtts.nn.harmonic import HarmonicVocoder, pitch_of, voicing_of
from glmtts.nn.mel_critic import MelCritic
from glmtts.text.styles import STYLES
from glmtts.train.common import EMA, Run, adamw, require, set_lr, setup, warmup_cosine
from glmtts.train.listening import Listener
from glmtts.vocoder import Vocoder

SILENCE = -11.5
"""Log-mel of digital silence, put where a row has no frames."""


@dataclass
class Config:
    """One run."""

    data: str
    """Folder of encoded shards; several separated by commas."""
    init: Path
    """The flow to teach."""
    vocoder: Path
    """Its vocoder, which stays as it is."""
    tokenizer: Path
    """The speech tokenizer, with its heads in the folder `heads`."""
    valid: str = ""
    """Folder of held-out shards; empty: no validation."""
    anchor_to: Path | None = None
    """The flow whose velocities are kept; None: that of `init`."""
    out: Path = Path("runs/flow_cycle")
    """Where the run goes; an unfinished one there is resumed."""
    steps: int = 800
    critic_from: int = 400
    """First step with a critic; -1: never."""
    critic_alone: int = 60
    """Its first steps, in which it only learns."""
    flow_steps: int = 3
    """Euler steps of the flow."""
    temperature: float = 0.3
    """Size of its initial noise."""
    frames_per_batch: int = 600
    max_frames: int = 300
    """Longest row; longer clips are cut."""
    joined: float = 0.7
    """Share of batches whose rows begin with another clip of the speaker as prompt."""
    told: float = 0.85
    """Share of clips whose tokens tell their phonemes, to a flow that listens."""
    lr: float = 1e-4
    critic_lr: float = 3e-4
    warmup: int = 30
    clip: float = 1.0
    """Largest norm of the gradient."""
    ema: float = 0.995
    """Decay of the averaged weights, which are those saved."""
    code_weight: float = 1.0
    phoneme_weight: float = 10.0
    pitch_weight: float = 0.25
    """Of a harmonic vocoder; of others the pitch is not known."""
    mel_weight: float = 0.5
    coarse_weight: float = 0.25
    anchor_weight: float = 0.5
    anchor_every: int = 3
    """Steps from one with the anchor to the next."""
    critic_weight: float = 0.25
    matching_weight: float = 0.6
    log_every: int = 20
    save_every: int = 100
    valid_every: int = 100
    valid_batches: int = 8
    seed: int = 0
    device: str = "auto"
    """cpu, cuda or auto."""
    amp: bool = True
    """bfloat16 products, float32 weights."""
    threads: int = 0
    """CPU threads; 0 leaves the default."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot work."""
        require(self.steps > 0 and self.warmup > 0, "steps and warmup must be positive.")
        require(self.anchor_every > 0, "anchor_every must be positive; anchor_weight 0 for none.")
        require(0.0 <= self.told <= 1.0, "told is a share, from 0 to 1.")


class Spoken(NamedTuple):
    """What the flow made of a batch.

    Attributes:
        task: What was asked.
        mel: (B, F, M) normalised; the recorded one outside the generated frames.
        coarse: (B, F, M) the coarse mel, or the recorded one where the flow has none.
        samples: (B, N) its sound.
        losses: By name.
        same: Share of the tokens that are heard again.
    """

    task: FlowTask
    mel: Tensor
    coarse: Tensor
    samples: Tensor
    losses: dict[str, Tensor]
    same: Tensor


class Teaching(nn.Module):
    """A flow, and all it is taught with. Only the flow learns."""

    def __init__(self, model: TokenToMel, config: Config, device: torch.device) -> None:
        """Load what stays as it is.

        Raises:
            BadInput: the vocoder speaks at another rate than the tokenizer listens at.
        """
        super().__init__()
        self.model, self.config = model, config
        self.options = FlowOptions(
            steps=config.flow_steps, guidance=0.0, temperature=config.temperature
        )
        self.vocoder = checkpoint.load(Vocoder, config.vocoder, device=device).float()
        self.vocoder.requires_grad_(False).eval()
        self.listener = Listener(config.tokenizer, device, self.vocoder.spec.sample_rate)

    def forward(self, batch: FlowBatch) -> Spoken:
        """Speak the frames to be filled in, and listen."""
        model = self.model
        per = model.config.network.frames_per_token
        task = model.task(batch, 0.0)
        features, coarse = model.features_of(task)
        made = model.follow(task, self.options, features, coarse)
        mel = torch.where(task.generated[..., None], made, task.target)
        losses = {"mel": mean_over((made - task.target).abs(), task.generated)}
        if coarse is not None:
            losses["coarse"] = mean_over((coarse.float() - task.target).abs(), task.real)

        network = self.vocoder.network
        if isinstance(network, HarmonicVocoder) and self.config.pitch_weight:
            losses["pitch"] = self.off_pitch(network, mel, task)
        with torch.autocast(mel.device.type, enabled=False):
            samples = network(self.natural(mel, task)).samples
        token = self.listener.tokenizer.samples_per_token
        heard = self.listener.hear(samples, task.count * token)  # (B, S, C)

        ids = task.tokens % model.config.network.vocab_size
        codes = F.embedding(ids, self.listener.codes)
        apart = self.listener.apart(heard, codes)
        less = self.listener.misheard(heard, codes)
        mine = task.generated[:, ::per]  # (B, S)
        losses["code"] = mean_over(apart[..., None], mine)
        often = mine.repeat_interleave(self.listener.heads.config.upsample, 1)
        losses["phonemes"] = mean_over(less[..., None], often)
        same = self.listener.tokenizer.quantizer.ids(heard.detach()) == ids
        return Spoken(
            task, mel, task.target if coarse is None else coarse.detach().float(), samples, losses,
            mean_over(same[..., None].float(), mine),
        )  # fmt: skip

    def natural(self, mel: Tensor, task: FlowTask) -> Tensor:
        """The log-mel (B, F, M) of a normalised one, silent behind each row's end."""
        flow = self.model.config
        logs = mel.float() * flow.mel_std + flow.mel_mean
        return torch.where(task.real[..., None], logs, torch.full_like(logs, SILENCE))

    def off_pitch(self, network: HarmonicVocoder, mel: Tensor, task: FlowTask) -> Tensor:
        """Mean semitones between the pitch of `mel` and of the recorded one where that has any."""
        with torch.autocast(mel.device.type, enabled=False):
            mine, _, _ = network.controls(self.natural(mel, task))
            with torch.no_grad():
                theirs, _, _ = network.controls(self.natural(task.target, task))
        voiced = task.generated.repeat_interleave(network.pitches, 1) & (voicing_of(theirs) > 0.5)
        semitones = 12.0 * torch.log2(pitch_of(mine) / pitch_of(theirs)).abs()
        return mean_over(semitones[..., None], voiced)


def anchor(model: TokenToMel, frozen: TokenToMel, batch: FlowBatch, temperature: float) -> Tensor:
    """How far the velocities have gone from those of `frozen` (mean square), in any style.

    Half of the rows start from full noise, half from that of speaking. Where tokens tell phonemes,
    half of the rows are told a style as well, whatever it is of the clips.
    """
    network, device = model.config.network, batch.mel.device
    rows = len(batch.tokens)
    tokens = batch.tokens
    if network.styles:
        plain = tokens % (network.vocab_size * (1 + network.phonemes))
        kinds = torch.randint(1, 1 + len(STYLES), (rows, 1), device=device)
        styled = plain + network.vocab_size * (1 + network.phonemes) * kinds
        told = (plain >= network.vocab_size) & (torch.rand(rows, 1, device=device) < 0.5)
        tokens = torch.where(told, styled, tokens)
    batch = FlowBatch(tokens, batch.mel, batch.frames, batch.joint, batch.speaker)
    task = model.task(batch, 0.0)
    full = torch.rand(rows, device=device) < 0.5
    size = torch.where(full, torch.ones(rows, device=device), temperature)[:, None, None]
    moment = torch.rand(rows, device=device)
    noise = torch.randn_like(task.target) * size
    t = moment[:, None, None]
    x = (1.0 - t) * noise + t * task.target
    mine = model.velocity_at(x, moment, task, *model.features_of(task))
    with torch.no_grad():
        theirs = frozen.velocity_at(x, moment, task, *frozen.features_of(task))
    return mean_over((mine - theirs).float().square(), task.generated)


def told_style(task: FlowTask, model: TokenToMel) -> Tensor:
    """(B,) rows whose tokens tell a style."""
    network = model.config.network
    plain = network.vocab_size * (1 + network.phonemes)
    return (task.tokens >= plain).any(1) & bool(network.styles)


def main(config: Config) -> None:
    """Teach until `config.steps`; the averaged flow lies in `out/step_*` and at last `out/flow`."""
    run = setup(
        config, config.out, config.seed,
        device=config.device, amp=config.amp, threads=config.threads,
    )  # fmt: skip
    model = checkpoint.load(TokenToMel, config.init, device=run.device).float()
    twin = checkpoint.load(TokenToMel, config.init, device=run.device).float()
    kept = config.anchor_to or config.init
    frozen = checkpoint.load(TokenToMel, kept, device=run.device).float()
    frozen.requires_grad_(False).eval()
    model.requires_grad_(True).train()
    teaching = Teaching(model, config, run.device)
    critic = MelCritic().to(run.device)
    ema = EMA(model, twin, config.ema)
    optimizer = adamw(model, config.lr, 0.0)
    critic_optimizer = adamw(critic, config.critic_lr)
    stateful = {
        "model": model, "ema": ema, "optimizer": optimizer,
        "critic": critic, "critic_optimizer": critic_optimizer,
    }  # fmt: skip
    start = run.resume(stateful)
    batches = batches_of(config, Corpus(config.data), model, run.rank)
    held_out = Corpus(config.valid) if config.valid else None
    examined = Teaching(twin, config, run.device)
    spoken_by, judged_by = run.parallel(teaching), run.parallel(critic)
    weights = {
        "code": config.code_weight, "phonemes": config.phoneme_weight,
        "pitch": config.pitch_weight, "mel": config.mel_weight,
        "coarse": config.coarse_weight, "anchor": config.anchor_weight,
        "critic": config.critic_weight, "matching": config.matching_weight,
    }  # fmt: skip

    clock, since = time.monotonic(), 0
    for step in run.steps(start, config.steps):
        lr = warmup_cosine(step, config.lr, config.warmup, config.steps)
        set_lr(optimizer, lr)
        batch = batches(step).to(run.device)
        with run.autocast():
            spoken: Spoken = spoken_by(batch)
        losses, task = spoken.losses, spoken.task
        if config.anchor_weight and step % config.anchor_every == 0:
            with run.autocast():
                losses["anchor"] = anchor(model, frozen, batch, config.temperature)

        doubt, shown = torch.zeros(()), task.generated & ~told_style(task, model)[:, None]
        if 0 <= config.critic_from <= step:
            with run.autocast():
                real = judged_by(task.target, spoken.coarse, shown)
                fake = judged_by(spoken.mel.detach(), spoken.coarse, shown)
                doubt = real.distance(1.0) + fake.distance(0.0)
            doubt.backward()
            clip_grad_norm_(critic.parameters(), 5.0)
            critic_optimizer.step()
            critic_optimizer.zero_grad(set_to_none=True)
        if 0 <= config.critic_from <= step - config.critic_alone:
            critic.requires_grad_(False)
            with run.autocast():
                with torch.no_grad():
                    real = critic(task.target, spoken.coarse, shown)
                fake = critic(spoken.mel, spoken.coarse, shown)
                losses["critic"], losses["matching"] = fake.distance(1.0), fake.unlike(real)

        torch.stack([weights[name] * loss for name, loss in losses.items()]).sum().backward()
        critic.requires_grad_(True)
        grad_norm = clip_grad_norm_(model.parameters(), config.clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        ema.update(model, step)

        since += 1
        last = step + 1 == config.steps or run.stopping
        if last or run.due(step, config.log_every):
            values = {name: loss.detach() for name, loss in losses.items()}
            seconds, clock = (time.monotonic() - clock) / since, time.monotonic()
            run.log(
                step, **values, same=spoken.same, doubt=doubt.detach(), grad_norm=grad_norm,
                lr=lr, step_s=seconds,
            )  # fmt: skip
            since = 0
        if held_out is not None and run.main and (last or run.due(step, config.valid_every)):
            validate(run, examined, held_out, step, config)
        if last or run.due(step, config.save_every):
            run.save(step, ema.model, stateful, config)
    if run.main and not run.stopping:
        checkpoint.save(ema.model, config.out / "flow")
    run.finish()


def batches_of(config: Config, corpus: Corpus, model: TokenToMel, rank: int) -> FlowBatches:
    """Batches of `corpus` as the flow is told them."""
    network = model.config.network
    return FlowBatches(
        corpus, frames_per_batch=config.frames_per_batch, max_frames=config.max_frames,
        frames_per_token=network.frames_per_token, joined=config.joined,
        vocabulary=network.vocab_size, told=config.told if network.phonemes else 0.0,
        told_prompts=0.3 if network.phonemes else 0.0,
        phonemes=network.phonemes if network.styles else 0, seed=config.seed, rank=rank,
    )  # fmt: skip


@torch.no_grad()
def validate(run: Run, teaching: Teaching, corpus: Corpus, step: int, config: Config) -> None:
    """Log the losses of fixed held-out batches, and how the first of their rows sound and look."""
    batches = batches_of(config, corpus, teaching.model, 0)
    found: dict[str, list[float]] = {}
    with torch.random.fork_rng(devices=[run.device] if run.device.type == "cuda" else []):
        for number in range(config.valid_batches):
            torch.manual_seed(number)
            with run.autocast():
                spoken: Spoken = teaching(batches(number).to(run.device))
            for name, value in (*spoken.losses.items(), ("same", spoken.same)):
                found.setdefault(f"valid_{name}", []).append(float(value))
            if number < 2:
                rate = teaching.vocoder.spec.sample_rate
                run.log_audio(step, f"clip{number}", Audio(spoken.samples[0].float().cpu(), rate))
                both = torch.cat((spoken.task.target[0], spoken.mel[0].float()), 1)
                run.log_picture(step, f"mel{number}", both.T)
    run.log(step, **{name: sum(values) / len(values) for name, values in found.items()})
