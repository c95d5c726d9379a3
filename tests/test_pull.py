"""A release is brought from its hub whole, pinned and verified; no network is needed to try it."""

import hashlib
import http.server
import json
import shutil
import sys
import threading
import types
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from glmtts import hub
from glmtts.errors import BadInput, CheckpointError, MissingExtra, UnknownModel
from glmtts.hub import RECEIPT_FILE, RELEASES, Elsewhere, RemoteFile, pull, read_receipt
from tests import official
from tests.conftest import Run

NAME = "zai-org/GLM-TTS"
COMMIT = "c" * 40
CAMPPLUS = b"onnx of a speaker network"


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def remote(tmp_path: Path) -> Path:
    """A folder as the hub has it, with files nobody needs."""
    folder = tmp_path / "remote"
    names = (
        *("README.md", "llm/config.json", "llm/model.safetensors.index.json", "llm/notes.txt"),
        *("llm/model-00001-of-00002.safetensors", "llm/model-00002-of-00002.safetensors"),
        *("flow/config.yaml", "flow/flow.pt", "hift/hift.pt", "vocos2d/generator_jit.ckpt"),
        *("speech_tokenizer/config.json", "speech_tokenizer/model.safetensors"),
        *(f"vq32k-phoneme-tokenizer/{n}" for n in ("tokenizer.model", "tokenizer_config.json")),
        "vq32k-phoneme-tokenizer/tokenization_chatglm.py",
    )
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode() * 100)
    return folder


@pytest.fixture
def release(remote: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> hub.Release:
    """The official release, with the digests and addresses of `remote`."""
    campplus = tmp_path / "campplus.onnx"
    campplus.write_bytes(CAMPPLUS)
    known = "vq32k-phoneme-tokenizer/tokenizer.model"
    addresses = ((f"{tmp_path.as_uri()}/gone.onnx", None), (campplus.as_uri(), digest(CAMPPLUS)))
    value = replace(
        RELEASES[NAME],
        sha256={known: digest((remote / known).read_bytes())},
        elsewhere=(Elsewhere("frontend/campplus.onnx", addresses),),
    )
    monkeypatch.setitem(RELEASES, NAME, value)
    return value


class FolderHub:
    """A hub that is a folder."""

    def __init__(self, folder: Path, commit: str = COMMIT) -> None:
        self.folder, self.commit = folder, commit
        self.fetched: list[list[str]] = []
        self.asked: list[str] = []
        self.stops_after = 1_000

    def listing(self, repo: str, revision: str) -> tuple[str, dict[str, RemoteFile]]:
        self.asked.append(revision)
        paths = (path for path in self.folder.rglob("*") if path.is_file())
        files = {
            path.relative_to(self.folder).as_posix(): RemoteFile(
                path.stat().st_size, digest(path.read_bytes())
            )
            for path in paths
        }
        return self.commit, files

    def fetch(self, repo: str, revision: str, paths: list[str], folder: Path) -> None:
        self.fetched.append(paths)
        for number, path in enumerate(paths):
            if number == self.stops_after:
                raise ConnectionError("the line was cut")
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(self.folder / path, folder / path)


def test_only_what_is_needed_is_pulled_and_written_down(
    release: hub.Release, remote: Path, tmp_path: Path
) -> None:
    source, into = FolderHub(remote), tmp_path / "into"
    receipt = pull(NAME, into, hub=source)
    assert (receipt.source, receipt.repo, receipt.revision) == ("huggingface", NAME, COMMIT)
    found = {p.relative_to(into).as_posix() for p in into.rglob("*") if p.is_file()}
    assert found == {*receipt.files, RECEIPT_FILE, "frontend/campplus.onnx"}
    assert not any(path.endswith((".py", ".md", ".txt")) for path in found)
    assert len(receipt.files) == 12
    assert read_receipt(into) == receipt


def test_an_interrupted_pull_goes_on_at_the_same_commit(
    release: hub.Release, remote: Path, tmp_path: Path
) -> None:
    source, into = FolderHub(remote), tmp_path / "into"
    source.stops_after = 3
    with pytest.raises(CheckpointError, match=r"the line was cut.*goes on where it stopped"):
        pull(NAME, into, hub=source)
    source.stops_after = 1_000
    pull(NAME, into, hub=source)
    assert source.asked == ["main", COMMIT]
    pull(NAME, into, hub=source)
    assert len(source.fetched) == 2, "a complete folder was fetched again"


def test_another_revision_needs_another_folder(
    release: hub.Release, remote: Path, tmp_path: Path
) -> None:
    pull(NAME, tmp_path / "into", hub=FolderHub(remote))
    with pytest.raises(BadInput, match="--into"):
        pull(NAME, tmp_path / "into", revision="v2", hub=FolderHub(remote, "d" * 40))


def test_files_that_are_not_what_was_promised_are_refused(
    release: hub.Release, remote: Path, tmp_path: Path
) -> None:
    into = tmp_path / "into"
    pull(NAME, into, hub=FolderHub(remote))
    flow = into / "flow/flow.pt"
    flow.write_bytes(flow.read_bytes()[:-1] + b"x")
    with pytest.raises(CheckpointError, match=r"flow\.pt is damaged or was changed"):
        pull(NAME, into, hub=FolderHub(remote))

    vocabulary = remote / "vq32k-phoneme-tokenizer/tokenizer.model"  # the hub itself has changed it
    vocabulary.write_bytes(vocabulary.read_bytes()[::-1])
    with pytest.raises(CheckpointError, match=r"tokenizer\.model is damaged or was changed"):
        pull(NAME, tmp_path / "other", hub=FolderHub(remote))

    (remote / "hift/hift.pt").unlink()
    with pytest.raises(CheckpointError, match=r"holds no hift/hift\.pt.*layout has changed"):
        pull(NAME, tmp_path / "third", hub=FolderHub(remote))


def test_the_disk_must_have_room(
    release: hub.Release, remote: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: types.SimpleNamespace(free=10))
    with pytest.raises(BadInput, match="still to be downloaded"):
        pull(NAME, tmp_path / "into", hub=FolderHub(remote))


def test_a_file_from_elsewhere_is_taken_from_the_first_good_address(tmp_path: Path) -> None:
    bad, good = tmp_path / "bad", tmp_path / "good"
    bad.write_bytes(b"a page that says no")
    good.write_bytes(CAMPPLUS)
    pins = ((bad.as_uri(), digest(CAMPPLUS)), (good.as_uri(), digest(CAMPPLUS)))
    path = hub.fetch_elsewhere(Elsewhere("a/c.onnx", pins), tmp_path)
    assert path.read_bytes() == CAMPPLUS
    with pytest.raises(CheckpointError, match=r"SHA-256.*put it to"):
        hub.fetch_elsewhere(Elsewhere("a/d.onnx", pins[:1]), tmp_path)
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["c.onnx"]


def test_pull_and_convert_make_a_model_that_loads_by_name(
    glmtts: Run, release: hub.Release, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = official.build(tmp_path / "hub", vocos=lambda path: path.write_bytes(b"unused"))
    known = "vq32k-phoneme-tokenizer/tokenizer.model"
    graph = tmp_path / "graph.onnx"
    graph.write_bytes(official.campplus_bytes())
    address = ((graph.as_uri(), None),)
    changed = replace(
        release, sha256={known: digest((files / known).read_bytes())},
        elsewhere=(Elsewhere("frontend/campplus.onnx", address),),
    )  # fmt: skip
    monkeypatch.setitem(RELEASES, NAME, changed)
    monkeypatch.setitem(hub.HUBS, "huggingface", lambda: FolderHub(files))  # type: ignore[arg-type]
    models = tmp_path / "models"
    monkeypatch.setattr(hub, "models_folder", lambda: models)

    into = tmp_path / "into"
    result = glmtts("models", "pull", NAME, "--into", into)
    assert result.status == 0, result.err
    assert f"Next: glmtts convert glm-tts {into} {models / 'glm-tts'}" in result.err
    assert "glm-tts" not in hub.available_models()

    result = glmtts("models", "pull", NAME, "--into", into, "--convert")
    assert result.status == 0, result.err
    assert result.out.strip() == str(models / "glm-tts")
    assert hub.available_models() == ["glm-tts", "glmtts-nano"]
    assert hub.resolve("glm-tts") == models / "glm-tts"
    assert COMMIT in (models / "glm-tts/glmtts.json").read_text()
    rows = {row["name"]: row for row in json.loads(glmtts("models", "--json").out)}
    assert rows["glm-tts"]["bytes"] > 100_000
    assert rows["glm-tts"]["license"] == "MIT"

    again = glmtts("models", "pull", NAME, "--into", into, "--convert")
    assert again.status == 2
    assert "exists already" in again.err


def test_a_release_that_was_not_pulled_says_how(tmp_path: Path) -> None:
    with pytest.raises(UnknownModel, match=f"glmtts models pull {NAME} --convert"):
        hub.resolve(NAME)


def test_unknown_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownModel, match=NAME):
        pull("zai-org/other", tmp_path)
    with pytest.raises(BadInput, match="huggingface, modelscope"):
        pull(NAME, tmp_path, source="elsewhere")


# ----- the clients of the hubs --------------------------------------------------------------------


@pytest.fixture
def server(remote: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The Hugging Face protocol over HTTP, on this machine; the list holds what was asked."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer(body=True)

        def do_HEAD(self) -> None:
            self.answer(body=False)

        def answer(self, *, body: bool) -> None:
            path = self.path.partition("?")[0]
            asked.append(path)
            if path.startswith("/api/models/"):
                siblings: list[dict] = []
                tree: list[dict] = []
                for file in (p for p in remote.rglob("*") if p.is_file()):
                    name, size = file.relative_to(remote).as_posix(), file.stat().st_size
                    lfs = {"sha256": digest(file.read_bytes()), "size": size, "pointerSize": 130}
                    siblings.append({"rfilename": name, "size": size, "lfs": lfs})
                    lfs = {"oid": lfs["sha256"], "size": size, "pointerSize": 130}
                    tree.append(
                        {"type": "file", "path": name, "size": size, "oid": "b" * 40, "lfs": lfs}
                    )
                info = {"id": NAME, "sha": COMMIT, "siblings": siblings, "private": False}
                answer = tree if f"/tree/{COMMIT}" in path else info
                self.send(json.dumps(answer).encode(), {"Content-Type": "application/json"}, body)
            elif path.startswith(f"/{NAME}/resolve/{COMMIT}/"):
                data = (remote / path.removeprefix(f"/{NAME}/resolve/{COMMIT}/")).read_bytes()
                self.send(data, {"ETag": f'"{digest(data)}"', "X-Repo-Commit": COMMIT}, body)
            else:
                self.send_error(404)

        def send(self, data: bytes, headers: dict[str, str], body: bool) -> None:
            self.send_response(200)
            for key, value in {**headers, "Content-Length": str(len(data))}.items():
                self.send_header(key, value)
            self.end_headers()
            if body:
                self.wfile.write(data)

        def log_message(self, *arguments: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        address = f"http://127.0.0.1:{running.server_address[1]}"
        import huggingface_hub.constants

        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", address)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
        monkeypatch.setattr("huggingface_hub.hf_api.ENDPOINT", address, raising=False)
        monkeypatch.setattr(
            "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE",
            address + "/{repo_id}/resolve/{revision}/{filename}",
        )
        yield asked
        running.shutdown()
        thread.join()


def test_the_hugging_face_client_over_http(
    release: hub.Release, remote: Path, server: list[str], tmp_path: Path
) -> None:
    receipt = pull(NAME, tmp_path / "into")
    assert receipt.revision == COMMIT
    for path in receipt.files:
        assert (tmp_path / "into" / path).read_bytes() == (remote / path).read_bytes()
    assert any("/resolve/" in path for path in server)
    assert not any(path.endswith((".py", ".md")) for path in server)


def test_no_connection_is_one_sentence(
    release: hub.Release, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.hf_api.HfApi.model_info", refuse)
    with pytest.raises(CheckpointError, match=rf"Cannot list {NAME} at main.*Check the connection"):
        pull(NAME, tmp_path / "into")
    assert not (tmp_path / "into").exists()


def refuse(*arguments: Any, **more: Any) -> Any:
    raise ConnectionRefusedError("Connection refused")


def test_model_scope(
    release: hub.Release, remote: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder_hub = FolderHub(remote)

    class HubApi:
        def get_model_files(self, repo: str, revision: str, recursive: bool) -> list[dict]:
            assert (repo, revision, recursive) == ("ZhipuAI/GLM-TTS", "master", True)
            rows = folder_hub.listing(repo, revision)[1].items()
            files = [
                {"Path": path, "Size": file.size, "Sha256": file.sha256, "Type": "blob"}
                for path, file in rows
            ]
            return [*files, {"Path": "llm", "Type": "tree", "Size": 0}]

    def snapshot_download(
        repo: str, *, revision: str, allow_patterns: list[str], local_dir: str
    ) -> None:
        folder_hub.fetch(repo, revision, allow_patterns, Path(local_dir))

    api = types.SimpleNamespace(HubApi=HubApi)
    download = types.SimpleNamespace(snapshot_download=snapshot_download)
    monkeypatch.setitem(sys.modules, "modelscope", types.ModuleType("modelscope"))
    monkeypatch.setitem(sys.modules, "modelscope.hub", types.ModuleType("modelscope.hub"))
    monkeypatch.setitem(sys.modules, "modelscope.hub.api", api)
    monkeypatch.setitem(sys.modules, "modelscope.hub.snapshot_download", download)
    receipt = pull(NAME, tmp_path / "into", source="modelscope")
    assert (receipt.source, receipt.repo, len(receipt.files)) == (
        "modelscope", "ZhipuAI/GLM-TTS", 12,
    )  # fmt: skip


def test_model_scope_without_its_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "modelscope", None)
    with pytest.raises(MissingExtra, match=r"glmtts\[modelscope\]"):
        pull(NAME, tmp_path / "into", source="modelscope")
