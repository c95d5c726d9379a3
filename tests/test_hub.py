"""A name or a path becomes a folder that holds what it should."""

import hashlib
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError

from glmtts import hub
from glmtts.errors import CheckpointError, UnknownModel
from glmtts.hub import MODEL_FILE, MODELS, Bundled, Pinned, resolve

CONTENT = b'{"format": 1}'


@pytest.fixture
def pinned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model "far" whose download lands in the returned folder."""
    folder = tmp_path / "snapshot"
    folder.mkdir()
    (folder / MODEL_FILE).write_bytes(CONTENT)
    digest = hashlib.sha256(CONTENT).hexdigest()
    model = Pinned("owner/far", "a" * 40, {MODEL_FILE: digest}, "A test", "MIT")
    monkeypatch.setitem(MODELS, "far", model)

    def download(repo: str, *, revision: str, allow_patterns: list[str]) -> str:
        assert (repo, revision, allow_patterns) == ("owner/far", "a" * 40, [MODEL_FILE])
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    return folder


def test_a_folder_with_a_model_wins_over_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = Path("glmtts-nano")
    folder.mkdir()
    (folder / MODEL_FILE).write_bytes(CONTENT)
    assert resolve("glmtts-nano") == folder


def test_every_bundled_model_is_in_the_package() -> None:
    for name, model in MODELS.items():
        if isinstance(model, Bundled):
            assert (resolve(name) / MODEL_FILE).is_file()


def test_a_missing_bundle_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(hub, "ASSETS", tmp_path)
    with pytest.raises(CheckpointError, match="missing from this installation"):
        resolve("glmtts-nano")


def test_an_unknown_name_lists_the_known(tmp_path: Path) -> None:
    with pytest.raises(UnknownModel, match=r"No model named 'nano'.*glmtts-nano"):
        resolve("nano")
    with pytest.raises(UnknownModel, match=r"holds no glmtts.json"):
        resolve(tmp_path)


def test_a_download_is_verified_once(pinned: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve("far") == pinned

    def fail(*args: Any) -> None:
        raise AssertionError("verified again")

    monkeypatch.setattr(hub, "verify", fail)
    assert resolve("far") == pinned


def test_a_download_that_is_not_what_was_pinned_is_refused(pinned: Path) -> None:
    (pinned / MODEL_FILE).write_bytes(CONTENT + b" ")
    with pytest.raises(CheckpointError, match="SHA-256"):
        resolve("far")
    (pinned / MODEL_FILE).unlink()
    with pytest.raises(CheckpointError, match="is missing"):
        resolve("far")


def test_a_failed_download_tells_what_to_do(pinned: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*args: Any, **kwargs: Any) -> str:
        raise LocalEntryNotFoundError("no connection")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(CheckpointError, match=r"owner/far.*Check the connection"):
        resolve("far")
