"""Train a vocoder: mel to samples. Read main from the top.

    python -m glmtts.train.vocoder --data shards/train --valid shards/valid

First spectral losses alone; from step `adversarial_from` on a discriminator joins (two optimizers,
the step written out as in descript-audio-codec). With a `listener` the output shall also be heard
as the recording is.
"""

import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils import clip_grad_norm_

from glmtts import checkpoint
from glmtts.audio import Audio, log_mel
from glmtts.data.vocoder_batches import VocoderBatches
from glmtts.nn.discriminators import (
    Augmentation,
    Discriminator,
    discriminator_loss,
    generator_losses,
)
from glmtts.nn.harmonic import HarmonicVocoder, pitch_of
from glmtts.nn.refiner import RefinerConfig
from glmtts.nn.stft import RESOLUTIONS, magnitudes, phase_loss, spectral_loss
from glmtts.train.common import EMA, adamw, require, set_lr, setup, warmup_cosine
from glmtts.train.listening import Listener
from glmtts.vocoder import Vocoder, VocoderConfig


@dataclass
class Config:
    """One run."""

    data: str
    """Folder of shards with audio (several: separated by commas)."""
    valid: str = ""
    """Shards of clips that are not trained on; empty: no validation."""
    out: Path = Path("runs/vocoder")
    """Where checkpoints and the log go; a run that is there is resumed."""
    init: Path | None = None
    """Start from this component instead of random weights; its configuration wins over `model`."""
    model: VocoderConfig = field(default_factory=VocoderConfig)
    refiner: RefinerConfig | None = None
    """Put this behind the harmonic vocoder of `init`, which has none; at first it does nothing."""
    steps: int = 5_000
    batch: int = 16
    """Crops of a batch (on each device)."""
    crop_seconds: float = 0.8
    raised: float = 0.0
    """Share of the crops that are played faster, and so higher, than recorded: voices above 400 Hz
    are rare, and what a vocoder has not met it whispers."""
    raised_by: float = 1.8
    """The largest factor of that."""
    lr: float = 1e-3
    warmup: int = 100
    weight_decay: float = 0.01
    clip: float = 1.0
    """Largest norm of the gradient."""
    mel_weight: float = 1.0
    """Weight of the L1 distance of log-mels."""
    pitch_weight: float = 0.2
    """Weight of the pitch loss (harmonic vocoders only)."""
    phase_weight: float = 0.0
    """Weight of the phase loss (harmonic vocoders only); the pulses then keep in step with the
    recording while training."""
    adversarial_from: int = -1
    """First step with the discriminator; -1: never."""
    adversarial_weight: float = 0.1
    matching_weight: float = 0.5
    adversarial_alone: int = 0
    """First steps of the discriminator, in which it only learns."""
    listener: Path | None = None
    """A speech tokenizer with its heads, which shall hear in the output what it hears in the
    recording."""
    code_weight: float = 0.3
    """Weight of the distance between what it hears and the codes of those tokens."""
    phoneme_weight: float = 3.0
    """Weight of the divergence of what its heads read in both."""
    disc_channels: int = 16
    disc_windows: tuple[int, ...] = (2048, 1024, 512)
    disc_phase: bool = False
    """Let the discriminator see phases beside magnitudes."""
    disc_share: float = 1.0
    """Of the frequencies, from the lowest on, that the discriminator sees."""
    disc_lr: float = 5e-4
    ema: float = 0.999
    """Decay of the averaged weights, which are what is saved."""
    log_every: int = 20
    save_every: int = 300
    valid_every: int = 300
    valid_clips: int = 12
    seed: int = 0
    device: str = "auto"
    amp: bool = True
    """bfloat16 in convolutions and linear layers, float32 elsewhere."""
    threads: int = 0
    """CPU threads; 0 leaves the default."""

    def __post_init__(self) -> None:
        """Refuse settings that contradict each other."""
        require(self.batch > 0 and self.steps > 0, "batch and steps must be positive.")
        require(0.0 <= self.raised <= 1.0, f"raised is a share from 0 to 1, got {self.raised}.")
        require(1.0 <= self.raised_by <= 4.0, f"raised_by is 1 to 4, got {self.raised_by}.")
        longest = max(window for window, _ in RESOLUTIONS)
        require(
            self.frames * self.model.spec.hop_length > longest + 240,
            f"crop_seconds {self.crop_seconds} is shorter than the longest window of the losses.",
        )

    @property
    def frames(self) -> int:
        """Mel frames of a crop."""
        return round(self.crop_seconds * self.model.spec.frames_per_second)


def main(config: Config) -> None:
    """Train, and leave the averaged model in `out/step_*` and `out/vocoder`."""
    run = setup(
        config, config.out, config.seed,
        device=config.device, amp=config.amp, threads=config.threads,
    )  # fmt: skip

    model = first_model(config).train().to(run.device)
    spec = model.spec
    critic = Discriminator(
        config.disc_channels, config.disc_windows, config.disc_phase, config.disc_share
    )
    critic.to(run.device).to(memory_format=torch.channels_last)  # pyright: ignore
    average = Vocoder(model.config).to(run.device)
    ema = EMA(model, average, config.ema)
    listener = config.listener and Listener(config.listener, run.device, spec.sample_rate)
    optimizer = adamw(model, config.lr, config.weight_decay)
    critic_optimizer = adamw(critic, config.disc_lr, config.weight_decay)
    stateful = {
        "model": model, "ema": ema, "optimizer": optimizer,
        "critic": critic, "critic_optimizer": critic_optimizer,
    }  # fmt: skip
    start = run.resume(stateful)

    shape = {"frames": config.frames, "pitches": model.config.pitches}
    train = VocoderBatches(
        config.data, spec, rows=config.batch, **shape, seed=config.seed, rank=run.rank,
        raised=config.raised, raised_by=config.raised_by,
    )  # fmt: skip
    valid = VocoderBatches(config.valid, spec, rows=1, **shape) if config.valid else None
    if run.main:
        print(f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f} M parameters", flush=True)
    wrapped, wrapped_critic = run.parallel(model), run.parallel(critic)

    since, until_log = time.monotonic(), 0
    for step in run.steps(start, config.steps):
        lr = warmup_cosine(step, config.lr, config.warmup, config.steps)
        set_lr(optimizer, lr)
        set_lr(critic_optimizer, config.disc_lr * lr / config.lr)
        batch = train.batch(step).to(run.device)
        adversarial = 0 <= config.adversarial_from <= step

        with run.autocast():
            follow = batch.samples if config.phase_weight else None
            output, pitch = wrapped(batch.mel, batch.pitch, batch.voiced, follow)
        losses = {"spectral": spectral_loss(output, batch.samples), "pitch": pitch}
        losses["mel"] = F.l1_loss(log_mel(output, spec), log_mel(batch.samples, spec))
        loss = losses["spectral"] + config.mel_weight * losses["mel"]
        loss = loss + config.pitch_weight * pitch
        if config.phase_weight:
            losses["phase"] = phase_loss(output, batch.samples)
            loss = loss + config.phase_weight * losses["phase"]

        if listener:
            with run.autocast():
                losses["code"], losses["phonemes"] = listener.compare(output, batch.samples)
            loss = loss + config.code_weight * losses["code"]
            loss = loss + config.phoneme_weight * losses["phonemes"]

        if adversarial:
            augment = Augmentation.draw(len(output), run.device)
            real, fake = augment(batch.samples), augment(output)

            with run.autocast():
                losses["critic"] = discriminator_loss(
                    wrapped_critic(real), wrapped_critic(fake.detach())
                )
            losses["critic"].backward()
            clip_grad_norm_(critic.parameters(), 10.0)
            critic_optimizer.step()
            critic_optimizer.zero_grad(set_to_none=True)

            if step >= config.adversarial_from + config.adversarial_alone:
                critic.requires_grad_(False)
                with run.autocast():
                    with torch.no_grad():
                        judged = critic(real)
                    losses["adversarial"], losses["matching"] = generator_losses(
                        judged, critic(fake)
                    )
                loss = loss + config.adversarial_weight * losses["adversarial"]
                loss = loss + config.matching_weight * losses["matching"]

        loss.backward()
        critic.requires_grad_(True)
        grad_norm = clip_grad_norm_(model.parameters(), config.clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        ema.update(model, step)

        until_log += 1
        last = step + 1 == config.steps or run.stopping
        if run.due(step, config.log_every) or last:
            seconds, since = (time.monotonic() - since) / until_log, time.monotonic()
            values = {name: value.detach() for name, value in losses.items()}
            run.log(step, loss=loss.detach(), **values, grad_norm=grad_norm, lr=lr, step_s=seconds)
            until_log = 0
        if valid is not None and run.main and (run.due(step, config.valid_every) or last):
            scores, pairs = validate(average, valid, config, listener)
            run.log(step, **scores)
            for name, (mine, _) in pairs.items():
                run.log_audio(step, name, Audio(mine.cpu(), spec.sample_rate))
            for name, (mine, theirs) in list(pairs.items())[:2]:
                both = torch.cat([log_mel(theirs, spec), log_mel(mine, spec)], dim=1)
                run.log_picture(step, name, both.T)  # the original below, the output above
            since = time.monotonic()
        if run.due(step, config.save_every) or last:
            run.save(step, ema.model, stateful, config)
            since = time.monotonic()

    if run.main and not run.stopping:
        checkpoint.save(ema.model, config.out / "vocoder")
    run.finish()


def first_model(config: Config) -> Vocoder:
    """What training starts from.

    Raises:
        BadInput: a refiner is asked for behind a vocoder that cannot have one or has one.
    """
    if config.init is None:
        require(config.refiner is None, "refiner goes with init; without it set model.refiner.")
        return Vocoder(config.model)
    model = checkpoint.load(Vocoder, config.init)
    if config.refiner is None:
        return model
    require(
        model.config.kind == "harmonic" and model.config.refiner is None,
        f"{config.init} is no harmonic vocoder without a refiner. Leave the setting refiner away.",
    )
    grown = Vocoder(replace(model.config, refiner=config.refiner))
    grown.load_state_dict(model.state_dict(), strict=False)  # all but the refiner
    return grown


@torch.no_grad()
def validate(
    model: Vocoder, valid: VocoderBatches, config: Config, listener: Listener | None
) -> tuple[dict[str, float], dict[str, tuple[Tensor, Tensor]]]:
    """Decode whole held-out clips with the predicted pitch.

    Returns:
        Mean scores (distances in nat or dB, pitch error in cents, with a `listener` what it heard
        otherwise), and output and original of the
        first clips by name.
    """
    model.eval()
    device = next(model.parameters()).device
    rows: list[dict[str, float]] = []
    pairs: dict[str, tuple[Tensor, Tensor]] = {}
    for clip in range(min(config.valid_clips, len(valid.corpus))):
        audio = valid.corpus.array("audio", clip).astype(np.float32) / 32768.0
        frames = len(audio) // model.spec.hop_length
        target = torch.from_numpy(audio[: frames * model.spec.hop_length]).to(device)
        mel = log_mel(target, model.spec)
        output = model.decode(mel)
        scores = distances(output, target, model.spec.sample_rate)
        scores["valid_mel"] = float(F.l1_loss(log_mel(output, model.spec), mel))
        if listener:
            apart, less = listener.compare(output[None], target[None])
            scores["valid_code"], scores["valid_phonemes"] = float(apart), float(less)
        if isinstance(model.network, HarmonicVocoder):
            true = torch.from_numpy(valid.pitch[clip][: frames * valid.pitches]).to(device)
            logits, _, _ = model.network.controls(mel[None])
            cents = 1200.0 * torch.log2(pitch_of(logits)[0] / true.clamp(min=1.0)).abs()
            if bool((true > 0).any()):
                scores["valid_pitch_cents"] = float(cents[true > 0].median())
                scores["valid_pitch_gross"] = float((cents[true > 0] > 100).float().mean())
        rows.append(scores)
        if len(pairs) < 4:
            pairs[f"clip{clip}"] = (output, target)
    names = {name for row in rows for name in row}
    means = {n: float(np.mean([r[n] for r in rows if n in r])) for n in sorted(names)}
    return means, pairs


def distances(output: Tensor, target: Tensor, sample_rate: int) -> dict[str, float]:
    """Multi-resolution STFT distance, and log-spectral distance (dB) below and above 4 kHz."""
    mine, theirs = (20.0 * torch.log10(magnitudes(x[None], 1024, 256)) for x in (output, target))
    squares = (mine - theirs).clamp(-60.0, 60.0).square()[0]
    cut = round(4000 / sample_rate * 1024)
    return {
        "valid_stft": float(spectral_loss(output[None], target[None])),
        "valid_lsd_low": float(squares[:cut].mean(0).sqrt().mean()),
        "valid_lsd_high": float(squares[cut:].mean(0).sqrt().mean()),
    }
