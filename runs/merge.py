"""Add up what several trainings changed: `python runs/merge.py START OUT MODEL:SHARE [...]`.

START, OUT and the models are components (folders with config.json and weights), all of one start:
out = start + sum of share x (model - start), known as task arithmetic (Ilharco et al. 2023,
arXiv 2212.04089). Shares of 1/3 each average three seeds; a share above 1 goes further than a
training went.
"""

import argparse
import shutil
from pathlib import Path

from safetensors.torch import load_file, save_file

WEIGHTS = "model.safetensors"


def merge(start: Path, out: Path, shares: dict[Path, float]) -> None:
    """Write the component.

    Raises:
        ValueError: the weights of a model are not those of `start`, by name or shape.
    """
    first = load_file(start / WEIGHTS)
    total = {name: weight.double() for name, weight in first.items()}
    for path, share in shares.items():
        weights = load_file(path / WEIGHTS)
        if {n: w.shape for n, w in weights.items()} != {n: w.shape for n, w in first.items()}:
            raise ValueError(f"{path} is not of the same kind as {start}.")
        for name, weight in weights.items():
            total[name] += share * (weight.double() - first[name].double())
    out.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(start / "config.json", out / "config.json")
    save_file(
        {name: weight.to(first[name].dtype).contiguous() for name, weight in total.items()},
        out / WEIGHTS,
    )
    change = sum(float(((total[n] - first[n].double()) ** 2).sum()) for n in total) ** 0.5
    print(f"{out}: {len(total)} tensors, {change:.3f} from {start}")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("start", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("models", nargs="+", metavar="MODEL:SHARE")
    flags = parser.parse_args()
    shares: dict[Path, float] = {}
    for given in flags.models:
        path, _, share = given.rpartition(":")
        shares[Path(path)] = float(share)
    merge(flags.start, flags.out, shares)


if __name__ == "__main__":
    main()
