"""A model's name to a folder on disk: bundled with the package, or pinned, downloaded and verified.

A download is fixed by a repository, the full hash of a revision and the SHA-256 of every file: what
was tested is what is loaded. Read `resolve` first; `pull` fetches what others have released, in
their own layout, to be converted.
"""

import hashlib
import json
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Protocol

import platformdirs

from glmtts.errors import BadInput, CheckpointError, GlmTtsError, MissingExtra, UnknownModel

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


@dataclass(frozen=True)
class Elsewhere:
    """A file that a release needs and its repository lacks.

    Attributes:
        path: Where it goes in the folder.
        urls: Addresses to try in this order, with the SHA-256 of what is there; None where the
            address itself (a commit) fixes the content.
    """

    path: str
    urls: tuple[tuple[str, str | None], ...]


@dataclass(frozen=True)
class Release:
    """Weights in the layout of their authors. `glmtts convert` makes a model of them.

    Attributes:
        repos: Repository on each of `HUBS`.
        revisions: Branch, tag or commit there unless asked otherwise; what a name stands for when
            it is first pulled is kept, see `pull`.
        files: Patterns of the files that are needed; each must match one at least.
        sha256: Known digests, by path; they hold for every revision.
        elsewhere: Further files.
        model: Name that the converted model gets.
        gigabytes: Size of the download.
        about: One line for a list.
        license: SPDX name of the weights' licence.
    """

    repos: Mapping[str, str]
    revisions: Mapping[str, str]
    files: tuple[str, ...]
    sha256: Mapping[str, str]
    elsewhere: tuple[Elsewhere, ...]
    model: str
    gigabytes: float
    about: str
    license: str


_CAMPPLUS_SHA256 = "a6ac6a63997761ae2997373e2ee1c47040854b4b759ea41ec48e4e42df0f4d73"
"""Of the CAM++ network that CosyVoice and others ship; 28,303,423 bytes."""

RELEASES: dict[str, Release] = {
    "zai-org/GLM-TTS": Release(
        repos={"huggingface": "zai-org/GLM-TTS", "modelscope": "ZhipuAI/GLM-TTS"},
        revisions={"huggingface": "main", "modelscope": "master"},
        files=(
            "llm/config.json", "llm/model.safetensors.index.json", "llm/model-*.safetensors",
            "flow/config.yaml", "flow/flow.pt", "hift/hift.pt", "vocos2d/generator_jit.ckpt",
            "speech_tokenizer/config.json", "speech_tokenizer/model*.safetensors",
            "vq32k-phoneme-tokenizer/tokenizer.model",
            "vq32k-phoneme-tokenizer/tokenizer_config.json",
        ),
        sha256={
            "vq32k-phoneme-tokenizer/tokenizer.model": (
                "3c16309bf80bf496e823cad3a9e77967746d5f0ac55afd1755717ec9f9cc1ce0"
            ),
        },
        elsewhere=(
            Elsewhere(
                "frontend/campplus.onnx",
                (
                    (
                        "https://raw.githubusercontent.com/zai-org/GLM-TTS/"
                        "c5dc7aecc3b4032032d631b271e767893984f821/frontend/campplus.onnx",
                        None,
                    ),
                    (
                        "https://huggingface.co/FunAudioLLM/CosyVoice2-0.5B/resolve/main/"
                        "campplus.onnx",
                        _CAMPPLUS_SHA256,
                    ),
                    (
                        "https://www.modelscope.cn/models/iic/CosyVoice2-0.5B/resolve/master/"
                        "campplus.onnx",
                        _CAMPPLUS_SHA256,
                    ),
                ),
            ),
        ),
        model="glm-tts",
        gigabytes=8.9,
        about="The official model: 1.5 B language model, flow, two vocoders; Mandarin and English",
        license="MIT",
    ),
}  # fmt: skip


def available_models() -> list[str]:
    """Names that `Synthesizer.load` knows; a folder of your own training loads by its path."""
    return sorted({*MODELS, *stored_models()})


def models_folder() -> Path:
    """Where models that were pulled and converted live on this platform (not created here)."""
    return platformdirs.user_data_path("glmtts", appauthor=False) / "models"


def stored_models() -> dict[str, Path]:
    """Folder of each model in `models_folder`."""
    try:
        folders = sorted(models_folder().iterdir())
    except OSError:
        return {}
    return {folder.name: folder for folder in folders if (folder / MODEL_FILE).is_file()}


def resolve(name_or_path: str | Path) -> Path:
    """The folder of a model.

    Args:
        name_or_path: A folder that holds `glmtts.json` (it wins over a name), or a name of
            `available_models()`; the latter is downloaded on first use unless it is bundled or
            was pulled and converted.

    Raises:
        UnknownModel: it is neither.
        CheckpointError: a download failed or is not what was pinned.
    """
    path = Path(name_or_path).expanduser()
    if (path / MODEL_FILE).is_file():
        return path
    if (stored := stored_models().get(str(name_or_path))) is not None:
        return stored
    model = MODELS.get(str(name_or_path))
    if isinstance(model, Bundled):
        return _bundled(model)
    if isinstance(model, Pinned):
        return _downloaded(str(name_or_path), model)
    found = f"The folder {path} holds no {MODEL_FILE}. " if path.is_dir() else ""
    if str(name_or_path) in RELEASES:
        found = f"It can be had with: glmtts models pull {name_or_path} --convert. "
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
        if (found := digest_of(path)) != expected:
            raise CheckpointError(
                f"{path} is damaged or was changed: its SHA-256 is {found}, "
                f"expected {expected}. Remove the file to download it again."
            )


def digest_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


# ----- releases -----------------------------------------------------------------------------------

RECEIPT_FILE = "glmtts-source.json"
"""Stands in a pulled folder: which commit of which repository it is, and what each file is."""


@dataclass(frozen=True)
class RemoteFile:
    """A file as its hub describes it; the hub may know no digest."""

    size: int
    sha256: str | None = None


@dataclass(frozen=True)
class Receipt:
    """Where the files of a folder are from; `revision` is a commit where the hub has such."""

    source: str
    repo: str
    revision: str
    files: Mapping[str, RemoteFile]


class Hub(Protocol):
    """What `pull` asks of a hub."""

    def listing(self, repo: str, revision: str) -> tuple[str, dict[str, RemoteFile]]:
        """The commit that `revision` stands for, and its files by path."""
        ...

    def fetch(self, repo: str, revision: str, paths: list[str], folder: Path) -> None:
        """Bring files into `folder`, going on where an earlier run stopped."""
        ...


class HuggingFace:
    """huggingface.co, through its own client; its environment variables apply (HF_ENDPOINT, …)."""

    def listing(self, repo: str, revision: str) -> tuple[str, dict[str, RemoteFile]]:
        """See `Hub`."""
        from huggingface_hub import HfApi

        info = HfApi().model_info(repo, revision=revision, files_metadata=True)
        files = {
            file.rfilename: RemoteFile(file.size or 0, file.lfs.sha256 if file.lfs else None)
            for file in info.siblings or []
        }
        return info.sha or revision, files

    def fetch(self, repo: str, revision: str, paths: list[str], folder: Path) -> None:
        """See `Hub`."""
        from huggingface_hub import snapshot_download  # pyright: ignore[reportUnknownVariableType]

        snapshot_download(repo, revision=revision, allow_patterns=paths, local_dir=folder)


class ModelScope:
    """modelscope.cn, through its own client. It has no commits; the digests fix the content."""

    def listing(self, repo: str, revision: str) -> tuple[str, dict[str, RemoteFile]]:
        """See `Hub`."""
        api: Any = self._client("modelscope.hub.api").HubApi()
        found: list[dict[str, Any]] = api.get_model_files(repo, revision=revision, recursive=True)
        files = {
            str(file["Path"]): RemoteFile(int(file.get("Size") or 0), file.get("Sha256") or None)
            for file in found
            if file.get("Type") != "tree"
        }
        return revision, files

    def fetch(self, repo: str, revision: str, paths: list[str], folder: Path) -> None:
        """See `Hub`."""
        download: Any = self._client("modelscope.hub.snapshot_download").snapshot_download
        download(repo, revision=revision, allow_patterns=paths, local_dir=str(folder))

    @staticmethod
    def _client(module: str) -> Any:
        from importlib import import_module

        try:
            return import_module(module)
        except ImportError as error:
            raise MissingExtra("Downloading from ModelScope", "modelscope") from error


HUBS: dict[str, type[Hub]] = {"huggingface": HuggingFace, "modelscope": ModelScope}


def pull(
    name: str,
    into: str | Path,
    *,
    source: str = "huggingface",
    revision: str | None = None,
    hub: Hub | None = None,
) -> Receipt:
    """Bring a release into a folder, whole and verified; an interrupted run is gone on with.

    The commit that a branch stands for is looked up once and kept in the folder
    (`glmtts-source.json`): later runs ask for that one, so files of two commits never mix.

    Args:
        name: A key of `RELEASES`.
        into: The folder; created when missing.
        source: A key of `HUBS`.
        revision: Branch, tag or commit; by default that of the receipt or else of the release.
        hub: Used instead of that of `source`.

    Raises:
        UnknownModel: no such release.
        BadInput: an unknown source, the folder holds another revision, or the disk is too small.
        MissingExtra: the client of the hub is not installed.
        CheckpointError: the download failed, or a file is not what the hub or this package says.
    """
    if name not in RELEASES:
        raise UnknownModel(f"No release named {name!r}. Known: {', '.join(RELEASES)}.")
    release, into = RELEASES[name], Path(into).expanduser()
    if source not in release.repos:
        raise BadInput(f"{name} is not on {source!r}. Known: {', '.join(release.repos)}.")
    repo = release.repos[source]
    earlier = read_receipt(into)
    if earlier is not None and (earlier.source, earlier.repo) == (source, repo):
        wanted = revision or earlier.revision
    else:
        wanted = revision or release.revisions[source]
    hub = hub or HUBS[source]()
    commit, listed = _asked(f"list {repo} at {wanted} on {source}", hub.listing, repo, wanted)
    files = {path: listed[path] for path in _needed(release.files, listed, repo)}
    receipt = Receipt(source, repo, commit, files)
    if earlier is not None and earlier != receipt:
        raise BadInput(
            f"{into} holds {earlier.repo} at {earlier.revision} from {earlier.source}, not {repo} "
            f"at {commit} from {source}. Give another folder with --into, or remove that one."
        )
    into.mkdir(parents=True, exist_ok=True)
    there = {p for p, file in files.items() if _size(into / p) == file.size}
    lacking = sum(file.size for path, file in files.items() if path not in there)
    free = shutil.disk_usage(into).free
    if lacking > free:
        raise BadInput(
            f"{into} has {free / 1e9:.1f} GB free, {lacking / 1e9:.1f} GB are still to be "
            "downloaded. Free some space, or give another folder with --into."
        )
    write_receipt(into, receipt)
    if len(there) < len(files):
        what = f"download {repo} at {commit[:12]} from {source}"
        _asked(what, hub.fetch, repo, commit, sorted(files), into)
    for path, file in files.items():
        if (size := _size(into / path)) != file.size:
            raise CheckpointError(
                f"{into / path} has {size} bytes, {source} says {file.size}. Run the command again."
            )
    digests = {path: file.sha256 for path, file in files.items() if file.sha256}
    verify(into, {**digests, **release.sha256})
    for file in release.elsewhere:
        fetch_elsewhere(file, into)
    return receipt


def _needed(patterns: Iterable[str], listed: Iterable[str], repo: str) -> list[str]:
    paths: list[str] = []
    for pattern in patterns:
        found = [path for path in listed if fnmatchcase(path, pattern)]
        if not found:
            raise CheckpointError(
                f"{repo} holds no {pattern}. Its layout has changed; update this package, or pull "
                "an earlier --revision."
            )
        paths += found
    return paths


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else -1


def _asked(what: str, ask: Any, *arguments: Any) -> Any:
    try:
        return ask(*arguments)
    except GlmTtsError:
        raise
    except Exception as error:  # the clients raise dozens of kinds, of several HTTP libraries
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise CheckpointError(
            f"Cannot {what} ({reason}). Check the connection and run the command again: it goes "
            "on where it stopped."
        ) from error


def read_receipt(folder: Path) -> Receipt | None:
    """The receipt of a pulled folder; None if there is none or it is damaged."""
    try:
        data: dict[str, Any] = json.loads((folder / RECEIPT_FILE).read_text(encoding="utf-8"))
        files = {path: RemoteFile(**file) for path, file in data.pop("files").items()}
        return Receipt(**data, files=files)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def write_receipt(folder: Path, receipt: Receipt) -> None:
    """Keep `receipt` in its folder."""
    text = json.dumps(asdict(receipt), indent=1)
    (folder / RECEIPT_FILE).write_text(text + "\n", encoding="utf-8")


def fetch_elsewhere(file: Elsewhere, folder: Path) -> Path:
    """Bring one file into `folder` from the first address that has it, unless it is there.

    Raises:
        CheckpointError: no address gives it; each one's reason is told.
    """
    path, reasons = folder / file.path, list[str]()
    if path.is_file():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    for url, sha256 in file.urls:
        try:
            with urllib.request.urlopen(url, timeout=30) as response, part.open("wb") as out:
                shutil.copyfileobj(response, out)
        except (OSError, ValueError, urllib.error.URLError) as error:
            reasons.append(f"{url}: {error}")
            continue
        if sha256 is None or digest_of(part) == sha256:
            return part.replace(path)
        reasons.append(f"{url}: its SHA-256 is {digest_of(part)}, expected {sha256}")
    part.unlink(missing_ok=True)
    raise CheckpointError(
        f"Cannot download {file.path} ({'; '.join(reasons)}). Get it by another way and put it to "
        f"{path}."
    )
