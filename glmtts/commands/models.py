"""`glmtts models`: what is there, what can be had, and how to get it."""

from pathlib import Path
from typing import TypedDict

import platformdirs

from glmtts import hub
from glmtts.errors import BadInput, UnknownModel


class ModelDescription(TypedDict):
    """A row of `glmtts models list`; `bytes` is what it takes on this disk, 0 if it is not here."""

    name: str
    where: str
    bytes: int
    license: str
    about: str


def describe() -> list[ModelDescription]:
    """Models that load by name, then releases that can be pulled."""
    rows: list[ModelDescription] = []
    stored = hub.stored_models()
    for name, model in hub.MODELS.items():
        if name in stored:
            continue
        bundled = isinstance(model, hub.Bundled)
        size = folder_bytes(hub.ASSETS / model.folder) if isinstance(model, hub.Bundled) else 0
        rows.append(
            {
                "name": name, "where": "bundled" if bundled else "on first use", "bytes": size,
                "license": model.license, "about": model.about,
            }
        )  # fmt: skip
    releases = {release.model: release for release in hub.RELEASES.values()}
    for name, folder in stored.items():
        release = releases.get(name)
        rows.append(
            {
                "name": name, "where": str(folder), "bytes": folder_bytes(folder),
                "license": release.license if release else "see its README.md",
                "about": release.about if release else "",
            }
        )  # fmt: skip
    for name, release in hub.RELEASES.items():
        about = f"{release.about}; {release.gigabytes} GB to download"
        rows.append(
            {
                "name": name, "where": f"glmtts models pull {name} --convert", "bytes": 0,
                "license": release.license, "about": about,
            }
        )  # fmt: skip
    return rows


def folder_bytes(folder: Path) -> int:
    """What the files of a folder take."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def pull(
    name: str,
    *,
    source: str = "huggingface",
    revision: str | None = None,
    into: Path | None = None,
    convert: bool = False,
    out: Path | None = None,
    vocoder: str = "hift",
    dtype: str = "float32",
) -> Path:
    """Download a release, and convert it if asked to; the folder of the model, or of the download.

    Raises:
        UnknownModel: there is no such release.
        BadInput: the disk is too small, or a folder holds something else.
        CheckpointError: the download failed or is damaged.
    """
    if name not in hub.RELEASES:
        others = f" {name} needs no pull: it is a model already." if name in hub.MODELS else ""
        raise UnknownModel(
            f"No release named {name!r} to pull.{others} Known: {', '.join(hub.RELEASES)}."
        )
    from glmtts.commands.say import tell  # which brings torch; listing models does without

    release = hub.RELEASES[name]
    into = into or cache_folder() / name.replace("/", "--")
    out = out or hub.models_folder() / release.model
    if convert and out.exists() and any(out.iterdir()):
        raise BadInput(f"{out} exists already. Remove it, or give another folder with --out.")
    receipt = hub.pull(name, into, source=source, revision=revision)
    size = sum(file.size for file in receipt.files.values())
    tell(f"{into}: {receipt.repo} at {receipt.revision}, {size / 1e9:.1f} GB")
    if not convert:
        tell(f"Next: glmtts convert glm-tts {into} {out}")
        return into
    from glmtts.commands.convert import glm_tts

    out.parent.mkdir(parents=True, exist_ok=True)
    glm_tts(into, out, vocoder=vocoder, dtype=dtype, name=release.model)
    tell(f"{into} is not needed any more and can be removed.")
    return out


def cache_folder() -> Path:
    """Where downloads go on this platform."""
    return platformdirs.user_cache_path("glmtts", appauthor=False)
