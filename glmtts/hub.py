"""A model's name to a folder on disk: bundled with the package, or pinned, downloaded and verified.

A download is fixed by a repository, the full hash of a revision and the SHA-256 of every file: what
was tested is what is loaded. Read `resolve` first.
"""

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from glmtts.errors import CheckpointError, UnknownModel

MODEL_FILE = "glmtts.json"
"""The file that makes a folder a model: format, audio settings, licence, components."""

VERIFIED_FILE = ".glmtts-verified"
"""Stands in a downloaded folder whose files had the pinned hashes; lists them as sha256sum does."""

ASSETS = Path(__file__).parent / "assets"


@dataclass(frozen=True)
class Bundled:
    """A model inside the package, in `glmtts/assets/<folder>`."""

    folder: str
    about: str
    license: str


@dataclass(frozen=True)
class Pinned:
    """A model on the Hugging Face Hub.

    Attributes:
        repo: "owner/name".
        revision: 40 hexadecimal digits of a commit.
        sha256: SHA-256 of each file that is used, by path; nothing else is downloaded.
        about: One line for a list.
        license: SPDX name of the weights' licence.
    """

    repo: str
    revision: str
    sha256: Mapping[str, str]
    about: str
    license: str


MODELS: dict[str, Bundled | Pinned] = {
    "glmtts-nano": Bundled(
        "nano", "Mandarin and English in real time on two CPU cores; bundled", "Apache-2.0"
    ),
}


def available_models() -> list[str]:
    """Names that `Synthesizer.load` knows; a folder of your own training loads by its path."""
    return sorted(MODELS)


def resolve(name_or_path: str | Path) -> Path:
    """The folder of a model.

    Args:
        name_or_path: A folder that holds `glmtts.json` (it wins over a name), or a name of
            `available_models()`; the latter is downloaded on first use unless it is bundled.

    Raises:
        UnknownModel: it is neither.
        CheckpointError: a download failed or is not what was pinned.
    """
    path = Path(name_or_path).expanduser()
    if (path / MODEL_FILE).is_file():
        return path
    model = MODELS.get(str(name_or_path))
    if isinstance(model, Bundled):
        return _bundled(model)
    if isinstance(model, Pinned):
        return _downloaded(str(name_or_path), model)
    found = f"The folder {path} holds no {MODEL_FILE}. " if path.is_dir() else ""
    raise UnknownModel(
        f"No model named {str(name_or_path)!r}. {found}Known models: "
        f"{', '.join(available_models())}. Or give the folder of a model, one with a {MODEL_FILE}."
    )


def _bundled(model: Bundled) -> Path:
    folder = ASSETS / model.folder
    if not (folder / MODEL_FILE).is_file():
        raise CheckpointError(
            f"The bundled model is missing from this installation: {folder / MODEL_FILE} was "
            "expected. Install the package again, or give the folder of a model."
        )
    return folder


def _downloaded(name: str, model: Pinned) -> Path:
    from huggingface_hub import snapshot_download  # pyright: ignore[reportUnknownVariableType]

    try:
        folder = Path(
            snapshot_download(
                model.repo, revision=model.revision, allow_patterns=sorted(model.sha256)
            )
        )
    except (OSError, ValueError) as error:  # its HTTP and offline errors are OSErrors
        raise CheckpointError(
            f"Cannot download {name} from {model.repo} at revision {model.revision[:12]} "
            f"({error}). Check the connection and try again."
        ) from error
    pins = "".join(f"{digest}  {file}\n" for file, digest in sorted(model.sha256.items()))
    receipt = folder / VERIFIED_FILE  # hashing gigabytes takes seconds: once for each download
    if not receipt.is_file() or receipt.read_text(encoding="utf-8") != pins:
        verify(folder, model.sha256)
        with suppress(OSError):  # a shared cache may be read-only
            receipt.write_text(pins, encoding="utf-8")
    return folder


def verify(folder: Path, sha256: Mapping[str, str]) -> None:
    """Compare the files of `folder` with their expected SHA-256.

    Raises:
        CheckpointError: a file is missing or differs (the first one is named).
    """
    for file, expected in sha256.items():
        path = folder / file
        if not path.is_file():
            raise CheckpointError(f"{path} is missing. Remove the folder to download it again.")
        digest = hashlib.sha256()
        with path.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
        if digest.hexdigest() != expected:
            raise CheckpointError(
                f"{path} is damaged or was changed: its SHA-256 is {digest.hexdigest()}, "
                f"expected {expected}. Remove the file to download it again."
            )
