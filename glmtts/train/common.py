"""What every training script calls: devices and ranks, schedules, logs, checkpoints, resume.

Two decisions make a resumed run equal to an uninterrupted one without saving any random state:
batch number `step` is a pure function of (seed, rank, step), and `Run.seed_step` re-seeds torch
before every step. A checkpoint then needs the weights, the optimizer and the step only.
"""

import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from math import cos, pi
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from glmtts import checkpoint
from glmtts.audio import Audio
from glmtts.config import to_dict
from glmtts.errors import BadInput, CheckpointError
from glmtts.train import sharding

M = TypeVar("M", bound=nn.Module)


def warmup_cosine(step: int, peak: float, warmup: int, total: int, floor: float = 0.05) -> float:
    """Learning rate: linear to `peak` over `warmup` steps, then a cosine to `floor * peak`."""
    if step < warmup:
        return peak * (step + 1) / warmup
    progress = min(1.0, (step - warmup) / max(1, total - warmup))
    return peak * (floor + (1.0 - floor) * 0.5 * (1.0 + cos(pi * progress)))


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set the learning rate of every parameter group."""
    for group in optimizer.param_groups:
        group["lr"] = lr


def adamw(model: nn.Module, lr: float, weight_decay: float = 0.01) -> torch.optim.AdamW:
    """AdamW (0.9, 0.95) with decay on matrices only."""
    matrices = [p for p in model.parameters() if p.requires_grad and p.ndim >= 2]
    others = [p for p in model.parameters() if p.requires_grad and p.ndim < 2]
    groups = [
        {"params": matrices, "weight_decay": weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.95), fused=True)


class EMA:
    """Exponential moving average of a model's weights, kept in a twin module that can be saved."""

    def __init__(self, model: nn.Module, twin: nn.Module, decay: float = 0.999) -> None:
        """Track `model` in `twin` (same class, any weights: they are overwritten)."""
        self.model = twin.requires_grad_(False).eval()
        self.model.load_state_dict(model.state_dict())
        self.decay = decay

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Move the average towards `model`; a low decay at first forgets the early steps."""
        decay = min(self.decay, (1.0 + step) / (10.0 + step))
        for mine, theirs in zip(self.model.parameters(), model.parameters(), strict=True):
            sharding.local(mine).lerp_(sharding.local(theirs), 1.0 - decay)
        for mine, theirs in zip(self.model.buffers(), model.buffers(), strict=True):
            mine.copy_(theirs)

    def state_dict(self) -> dict[str, Any]:
        """Weights of the average."""
        return self.model.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the average."""
        self.model.load_state_dict(state)


@dataclass
class Run:
    """One training run: where it writes, which device and rank it is, and its log."""

    out: Path
    seed: int
    device: torch.device
    rank: int
    world: int
    amp: bool
    keep: int = 2
    started: float = 0.0
    first_step: int = 0
    asked_to_stop: bool = False
    """A signal came to this rank."""
    stopping: bool = False
    """The step in hand is the last one, on every rank."""
    board: Any = None
    sharded: bool = False
    """Modules are divided among the ranks."""

    @property
    def main(self) -> bool:
        """Whether this process writes files."""
        return self.rank == 0

    def seed_step(self, step: int) -> None:
        """Seed everything from (seed, rank, step): a resumed run draws the same noise.

        Before the first step (-1) all ranks draw the same: initial weights.
        """
        value = (self.seed * 1_000_003 + step) * 64 + (self.rank if step >= 0 else 0)
        torch.manual_seed(value % 2**63)
        np.random.seed(value % 2**32)
        random.seed(value)

    def autocast(self) -> AbstractContextManager[Any]:
        """bfloat16 mixed precision where the run asked for it; weights stay float32."""
        return torch.autocast(self.device.type, torch.bfloat16) if self.amp else nullcontext()

    def parallel(self, model: nn.Module) -> nn.Module:
        """Wrap for data parallel training when torchrun started several ranks."""
        if self.world == 1 or self.sharded:
            return model
        return nn.parallel.DistributedDataParallel(model, find_unused_parameters=True)

    def shard(self, module: nn.Module, blocks: Iterable[nn.Module]) -> None:
        """Divide a module among the ranks of torchrun (`train.sharding`), before its optimizer."""
        if self.world > 1:
            sharding.shard(module, blocks, self.device, self.world)
            self.sharded = True

    def whole(self, module: M) -> M:
        """A module as rank 0 can use it alone; where it is divided, all ranks must call this."""
        return sharding.whole(module) if self.sharded else module

    def most(self, count: int) -> int:
        """The largest `count` of all ranks."""
        if self.world > 1:
            counts = torch.tensor(count)
            dist.all_reduce(counts, dist.ReduceOp.MAX)
            return int(counts)
        return count

    def gathered(self, rows: Tensor) -> Tensor:
        """The rows of all ranks, in their order, on every rank: (n, ...) -> (sum of n, ...)."""
        if self.world == 1:
            return rows
        count = torch.tensor([len(rows)], device=rows.device)
        counts = [torch.zeros_like(count) for _ in range(self.world)]
        dist.all_gather(counts, count)
        sizes = [int(size) for size in counts]
        padded = rows.new_zeros(max(sizes), *rows.shape[1:])
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(parts, padded)
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])

    def summed(self, value: Tensor) -> Tensor:
        """The sum of `value` over all ranks, on every rank."""
        if self.world > 1:
            value = value.clone()
            dist.all_reduce(value)
        return value

    def sum_gradients(self, module: nn.Module) -> None:
        """Add up the gradients of all ranks; a rank that has none counts as zero.

        For losses that are already divided by the whole, where ranks differ in their number of
        backward passes.
        """
        if self.world > 1:
            for parameter in module.parameters():
                if parameter.requires_grad:
                    if parameter.grad is None:
                        parameter.grad = torch.zeros_like(parameter)
                    dist.all_reduce(parameter.grad)

    @torch.no_grad()
    def share(self, module: nn.Module) -> None:
        """Give every rank the weights and buffers that `module` has on rank 0."""
        if self.world > 1:
            for value in (*module.parameters(), *module.buffers()):
                dist.broadcast(value.detach(), 0)

    def due(self, step: int, every: int) -> bool:
        """True after the last of each `every` steps."""
        return every > 0 and (step + 1) % every == 0

    def log(self, step: int, **values: Any) -> None:
        """Append one line to `metrics.jsonl`, print it, and draw it in TensorBoard if installed."""
        if not self.main:
            return
        row = {k: float(v) for k, v in values.items()}
        seconds = time.monotonic() - self.started
        rate = (step + 1 - self.first_step) / max(1e-9, seconds)
        line = {
            "step": step,
            "seconds": round(seconds, 1),
            **{k: round(v, 5) for k, v in row.items()},
        }
        with (self.out / "metrics.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")
        shown = "  ".join(f"{k} {v:.4g}" for k, v in row.items())
        print(f"step {step:6d}  {shown}  ({rate:.2f} steps/s)", flush=True)
        if self.board is not None:
            for key, value in row.items():
                self.board.add_scalar(key, value, step)

    def log_audio(self, step: int, name: str, audio: Audio) -> None:
        """Keep an audio sample: a WAV under `samples/`, and TensorBoard if installed."""
        if self.main:
            (self.out / "samples").mkdir(exist_ok=True)
            audio.save(self.out / "samples" / f"{name}-{step:06d}.wav")
            if self.board is not None:
                self.board.add_audio(name, audio.samples[None], step, audio.sample_rate)

    def log_picture(self, step: int, name: str, values: Tensor) -> None:
        """Keep a matrix (rows upwards) as a PNG under `samples/` and in TensorBoard if installed.

        Needs matplotlib (extra `train`); without it the picture is left out.
        """
        if not self.main:
            return
        try:
            from matplotlib.figure import Figure
        except ImportError:
            return
        figure = Figure(figsize=(8, 4), layout="tight")
        axes = figure.add_subplot()
        axes.imshow(values.detach().float().cpu().numpy(), origin="lower", aspect="auto")
        axes.set_title(f"{name}, step {step}")
        (self.out / "samples").mkdir(exist_ok=True)
        figure.savefig(self.out / "samples" / f"{name}-{step:06d}.png")
        if self.board is not None:
            self.board.add_figure(name, figure, step)

    def save(
        self,
        step: int,
        component: nn.Module | None,
        stateful: Mapping[str, Any],
        more: Any = None,
    ) -> Path:
        """Write `step_NNNNNN/`: the component (loadable by `Synthesizer`) and `train_state.pt`.

        Without a component the state is all there is.

        `step` is the last finished step. Written beside and renamed, so that a kill leaves the
        previous checkpoint whole; only the newest `keep` are kept.
        """
        folder = self.out / f"step_{step + 1:06d}"
        if self.sharded:
            state = {name: sharding.state_of(name, stateful) for name in stateful}
            component = sharding.whole(component) if component is not None else None
        else:
            state = {name: value.state_dict() for name, value in stateful.items()}
        if not self.main:
            return folder
        temporary = self.out / f".saving_{os.getpid()}"
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        if component is not None:
            checkpoint.save(component, temporary)
        torch.save({"step": step + 1, **state}, temporary / "train_state.pt")
        if more is not None:
            (temporary / "run.json").write_text(json.dumps(to_dict(more), default=str, indent=1))
        shutil.rmtree(folder, ignore_errors=True)
        temporary.rename(folder)
        for old in sorted(self.out.glob("step_*"))[: -self.keep]:
            shutil.rmtree(old)
        return folder

    def resume(self, stateful: Mapping[str, Any]) -> int:
        """Restore the newest checkpoint of `out`, if any; the number of the step to do next.

        Raises:
            CheckpointError: the checkpoint does not fit the model or optimizer.
        """
        folders = sorted(self.out.glob("step_*"))
        if not folders:
            return 0
        self.first_step = self.restore(folders[-1], stateful)
        if self.main:
            print(f"resumed from {folders[-1]}", flush=True)
        return self.first_step

    def restore(
        self, folder: Path, stateful: Mapping[str, Any], names: Iterable[str] | None = None
    ) -> int:
        """Take what a checkpoint holds, of everything or of `names`; the step that follows it.

        Raises:
            CheckpointError: it is damaged, or does not fit.
        """
        path = folder / "train_state.pt"
        try:
            state = torch.load(path, map_location=self.device, weights_only=True)
            for name in stateful if names is None else names:
                if self.sharded:
                    sharding.restore(name, stateful, state[name])
                else:
                    stateful[name].load_state_dict(state[name])
        except (OSError, KeyError, RuntimeError, ValueError) as error:
            raise CheckpointError(
                f"Cannot resume from {path} ({error}). Start afresh with another --out."
            ) from error
        return int(state["step"])

    def steps(self, start: int, total: int) -> Iterator[int]:
        """Count steps, seeding each; ends early (after the step in hand) on SIGINT or SIGTERM.

        Ranks end together, after the step that follows the signal, whichever of them got it.
        """
        for step in range(start, total):
            if self.world > 1:
                asked = torch.tensor(int(self.asked_to_stop))
                dist.all_reduce(asked, dist.ReduceOp.MAX)
                self.stopping = bool(asked)
            self.seed_step(step)
            yield step
            if self.stopping:
                return

    def finish(self) -> None:
        """Close the log; wait for the other ranks and part from them."""
        if self.board is not None:
            self.board.close()
        if self.world > 1:
            dist.all_reduce(torch.zeros(1))
            dist.destroy_process_group()


def setup(
    config: Any, out: Path, seed: int, *, device: str = "auto", amp: bool = True, threads: int = 0
) -> Run:
    """Start a run: pick the device, join the ranks of torchrun, print and save the config.

    Raises:
        BadInput: `out` holds a run of another configuration.
    """
    world, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda":
        device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
        torch.cuda.set_device(device)
        torch.set_float32_matmul_precision("high")
    if world > 1 and not dist.is_initialized():
        # Two backends: what ranks agree on (stop now?) is decided on the CPU, without a GPU sync.
        backend = "cpu:gloo,cuda:nccl" if device.startswith("cuda") else "gloo"
        dist.init_process_group(backend, timeout=timedelta(hours=2))  # rank 0 validates alone
    if threads:
        torch.set_num_threads(threads)
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    run = Run(out, seed, torch.device(device), rank, world, amp, started=time.monotonic())
    run.seed_step(-1)
    if run.main:
        resolved = json.dumps(to_dict(config), default=str, indent=1)
        print(f"{' '.join(sys.argv[:3])}\n{resolved}", flush=True)
        (out / "run.json").write_text(resolved + "\n")
        try:
            from torch.utils.tensorboard.writer import SummaryWriter

            run.board = SummaryWriter(str(out / "board"))
        except ImportError:
            pass

    def stop(number: int, frame: FrameType | None) -> None:
        if run.asked_to_stop:
            raise KeyboardInterrupt
        run.asked_to_stop = True
        run.stopping = world == 1
        print("stopping after this step; a checkpoint is written", flush=True)

    for number in (signal.SIGINT, signal.SIGTERM):
        try:
            signal.signal(number, stop)
        except ValueError:  # not in the main thread (a test)
            break
    return run


def require(condition: bool, message: str) -> None:
    """Refuse a configuration.

    Raises:
        BadInput: when `condition` is false.
    """
    if not condition:
        raise BadInput(message)
