"""The speaker encoder of the package `resemblyzer` 0.1.4 (Apache-2.0), as a component.

Get the package with `pip download --no-deps resemblyzer==0.1.4`, then run
`python -m glmtts.convert.resemblyzer Resemblyzer-0.1.4-py3-none-any.whl MODEL/speaker`.
"""

import hashlib
import io
import sys
import zipfile
from pathlib import Path
from typing import Any

import torch

from glmtts import checkpoint
from glmtts.errors import CheckpointError
from glmtts.speaker import SpeakerConfig, SpeakerEncoder

WEIGHTS = "resemblyzer/pretrained.pt"
SHA256 = "39373b86598fa3da9fcddee6142382efe09777e8d37dc9c0561f41f0070f134e"
"""Of the file `WEIGHTS` in release 0.1.4."""


def convert(wheel: str | Path, sha256: str | None = SHA256) -> SpeakerEncoder:
    """Read the wheel's weights into a `SpeakerEncoder`.

    Args:
        wheel: The downloaded wheel; nothing in it is installed or run.
        sha256: Expected digest of the weights; None accepts any.

    Raises:
        CheckpointError: the file is no such wheel, its weights are not the published ones, or a
            tensor is missing.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            data = archive.read(WEIGHTS)
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise CheckpointError(
            f"Cannot read {WEIGHTS} from {wheel} ({error}). Download the wheel with: "
            "pip download --no-deps resemblyzer==0.1.4"
        ) from error
    found = hashlib.sha256(data).hexdigest()
    if sha256 is not None and found != sha256:
        raise CheckpointError(
            f"{wheel}: {WEIGHTS} has SHA-256 {found}, expected {sha256}. Download release 0.1.4."
        )
    stored: dict[str, Any] = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    encoder = SpeakerEncoder(SpeakerConfig())
    weights = encoder.state_dict()
    try:
        # The rest of the file (scale and bias of the training loss, optimizer) is not inference.
        tensors = {key: stored["model_state"][key] for key in weights}
        encoder.load_state_dict(tensors, strict=True)
    except (KeyError, RuntimeError) as error:
        raise CheckpointError(f"{wheel}: {WEIGHTS} does not hold the encoder ({error}).") from error
    return encoder.eval()


def main(wheel: str, folder: str) -> None:
    """Write the component folder made from `wheel`."""
    checkpoint.save(convert(wheel), folder)


if __name__ == "__main__":
    main(*sys.argv[1:3])
