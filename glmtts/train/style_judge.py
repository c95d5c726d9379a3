"""Teach a small net to tell styles from prosody (`glmtts.judges.styles`). Read main first.

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
from tqdm import tqdm

from glmtts import checkpoint, hub
from glmtts.data.files import write_json
from glmtts.data.shards import Corpus
from glmtts.errors import BadAudio
from glmtts.judges.styles import (
    HOP,
    side_of,
    statistics_of_sound,
    statistics_of_tokens,
)
from glmtts.proofreader import Proofreader
from glmtts.speech_tokenizer import SpeechTokenizer, TokenizerHeads
from glmtts.style_net import StyleConfig, StyleNet
from glmtts.text.styles import LAUGHTER, NEUTRAL, style_of
from glmtts.train.common import require


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
    """Where the judge goes, and its confusions."""
    model: str = "glmtts-nano"
    """Whose tokenizer made the tokens."""
    width: int = 16
    """Hidden units of the net."""
    steps: int = 80
    """Iterations of L-BFGS over all clips."""
    weight_decay: float = 0.003
    """Weight of the squared weights."""
    narrowed: float = 1.0
    """Each clip is learnt a second time with its pitch narrowed by this factor: less of it is left
    behind a flow. 1: only as it is."""
    seed: int = 0
    threads: int = 0
    """CPU threads; 0 leaves the default."""

    def __post_init__(self) -> None:
        """Refuse what makes no judge."""
        require(self.side in (0, 1), f"side is 0 or 1, got {self.side}.")
        require(self.steps > 0 and self.width > 0, "steps and width must be positive.")
        require(0.2 <= self.narrowed <= 1.0, f"narrowed is 0.2 to 1, got {self.narrowed}.")


@dataclass(frozen=True)
class Clips:
    """(N, STATISTICS) of N clips, and (N,) numbers of their styles."""

    told: Tensor
    styles: Tensor


def main(config: Config) -> None:
    """Train, and leave the judge in `out/judge` with its confusions on `valid` beside it.

    Seconds of work once the clips are read, so an interrupted run begins again.
    """
    if config.threads:
        torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    reader = reader_of(config.model) if config.hears == "tokens" else None
    names = StyleConfig(config.hears).styles
    train = clips_of(Corpus(config.data), names, reader, config.side)
    if config.narrowed < 1.0:
        more = clips_of(Corpus(config.data), names, reader, config.side, config.narrowed)
        train = Clips(torch.cat([train.told, more.told]), torch.cat([train.styles, more.styles]))
    other = clips_of(Corpus(config.data), names, reader, 1 - config.side)
    valid = clips_of(Corpus(config.valid), names, reader, None)
    counts = {name: int((train.styles == i).sum()) for i, name in enumerate(names)}
    require(min(counts.values()) > 0, f"Every style needs clips of side {config.side}: {counts}.")
    print(f"statistics of side {config.side}: {counts}", flush=True)

    about = f"side {config.side} of the speakers, {len(train.styles)} clips of rule-made styles"
    net = StyleNet(StyleConfig(config.hears, about, width=config.width))
    fit(net, train, config)

    checkpoint.save(net.eval(), config.out / "judge")
    report: dict[str, object] = {"styles": names}
    for which, clips in (("the other half of the speakers", other), ("held-out speakers", valid)):
        found = confusion(net, clips)
        report[which] = found.numpy().tolist()
        print(f"{which}\n{table(found, names)}\n")
    write_json(config.out / "confusion.json", report)


def fit(net: StyleNet, clips: Clips, config: Config) -> None:
    """Cross-entropy with every style of the same weight, and decay, by L-BFGS."""
    net.mean.copy_(clips.told.mean(0))
    net.scale.copy_(clips.told.std(0).clamp(min=1e-3))
    weight = 1.0 / torch.bincount(clips.styles, minlength=len(net.config.styles)).clamp(min=1)
    weight = (weight / weight.mean()).float()
    optimizer = torch.optim.LBFGS(
        net.parameters(), max_iter=config.steps, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        optimizer.zero_grad()
        wrong = F.cross_entropy(net(clips.told), clips.styles, weight)
        squares = net.hidden.weight.square().sum() + net.out.weight.square().sum()
        value = wrong + config.weight_decay * squares
        value.backward()
        return value

    optimizer.step(loss)  # pyright: ignore[reportArgumentType]


def reader_of(model: str) -> Proofreader:
    """What tells the melody of a model's tokens.

    Raises:
        CheckpointError: its tokenizer has no heads.
    """
    folder = hub.resolve(model) / "speech_tokenizer"
    tokenizer = checkpoint.load(SpeechTokenizer, folder)
    return Proofreader(tokenizer, checkpoint.load(TokenizerHeads, folder / "heads"))


def clips_of(
    corpus: Corpus,
    names: Sequence[str],
    reader: Proofreader | None,
    side: int | None,
    narrowed: float = 1.0,
) -> Clips:
    """The clips of one side of the speakers (None: of all) whose manner can be told.

    Raises:
        BadInput: the shards lack an array that is needed, or hold no such clip.
    """
    told: list[Tensor] = []
    styles: list[int] = []
    for index, clip in enumerate(tqdm(corpus.clips, desc="clips", unit="clip", mininterval=2.0)):
        style = style_of(clip.units) or NEUTRAL
        if style == LAUGHTER or (side is not None and side_of(clip.speaker) != side):
            continue
        try:
            if reader is not None:
                tokens = [int(token) for token in corpus.array("tokens", index)]
                one = statistics_of_tokens(reader, tokens, narrowed)
            else:
                samples = corpus.array("audio", index).astype(np.float32) / 32768.0
                f0 = corpus.array("f0", index)
                one = statistics_of_sound(f0, samples, HOP, clip.text, narrowed)
        except BadAudio:
            continue
        told.append(one)
        styles.append(names.index(style))
    require(bool(told), "The shards hold no clip that can be learnt from.")
    return Clips(torch.stack(told), torch.tensor(styles))


@torch.inference_mode()
def confusion(net: StyleNet, clips: Clips) -> Tensor:
    """(styles, styles) counts: what a clip is in rows, what is heard in columns."""
    count = len(net.config.styles)
    found = torch.zeros(count, count, dtype=torch.long)
    ones = torch.ones(len(clips.styles), dtype=torch.long)
    return found.index_put((clips.styles, net(clips.told).argmax(-1)), ones, accumulate=True)


def table(found: Tensor, styles: Sequence[str]) -> str:
    """Confusions for people."""
    lines = ["asked \\ heard  " + "".join(f"{name:>10}" for name in styles) + "     right"]
    for name, row in zip(styles, found, strict=True):
        share = float(row[styles.index(name)]) / max(1, int(row.sum()))
        lines.append(f"{name:15}" + "".join(f"{int(n):10d}" for n in row) + f"{share:10.1%}")
    right = float(found.diag().sum()) / max(1, int(found.sum()))
    return "\n".join([*lines, f"{int(found.sum())} clips, {right:.1%} right"])
