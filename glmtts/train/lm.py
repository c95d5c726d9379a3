"""Train the language model: text ids to speech tokens. Read main from the top.

On the command line: glmtts train lm --data shards/train --tokenizer text_tokenizer
"""

import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch.nn.utils import clip_grad_norm_

from glmtts import checkpoint
from glmtts.data.lm_batches import LMBatches, TextMix, silence_tokens
from glmtts.data.shards import Corpus
from glmtts.lm import LMBatch, LMConfig, TextToSpeechTokens
from glmtts.speech_tokenizer import SpeechTokenizer
from glmtts.text.styles import TAGS
from glmtts.text.tokenizer import TextTokenizer
from glmtts.train.common import EMA, adamw, require, set_lr, setup, warmup_cosine
from glmtts.train.sharding import number
from glmtts.voice import Prompt


@dataclass
class Config:
    """One run."""

    data: str
    """Folder of encoded shards (several: separated by commas)."""
    tokenizer: Path
    """Folder of the text tokenizer; it gives the special ids and the vocabulary size."""
    valid: str = ""
    """Shards of clips that are not trained on; empty: no validation."""
    out: Path = Path("runs/lm")
    """Where checkpoints and the log go; a run that is there is resumed."""
    init: Path | None = None
    """Start from this component instead of random weights; its configuration wins over `model`."""
    model: LMConfig = field(default_factory=lambda: nano())
    """Sizes; ids and vocabulary size are overwritten with those of the tokenizer, the silent tokens
    are found in the shards' mels unless given."""
    text: TextMix = field(default_factory=TextMix)
    """How texts are written: phonemes, ordinary text, or both in one sentence."""
    steps: int = 20_000
    rows: int = 16
    """Rows of a batch (on each device)."""
    row_length: int = 384
    """Positions of a row; longer sequences are left out, prompts that do not fit are dropped."""
    prompt_share: float = 0.5
    """Share of sequences that begin with another clip of the speaker."""
    fragment_share: float = 0.1
    """Share of clips cut to a few words (shards with alignments only)."""
    lr: float = 1e-3
    warmup: int = 500
    weight_decay: float = 0.05
    clip: float = 1.0
    """Largest norm of the gradient."""
    align_weight: float = 0.2
    """Weight of the alignment loss (models with `align_layer` only)."""
    label_smoothing: float = 0.0
    """Share of the target mass given to the tokens whose codes are nearest (with `codebook`), or to
    all."""
    neighbours: int = 8
    """How many tokens count as nearest."""
    codebook: Path | None = None
    """Tokenizer component: the embeddings of speech start from its codes."""
    token_noise: float = 0.0
    """Share of the speech tokens heard that are replaced by others of the batch: the model learns
    to go on after a slip, and to trust the text."""
    ema: float = 0.999
    """Decay of the averaged weights, which are what is saved."""
    log_every: int = 20
    save_every: int = 500
    valid_every: int = 500
    valid_batches: int = 8
    seed: int = 0
    device: str = "auto"
    amp: bool = True
    """bfloat16 products, float32 weights."""
    compile: bool = False
    """Compile the decoder: a minute first; gains on GPUs, 2 % on a CPU without matrix units."""
    threads: int = 0
    """CPU threads; 0 leaves the default."""
    shard: bool = False
    """Under torchrun: divide weights and optimizer among the ranks (FSDP), do not copy them."""

    def __post_init__(self) -> None:
        """Refuse settings that contradict each other."""
        require(self.rows > 0 and self.row_length > 1, "rows and row_length must be positive.")
        require(self.steps > 0, "steps must be positive.")
        require(
            (self.model.align_layer is None) == (self.model.align_head is None),
            "align_layer and align_head go together.",
        )


def nano() -> LMConfig:
    """The sizes of glmtts-nano; ids come from the tokenizer."""
    return LMConfig(
        speech_start=0, end_id=0, begin_audio_id=0, pad_id=0, speech_count=4_096,
        hidden_size=320, layers=8, heads=5, kv_heads=5, head_dim=64, ffn_size=864,
        min_ratio=1.1, max_ratio=7.0, max_context=2_048, align_layer=2, align_head=0,
    )  # fmt: skip


def with_ids(model: LMConfig, tokenizer: TextTokenizer) -> LMConfig:
    """`model` with the ids and the vocabulary size of `tokenizer`."""
    special = tokenizer.special
    return replace(
        model, speech_start=special.ats, end_id=special.eoa, begin_audio_id=special.boa,
        pad_id=special.pad, vocab_size=tokenizer.vocab_size,
        speech_count=special.ate - special.ats + 1,
    )  # fmt: skip


def main(config: Config) -> None:
    """Train, and leave the averaged model in `out/step_*` and `out/lm`."""
    run = setup(
        config, config.out, config.seed,
        device=config.device, amp=config.amp, threads=config.threads,
    )  # fmt: skip

    tokenizer = TextTokenizer.load(config.tokenizer)
    corpus = Corpus(config.data)
    if config.init:
        model = checkpoint.load(TextToSpeechTokens, config.init).train()
    else:
        built = with_ids(config.model, tokenizer)
        if not built.silence_ids and corpus.holds("mel"):
            built = replace(built, silence_ids=silence_tokens(corpus))
        model = TextToSpeechTokens(built)
    # What the clips' tags ask for is what the model can be asked for from now on.
    tags = {surface[1:-1] for clip in corpus for surface, _ in clip.units if surface in TAGS}
    styles = tuple(sorted(tags.union(model.config.styles)))
    model.config = replace(model.config, styles=styles)
    near = None
    if config.codebook:
        codes = checkpoint.load(SpeechTokenizer, config.codebook).quantizer.weight.detach()
        near = nearest_codes(codes, config.neighbours).to(run.device)
        if not config.init:
            model.start_from(codes)
    model = model.to(run.device)
    sizes = model.config
    require(
        sizes == with_ids(sizes, tokenizer),
        f"The ids of {config.init} are not those of the tokenizer {config.tokenizer}.",
    )
    averaged = TextToSpeechTokens(sizes).to(run.device).eval()
    if config.shard:
        averaged.load_state_dict(model.state_dict())
        for module in (model, averaged):
            # The aligned layer is looked into from outside: it stays with what all layers share.
            layers = enumerate(module.model.layers)
            run.shard(module, [layer for i, layer in layers if i != sizes.align_layer])
    ema = EMA(model, averaged, config.ema)
    optimizer = adamw(model, config.lr, config.weight_decay)
    stateful = {"model": model, "ema": ema, "optimizer": optimizer}
    start = run.resume(stateful)

    shape = {"rows": config.rows, "row_length": config.row_length}
    train = LMBatches(
        corpus, tokenizer, sizes, **shape, seed=config.seed, rank=run.rank,
        world=run.world, text=config.text, prompt_share=config.prompt_share,
        fragment_share=config.fragment_share if corpus.holds("alignment") else 0.0,
    )  # fmt: skip
    valid = None
    held_out = Corpus(config.valid) if config.valid else None
    if held_out is not None:
        valid = LMBatches(
            held_out, tokenizer, sizes, **shape, text=config.text,
            prompt_share=config.prompt_share,
        )  # fmt: skip
    parameters = sum(p.numel() for p in model.parameters())
    if run.main:
        print(f"{parameters / 1e6:.1f} M parameters, {train.steps_per_epoch} steps an epoch")
    if config.compile:
        model.model.compile()
    wrapped = run.parallel(model)

    batches = train.stream(start)
    tokens, since = 0, time.monotonic()
    for step in run.steps(start, config.steps):
        set_lr(optimizer, warmup_cosine(step, config.lr, config.warmup, config.steps))
        batch = next(batches)
        tokens += batch.tokens * run.world
        batch = with_noise(batch.to(run.device), sizes, config.token_noise)

        with run.autocast():
            losses = wrapped(batch, config.align_weight, config.label_smoothing, near)
        losses["loss"].backward()
        grad_norm = number(clip_grad_norm_(model.parameters(), config.clip))
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        ema.update(model, step)

        last = step + 1 == config.steps or run.stopping
        if run.due(step, config.log_every) or last:
            seconds, since = time.monotonic() - since, time.monotonic()
            losses = {name: value.detach() for name, value in losses.items()}
            run.log(step, **losses, grad_norm=grad_norm, tokens_per_s=tokens / seconds)
            tokens = 0
        paused = time.monotonic()
        if held_out and valid and (run.due(step, config.valid_every) or last):
            spoken = run.whole(averaged)
            if run.main:
                spoken = spoken.to(run.device)
                run.log(step, **validate(spoken, valid, config, run.device))
                if sizes.align_layer is not None:
                    picture = alignment_picture(spoken, held_out, tokenizer)
                    run.log_picture(step, "alignment", picture)
        if run.due(step, config.save_every) or last:
            run.save(step, averaged, stateful, config)
        since += time.monotonic() - paused
    batches.close()

    averaged = run.whole(averaged)
    if run.main and not run.stopping:
        checkpoint.save(averaged, config.out / "lm")
    run.finish()


def with_noise(batch: LMBatch, model: LMConfig, share: float) -> LMBatch:
    """Replace a share of the speech tokens heard by tokens from elsewhere in the batch."""
    if share <= 0:
        return batch
    heard = batch.ids - model.speech_start
    heard = (heard >= 0) & (heard < model.speech_count)
    tokens = batch.ids[heard]
    other = tokens[torch.randint(len(tokens), tokens.shape, device=tokens.device)]
    noisy = batch.ids.clone()
    hit = torch.rand(tokens.shape, device=tokens.device) < share
    noisy[heard] = torch.where(hit, other, tokens)
    return replace(batch, ids=noisy)


def nearest_codes(codes: torch.Tensor, count: int) -> torch.Tensor:
    """(V, C) codes -> (V, count) the nearest other codes of each."""
    distance = torch.cdist(codes.float(), codes.float()).fill_diagonal_(float("inf"))
    return distance.topk(count, largest=False).indices


@torch.no_grad()
def validate(
    model: TextToSpeechTokens, valid: LMBatches, config: Config, device: torch.device
) -> dict[str, float]:
    """Mean losses of the first batches of `valid`, named valid_*."""
    count = min(config.valid_batches, valid.steps_per_epoch)
    sums: dict[str, float] = {}
    for step in range(count):
        with torch.autocast(device.type, torch.bfloat16, enabled=config.amp):
            losses = model.loss(valid.batch(step).to(device), config.align_weight)
        for name, value in losses.items():
            sums[f"valid_{name}"] = sums.get(f"valid_{name}", 0.0) + float(value) / count
    return sums


def alignment_picture(
    model: TextToSpeechTokens, corpus: Corpus, tokenizer: TextTokenizer
) -> torch.Tensor:
    """Where the aligned head looks in the first clip of `corpus`: (T, S), text upwards."""
    units = corpus.clips[0].units
    text_ids, _ = tokenizer.encode_units(units, [True] * len(units))
    tokens = [int(token) for token in corpus.array("tokens", 0)]
    return model.alignment(text_ids, Prompt(), tokens).T
