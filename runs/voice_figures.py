"""Zero-shot against trained voices.

    python runs/voice_figures.py DATA OUT [--minutes 5 10 20]

DATA is what `glmtts data prepare` wrote. For each amount of data adapters are trained, for the
largest also everything. Every run judges the same held-out texts before (zero-shot) and after.
Prints and writes OUT/figures.json: SIM, phoneme error rate, wall seconds, peak memory, and the
share of parameters. A finished run is not repeated.
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from glmtts.data.shards import Corpus, write_shard

RUN = """
import json, resource, sys, time
from pathlib import Path
from glmtts.train.voice import Config, main
if __name__ == "__main__":
    settings = json.loads(sys.argv[1])
    paths = {key: Path(settings.pop(key)) for key in ("data", "out")}
    start = time.monotonic()
    main(Config(**paths, **settings))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    (paths["out"] / "cost.json").write_text(
        json.dumps({"seconds": time.monotonic() - start, "peak_mb": peak})
    )
"""


def part_of(data: Path, out: Path, minutes: float) -> Path:
    """A copy of prepared data with its first so many minutes of training clips."""
    if (out / "shards.json").exists():
        return out
    corpus = Corpus(data / "train")
    chosen: list[int] = []
    seconds = 0.0
    for index, clip in enumerate(corpus.clips):
        if seconds >= minutes * 60:
            break
        chosen.append(index)
        seconds += clip.seconds
    names = [name for name in ("tokens", "alignment", "mel", "speaker") if corpus.holds(name)]
    arrays = {name: [corpus.array(name, index) for index in chosen] for name in names}
    write_shard(out / "train", 0, [corpus.clips[index] for index in chosen], arrays)
    shutil.copytree(data / "valid", out / "valid", dirs_exist_ok=True)
    shutil.copy(data / "shards.json", out / "shards.json")
    return out


def measured(out: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """Train in a process of its own, or read what was measured before."""
    if not (out / "cost.json").exists():
        done = subprocess.run([sys.executable, "-c", RUN, json.dumps(settings)], check=False)
        if done.returncode:
            raise SystemExit(f"The run {out} failed; run again to go on.")
    card = json.loads((out / "voice" / "voice.json").read_text())
    return {**json.loads((out / "cost.json").read_text()), **card}


def main() -> None:
    """Train all voices and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, nargs="+", default=[5, 10, 20])
    parser.add_argument("--sentences", type=int, default=12)
    parser.add_argument("--steps", type=int, default=400)
    flags = parser.parse_args()
    rows: dict[str, Any] = {}
    jobs = [(f"lora {minutes:g} min", minutes, False) for minutes in flags.minutes]
    jobs.append((f"full {max(flags.minutes):g} min", max(flags.minutes), True))
    for name, minutes, full in jobs:
        folder = flags.out / name.replace(" ", "-")
        data = part_of(flags.data, flags.out / f"data-{minutes:g}", minutes)
        base = json.loads((data / "shards.json").read_text())["model"]
        settings = {
            "data": str(data), "out": str(folder), "base": base, "full": full,
            "steps": flags.steps, "flow_steps": flags.steps, "judge_sentences": flags.sentences,
        }  # fmt: skip
        started = time.monotonic()
        rows[name] = measured(folder, settings)
        print(f"{name}: {time.monotonic() - started:.0f} s", flush=True)
        (flags.out / "figures.json").write_text(json.dumps(rows, indent=1) + "\n")
    for name, row in rows.items():
        before, after = row["before"], row["after"]
        print(
            f"{name:14} SIM {before['sim']:.3f} -> {after['sim']:.3f}  per {before['per']:.3f} -> "
            f"{after['per']:.3f}  {row['seconds']:.0f} s  {row['peak_mb']:.0f} MB  {row['parts']}"
        )


if __name__ == "__main__":
    main()
