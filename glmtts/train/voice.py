"""Train a voice: adapters (or everything) on language model and flow. Read main from the top.

On the command line: glmtts train voice --data OUT --base glmtts-nano --budget 15%

OUT is what `glmtts data prepare` wrote. What a run ends with, `RUN/voice`, is a voice that
`glmtts voice add NAME --adapter RUN/voice` takes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from glmtts import checkpoint, hub
from glmtts.data.flow_batches import FlowBatches
from glmtts.data.lm_batches import LMBatches, TextMix
from glmtts.data.shards import Corpus
from glmtts.flow import TokenToMel
from glmtts.lm import TextToSpeechTokens
from glmtts.model_folder import read_manifest
from glmtts.nn.flow_batch import FlowLosses
from glmtts.text.tokenizer import TextTokenizer
from glmtts.train.common import Run, require, setup
from glmtts.train.lora import (
    EMBEDDING,
    FLOW_LAYERS,
    LM_LAYERS,
    Trained,
    made_plain,
    parsed_budget,
)
from glmtts.train.voice_data import checked, reference
from glmtts.train.voice_fit import Cost, Loss, fit
from glmtts.train.voice_judge import Judge, Verdict, write_card

TOLD = 0.85
"""Share of clips whose tokens tell what they say to a flow that listens (`glmtts train flow`)."""


@dataclass
class Config:
    """One run."""

    data: Path
    """Folder that `glmtts data prepare` wrote."""
    base: str = "glmtts-nano"
    """Name or folder of the model to start from."""
    out: Path = Path("runs/voice")
    """Where the run goes; one that is there is resumed."""
    speaker: str = ""
    """Whose clips to learn from, where the data holds several speakers."""
    budget: str = "15%"
    """Adapters on the language model hold at most this share of its parameters; 0% leaves it."""
    flow_budget: str = "15%"
    """The same for the flow; 0% leaves it as it is."""
    embeddings: bool = False
    """An adapter on the embeddings too; it counts."""
    full: bool = False
    """Everything learns, no adapters: as a comparison, or for much data."""
    steps: int = 400
    """Steps of the language model at most."""
    flow_steps: int = 120
    """Steps of the flow at most; these do for nano and 15 minutes, see docs/voice.md."""
    flow_strength: float = 0.85
    """How much of what the flow's adapters learnt speaks. At 1 the voice is closest, at less it
    sounds more natural (docs/voice.md has figures)."""
    coarse_steps: int = 40
    """Of these the first so many train only what makes the coarse mel, for a tenth of the work."""
    rows: int = 4
    """Rows of a batch of the language model."""
    row_length: int = 640
    """Positions of a row: longer clips are left out (20 s are 500 tokens and their text)."""
    frames_per_batch: int = 2_000
    """Frames of a batch of the flow."""
    lr: float = 0.0
    """Peak learning rate; 0: adapters 1e-3 (flow 2e-3), everything 1e-4 (flow 3e-4)."""
    warmup: int = 20
    clip: float = 1.0
    """Largest norm of the gradient."""
    weight_decay: float = 0.01
    prompt_share: float = 0.5
    """Share of sequences that begin with another clip of the speaker, as when the voice speaks."""
    valid_every: int = 20
    """Steps between validations; the best state by loss or judge is kept."""
    valid_batches: int = 3
    patience: int = 4
    """Validations that neither loss nor judge finds better before the training ends."""
    judge_sentences: int = 6
    """Held-out texts that are spoken and judged before and after; 0: no judge."""
    valid_sentences: int = 4
    """Held-out clips that a judge hears at each validation, too; 0: the loss decides alone."""
    mos: bool = True
    """The judge hears naturalness, where DistillMOS is installed."""
    worse: float = 0.05
    """How much larger than that of the base the judge's error rate may become."""
    least_seconds: float = 60.0
    """Less data than this is refused."""
    log_every: int = 5
    save_every: int = 50
    seed: int = 0
    device: str = "auto"
    amp: bool = True
    """bfloat16 products, float32 weights."""
    threads: int = 0
    """CPU threads; 0 leaves the default."""

    def __post_init__(self) -> None:
        """Refuse settings that contradict each other."""
        lm, flow = parsed_budget(self.budget), parsed_budget(self.flow_budget)
        require(self.full or lm > 0 or flow > 0, "With both budgets 0% nothing learns.")
        require(0.0 < self.flow_strength <= 1.0, "flow_strength must be above 0 and at most 1.")
        require(self.rows > 0 and self.row_length > 1, "rows and row_length must be positive.")
        require(
            self.valid_every > 0 and self.warmup > 0, "valid_every and warmup must be positive."
        )


def main(config: Config) -> None:
    """Train, judge, and leave the best state as a voice in `out/voice`."""
    run = setup(
        config, config.out, config.seed,
        device=config.device, amp=config.amp, threads=config.threads,
    )  # fmt: skip
    folder = hub.resolve(config.base)
    train, valid, speaker = checked(config.data, config.base, config.speaker, config.least_seconds)
    voice = reference(train, speaker, folder)
    judge = Judge(
        config.base, voice, valid, config.judge_sentences, str(run.device), mos=config.mos
    )
    before = judge(None)
    if before.spoken:
        run.log(0, **before.values("base"))

    done: list[Trained] = []
    spent: dict[str, Cost] = {}
    for name, build in (("lm", language_model), ("flow", flow_model)):
        share = parsed_budget(config.budget if name == "lm" else config.flow_budget)
        if not config.full and share == 0:
            continue
        trained, loss, check = build(config, folder, train, valid, run)
        shown = f"rank {trained.rank}" if trained.rank else "everything"
        print(f"{name}: {shown} learns, {trained.share:.1%} of its parameters", flush=True)
        few = config.valid_sentences if judge.listens else 0
        listen = partial(judge.glance, [*done, trained], few)
        best = fit(run, config, trained, loss, check, listen if few else None)
        if run.stopping:
            run.finish()
            return
        done.append(trained)
        best.choose(partial(judge.glance, done, max(few, config.judge_sentences)))
        spent[name] = best.cost()

    after = judge(done)
    if after.spoken:
        run.log(config.steps, **after.values("voice"))
    kept = accepted(done, before, after, config.worse, judge)
    write_card(config.out / "voice", voice, kept, before, after, config.base, seconds(train), spent)
    run.finish()


def language_model(
    config: Config, folder: Path, train: Corpus, valid: Corpus, run: Run
) -> tuple[Trained, Loss, Callable[[], float]]:
    """The language model, its training loss by step, and its validation loss."""
    model = checkpoint.load(TextToSpeechTokens, folder / "lm").to(run.device)
    tokenizer = TextTokenizer.load(folder / "text_tokenizer")
    phonemes = read_manifest(folder).phonemes
    text = TextMix() if phonemes else TextMix(phonemes=0.0, surface=0.8, ordinary=True)
    fragments = 0.1 if phonemes else 0.0
    rows = batch_rows(train, tokenizer, model, config, text)
    batches = LMBatches(
        train, tokenizer, model.config, rows=rows, row_length=config.row_length, text=text,
        seed=config.seed,
        prompt_share=config.prompt_share, fragment_share=fragments,
    )  # fmt: skip
    held = LMBatches(
        valid, tokenizer, model.config, rows=1, row_length=config.row_length, text=text,
        prompt_share=0.0, seed=1,
    )  # fmt: skip
    if config.full:
        trained = Trained.all_of("lm", model, folder / "lm")
    else:
        layers = (*LM_LAYERS, EMBEDDING) if config.embeddings else LM_LAYERS
        share = parsed_budget(config.budget)
        trained = Trained.adapter_of("lm", model, folder / "lm", layers, share)

    def loss(step: int) -> dict[str, Tensor]:
        return model.loss(batches.batch(step).to(run.device))

    @torch.no_grad()
    def check() -> float:
        model.eval()
        count = min(4 * config.valid_batches, held.steps_per_epoch)
        with run.autocast():
            found = [model.loss(held.batch(k).to(run.device))["nll"] for k in range(count)]
        return sum(map(float, found)) / count

    return trained, loss, check


def batch_rows(
    train: Corpus,
    tokenizer: TextTokenizer,
    model: TextToSpeechTokens,
    config: Config,
    text: TextMix,
) -> int:
    """The rows of a batch: as configured, fewer where there is not enough data for so many."""
    one = LMBatches(
        train, tokenizer, model.config, rows=1, row_length=config.row_length, text=text,
        prompt_share=config.prompt_share,
    )  # fmt: skip
    return max(1, min(config.rows, one.steps_per_epoch // 2))


def flow_model(
    config: Config, folder: Path, train: Corpus, valid: Corpus, run: Run
) -> tuple[Trained, Loss, Callable[[], float]]:
    """The flow, its training loss by step, and its validation loss.

    One that holds its guidance inside is trained without it, and speaks with it.
    """
    model = checkpoint.load(TokenToMel, folder / "flow", device=run.device)
    plain = made_plain(model, folder / "flow")
    if model.config.guided and plain is None:
        print("flow: no adapter takes its guidance out; it may lose some (docs/voice.md)")
    network = model.config.network
    longest = max(train.length("mel", clip) for clip in range(len(train)))
    told = TOLD if network.phonemes else 0.0

    def batched(corpus: Corpus, seed: int) -> FlowBatches:
        return FlowBatches(
            corpus, frames_per_batch=max(config.frames_per_batch, 400),
            max_frames=max(100, min(400, longest)), frames_per_token=network.frames_per_token,
            vocabulary=network.vocab_size, told=told, seed=seed,
            phonemes=network.phonemes if network.styles else 0,
        )  # fmt: skip

    batches, held = batched(train, config.seed), batched(valid, 1)
    if config.full:
        trained = Trained.all_of("flow", model, folder / "flow", plain)
    else:
        share = parsed_budget(config.flow_budget)
        trained = Trained.adapter_of(
            "flow", model, folder / "flow", FLOW_LAYERS, share, config.flow_strength
        )

    coarse_steps = 0 if config.full or not network.coarse_mel else config.coarse_steps

    def loss(step: int) -> dict[str, Tensor]:
        found: FlowLosses = model(batches(step).to(run.device), step < coarse_steps)
        return {"loss": found.total, "flow": found.flow, "coarse": found.coarse}

    @torch.no_grad()
    def check() -> float:
        model.eval()
        found: list[float] = []
        devices = [run.device] if run.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices), run.autocast():
            for index in range(config.valid_batches):
                torch.manual_seed(index)  # the same noise each time
                losses: FlowLosses = model(held(index).to(run.device))
                found.append(float(losses.total))
        return sum(found) / len(found)

    return trained, loss, check


def accepted(
    done: list[Trained], before: Verdict, after: Verdict, worse: float, judge: Judge
) -> list[Trained]:
    """What the judge lets pass.

    A language model that is understood worse than the base is left out: the flow then carries the
    voice alone.
    """
    lm = [trained for trained in done if trained.name == "lm"]
    if not lm or not before.spoken or after.per <= before.per + worse:
        return done
    print(
        f"The adapted language model is understood worse (error rate {after.per:.3f}, the base "
        f"{before.per:.3f}) and is left out. More data, fewer --steps or a smaller --lr may help.",
        flush=True,
    )
    rest = [trained for trained in done if trained.name != "lm"]
    require(bool(rest), "Nothing of the training is better than the base; no voice was written.")
    return rest


def seconds(corpus: Corpus) -> float:
    """Speech in a corpus."""
    return sum(clip.seconds for clip in corpus)
