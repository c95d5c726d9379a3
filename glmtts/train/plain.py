"""Take the guidance out of a flow that learnt to do without, for training. Read main first.

A flow trained with `guided_by` gives the guided velocity v_c + w (v_c - v_u) in one row. Recordings
show it v_c: trained on with them it forgets its guidance first of all, and naturalness falls with
every step. With the adapter made here the flow is a plain one, which has nothing to forget. `train
voice` puts it in, trains, and leaves it out again, so that the voice is learnt and the guidance
stays (weights learnt at one guidance do for the other, as adapters of a diffusion model do for the
models distilled from it: Luo et al., "LCM-LoRA", 2023).

On the command line: glmtts train plain --data SHARDS --flow FLOW; then keep OUT/plain in FLOW.
"""

from dataclasses import dataclass
from pathlib import Path

from torch.nn.utils import clip_grad_norm_

from glmtts import checkpoint
from glmtts.adapters import PLAIN
from glmtts.data.flow_batches import FlowBatches
from glmtts.data.shards import Corpus
from glmtts.flow import TokenToMel
from glmtts.nn.flow_batch import FlowLosses
from glmtts.train.common import adamw, require, set_lr, setup, warmup_cosine
from glmtts.train.lora import FLOW_LAYERS, Trained, parsed_budget


@dataclass
class Config:
    """One run."""

    data: str
    """Folder of encoded shards, those the flow was trained with; several separated by commas."""
    flow: Path
    """Component folder of a flow that holds its guidance inside."""
    out: Path = Path("runs/plain")
    """Where the run goes; an unfinished one there is resumed."""
    budget: str = "4%"
    """Parameters of the adapter, as a share of the flow's."""
    steps: int = 300
    frames_per_batch: int = 2_000
    max_frames: int = 480
    """Longer clips are cut."""
    told: float = 0.85
    """Share of clips whose tokens tell their phonemes, to a flow that listens."""
    lr: float = 2e-3
    warmup: int = 20
    clip: float = 1.0
    """Largest norm of the gradient."""
    log_every: int = 20
    save_every: int = 100
    seed: int = 0
    device: str = "auto"
    amp: bool = True
    """bfloat16 products, float32 weights."""
    threads: int = 0
    """CPU threads; 0 leaves the default."""

    def __post_init__(self) -> None:
        """Refuse what makes no adapter."""
        require(self.steps > 0 and self.warmup > 0, "steps and warmup must be positive.")
        require(parsed_budget(self.budget) > 0, "budget must be positive.")


def main(config: Config) -> None:
    """Train, and leave the adapter in `out/plain`.

    Raises:
        BadInput: the flow holds no guidance.
    """
    run = setup(
        config, config.out, config.seed,
        device=config.device, amp=config.amp, threads=config.threads,
    )  # fmt: skip
    model = checkpoint.load(TokenToMel, config.flow, device=run.device)
    require(
        model.config.guided > 0,
        f"The flow in {config.flow} holds no guidance (guided is 0): it is plain already.",
    )
    trained = Trained.adapter_of(
        "flow", model, config.flow, FLOW_LAYERS, parsed_budget(config.budget)
    )
    network = model.config.network
    batches = FlowBatches(
        Corpus(config.data), frames_per_batch=config.frames_per_batch,
        max_frames=config.max_frames, frames_per_token=network.frames_per_token,
        vocabulary=network.vocab_size, told=config.told if network.phonemes else 0.0,
        phonemes=network.phonemes if network.styles else 0, seed=config.seed, rank=run.rank,
    )  # fmt: skip
    optimizer = adamw(model, config.lr)
    stateful = {"adapter": trained, "optimizer": optimizer}
    start = run.resume(stateful)
    trainee = run.parallel(model)
    for step in run.steps(start, config.steps):
        set_lr(optimizer, warmup_cosine(step, config.lr, config.warmup, config.steps))
        model.train()
        with run.autocast():
            losses: FlowLosses = trainee(batches(step).to(run.device))
        losses.total.backward()
        grad_norm = clip_grad_norm_(trained.learning, config.clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        last = step + 1 == config.steps or run.stopping
        if last or run.due(step, config.log_every):
            run.log(step, flow=losses.flow, coarse=losses.coarse, grad_norm=grad_norm)
        if last or run.due(step, config.save_every):
            run.save(step, None, stateful, config)
    if run.main and not run.stopping:
        trained.save(config.out / PLAIN)
        print(f"Keep {config.out / PLAIN} as {config.flow / PLAIN}.", flush=True)
    run.finish()
