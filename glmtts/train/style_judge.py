"""Teach a small net to tell styles from curves (`glmtts.judges.styles`). Read main first.

Two are needed: one that GRPO pays with (`hears tokens`, side 0 of the speakers) and one that judges
what came of it (`hears sound`, side 1). They share no speaker and no kind of curve.

On the command line: glmtts train style-judge --recipe tokens
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence
from tqdm import tqdm

from glmtts import checkpoint, hub
from glmtts.audio import AudioSpec
from glmtts.data.files import write_json
from glmtts.data.shards import Corpus
from glmtts.errors import BadAudio
from glmtts.judges.styles import (
    StyleConfig,
    StyleNet,
    curves_of_sound,
    curves_of_tokens,
    side_of,
)
from glmtts.proofreader import Proofreader
from glmtts.speech_tokenizer import SpeechTokenizer, TokenizerHeads
from glmtts.text.styles import LAUGHTER, NEUTRAL, style_of
from glmtts.train.common import adamw, require, set_lr, setup, warmup_cosine


@dataclass
class Config:
    """One judge."""

    data: str
    """Shards of styled and neutral clips, separated by commas: with `tokens` for a judge that hears
    tokens, with `audio` and `f0` for one that hears sound."""
    valid: str
    """Shards of speakers that no judge learns from."""
    hears: Literal["tokens", "sound"] = "tokens"
    """What it listens to, see glmtts.judges.styles."""
    side: int = 0
    """Which half of the speakers it learns from: 0 or 1; another judge takes the other."""
    out: Path = Path("runs/style_judge")
    """Where the judge goes; a run that is there is resumed."""
    model: str = "glmtts-nano"
    """Whose tokenizer made the tokens."""
    width: int = 32
    """Channels of the net."""
    steps: int = 1_200
    batch: int = 32
    lr: float = 3e-3
    warmup: int = 50
    weight_decay: float = 0.05
    narrowest: float = 0.7
    """Pitch is narrowed by chance, down to this factor: less of it is left behind a flow."""
    noise: float = 0.05
    """Noise on curves, of half an octave."""
    save_every: int = 400
    log_every: int = 100
    seed: int = 0
    threads: int = 0
    """CPU threads; 0 leaves the default."""

    def __post_init__(self) -> None:
        """Refuse what makes no judge."""
        require(self.side in (0, 1), f"side is 0 or 1, got {self.side}.")
        require(self.steps > 0 and self.batch > 0, "steps and batch must be positive.")


@dataclass(frozen=True)
class Clips:
    """Curves and what they are: (F, curves) each, and the number of a style."""

    curves: Sequence[Tensor]
    styles: Sequence[int]


def main(config: Config) -> None:
    """Train, and leave the judge in `out/judge` with its confusions on `valid` beside it."""
    run = setup(
        config, config.out, config.seed, device="cpu", amp=False, threads=config.threads
    )  # fmt: skip
    proofreader = reader_of(config.model) if config.hears == "tokens" else None
    plain = StyleConfig(config.hears)
    train = clips_of(Corpus(config.data), plain, proofreader, config.side)
    valid = clips_of(Corpus(config.valid), plain, proofreader, None)
    counts = {name: list(train.styles).count(i) for i, name in enumerate(plain.styles)}
    require(min(counts.values()) > 0, f"Every style needs clips of side {config.side}: {counts}.")
    about = f"side {config.side} of the speakers, {len(train.curves)} clips of rule-made styles"
    net = StyleNet(StyleConfig(config.hears, about, width=config.width))
    optimizer = adamw(net, config.lr, config.weight_decay)
    print(f"{sum(p.numel() for p in net.parameters())} parameters, clips: {counts}", flush=True)

    stateful = {"net": net, "optimizer": optimizer}
    start = run.resume(stateful)
    losses: list[float] = []
    net.train()
    for step in run.steps(start, config.steps):
        set_lr(optimizer, warmup_cosine(step, config.lr, config.warmup, config.steps))
        curves, lengths, styles = batch_of(train, config)
        loss = F.cross_entropy(net(curves, lengths), styles, label_smoothing=0.05)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

        losses.append(float(loss.detach()))
        last = step + 1 == config.steps or run.stopping
        if run.due(step, config.log_every) or last:
            right = float(confusion(net, valid).diag().sum()) / max(1, len(valid.curves))
            run.log(step, loss=float(np.mean(losses)), valid_right=right)
            losses.clear()
        if run.due(step, config.save_every) or last:
            run.save(step, net, stateful, config)

    found = confusion(net.eval(), valid)
    checkpoint.save(net, config.out / "judge")
    cells = found.numpy().tolist()
    names = net.config.styles
    write_json(config.out / "confusion.json", {"styles": names, "asked_rows_heard_columns": cells})
    print(table(found, net.config.styles))
    run.finish()


def reader_of(model: str) -> Proofreader:
    """What tells the melody of a model's tokens.

    Raises:
        CheckpointError: its tokenizer has no heads.
    """
    folder = hub.resolve(model) / "speech_tokenizer"
    tokenizer = checkpoint.load(SpeechTokenizer, folder)
    return Proofreader(tokenizer, checkpoint.load(TokenizerHeads, folder / "heads"))


def clips_of(
    corpus: Corpus, config: StyleConfig, proofreader: Proofreader | None, side: int | None
) -> Clips:
    """The clips of one side of the speakers (None: of all) that have a pitch.

    Raises:
        BadInput: the shards lack an array that is needed.
    """
    spec = AudioSpec()
    curves: list[Tensor] = []
    styles: list[int] = []
    for index, clip in enumerate(tqdm(corpus.clips, desc="curves", unit="clip", leave=False)):
        style = style_of(clip.units) or NEUTRAL
        if style == LAUGHTER or (side is not None and side_of(clip.speaker) != side):
            continue
        try:
            if proofreader is not None:
                one = curves_of_tokens(proofreader, corpus.array("tokens", index).tolist())
            else:
                samples = corpus.array("audio", index).astype(np.float32) / 32768.0
                one = curves_of_sound(corpus.array("f0", index), samples, spec.hop_length)
        except BadAudio:
            continue
        curves.append(one)
        styles.append(config.styles.index(style))
    return Clips(curves, styles)


def batch_of(clips: Clips, config: Config) -> tuple[Tensor, Tensor, Tensor]:
    """As many clips of each style, by lot, each somewhat narrowed and blurred."""
    of_style = [np.flatnonzero(np.equal(clips.styles, n)) for n in sorted(set(clips.styles))]
    rows = [int(np.random.choice(of_style[i % len(of_style)])) for i in range(config.batch)]
    curves = pad_sequence([clips.curves[row] for row in rows], batch_first=True).clone()
    lengths = torch.tensor([len(clips.curves[row]) for row in rows])
    inside = torch.arange(curves.shape[1]) < lengths[:, None]
    curves[..., 0] *= torch.empty(len(rows), 1).uniform_(config.narrowest, 1.1)
    curves += config.noise * torch.randn_like(curves) * inside[..., None]
    return curves, lengths, torch.tensor([clips.styles[row] for row in rows])


@torch.inference_mode()
def confusion(net: StyleNet, clips: Clips) -> Tensor:
    """(styles, styles) counts: what a clip is in rows, what is heard in columns."""
    training = net.training
    net.eval()
    count = len(net.config.styles)
    found = torch.zeros(count, count, dtype=torch.long)
    for one, style in zip(clips.curves, clips.styles, strict=True):
        found[style, int(net(one[None], torch.tensor([len(one)])).argmax())] += 1
    net.train(training)
    return found


def table(found: Tensor, styles: Sequence[str]) -> str:
    """Confusions for people."""
    lines = ["asked \\ heard  " + "".join(f"{name:>10}" for name in styles) + "     right"]
    for name, row in zip(styles, found, strict=True):
        share = float(row[styles.index(name)]) / max(1, int(row.sum()))
        lines.append(f"{name:15}" + "".join(f"{int(n):10d}" for n in row) + f"{share:10.1%}")
    right = float(found.diag().sum()) / max(1, int(found.sum()))
    return "\n".join([*lines, f"{int(found.sum())} clips, {right:.1%} right"])
