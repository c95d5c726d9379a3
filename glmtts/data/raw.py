"""A folder of recordings: what is sound, and what is known of it. Read `recordings` first.

A transcript stands beside its recording (`talk.wav`, `talk.txt` or `talk.lab`), or in a table
anywhere in the folder: `metadata.csv`, `.tsv` or `.jsonl`. A table has a header naming its columns
(file, text, and if known speaker and language), or is in the form of LJSpeech, `name|text` without
a header.
"""

import csv
import json
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glmtts.errors import BadInput

_SOUND = (
    "3gp aac ac3 aif aiff aifc amr ape au avi caf flac flv g722 gsm m4a m4b m4v mka mkv mov mp2 "
    "mp3 mp4 mpeg mpg oga ogg opus ra rm spx tta wav w64 webm wma wv"
)
SOUND = frozenset(_SOUND.split())
"""Suffixes of files that are tried; other files are left alone."""
BESIDE = (".txt", ".lab")
TABLES = ("metadata.csv", "metadata.tsv", "metadata.jsonl")
COLUMNS = {
    "file": ("file", "file_name", "filename", "path", "audio", "wav", "id", "name"),
    "text": ("text", "transcript", "transcription", "sentence", "normalized_text"),
    "speaker": ("speaker", "speaker_id", "client_id"),
    "language": ("language", "lang", "locale"),
}
"""What the columns of tables are called elsewhere."""


@dataclass(frozen=True)
class Recording:
    """One file of the folder.

    Attributes:
        file: Path below the folder, with forward slashes.
        transcript: What it says; empty where nobody wrote it down.
        speaker: Label given in a table, or empty.
        language: "zh", "en", another code, or empty.
    """

    file: str
    transcript: str = ""
    speaker: str = ""
    language: str = ""

    @property
    def key(self) -> str:
        """A name for the files made of it: readable, safe, and unique by the path's checksum."""
        stem = re.sub(r"[^\w-]+", "-", Path(self.file).stem)[:40].strip("-") or "clip"
        return f"{stem}-{zlib.crc32(self.file.encode()):08x}"


def recordings(folder: Path) -> list[Recording]:
    """The recordings below `folder`, by path.

    Raises:
        BadInput: the folder is not there or holds no sound, or a table cannot be read.
    """
    if not folder.is_dir():
        raise BadInput(f"{folder} is not a folder. Expected one that holds recordings.")
    files = sorted(
        path for path in folder.rglob("*") if path.is_file() and not _hidden(path, folder)
    )
    sound = [path for path in files if path.suffix.lower().lstrip(".") in SOUND]
    if not sound:
        raise BadInput(f"No recordings in {folder}. Expected files such as wav, flac, mp3, m4a.")
    known: dict[str, dict[str, str]] = {}
    for path in files:
        if path.name.lower() in TABLES:
            known |= _table(path, folder)
    found: list[Recording] = []
    for path in sound:
        name = path.relative_to(folder).as_posix()
        row = known.get(name) or known.get(name.rsplit(".", 1)[0]) or {}
        text = row.get("text", "").strip() or _beside(path)
        language = row.get("language", "").lower()[:2]
        found.append(Recording(name, text, row.get("speaker", "").strip(), language))
    return found


def _hidden(path: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(folder).parts)


def _beside(path: Path) -> str:
    for suffix in BESIDE:
        if (twin := path.with_suffix(suffix)).is_file():
            text = twin.read_text(encoding="utf-8-sig", errors="replace")
            return " ".join(text.split())
    return ""


def _table(path: Path, folder: Path) -> dict[str, dict[str, str]]:
    """The rows of a table by the path of their recording below `folder`, with and without suffix.

    A row names its file relative to the table, or to a folder `wavs` or `clips` beside it.
    """
    rows: dict[str, dict[str, str]] = {}
    base = path.parent.relative_to(folder)
    for row in _rows(path):
        named = row["file"]
        for where in (base, base / "wavs", base / "clips"):
            rows[(where / named).as_posix()] = row
    return rows


def _rows(path: Path) -> Iterator[dict[str, str]]:
    text = path.read_text(encoding="utf-8-sig", errors="replace")
    lines = [line for line in text.splitlines() if line.strip()]
    if path.suffix == ".jsonl":
        for number, line in enumerate(lines, 1):
            try:
                yield _named(json.loads(line), path, number)
            except ValueError as error:
                raise BadInput(f"{path}, line {number}: not JSON ({error}).") from error
        return
    mark = "\t" if path.suffix == ".tsv" else ("|" if lines and "|" in lines[0] else ",")
    quoting = csv.QUOTE_NONE if mark == "|" else csv.QUOTE_MINIMAL
    parsed = list(csv.reader(lines, delimiter=mark, quoting=quoting))
    header = [cell.strip().lower() for cell in parsed[0]] if parsed else []
    titled = any(name in COLUMNS["file"] for name in header) and any(
        name in COLUMNS["text"] for name in header
    )
    if not titled:
        header = ["file", "text"]
    for number, cells in enumerate(parsed[int(titled) :], 1 + int(titled)):
        yield _named(dict(zip(header, cells, strict=False)), path, number)


def _named(row: dict[str, Any], path: Path, number: int) -> dict[str, str]:
    """A row under our own names of its columns."""
    out: dict[str, str] = {}
    for name, others in COLUMNS.items():
        value = next((row[other] for other in others if row.get(other)), "")
        out[name] = str(value)
    if not out["file"]:
        raise BadInput(
            f"{path}, line {number}: no file is named. Expected columns 'file' and 'text'."
        )
    return out
