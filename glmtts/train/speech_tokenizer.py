"""Train the speech tokenizer: Whisper-VQ with ASR supervision and a pitch estimator (paper §2.3).

One step: sound -> encoder (lower layers frozen) -> projection -> quantiser; then, through the
codes, phonemes by CTC, pitch contour and voicing, and (optional) the encoder's own features. The
CTC posteriors are divided by a running label prior (Zeyer et al. 2021; Huang et al. 2024): without
it CTC turns most frames into blanks, and their codes lose the sound they stand for.

The first `vq_from` steps run without the quantiser; then the codebook starts from k-means.
"""

from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors.torch import load_file  # pyright: ignore[reportUnknownVariableType]
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import clip_grad_norm_

from glmtts import checkpoint
from glmtts.data.audio_batches import TokenizerBatch, TokenizerBatches
from glmtts.data.shards import Corpus
from glmtts.speech_tokenizer import (
    SpeechTokenizer,
    SpeechTokenizerConfig,
    TokenizerHeads,
    TokenizerHeadsConfig,
)
from glmtts.train.common import adamw, require, set_lr, setup, warmup_cosine


@dataclass
class Config:
    """Speech tokenizer training. `out` receives checkpoints, curves and pictures."""

    data: str
    """Training shards with `audio` and `f0` (glmtts data encode --stage audio)."""
    valid: str
    """Validation shards, same arrays."""
    out: Path = Path("runs/speech_tokenizer")
    """Folder of the run; an existing run there is resumed."""
    whisper: Path | None = None
    """Weights of Whisper's encoder to start from (glmtts data whisper)."""
    init: Path | None = None
    """Start from this tokenizer checkpoint instead (its heads are in the folder `heads` inside)."""
    model: SpeechTokenizerConfig = field(default_factory=SpeechTokenizerConfig)
    """What is trained."""
    heads: TokenizerHeadsConfig = field(default_factory=TokenizerHeadsConfig)
    """The training heads."""
    frozen_layers: int = 3
    """Encoder layers (and the stem) that stay as Whisper has them; -1 trains everything."""
    steps: int = 3_000
    """Optimizer steps."""
    vq_from: int = 300
    """First step that goes through the quantiser."""
    seconds_per_batch: float = 40.0
    """Sound in one batch."""
    lr: float = 5e-4
    """Peak learning rate."""
    warmup: int = 100
    """Steps of linear warm-up."""
    commitment_weight: float = 0.25
    """Weight of the commitment loss (official 0.25)."""
    pitch_weight: float = 2.0
    """Weight of the pitch losses (official 2.0)."""
    feature_weight: float = 0.3
    """Weight of the feature reconstruction (0 = none, official)."""
    prior_scale: float = 0.3
    """How strongly CTC posteriors are divided by the label prior; 0 is plain CTC."""
    pitch_relative: bool = True
    """Predict log F0 minus the clip's mean: the codes need not know how high a voice is."""
    restart_every: int = 100
    """Steps between restarts of dead codes (official 100)."""
    augment: float = 0.5
    """Share of clips that get random gain and noise (10-40 dB)."""
    save_every: int = 250
    """Steps between checkpoints."""
    valid_every: int = 250
    """Steps between validations."""
    seed: int = 0
    """Seed of everything random."""
    device: str = "auto"
    """cpu, cuda or auto."""
    amp: bool = True
    """bfloat16 mixed precision."""
    threads: int = 0
    """CPU threads; 0 = torch's default."""

    def __post_init__(self) -> None:
        """Refuse settings that contradict each other."""
        dim = self.model.code_dim or self.model.dim
        require(self.heads.code_dim == dim, f"heads.code_dim must be {dim}, the model's code size.")
        rate = self.model.tokens_per_second * self.heads.upsample
        require(rate == 25.0, f"heads.upsample must bring the codes to 25 Hz, it makes {rate:g}.")


def noisy(samples: Tensor, lengths: Tensor, share: float) -> Tensor:
    """Random gain (-12..+6 dB) and white noise at 10-40 dB SNR on a share of the rows: (B, N)."""
    b = len(samples)
    chosen = (torch.rand(b, device=samples.device) < share).float()
    gain = 10.0 ** ((torch.rand(b, device=samples.device) * 18.0 - 12.0) * chosen / 20.0)
    power = samples.square().sum(1) / lengths
    snr = 10.0 ** ((torch.rand(b, device=samples.device) * 30.0 + 10.0) / 10.0)
    noise = torch.randn_like(samples) * (power / snr).sqrt()[:, None] * chosen[:, None]
    return (samples + noise) * gain[:, None]


class TokenizerTraining(nn.Module):
    """The tokenizer, its heads and their loss in one module (what data parallel training wraps)."""

    def __init__(self, tokenizer: SpeechTokenizer, heads: TokenizerHeads, config: Config) -> None:
        """Hold the parts."""
        super().__init__()
        self.tokenizer, self.heads, self.settings = tokenizer, heads, config

    def forward(self, batch: TokenizerBatch, quantise: bool) -> dict[str, Tensor]:
        """All losses (the one to minimise is `loss`) and what the step needs besides."""
        config, heads = self.settings, self.heads
        samples = batch.samples
        if self.training:
            samples = noisy(samples, batch.lengths, config.augment)
        pooled, mask = self.tokenizer.pooled(samples, batch.lengths, config.frozen_layers)
        x = self.tokenizer.projection(pooled).float()
        ids, commitment, codes = torch.zeros(0), x.new_zeros(()), x
        if quantise:
            codes, ids, commitment = self.tokenizer.quantizer(x, mask)
        read = mask.repeat_interleave(heads.config.upsample, 1)
        counts = read.sum(1)

        logits = heads.phoneme_logits(codes).float()
        log_probs = logits.log_softmax(-1)
        if self.training:
            with torch.no_grad():
                seen = log_probs[read].exp().mean(0).clamp(min=1e-6).log()
                rate = 0.05 if heads.log_prior.any() else 1.0
                heads.log_prior.lerp_(seen, rate)
        scored = log_probs - config.prior_scale * heads.log_prior
        ctc = F.ctc_loss(
            scored.transpose(0, 1), batch.labels, counts, batch.label_lengths,
            reduction="sum", zero_infinity=True,
        ) / batch.label_lengths.sum()  # fmt: skip

        pitch, voicing = (y.float() for y in heads.pitch_curve(codes))
        frames = read.repeat_interleave(2, 1)[:, : batch.f0.shape[1]]
        pitch, voicing = pitch[:, : frames.shape[1]], voicing[:, : frames.shape[1]]
        voiced = (batch.f0 > 0) & frames
        log_f0 = batch.f0.clamp(min=50.0).log()
        if config.pitch_relative:
            mean = (log_f0 * voiced).sum(1) / voiced.sum(1).clamp(min=1)
            log_f0 = log_f0 - mean[:, None]
        pitch_error = (pitch - log_f0)[voiced].abs()
        pitch_loss = pitch_error.mean() if len(pitch_error) else x.new_zeros(())
        voicing_loss = F.binary_cross_entropy_with_logits(voicing[frames], voiced[frames].float())

        feature_loss = x.new_zeros(())
        loss = ctc + config.pitch_weight * (pitch_loss + 0.25 * voicing_loss)
        loss = loss + config.commitment_weight * commitment
        if heads.features is not None and config.feature_weight:
            target = F.layer_norm(pooled.detach().float(), pooled.shape[-1:])
            feature_loss = F.mse_loss(heads.features(codes).float()[mask], target[mask])
            loss = loss + config.feature_weight * feature_loss
        return {
            "loss": loss, "ctc": ctc, "pitch": pitch_loss, "voicing": voicing_loss,
            "commitment": commitment, "features": feature_loss,
            "x": x.detach()[mask], "ids": ids[mask] if quantise else ids,
            "log_probs": log_probs.detach() - heads.config.prior_scale * heads.log_prior,
            "counts": counts, "semitones": pitch_loss * 17.31,
        }  # fmt: skip


def phoneme_errors(out: dict[str, Tensor], batch: TokenizerBatch) -> tuple[int, int]:
    """Edit distance of the greedy CTC reading to the labels, and the number of labels."""
    wrong, start = 0, 0
    for row, length in enumerate(map(int, batch.label_lengths)):
        reference = [int(label) for label in batch.labels[start : start + length]]
        best = [int(i) for i in out["log_probs"][row, : out["counts"][row]].argmax(-1)]
        heard = [
            now for now, before in zip(best, [0, *best], strict=False) if now not in (0, before)
        ]
        wrong += edit_distance(reference, heard)
        start += length
    return wrong, len(batch.labels)


def edit_distance(reference: list[int], heard: list[int]) -> int:
    """Levenshtein distance of two sequences."""
    row = list(range(len(heard) + 1))
    for i, wanted in enumerate(reference, 1):
        diagonal, row[0] = row[0], i
        for j, got in enumerate(heard, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (wanted != got))
    return row[-1]


@torch.no_grad()
def validate(training: TokenizerTraining, batches: TokenizerBatches) -> dict[str, float]:
    """Phoneme error through the codes and without them, F0 error, share of codes in use."""
    training.eval()
    totals = dict.fromkeys(("wrong", "wrong_plain", "labels"), 0)
    semitones: list[float] = []
    used: set[int] = set()
    chosen = list(range(0, len(batches.groups), max(1, len(batches.groups) // 8)))[:8]
    for group in chosen:
        batch = batches.collate(batches.groups[group][:16])
        out, plain = training(batch, True), training(batch, False)
        wrong, labels = phoneme_errors(out, batch)
        totals["wrong"] += wrong
        totals["labels"] += labels
        totals["wrong_plain"] += phoneme_errors(plain, batch)[0]
        semitones.append(float(out["semitones"]))
        used.update(out["ids"].tolist())
    training.train()
    return {
        "valid/phoneme_error": totals["wrong"] / totals["labels"],
        "valid/phoneme_error_unquantised": totals["wrong_plain"] / totals["labels"],
        "valid/f0_semitones": sum(semitones) / len(semitones),
        "valid/codes_used": len(used),
    }


def main(config: Config) -> None:
    """Train, then leave the tokenizer in the newest `step_NNNNNN` folder of `config.out`."""
    run = setup(
        config,
        config.out,
        config.seed,
        device=config.device,
        amp=config.amp,
        threads=config.threads,
    )

    tokenizer, heads = SpeechTokenizer(config.model), TokenizerHeads(config.heads)
    if config.whisper is not None:
        load_whisper(tokenizer, config.whisper)
    if config.init is not None:
        tokenizer = checkpoint.load(SpeechTokenizer, config.init)
        heads = checkpoint.load(TokenizerHeads, config.init / "heads")
    training = TokenizerTraining(tokenizer, heads, config).to(run.device).train()
    wrapped = run.parallel(training)
    optimizer = adamw(training, config.lr)
    batches = TokenizerBatches(
        Corpus(config.data), config.seconds_per_batch, config.model.sample_rate, config.seed,
        run.rank, run.world,
    )  # fmt: skip
    valid = TokenizerBatches(
        Corpus(config.valid), config.seconds_per_batch, config.model.sample_rate, config.seed
    )
    recent: list[Tensor] = []
    state = {"training": training, "optimizer": optimizer}
    start = run.resume(state)

    for step in run.steps(start, config.steps):
        set_lr(optimizer, warmup_cosine(step, config.lr, config.warmup, config.steps))
        batch = batches[step].to(run.device)
        if step == config.vq_from and config.init is None:
            initialise_codes(training, batches, step, run.device)
            run.share(tokenizer.quantizer)

        quantise = step >= config.vq_from
        with run.autocast():
            out = wrapped(batch, quantise)
        out["loss"].backward()
        grad_norm = clip_grad_norm_(training.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        restarted = 0
        if quantise:
            vectors = run.gathered(out["x"])  # the codebook learns from all ranks, alike on each
            tokenizer.quantizer.update(vectors, run.gathered(out["ids"]))
            recent = [*recent[-7:], vectors]
            if run.due(step, config.restart_every) and step < 0.8 * config.steps:
                restarted = tokenizer.quantizer.restart(torch.cat(recent))
                run.share(tokenizer.quantizer)

        if run.due(step, 20):
            parts = {
                k: out[k] for k in ("loss", "ctc", "pitch", "voicing", "commitment", "features")
            }
            run.log(step, **parts, grad_norm=grad_norm, restarted=restarted)
        last = step + 1 == config.steps
        if run.main and (run.due(step, config.valid_every) or last):
            run.log(step, **validate(training, valid))
            run.log_picture(step, "phonemes", out["log_probs"][0, : out["counts"][0]].exp().T)
        if run.due(step, config.save_every) or last or run.stopping:
            folder = run.save(step, tokenizer, state, config)
            if run.main:
                checkpoint.save(heads, folder / "heads")
    run.finish()


def load_whisper(tokenizer: SpeechTokenizer, path: Path) -> None:
    """Copy Whisper's encoder weights (Hugging Face names; extra layers are ignored)."""
    weights = load_file(path)
    wanted = tokenizer.encoder.state_dict()
    tokenizer.encoder.load_state_dict({k: weights[k].float() for k in wanted})


@torch.no_grad()
def initialise_codes(
    training: TokenizerTraining, batches: TokenizerBatches, step: int, device: torch.device
) -> None:
    """Start the codebook from k-means over the vectors of the next batches."""
    training.eval()
    codes = training.tokenizer.config.codes
    found: list[Tensor] = []
    while sum(map(len, found)) < 8 * codes and len(found) < 60:
        batch = batches[step + len(found)].to(device)
        found.append(training(batch, False)["x"])
    training.tokenizer.quantizer.initialise(torch.cat(found))
    training.train()
