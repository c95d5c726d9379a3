"""Train the flow (speech tokens to mel): `glmtts train flow --data SHARDS`.

Needs shards with the arrays tokens, mel and speaker. Ends with a component folder that
`Synthesizer.load` accepts; the weights saved are the moving average.
"""

import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.utils import clip_grad_norm_

from glmtts import checkpoint
from glmtts.data.flow_batches import FlowBatches, phoneme_classes
from glmtts.data.shards import Corpus
from glmtts.flow import FlowConfig, FlowOptions, Guided, TokenToMel
from glmtts.speech_tokenizer import SpeechTokenizer
from glmtts.text.phonemes import CTC_CLASS
from glmtts.text.styles import STYLES, style_class, style_of
from glmtts.train.common import EMA, Run, adamw, require, set_lr, setup, warmup_cosine
from glmtts.voice import Prompt, Voice


@dataclass
class Config:
    """One run of flow training."""

    data: str
    """Folder of encoded shards; several separated by commas."""
    valid: str = ""
    """Folder of held-out shards; empty: no validation."""
    out: Path = Path("runs/flow")
    """Where metrics, samples and checkpoints go; an unfinished run there is resumed."""
    init: Path | None = None
    """Start from this component instead of random weights (its configuration wins)."""
    grow: int = 0
    """Blocks to put on top of those of `init`; they start without a say."""
    guided_by: Path | None = None
    """A flow whose guided velocity is learnt, so that speaking needs no guidance (and half the
    work); start from it with `init`."""
    guidance: float = 0.7
    """Its guidance."""
    plain_by: Path | None = None
    """With `guided_by`: another flow whose guided velocity the rows learn that tell no style."""
    told: float = 0.0
    """Share of clips whose tokens tell their phonemes; a network of `init` learns to listen."""
    learn: str = ""
    """Only what has this in its name learns, such as style_embed: all else stays as in `init`."""
    styled: bool = False
    """The tokens of told clips tell their style, too."""
    told_prompts: float = 0.3
    """That share among prompts, where clips are told."""
    codebook: Path | None = None
    """Tokenizer component whose codes the token embeddings start from."""
    coarse_steps: int = 0
    """First steps that train the coarse mel alone, without the trunk."""
    model: FlowConfig = field(default_factory=FlowConfig)
    """What is trained."""
    steps: int = 30_000
    """Optimizer steps."""
    frames_per_batch: int = 2_000
    """Frames of a batch and rank, padding included."""
    max_frames: int = 400
    """Longest row in frames."""
    joined: float = 0.5
    """Share of batches whose rows begin with another clip of the speaker as prompt."""
    lr: float = 6e-4
    """Peak learning rate."""
    warmup: int = 500
    """Steps to the peak; a cosine follows."""
    weight_decay: float = 0.01
    """Decay of matrices."""
    clip: float = 1.0
    """Gradient norm limit."""
    ema: float = 0.999
    """Decay of the averaged weights."""
    log_every: int = 20
    """Steps between log lines."""
    save_every: int = 1_000
    """Steps between checkpoints."""
    valid_every: int = 1_000
    """Steps between validations."""
    valid_clips: int = 4
    """Held-out clips that a validation speaks."""
    seed: int = 0
    """Of weights, batches and noise."""
    device: str = "auto"
    """cpu, cuda or auto."""
    amp: bool = True
    """bfloat16 mixed precision."""
    compile: bool = False
    """torch.compile the network."""
    threads: int = 0
    """CPU threads; 0 leaves torch's choice."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot work."""
        require(self.steps > 0 and self.warmup > 0, "steps and warmup must be positive.")
        require(self.frames_per_batch >= self.max_frames, "frames_per_batch must hold max_frames.")
        require(self.grow >= 0, "grow must not be negative.")
        require(self.plain_by is None or self.guided_by is not None, "plain_by needs guided_by.")
        require(not self.styled or self.told > 0, "styled needs told: told clips tell their style.")
        require(self.guidance >= 0.0, "guidance must not be negative.")
        require(0.0 <= self.told <= 1.0, "told is a share, from 0 to 1.")
        require(0.0 <= self.told_prompts <= 1.0, "told_prompts is a share, from 0 to 1.")
        require(not self.grow or self.init is not None, "grow needs init, the flow to start from.")


def main(config: Config) -> None:
    """Train until `config.steps`; a run stopped before continues where its last checkpoint is."""
    run = setup(
        config, config.out, config.seed,
        device=config.device, amp=config.amp, threads=config.threads,
    )  # fmt: skip

    corpus = Corpus(config.data)

    def build() -> TokenToMel:
        if config.init is None:
            model = TokenToMel(config.model).to(run.device)
        else:
            model = checkpoint.load(TokenToMel, config.init, device=run.device).train()
        if config.guided_by is not None:
            model.config = replace(model.config, guided=config.guidance)
        if config.codebook is not None:
            codes = checkpoint.load(SpeechTokenizer, config.codebook).quantizer.weight.detach()
            model.estimator.text_emb_layer.start_from(codes)
        if config.told and not model.config.network.phonemes:
            model = listening(model, corpus)
        if config.styled and not model.config.network.styles:
            model = feeling(model, corpus)
        return grown(model, config.grow) if config.grow else model

    model, twin = build(), build()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(config.learn in name)
    require(any(p.requires_grad for p in model.parameters()), f"No parameter has {config.learn!r}.")
    ema = EMA(model, twin, config.ema)
    optimizer = adamw(model, config.lr, config.weight_decay)
    stateful = {"model": model, "ema": ema, "optimizer": optimizer}
    start = run.resume(stateful)
    network = model.config.network
    teacher = None
    if config.guided_by is not None:
        wise = checkpoint.load(TokenToMel, config.guided_by, device=run.device)
        plain = None
        if config.plain_by is not None:
            plain = checkpoint.load(TokenToMel, config.plain_by, device=run.device)
            plain = plain.requires_grad_(False).eval()
        teacher = Guided(wise.requires_grad_(False).eval(), config.guidance, plain)

    batches = FlowBatches(
        corpus, frames_per_batch=config.frames_per_batch, max_frames=config.max_frames,
        frames_per_token=network.frames_per_token, joined=config.joined,
        seed=config.seed, rank=run.rank, **telling(model, config),
    )  # fmt: skip
    held_out = Corpus(config.valid) if config.valid else None
    trainee = run.parallel(model)
    if config.compile:
        model.estimator.compile(dynamic=False)

    clock, frames = time.monotonic(), 0
    for step in run.steps(start, config.steps):
        lr = warmup_cosine(step, config.lr, config.warmup, config.steps)
        set_lr(optimizer, lr)
        batch = batches(step).to(run.device)

        with run.autocast():
            losses = trainee(batch, step < config.coarse_steps, teacher)
        losses.total.backward()
        grad_norm = clip_grad_norm_(model.parameters(), config.clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        ema.update(model, step)

        frames += int(batch.frames.sum()) * run.world
        if run.due(step, config.log_every):
            rate = frames / (time.monotonic() - clock)
            run.log(
                step, flow=losses.flow, coarse=losses.coarse, grad_norm=grad_norm, lr=lr,
                frames_per_s=rate,
            )  # fmt: skip
            clock, frames = time.monotonic(), 0
        last = step + 1 == config.steps or run.stopping
        if held_out is not None and run.main and (last or run.due(step, config.valid_every)):
            validate(run, twin, held_out, step, config)
        if last or run.due(step, config.save_every):
            run.save(step, ema.model, stateful, config)
    run.finish()


def listening(model: TokenToMel, corpus: Corpus, clips: int = 2_000) -> TokenToMel:
    """The same flow with an ear for phonemes.

    A phoneme starts as what its tokens have in common: the mean of their embeddings in the first
    `clips` clips. (From zero nothing was learnt: the tokens already tell nearly all.)
    """
    network = replace(model.config.network, phonemes=len(CTC_CLASS))
    wider = TokenToMel(replace(model.config, network=network))
    wider.load_state_dict(model.state_dict(), strict=False)
    branch = wider.estimator.text_emb_layer
    counts = torch.zeros(1 + network.phonemes, network.vocab_size)
    for clip in range(min(clips, len(corpus))):
        tokens = torch.from_numpy(corpus.array("tokens", clip).astype(np.int64))
        classes = torch.from_numpy(phoneme_classes(corpus, clip))
        size = min(len(tokens), len(classes))
        counts.index_put_((classes[:size], tokens[:size]), torch.ones(size), accumulate=True)
    with torch.no_grad():
        embedded = branch.text_embed.weight[: network.vocab_size].cpu()
        usual = (counts.sum(0) @ embedded) / counts.sum().clamp(min=1)
        means = (counts @ embedded) / counts.sum(1, keepdim=True).clamp(min=1) - usual
        means[(counts.sum(1) == 0) | (torch.arange(len(counts)) == 0)] = 0.0
        branch.phoneme_embed.weight.copy_(means)
    return wider.to(next(model.parameters()).device)


def feeling(model: TokenToMel, corpus: Corpus) -> TokenToMel:
    """The same flow with an ear for styles, which start as `listening` starts phonemes."""
    network = replace(model.config.network, styles=len(STYLES))
    wider = TokenToMel(replace(model.config, network=network))
    wider.load_state_dict(model.state_dict(), strict=False)
    branch = wider.estimator.text_emb_layer
    counts = torch.zeros(1 + network.styles, network.vocab_size)
    for clip, about in enumerate(corpus.clips):
        tokens = torch.from_numpy(corpus.array("tokens", clip).astype(np.int64))
        style = torch.full_like(tokens, style_class(style_of(about.units)))
        counts.index_put_((style, tokens), torch.ones(len(tokens)), accumulate=True)
    with torch.no_grad():
        embedded = branch.text_embed.weight[: network.vocab_size].cpu()
        means = (counts @ embedded) / counts.sum(1, keepdim=True).clamp(min=1)
        means[1:] -= means[:1]
        means[counts.sum(1) == 0] = 0.0
        means[0] = 0.0
        branch.style_embed.weight.copy_(means)
    return wider.to(next(model.parameters()).device)


def telling(model: TokenToMel, config: Config) -> dict[str, Any]:
    """What batches need to know to tell phonemes."""
    told, prompts = config.told, config.told_prompts if config.told else 0.0
    network = model.config.network
    return {
        "vocabulary": network.vocab_size, "told": told, "told_prompts": prompts,
        "phonemes": network.phonemes if network.styles else 0,
    }  # fmt: skip


def grown(model: TokenToMel, blocks: int) -> TokenToMel:
    """The same flow with `blocks` more transformer blocks, see `DiT.grow_from`."""
    network = replace(model.config.network, layers=model.config.network.layers + blocks)
    deeper = TokenToMel(replace(model.config, network=network))
    inner = model.estimator.state_dict(prefix="estimator.")
    others = {name: value for name, value in model.state_dict().items() if name not in inner}
    deeper.load_state_dict(others, strict=False)
    deeper.estimator.grow_from(model.estimator)
    return deeper.to(next(model.parameters()).device)


@torch.no_grad()
def validate(run: Run, model: TokenToMel, held_out: Corpus, step: int, config: Config) -> None:
    """Log the losses of fixed batches with fixed noise, and the error of a few spoken clips."""
    per = model.config.network.frames_per_token
    batches = FlowBatches(
        held_out, frames_per_batch=config.frames_per_batch, max_frames=config.max_frames,
        frames_per_token=per, joined=config.joined, seed=1, **telling(model, config),
    )  # fmt: skip
    flow: list[float] = []
    coarse: list[float] = []
    with torch.random.fork_rng(devices=[run.device] if run.device.type == "cuda" else []):
        for index in range(8):
            torch.manual_seed(index)
            with run.autocast():
                losses = model(batches(index).to(run.device))
            flow.append(float(losses.flow))
            coarse.append(float(losses.coarse))
    options = FlowOptions()
    errors: list[float] = []
    spread: list[float] = []
    clips = np.linspace(0, len(held_out) - 1, min(config.valid_clips, len(held_out)))
    for number, clip in enumerate(clips.astype(int).tolist()):
        truth, spoken = speak_clip(model, batches, clip, run, options)
        errors.append(float((truth - spoken).abs().mean()))
        spread.append(float(spoken.std(0).mean() / truth.std(0).mean()))
        run.log_picture(step, f"mel{number}", torch.cat((truth, spoken), 1).T)
    run.log(
        step, valid_flow=np.mean(flow), valid_coarse=np.mean(coarse),
        mel_l1=np.mean(errors), mel_spread=np.mean(spread),
    )  # fmt: skip


def speak_clip(
    model: TokenToMel, batches: FlowBatches, clip: int, run: Run, options: FlowOptions
) -> tuple[torch.Tensor, torch.Tensor]:
    """The mel of a clip and what the model makes of its tokens in the voice of a sibling clip."""
    rng = np.random.default_rng(0)
    item = batches.collate([clip], batches.max_tokens, rng, joined=True)
    per, joint, end = batches.frames_per_token, int(item.joint[0]), int(item.frames[0])
    tokens = item.tokens[0, : end // per]
    prompt = tuple(int(token) for token in tokens[: joint // per])
    voice = Voice(
        name="", transcript="", prompt=Prompt(), mel=item.mel[0, :joint], speaker=item.speaker[0],
        speech_tokens=prompt,
    )  # fmt: skip
    spoken = model.sample(tokens[joint // per :].to(run.device), voice, options)
    return item.mel[0, joint:end], spoken.float().cpu()
