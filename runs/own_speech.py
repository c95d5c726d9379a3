r"""What a model says, the best of several tries, as shards that its language model learns from.

    python runs/own_speech.py data/nano/tokens/train data/own/tokens --say sad=400 neutral=200
    glmtts train lm --init glmtts/assets/nano/lm --tokenizer glmtts/assets/nano/text_tokenizer \
        --data data/own/tokens --steps 110 --rows 8 --lr 1e-4 --warmup 15 --ema 0.97 \
        --prompt-share 0.3 --fragment-share 0.05

The words are those of clips in shards of tokens; any of them can be said in any style. Of each the
model draws as many candidates as it does for a listener and keeps the best. A false start is cut
off: voice ahead of the first word, which the teacher's slow clips once had (`kokoro.steady_ends`)
and a model that learnt from them makes, too. A model that learns what is left unlearns it, and
little else, for all the rest is its own.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from glmtts import Sampling, Synthesizer
from glmtts.data.shards import Clip, Corpus, write_shard
from glmtts.errors import BadInput, GlmTtsError
from glmtts.proofreader import Proofreader
from glmtts.text.styles import NEUTRAL, STYLES, TAGS, tag
from glmtts.voice import Prompt

CLIPS_PER_SHARD = 200


def phonemes_of(clip: Clip) -> list[str]:
    """What a clip says."""
    return [phoneme for _, said in clip.units for phoneme in said]


def write_spoken(
    out: Path, shard: int, spoken: Sequence[tuple[Clip, list[int]]], reader: Proofreader
) -> None:
    """Clips and their speech tokens as a shard, with the phoneme that each token says."""
    arrays = {
        "tokens": [np.array(tokens, dtype=np.int64) for _, tokens in spoken],
        "alignment": [
            np.array(reader.owners(tokens, phonemes_of(clip)), dtype=np.int64)
            for clip, tokens in spoken
        ],
    }
    write_shard(out, shard, [clip for clip, _ in spoken], arrays)


def say(
    model: Synthesizer, reader: Proofreader, clip: Clip, style: str, seed: int
) -> tuple[Clip, list[int]] | None:
    """The words of a clip in a style, as the model says them best; None: they break off."""
    units = [(surface, tuple(said)) for surface, said in clip.units if surface not in TAGS]
    phonemes = phonemes_of(clip)
    if style != NEUTRAL:
        units.insert(0, (tag(style), ()))
    ids, _ = model.text_tokenizer.encode_units(units, [True] * len(units))
    manner = None if style == NEUTRAL else style
    judge = reader.judge(phonemes, style=manner)
    sampling = model.sampling(Sampling(seed=seed), manner)
    tokens, finish = model.lm.generate_checked(ids, Prompt(), sampling, judge=judge)
    if finish != "stop":
        return None
    speaker = f"{style} {clip.lang}"  # a clip may be the prompt of another of its kind
    return Clip(clip.id, clip.lang, speaker, clip.text, tuple(units), len(tokens) / 25.0), tokens


def main() -> None:
    """Speak, and write shards."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("words", help="shards of tokens, several separated by commas")
    parser.add_argument("out", type=Path)
    evenly = [f"{style}=100" for style in (NEUTRAL, *STYLES)]
    parser.add_argument("--say", nargs="+", default=evenly, metavar="STYLE=COUNT",
                        help="what to say and how often (default: all, 100 each)")  # fmt: skip
    parser.add_argument("--model", default="glmtts-nano")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--longest", type=float, default=7.0, help="seconds of the clips")
    flags = parser.parse_args()
    if flags.out.exists():
        parser.error(f"{flags.out} is there already.")
    wanted = list[str]()
    for part in flags.say:
        style, _, count = part.partition("=")
        if style not in (NEUTRAL, *STYLES) or not count.isdecimal():
            known = ", ".join((NEUTRAL, *STYLES))
            parser.error(f"--say {part}: expected STYLE=COUNT with a style of {known}.")
        wanted += [style] * int(count)
    model = Synthesizer.load(flags.model, device="cpu")
    reader = model.proofreader
    if reader is None:
        parser.error(f"{flags.model} cannot read its own tokens.")
    rng = np.random.default_rng(flags.seed)
    clips = [clip for clip in Corpus(flags.words).clips if clip.seconds <= flags.longest]
    if not clips:
        raise BadInput(f"No clip in {flags.words} is as short as --longest {flags.longest}.")
    done, shard, cut = list[tuple[Clip, list[int]]](), 0, dict[str, list[int]]()
    broken = 0

    def write() -> None:
        write_spoken(flags.out, shard, done, reader)
        done.clear()

    for number in tqdm(rng.permutation(len(wanted)), unit="clip"):
        clip = clips[int(rng.integers(len(clips)))]
        style = wanted[number]
        spoken = say(model, reader, clip, style, flags.seed * 1_000_003 + int(number))
        if spoken is None:
            broken += 1
            continue
        kept = reader.well_begun(spoken[1], phonemes_of(spoken[0]))
        cut.setdefault(f"{style} {clip.lang}", []).append(len(spoken[1]) - len(kept))
        done.append((replace(spoken[0], seconds=len(kept) / 25.0), kept))
        if len(done) == CLIPS_PER_SHARD:
            write()
            shard += 1
    if done:
        write()
    for kind, found in sorted(cut.items()):
        began = sum(off > 0 for off in found)
        print(f"{kind:14} {len(found):4} clips, {began} with a false start")
    print(f"{broken} broke off or ran away and were left out")


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)
    try:
        main()
    except GlmTtsError as problem:
        sys.exit(str(problem))
