"""Zero-shot against trained voices.

    python runs/voice_figures.py DATA OUT [--minutes 5 10] [--sentences 24]

DATA is what `glmtts data prepare` wrote. So many of its clips are held out for good: no run trains
on them or validates with them. Adapters are trained on each amount of the rest and on all of it, on
all of it everything as well. Then every system speaks the held-out texts in one voice (the same
reference clip, the mean speaker vector of all clips that were trained on), and judges that took no
part in the training listen:

    sim   cosine to the mean vector of the held-out recordings, Resemblyzer (GE2E) and a d-vector
    per   words that whisper-base hears otherwise, and phonemes by the tokenizer's head
    mos   DistillMOS, where it is installed

The recordings themselves are judged too: nothing can be expected to be better. Of full fine-tuning
also its flow alone is heard, with the language model as it was. Prints and writes
OUT/figures.json, with seconds of one core (the clock of a busy machine tells nothing), seconds on
the clock, and peak memory. What is done is not repeated.
"""

import argparse
import copy
import json
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import sha1
from pathlib import Path
from typing import Any

import numpy as np
import torch

from glmtts import Audio, SpeakOptions, checkpoint, hub
from glmtts.data.files import read_json, write_json
from glmtts.data.shards import Corpus, write_shard
from glmtts.eval.stats import interval
from glmtts.flow import TokenToMel
from glmtts.judges.base import Sample, Score
from glmtts.judges.registry import make
from glmtts.judges.speaker import DVector
from glmtts.lm import TextToSpeechTokens
from glmtts.sampling import Sampling
from glmtts.speaker import SpeakerEncoder
from glmtts.synthesizer import Synthesizer
from glmtts.train.voice_data import Part
from glmtts.voice import Voice

RUN = """
import json, resource, sys, time
from pathlib import Path
from glmtts.train.voice import Config, main
if __name__ == "__main__":
    settings = json.loads(sys.argv[1])
    paths = {key: Path(settings.pop(key)) for key in ("data", "out")}
    start = time.monotonic(), time.process_time()
    main(Config(**paths, **settings))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    cost = {"seconds": time.monotonic() - start[0], "core_s": time.process_time() - start[1]}
    if (paths["out"] / "voice").exists():  # not stopped by a signal
        (paths["out"] / "cost.json").write_text(json.dumps({**cost, "peak_mb": peak}))
"""
SHORTEST, LONGEST = 1.5, 8.0
"""Seconds of clips that are held out: of shorter ones no judge can tell the speaker."""


def divided(corpus: Corpus, count: int) -> tuple[list[int], list[int]]:
    """(clips that are held out, the others): texts in an order that nobody chose."""
    order = sorted(range(len(corpus)), key=lambda i: sha1(corpus.clips[i].text.encode()).digest())
    held: list[int] = []
    texts: set[str] = set()
    for index in order:
        clip = corpus.clips[index]
        if len(held) < count and SHORTEST <= clip.seconds <= LONGEST and clip.text not in texts:
            held.append(index)
            texts.add(clip.text)
    return held, [index for index in order if corpus.clips[index].text not in texts]


def part_of(data: Path, out: Path, chosen: Sequence[int]) -> Path:
    """Some training clips of prepared data, with all of its validation clips."""
    if not (out / "shards.json").exists():
        corpus = Corpus(data / "train")
        names = [name for name in ("tokens", "alignment", "mel", "speaker") if corpus.holds(name)]
        arrays = {name: [corpus.array(name, index) for index in chosen] for name in names}
        write_shard(out / "train", 0, [corpus.clips[index] for index in chosen], arrays)
        shutil.copytree(data / "valid", out / "valid", dirs_exist_ok=True)
        shutil.copy(data / "shards.json", out / "shards.json")
    return out


def up_to(corpus: Corpus, order: Sequence[int], minutes: float) -> list[int]:
    """The first clips of an order that fill so many minutes."""
    ends = np.cumsum([corpus.clips[index].seconds for index in order])
    return list(order[: int(np.searchsorted(ends, minutes * 60)) + 1])


def trained(out: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """Train in a process of its own, or read what was measured before."""
    if not (out / "cost.json").exists():
        done = subprocess.run([sys.executable, "-c", RUN, json.dumps(settings)], check=False)
        if done.returncode or not (out / "cost.json").exists():
            raise SystemExit(f"The run {out} was stopped or failed; run again to go on.")
    return {**read_json(out / "cost.json"), **read_json(out / "voice" / "voice.json")}


class Remembered:
    """A language model that draws the same tokens for the same text only once."""

    def __init__(self, lm: TextToSpeechTokens, known: dict[tuple[int, ...], Any]) -> None:
        """Draw by `lm` what is not in `known`."""
        self._lm, self._known = lm, known

    def generate_checked(self, text_ids: Sequence[int], *more: Any, **options: Any) -> Any:
        """As the model's."""
        key = tuple(text_ids)
        if key not in self._known:
            self._known[key] = self._lm.generate_checked(text_ids, *more, **options)
        return self._known[key]


def speaker_of(
    base: Synthesizer, folder: Path | None, parts: Mapping[str, Any], drawn: dict[str, Any]
) -> Synthesizer:
    """The base with the adapters or components in a folder; `drawn` keeps tokens by their model."""
    speaker, key = copy.copy(base), "base"
    if folder is not None and not any(part["rank"] == 0 for part in parts.values()):
        voice = Voice.load(folder / "reference.safetensors")
        speaker = copy.copy(base.adapted(replace(voice, adapter=str(folder))))
    else:
        for name, kind in (("flow", TokenToMel), ("lm", TextToSpeechTokens)):
            if name in parts:
                setattr(speaker, name, checkpoint.load(kind, folder / name).eval())
    if "lm" in parts:
        key = str(folder)
    speaker.shared_lm = Remembered(speaker.lm, drawn.setdefault(key, {}))  # pyright: ignore
    return speaker


def spoken(
    speaker: Synthesizer, voice: Voice, texts: Sequence[str], out: Path, draw: int
) -> list[Audio]:
    """All texts, each kept as a WAV."""
    out.mkdir(parents=True, exist_ok=True)
    for number, text in enumerate(texts):
        path = out / f"{number:02}.wav"
        if not path.exists():
            options = SpeakOptions(sampling=Sampling(seed=number + 100 * draw))
            speaker.speak(text, voice, options).save(path)
    return [Audio.load(out / f"{number:02}.wav") for number in range(len(texts))]


class Judges:
    """All that listen, with the mean vectors of the recordings."""

    def __init__(self, recordings: Sequence[Audio], language: str) -> None:
        """Load them."""
        encoder = checkpoint.load(SpeakerEncoder, hub.resolve("glmtts-nano") / "speaker")
        self._embed = {"sim": lambda audio: encoder.embed(audio).numpy(), "dvector": DVector()}
        self._language = language
        self._judges = {name: make(name) for name in ("cer", "per", "mos")}
        self._target: dict[str, Any] = {}
        for name, embed in self._embed.items():
            mean = np.mean([embed(audio) for audio in recordings], 0)
            self._target[name] = mean / np.linalg.norm(mean)

    def __call__(self, sounds: Sequence[Audio], texts: Sequence[str]) -> dict[str, list[float]]:
        """Scores of each sound, by judge; what cannot be judged raises."""
        found = {
            name: [float(embed(audio) @ self._target[name]) for audio in sounds]
            for name, embed in self._embed.items()
        }
        samples = [
            Sample(audio, text, self._language) for audio, text in zip(sounds, texts, strict=True)
        ]
        for name, judge in self._judges.items():
            verdicts = judge(samples)
            for verdict in verdicts:
                if not isinstance(verdict, Score):
                    raise SystemExit(f"The judge {name} failed: {verdict.reason}")
            found[name] = [verdict.value for verdict in verdicts if isinstance(verdict, Score)]
        return found


def main() -> None:
    """Train all voices and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, nargs="*", default=[5, 10])
    parser.add_argument("--sentences", type=int, default=24)
    parser.add_argument("--draws", type=int, default=2, help="times that each is spoken")
    parser.add_argument("--settings", type=json.loads, default={}, help="of all runs, as JSON")
    parser.add_argument("--lora", type=json.loads, default={}, help="of adapters, as JSON")
    parser.add_argument("--full", type=json.loads, default={}, help="of full fine-tuning, as JSON")
    flags = parser.parse_args()
    data, out = flags.data, flags.out
    corpus = Corpus(data / "train")
    held, order = divided(corpus, flags.sentences)
    whole = sum(corpus.clips[index].seconds for index in order) / 60
    most = f"{whole:.0f} min"
    jobs = [(f"lora {most}", whole, False), (f"full {most}", whole, True)]
    jobs += [(f"lora {m:g} min", m, False) for m in flags.minutes if m < whole]

    model = json.loads((data / "shards.json").read_text())["model"]
    runs: dict[str, dict[str, Any]] = {}
    for name, minutes, full in jobs:
        folder = out / name.replace(" ", "-")
        part = part_of(data, out / f"data-{minutes:.0f}", up_to(corpus, order, minutes))
        settings = {"data": str(part), "out": str(folder), "base": model, "full": full}
        settings |= flags.settings | (flags.full if full else flags.lora)
        runs[name] = trained(folder, settings)
        print(f"{name}: {json.dumps(runs[name])}", flush=True)

    torch.set_num_threads(1)
    base = Synthesizer.load(model, dtype="float32")
    reference = out / jobs[0][0].replace(" ", "-") / "voice" / "reference.safetensors"
    voice = Voice.load(reference)
    test = Part(corpus, held)
    texts = [clip.text for clip in test]
    recordings = [Audio.load(data / clip.id) for clip in test]
    judges = Judges(recordings, test.clips[0].lang)
    drawn: list[dict[str, Any]] = [{} for _ in range(flags.draws)]
    # The base first: it draws the tokens that adapters of the flow speak, too.
    systems: dict[str, tuple[Path | None, Mapping[str, Any]]] = {"zero-shot": (None, {})}
    for name, _, full in jobs:
        parts = runs[name]["parts"]
        folder = out / name.replace(" ", "-") / "voice"
        systems[name] = (folder, parts)
        if full and "lm" in parts:
            systems[f"{name}, flow alone"] = (folder, {"flow": parts["flow"]})

    rows: dict[str, Any] = {}
    scores: dict[str, dict[str, list[float]]] = {"recordings": judges(recordings, texts)}
    for name, (folder, parts) in systems.items():
        heard: list[dict[str, list[float]]] = []
        for draw, known in enumerate(drawn):
            speaker = speaker_of(base, folder, parts, known)
            place = out / "spoken" / name.replace(" ", "-") / str(draw)
            heard.append(judges(spoken(speaker, voice, texts, place, draw), texts))
        scores[name] = {
            key: np.mean([scores[key] for scores in heard], 0).tolist() for key in heard[0]
        }
    zero = scores["zero-shot"]
    full_gain = np.mean(scores[jobs[1][0]]["sim"]) - np.mean(zero["sim"])
    for name, found in scores.items():
        differences = {
            key: interval([b - a for a, b in zip(zero[key], values, strict=True)])
            for key, values in found.items()
        }
        rows[name] = {
            **{key: float(np.mean(values)) for key, values in found.items()},
            "gain": (np.mean(found["sim"]) - np.mean(zero["sim"])) / full_gain,
            "differences": {key: [d.mean, d.low, d.high] for key, d in differences.items()},
            "cases": found, "run": runs.get(name),
        }  # fmt: skip
        cer = differences["cer"]
        shown = "  ".join(f"{key} {float(np.mean(values)):.3f}" for key, values in found.items())
        print(f"{name:24} {shown}  gain {rows[name]['gain']:.0%}", end="")
        print(f"  words {cer.mean:+.3f} [{cer.low or 0:+.3f}, {cer.high or 0:+.3f}]", end="")
        if name in runs:
            run = runs[name]
            spent = " ".join(
                f"{key} {part['share']:.1%}, {part['steps']} steps, {part['core_s']:.0f} core s"
                for key, part in run["parts"].items()
            )
            print(f"  {spent}; {run['peak_mb']:.0f} MB", end="")
        print(flush=True)
    write_json(out / "figures.json", {"texts": texts, "systems": rows})


if __name__ == "__main__":
    main()
