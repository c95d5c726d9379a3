"""Teach a small net to tell a laugh from pauses and words in speech tokens. Read main first.

The model chooses among its candidates with it, and GRPO pays with it for laughs that a text asks
for (`glmtts.laugh_net`). Seconds of work, so an interrupted run begins again.

On the command line: glmtts train laugh-judge --recipe nano
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from glmtts import checkpoint, hub
from glmtts.data.files import write_json
from glmtts.data.shards import Corpus
from glmtts.laugh_net import LaughConfig, LaughNet
from glmtts.proofreader import WHOLE_LAUGH
from glmtts.speech_tokenizer import SpeechTokenizer
from glmtts.train.common import require


@dataclass
class Config:
    """One judge."""

    data: str
    """Folder of shards with laughs: `audio/train` tells where they are, `tokens/train` how they are
    written, see docs/styles.md."""
    valid: tuple[str, ...] = ("valid_text", "valid_speaker")
    """Splits that nothing is learnt from."""
    out: Path = Path("runs/laughs/judge")
    """Where the judge goes, and what it tells of the clips of `valid`."""
    model: str = "glmtts-nano"
    """Whose tokenizer made the tokens."""
    width: int = 24
    """Hidden units of the net."""
    reach: int = 4
    """Tokens that are heard on either side."""
    steps: int = 400
    clips: int = 64
    """Clips of a step."""
    lr: float = 3e-3
    weight_decay: float = 0.05
    seed: int = 0
    threads: int = 0
    """CPU threads; 0 leaves the default."""

    def __post_init__(self) -> None:
        """Refuse what makes no judge."""
        require(self.steps > 0 and self.clips > 0, "steps and clips must be positive.")
        require(self.width > 0 and self.reach >= 0, "width must be positive, reach 0 or more.")


@dataclass(frozen=True)
class Clips:
    """(N, S) tokens of N clips, whether each is of a laugh, and whether there is one at all."""

    tokens: Tensor
    laughing: Tensor
    there: Tensor


def main(config: Config) -> None:
    """Train, and leave the judge in `out/judge` with `found.json` on `valid` beside it."""
    if config.threads:
        torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    home = hub.resolve(config.model) / "speech_tokenizer"
    codes = checkpoint.load(SpeechTokenizer, home).quantizer.weight.detach().float()
    train = clips_of(config.data, ("train",))
    valid = clips_of(config.data, config.valid)

    count = int(train.laughing.any(1).sum())
    about = f"{count} clips with rule-made laughs"
    net = LaughNet(LaughConfig(codes.shape[1], config.width, config.reach, about))
    optimizer = torch.optim.AdamW(net.parameters(), config.lr, weight_decay=config.weight_decay)
    for _ in range(config.steps):
        some = torch.randint(len(train.tokens), (config.clips,))
        there = train.there[some]
        scores = net(F.embedding(train.tokens[some], codes))[there]
        loss = F.binary_cross_entropy_with_logits(scores, train.laughing[some][there].float())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    checkpoint.save(net.eval(), config.out / "judge")
    found = report(net, codes, valid)
    write_json(config.out / "found.json", found)
    print("\n".join(f"{name}: {value:.3f}" for name, value in found.items()))


def clips_of(folder: str, splits: tuple[str, ...]) -> Clips:
    """The clips of some splits: tokens of `tokens/SPLIT`, laughs of `audio/SPLIT`.

    Raises:
        BadInput: there are no such shards, or nobody laughs in them.
    """
    tokens: list[Tensor] = []
    laughing: list[Tensor] = []
    for split in splits:
        sounds, spoken = Corpus(f"{folder}/audio/{split}"), Corpus(f"{folder}/tokens/{split}")
        where = {clip.id: index for index, clip in enumerate(sounds.clips)}
        for index, clip in enumerate(spoken.clips):
            ids = np.array(spoken.array("tokens", index)).astype(np.int64)
            mark = torch.zeros(len(ids), dtype=torch.bool)
            if sounds.length("laugh", where[clip.id]):
                start, stop = sounds.array("laugh", where[clip.id])
                mark[start:stop] = True
            tokens.append(torch.from_numpy(ids))
            laughing.append(mark)
    require(any(bool(mark.any()) for mark in laughing), f"Nobody laughs in the shards of {folder}.")
    there = [torch.ones_like(mark) for mark in laughing]
    return Clips(
        pad_sequence(tokens, batch_first=True),
        pad_sequence(laughing, batch_first=True),
        pad_sequence(there, batch_first=True),
    )


@torch.inference_mode()
def report(net: LaughNet, codes: Tensor, clips: Clips) -> dict[str, float]:
    """What the judge tells of clips it never met."""
    chances = net(F.embedding(clips.tokens, codes)).sigmoid()
    laughing, other = clips.laughing & clips.there, ~clips.laughing & clips.there
    laughs = laughing.any(1)
    whole = (chances * laughing).sum(1)[laughs]
    return {
        "clips": float(len(laughs)),
        "clips_with_a_laugh": float(laughs.sum()),
        "tokens_of_laughs_found": float((chances[laughing] > 0.5).float().mean()),
        "other_tokens_taken_for_laughs": float((chances[other] > 0.5).float().mean()),
        "laughs_that_are_whole": float((whole >= WHOLE_LAUGH).float().mean()),
    }
