"""The speaker encoder of zai-org/GLM-TTS (`frontend/campplus.onnx`) as a component."""

from pathlib import Path

from glmtts.errors import CheckpointError
from glmtts.speaker import SpeakerConfig, SpeakerEncoder


def campplus_encoder(path: str | Path) -> SpeakerEncoder:
    """Wrap the published ONNX file; it is kept as it is, and opened when first used.

    Args:
        path: `campplus.onnx`, from the code's repository (it is not among the weights).

    Raises:
        CheckpointError: the file cannot be read or is empty.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise CheckpointError(f"Cannot read {path} ({error}). Expected campplus.onnx.") from error
    if not data:
        raise CheckpointError(f"{path} is empty. Download campplus.onnx again.")
    return SpeakerEncoder(SpeakerConfig.official(), data)
