"""The voices at hand: those bundled with a model and those the user added. Read `VoiceLibrary`."""

import difflib
import os
import secrets
import shutil
import unicodedata
from dataclasses import replace
from pathlib import Path
from typing import TypedDict

import platformdirs
from safetensors import SafetensorError

from glmtts.audio import AudioSpec
from glmtts.errors import BadInput, CheckpointError, GlmTtsError, UnknownVoice
from glmtts.voice import Voice

SUFFIX = ".safetensors"
ADAPTER_SUFFIX = ".adapter"
MAX_NAME = 64
PORTS = {f"{port}{number}" for port in ("com", "lpt") for number in range(10)}
RESERVED = {"con", "prn", "aux", "nul", *PORTS}
"""Names that cannot be files on Windows."""


class VoiceDescription(TypedDict):
    """What is known of one voice; `problem` is empty unless its file is damaged."""

    name: str
    language: str
    gender: str
    transcript: str
    seconds: float
    bundled: bool
    adapter: bool
    problem: str


def default_folder() -> Path:
    """Where the user's voices live on this platform (not created here)."""
    return platformdirs.user_data_path("glmtts", appauthor=False) / "voices"


def checked_name(name: str) -> str:
    """A voice name that is safe as a file name, in Unicode's composed form.

    Raises:
        BadInput: the name is empty, too long, or holds anything but letters of any script, digits,
            "-" and "_", or starts with "-".
    """
    name = unicodedata.normalize("NFC", name)
    problem = ""
    if not name:
        problem = "it is empty"
    elif len(name) > MAX_NAME or len(name.encode("utf-8", "replace")) > 3 * MAX_NAME:
        problem = f"it has {len(name)} characters, at most {MAX_NAME} are allowed"
    elif bad := [c for c in name if not (c in "-_" or unicodedata.category(c)[0] in "LMN")]:
        problem = f"it holds {bad[0]!r}"
    elif name.startswith("-"):
        problem = "it starts with '-'"
    elif name.casefold() in RESERVED:
        problem = "Windows reserves it"
    if problem:
        shown = name if len(name) <= MAX_NAME else name[:MAX_NAME] + "…"
        raise BadInput(
            f"{shown!r} cannot name a voice: {problem}. Use letters (any script), digits, '-' and "
            "'_', for example 'xiaomei' or 'news_reader-2'."
        )
    return name


class VoiceLibrary:
    """Voices by name: bundled ones, which never change, and stored ones, which go first."""

    def __init__(
        self,
        bundled: str | Path | None = None,
        stored: str | Path | None = None,
        spec: AudioSpec | None = None,
    ) -> None:
        """Open the library; folders are read at each call and may appear later.

        Args:
            bundled: The `voices` folder of a model, if it has one. Never written.
            stored: Where the user's voices live; the platform's data folder when None.
            spec: Rates of the model, to tell lengths.
        """
        self.bundled = None if bundled is None else Path(bundled)
        self.stored = default_folder() if stored is None else Path(stored)
        self.spec = spec or AudioSpec()

    def names(self) -> list[str]:
        """All names: the stored ones first, each group sorted."""
        stored, bundled = _files(self.stored), _files(self.bundled)
        return [*stored, *(name for name in bundled if name not in stored)]

    def get(self, name: str) -> Voice:
        """The voice of this name.

        Raises:
            UnknownVoice: there is none; the message lists those there are.
            CheckpointError: its file is damaged.
        """
        return replace(Voice.load(self._path(name)), name=_composed(name))

    def add(self, voice: Voice, *, overwrite: bool = False) -> Path:
        """Store a voice under its name; returns the file.

        Raises:
            BadInput: the name is not allowed, or taken (also in other letter case: some file
                systems cannot hold both). `overwrite` replaces a stored voice, never a bundled one.
            GlmTtsError: the folder cannot be written.
        """
        name = checked_name(voice.name)
        if twin := _twin(name, _files(self.bundled)):
            raise BadInput(f"{twin!r} is a voice of the model. Choose another name.")
        twin = _twin(name, _files(self.stored))
        if twin and not overwrite:
            raise BadInput(
                f"A voice named {twin!r} exists. Choose another name, remove it with: "
                f"glmtts voice remove {twin}, or overwrite it (--force, overwrite=True)."
            )
        path = self.stored / (name + SUFFIX)
        # Written beside and renamed: a reader sees the old or the new voice, never half of one.
        draft = self.stored / f".{name}.{os.getpid()}.tmp"
        try:
            self.stored.mkdir(parents=True, exist_ok=True)
            try:
                kept = replace(voice, name=name, adapter=self._adapter_of(voice, name))
                kept.save(draft)
                if twin and twin != name:
                    (self.stored / (twin + SUFFIX)).unlink(missing_ok=True)
                os.replace(draft, path)
                self._sweep()
            finally:
                draft.unlink(missing_ok=True)
        except (OSError, SafetensorError) as error:
            raise GlmTtsError(
                f"Cannot store the voice {name!r} in {self.stored} ({error}). "
                "Check that the folder can be written and the disk is not full."
            ) from error
        return path

    def remove(self, name: str) -> None:
        """Delete a stored voice.

        Raises:
            UnknownVoice: there is no voice of this name.
            BadInput: the voice belongs to the model.
            GlmTtsError: the file cannot be deleted.
        """
        path = self._path(name)
        if path.parent != self.stored:
            raise BadInput(f"{name!r} is a voice of the model and cannot be removed.")
        try:
            path.unlink()
            self._sweep()
        except OSError as error:
            raise GlmTtsError(f"Cannot delete {path} ({error}).") from error

    def _adapter_of(self, voice: Voice, name: str) -> str:
        """A copy of the voice's adapters in this library, under a name that is not in use yet."""
        if not voice.adapter:
            return ""
        source = Path(voice.adapter)
        if not source.is_dir():
            raise BadInput(f"The adapters of the voice, {source}, are not there.")
        target = self.stored / f"{name}.{secrets.token_hex(4)}{ADAPTER_SUFFIX}"
        draft = self.stored / f".{target.name}.{os.getpid()}.tmp"
        shutil.copytree(source, draft)
        os.replace(draft, target)
        return str(target)

    def _sweep(self) -> None:
        """Delete the adapters that belong to no voice any more."""
        used: set[str] = set()
        for path in _files(self.stored).values():
            try:
                used.add(Path(Voice.load(path).adapter).name)
            except CheckpointError:
                return  # a damaged voice does not tell which are its own
        for folder in self.stored.glob(f"*{ADAPTER_SUFFIX}"):
            if folder.name not in used:
                shutil.rmtree(folder)

    def describe(self) -> list[VoiceDescription]:
        """What is known of each voice, in the order of `names`; damaged files are listed too."""
        return [self._description(name) for name in self.names()]

    def _description(self, name: str) -> VoiceDescription:
        path = self._path(name)
        said = VoiceDescription(
            name=name, language="", gender="", transcript="", seconds=0.0,
            bundled=path.parent != self.stored, adapter=False, problem="",
        )  # fmt: skip
        try:
            voice = Voice.load(path)
        except CheckpointError as error:
            said["problem"] = str(error)
            return said
        said["language"], said["gender"] = voice.language, voice.gender
        said["transcript"] = voice.transcript
        said["adapter"] = bool(voice.adapter)
        said["seconds"] = round(voice.mel.shape[0] / self.spec.frames_per_second, 2)
        return said

    def _path(self, name: str) -> Path:
        """The file of a voice. Only names that were listed are looked up, so no path can escape."""
        name = _composed(name)
        for folder in (self.stored, self.bundled):
            if path := _files(folder).get(name):
                return path
        known = self.names()
        near = difflib.get_close_matches(name, known, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise UnknownVoice(
            f"No voice named {name!r}.{hint} Known voices: {', '.join(known) or 'none'}. "
            f"Add one with: glmtts voice add NAME clip.wav"
        )


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _twin(name: str, files: dict[str, Path]) -> str:
    """The name in `files` that differs from `name` in letter case at most, or ""."""
    return next((other for other in files if other.casefold() == name.casefold()), "")


def _files(folder: Path | None) -> dict[str, Path]:
    """Voice files of a folder by name, sorted, without those whose names are no voice names."""
    found: dict[str, Path] = {}
    if folder is None or not folder.is_dir():
        return found
    for path in sorted(folder.glob("*" + SUFFIX)):
        name = _composed(path.name.removesuffix(SUFFIX))
        try:
            found[checked_name(name)] = path
        except BadInput:
            continue
    return found
