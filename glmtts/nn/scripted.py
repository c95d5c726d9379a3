"""A vocoder that is published as a TorchScript archive: its own file, run as it is."""

import io
import warnings
import zipfile

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from glmtts.errors import CheckpointError
from glmtts.nn.vocos import START, Position, Wave


class ScriptedVocoder(nn.Module):
    """Mel to samples by a TorchScript archive, which takes (B, F, M) and gives (B, F * hop).

    Attributes:
        archive: The file's bytes; they alone are copied and pickled.
        shift: What is added to the log-mel before the archive hears it.
        left: Frames back that a frame's samples see.
        right: Frames ahead.
    """

    shift: Tensor

    def __init__(self, hop: int, shift: float, left: int, right: int) -> None:
        """Without an archive yet: set `archive`."""
        super().__init__()
        self.hop, self.left, self.right = hop, left, right
        self.register_buffer("shift", torch.tensor(shift))
        self.archive = b""
        self._loaded: dict[torch.device, torch.jit.ScriptModule] = {}  # no submodules of ours

    def forward(self, mel: Tensor, position: Position = START) -> Wave:
        """(B, F, M) -> samples (B, F * hop); the same wherever in the utterance.

        Raises:
            CheckpointError: there is no archive, or it gives another number of samples.
        """
        frames, batch = mel.shape[1], mel.shape[0]
        if frames == 1:  # which such networks cannot take
            mel = mel.expand(-1, 2, -1)
        samples = self._network(mel.device)((mel + self.shift).contiguous())
        wanted = mel.shape[1] * self.hop
        if not isinstance(samples, Tensor) or samples.numel() % batch:
            raise CheckpointError("The TorchScript archive gives no samples. Is it a vocoder?")
        samples = samples.reshape(batch, -1).float()
        # Without centring, an inverse STFT is some samples short or long at the end.
        missing = wanted - samples.shape[1]
        if abs(missing) > 2 * self.hop:
            raise CheckpointError(
                f"The TorchScript archive gives {samples.shape[1]} samples for {mel.shape[1]} "
                f"frames, expected {wanted}. Is it a vocoder of {self.hop} samples a frame?"
            )
        return Wave(F.pad(samples, (0, missing))[:, : frames * self.hop])

    def _network(self, device: torch.device) -> torch.jit.ScriptModule:
        if device not in self._loaded:
            self._loaded = {device: load_script(self.archive, device)}
        return self._loaded[device]

    def __getstate__(self) -> dict[str, object]:
        """Copy and pickle as the file."""
        return {**self.__dict__, "_loaded": {}}


def load_script(data: bytes, device: torch.device | str) -> torch.jit.ScriptModule:
    """Read a TorchScript archive; a file that holds anything else is not opened.

    TorchScript has its own small language and data format, so no Python code and no pickle is run.

    Raises:
        CheckpointError: `data` is no such archive or is damaged.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            files = [name.partition("/")[2] for name in archive.namelist()]
    except zipfile.BadZipFile as error:
        raise CheckpointError(
            "The vocoder is no TorchScript archive (a pickle is not opened), or was cut short. "
            "Download it again."
        ) from error
    if "constants.pkl" not in files or not any(name.startswith("code/") for name in files):
        raise CheckpointError(
            "The vocoder is a zip file but no TorchScript archive; if it is a pickle of tensors, "
            "it is not this file that is wanted. Expected generator_jit.ckpt as published."
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PyTorch would rather have other formats
            return torch.jit.load(io.BytesIO(data), map_location=device).eval()
    except (RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0][:120]
        raise CheckpointError(
            f"The TorchScript archive cannot be read ({reason}). Download it again."
        ) from error
