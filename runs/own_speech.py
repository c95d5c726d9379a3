r"""What a model says, the best of several tries, as shards that its language model learns from.

    python runs/own_speech.py data/nano/tokens/train data/own/tokens --say sad=400 neutral=200
    glmtts train lm --init glmtts/assets/nano/lm --tokenizer glmtts/assets/nano/text_tokenizer \
        --data data/own/tokens --steps 110 --rows 8 --lr 1e-4 --warmup 15 --ema 0.97 \
        --prompt-share 0.3 --fragment-share 0.05

The words are those of clips in shards of tokens; any of them can be said in any style. Of each the
model draws as many candidates as it does for a listener, or --candidates, and keeps the best. A
false start is cut off: voice ahead of the first word, which the teacher's slow clips once had
(`kokoro.steady_ends`) and a model that learnt from them makes, too. A model that learns what is
left unlearns it, and little else, for all the rest is its own.

With --texts FILE (`glmtts data texts ... --bare 600`) it also says each text that is no sentence,
once. The items of a list get pauses of --pauses seconds (`glmtts.pauses`).
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
from glmtts.data.bare import SHARES
from glmtts.data.manifest import held_out_text
from glmtts.data.shards import Clip, Corpus, write_shard
from glmtts.data.texts import read_texts
from glmtts.errors import BadInput, GlmTtsError
from glmtts.pauses import ListPauses, list_commas
from glmtts.proofreader import Proofreader
from glmtts.text.frontend import Frontend
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
    model: Synthesizer,
    reader: Proofreader,
    clip: Clip,
    style: str,
    seed: int,
    candidates: int | None = None,
) -> tuple[Clip, list[int]] | None:
    """The words of a clip in a style, as the model says them best; None: they break off."""
    units = [(surface, tuple(said)) for surface, said in clip.units if surface not in TAGS]
    phonemes = phonemes_of(clip)
    if style != NEUTRAL:
        units.insert(0, (tag(style), ()))
    ids, _ = model.text_tokenizer.encode_units(units, [True] * len(units))
    manner = None if style == NEUTRAL else style
    judge = reader.judge(phonemes, style=manner)
    sampling = model.sampling(Sampling(seed=seed, candidates=candidates), manner)
    tokens, finish = model.lm.generate_checked(ids, Prompt(), sampling, judge=judge)
    if finish != "stop":
        return None
    speaker = f"{style} {clip.lang}"  # a clip may be the prompt of another of its kind
    return Clip(clip.id, clip.lang, speaker, clip.text, tuple(units), len(tokens) / 25.0), tokens


def listed(path: Path, kinds: set[str]) -> list[Clip]:
    """The texts of some kinds as clips without sound; what is not one sentence is left out."""
    front, clips = Frontend(), list[Clip]()
    for number, text in enumerate(read_texts(path)):
        if text.kind not in kinds or held_out_text(text.text):
            continue
        said = [sentence for sentence in front(text.text) if sentence.said]
        if len(said) == 1:
            units = tuple((unit.surface, tuple(unit.phonemes)) for unit in said[0].units)
            name = f"{text.kind} {number:06d}"
            clips.append(Clip(name, text.lang, text.kind, text.text, units, 0.0))
    return clips


def main() -> None:
    """Speak, and write shards."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("words", help="shards of tokens, several separated by commas")
    parser.add_argument("out", type=Path)
    evenly = [f"{style}=100" for style in (NEUTRAL, *STYLES)]
    parser.add_argument("--say", nargs="*", default=evenly, metavar="STYLE=COUNT",
                        help="what to say and how often (default: all, 100 each)")  # fmt: skip
    parser.add_argument("--model", default="glmtts-nano")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--longest", type=float, default=7.0, help="seconds of the clips")
    parser.add_argument("--texts", type=Path, help="texts that are no sentences, to be said, too")
    parser.add_argument("--kinds", nargs="+", default=list(SHARES), choices=list(SHARES))
    parser.add_argument("--pauses", type=float, nargs=2, default=(0.2, 0.36), metavar="SECONDS",
                        help="shortest and longest in lists (default: 0.2 0.36)")  # fmt: skip
    parser.add_argument("--candidates", type=int, help="of each text (default: the model's own)")
    parser.add_argument("--worst", type=float, default=1.2,
                        help="nat a phoneme that may be misread (default: 1.2)")  # fmt: skip
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
    low, high = (float(seconds) for seconds in flags.pauses)
    jobs = [(clips[int(rng.integers(len(clips)))], style) for style in wanted]
    if flags.texts:
        jobs += [(clip, NEUTRAL) for clip in listed(flags.texts, set(flags.kinds))]
    done, shard, cut = list[tuple[Clip, list[int]]](), 0, dict[str, list[int]]()
    left_out = 0

    def write() -> None:
        write_spoken(flags.out, shard, done, reader)
        done.clear()

    for number in tqdm(rng.permutation(len(jobs)), unit="clip"):
        words, style = jobs[int(number)]
        seed = flags.seed * 1_000_003 + int(number)
        spoken = say(model, reader, words, style, seed, flags.candidates)
        if spoken is None or reader.misread(spoken[1], phonemes_of(words)) > flags.worst:
            left_out += 1
            continue
        clip, tokens = spoken
        kept = reader.well_begun(tokens, phonemes_of(clip))
        cut.setdefault(f"{style} {clip.lang}", []).append(len(tokens) - len(kept))
        if words.speaker == "list":
            least = round(rng.uniform(low, high) * 25.0)
            silent = model.lm.config.silence_ids
            commas = list_commas(clip.units)
            pauses = ListPauses(reader, phonemes_of(clip), commas, silent, least)
            kept = pauses.put([], kept, last=True)
        done.append((replace(clip, seconds=len(kept) / 25.0), kept))
        if len(done) == CLIPS_PER_SHARD:
            write()
            shard += 1
    if done:
        write()
    for kind, found in sorted(cut.items()):
        began = sum(off > 0 for off in found)
        print(f"{kind:14} {len(found):4} clips, {began} with a false start")
    print(f"{left_out} were misread, broke off or ran away and were left out")


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)
    try:
        main()
    except GlmTtsError as problem:
        sys.exit(str(problem))
