"""Keys: made once, kept as hashes, compared in constant time."""

import hashlib
import hmac
import os
import secrets
from pathlib import Path

from glmtts.errors import BadInput, GlmTtsError
from glmtts.voices import checked_name

PREFIX = "glmtts-"
ENVIRONMENT = "GLMTTS_API_KEY"


class KeyRing:
    """Who may use a server. Without any key, everybody who reaches it.

    The file has a line for each key: its name, a space, the SHA-256 of the key. Keys are 256 random
    bits, so a fast hash is enough.
    """

    def __init__(self, path: Path | None = None, *, environment: bool = True) -> None:
        """Read the file, and the key of `GLMTTS_API_KEY` if there is one.

        Raises:
            BadInput: the file cannot be read, or a line of it is wrong.
        """
        self.path = path
        self._hashes: dict[str, str] = {}
        if path is not None and path.exists():
            self._hashes = _read(path)
        if environment and (plain := os.environ.get(ENVIRONMENT)):
            self._hashes["environment"] = _digest(plain)

    def __bool__(self) -> bool:
        """Whether a key is needed."""
        return bool(self._hashes)

    @property
    def names(self) -> list[str]:
        """Names of the keys."""
        return list(self._hashes)

    def name_of(self, key: str) -> str | None:
        """Whose key it is, or None. Every stored hash is compared, whichever fits."""
        found, digest = None, _digest(key)
        for name, stored in self._hashes.items():
            if hmac.compare_digest(stored, digest):
                found = name
        return found

    def add(self, name: str) -> str:
        """Make a key; this is the only time it can be seen.

        Raises:
            BadInput: the name is taken or not allowed.
            GlmTtsError: the file cannot be written.
        """
        name = checked_name(name)
        if self.path is None:
            raise BadInput("These keys have no file. Give one with --key-file.")
        if name in self._hashes:
            raise BadInput(f"A key named {name!r} exists. Choose another name, or remove it first.")
        key = PREFIX + secrets.token_urlsafe(32)
        self._hashes[name] = _digest(key)
        self._write()
        return key

    def remove(self, name: str) -> None:
        """Take a key away.

        Raises:
            BadInput: there is none of this name.
        """
        if name not in self._hashes:
            raise BadInput(f"No key named {name!r}. Known: {', '.join(self._hashes) or 'none'}.")
        del self._hashes[name]
        self._write()

    def _write(self) -> None:
        assert self.path is not None
        lines = [f"{n} {h}\n" for n, h in self._hashes.items() if n != "environment"]
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            draft = self.path.with_suffix(".tmp")
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.writelines(lines)
            draft.replace(self.path)
        except OSError as error:
            raise GlmTtsError(f"Cannot write the keys to {self.path} ({error}).") from error


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()


def _read(path: Path) -> dict[str, str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"Cannot read the keys in {path} ({error}).") from error
    hashes: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        name, _, digest = line.partition(" ")
        if len(digest) != 64 or set(digest) - set("0123456789abcdef"):
            raise BadInput(f"{path}:{number}: expected a name and a SHA-256, made by --add-key.")
        hashes[name] = digest
    return hashes
