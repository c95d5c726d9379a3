r"""Hours of a model's own speech, as tokens that another language model can learn from.

    glmtts data texts texts.jsonl --zh 14000 --en 14000 --seed 11
    python runs/many_hours.py texts.jsonl data/many --hours 40 [--part 0/2]

Texts are said in whatever voices the model finds, many at once and one try each; what does not read
as its text (`--worst`), breaks off or runs away is left out. Held-out texts are not said. With
--part I/N one of N processes does its share; an interrupted run goes on behind its last shard.
"""

import argparse
import json
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from own_speech import phonemes_of, write_spoken
from tqdm import tqdm

from glmtts import Sampling, Synthesizer
from glmtts.data.manifest import held_out_text
from glmtts.data.shards import Clip
from glmtts.engine import Engine, Request
from glmtts.errors import BadInput, GlmTtsError
from glmtts.text.frontend import Frontend, Sentence
from glmtts.voice import Prompt

CLIPS_PER_SHARD = 500
SLOTS, CAPACITY = 32, 1_024
"""Sentences said at once, and positions that each may take."""


def sentences(path: Path, part: int, parts: int) -> Iterator[tuple[str, str, Sentence, int]]:
    """Name, language and sentence of each text of a part, and its seed; round after round."""
    front, lines = Frontend(), path.read_text(encoding="utf-8").splitlines()
    for take in range(99):
        for number in range(part, len(lines), parts):
            row = json.loads(lines[number])
            if held_out_text(row["text"]):
                continue
            said = [sentence for sentence in front(row["text"]) if sentence.said]
            if len(said) == 1:
                yield f"{number:06d}-{take}", row["lang"], said[0], take * len(lines) + number


def number(shard: Path) -> int:
    """Of a shard's file."""
    return int(shard.stem.rpartition("-")[2])


def main() -> None:
    """Speak, and write shards."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("texts", type=Path, help="what `glmtts data texts` wrote")
    parser.add_argument("out", type=Path)
    parser.add_argument("--hours", type=float, default=40.0)
    parser.add_argument("--part", default="0/1")
    parser.add_argument("--worst", type=float, default=0.6, help="nat a phoneme (default: 0.6)")
    parser.add_argument("--model", default="glmtts-nano")
    flags = parser.parse_args()
    if (share := re.fullmatch(r"(\d+)/([1-9]\d*)", flags.part)) is None:
        parser.error(f"--part {flags.part}: expected I/N, such as 0/2.")
    part, parts = int(share[1]), int(share[2])
    if part >= parts:
        parser.error(f"--part {flags.part}: the first of {parts} parts is 0/{parts}.")
    wanted = flags.hours / parts * 3_600.0
    earlier = [path for path in flags.out.glob("shard-*.jsonl") if number(path) % parts == part]
    lines = [line for path in earlier for line in path.read_text(encoding="utf-8").splitlines()]
    known = {str(json.loads(line)["id"]) for line in lines}
    seconds = sum(float(json.loads(line)["seconds"]) for line in lines)
    shard, left_out = part + parts * len(earlier), 0
    model = Synthesizer.load(flags.model, device="cpu")
    reader, text_reader = model.proofreader, model.reader()
    if reader is None:
        parser.error(f"{flags.model} cannot read its own tokens.")
    engine = Engine(model.lm, SLOTS, CAPACITY)
    running, done = dict[Request, Clip](), list[tuple[Clip, list[int]]]()
    bar = tqdm(total=round(wanted), initial=round(seconds), unit="s")

    def write() -> None:
        write_spoken(flags.out, shard, done, reader)
        done.clear()

    for name, language, sentence, seed in sentences(flags.texts, part, parts):
        if name in known:
            continue
        try:
            reading = text_reader.read(sentence)
            request = engine.submit(reading.ids, Prompt(), model.sampling(Sampling(seed=seed)))
        except BadInput:  # nothing to say, or too much
            left_out += 1
            continue
        units = tuple((unit.surface, tuple(unit.phonemes)) for unit in sentence.units)
        running[request] = Clip(name, language, f"own {language}", sentence.text, units, 0.0)
        while len(running) >= SLOTS:
            engine.step()
            for ended in [each for each in running if each.finish_reason is not None]:
                clip = running.pop(ended)
                reads = ended.finish_reason == "stop" and ended.tokens
                if not reads or reader.misread(ended.tokens, phonemes_of(clip)) > flags.worst:
                    left_out += 1
                    continue
                length = len(ended.tokens) / 25.0
                done.append((replace(clip, seconds=length), ended.tokens))
                seconds += length
                bar.update(length)
        if len(done) >= CLIPS_PER_SHARD:
            write()
            shard += parts
        if seconds >= wanted:
            break
    if done:
        write()
    bar.close()
    print(f"{seconds / 3_600:.2f} hours; {left_out} were left out")


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)
    try:
        main()
    except GlmTtsError as problem:
        sys.exit(str(problem))
