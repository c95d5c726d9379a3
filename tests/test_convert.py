"""The released checkpoint becomes a model that speaks, or one sentence says why not."""

import errno
import json
import math
import os
import pickle
import shutil
import signal
import warnings
import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from glmtts import checkpoint
from glmtts.convert import glm_tts
from glmtts.convert.ckpt_files import open_shards, pickled, write_component, yaml_mapping
from glmtts.convert.glm_tts import Options, convert
from glmtts.errors import BadInput, CheckpointError
from glmtts.lm import TextToSpeechTokens
from glmtts.model_folder import read_manifest
from glmtts.synthesizer import Synthesizer
from glmtts.voice import Prompt, Turn
from tests import official
from tests.conftest import Run
from tests.tiny import buzz

TEXT = "vq32k-phoneme-tokenizer"


def vocos(path: Path) -> None:
    """A TorchScript vocoder of 32 kHz that hums; its input is (B, F, 80)."""

    class Hum(torch.nn.Module):
        def forward(self, mel: Tensor) -> Tensor:
            loud = mel.mean(2).repeat_interleave(640, 1).sigmoid() + 0.1
            return 0.1 * loud * torch.sin(torch.arange(loud.shape[1]) * 0.03)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the release uses it nevertheless
        torch.jit.script(Hum()).save(str(path))


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint at tiny size; nobody changes it."""
    folder = tmp_path_factory.mktemp("released") / "ckpt"
    folder.mkdir()
    return official.build(folder, campplus=official.campplus_bytes(), vocos=vocos)


@pytest.fixture
def ckpt(released: Path, tmp_path: Path) -> Path:
    """A copy to be damaged."""
    return Path(shutil.copytree(released, tmp_path / "ckpt"))


@pytest.fixture(scope="module")
def model(released: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The converted model; nobody changes it."""
    return convert(released, tmp_path_factory.mktemp("converted") / "glm-tts")


def left_behind(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name not in ("ckpt", "clip.wav"))


# ----- what comes out -----------------------------------------------------------------------------


def test_the_manifest_has_the_official_settings(model: Path) -> None:
    manifest = read_manifest(model)
    assert (manifest.phonemes, manifest.foreign_prompts, manifest.voice_dbfs) == (False, True, None)
    assert (manifest.history_tokens, manifest.prompt_tokens) == (750, 750)
    assert (manifest.sentence_length, manifest.top_p, manifest.candidates) == (60, 0.8, 1)
    assert (manifest.flow_steps, manifest.flow_guidance) == (10, 0.7)
    assert (manifest.audio.sample_rate, manifest.audio.tokens_per_second) == (24_000, 25.0)
    assert manifest.license == "MIT"
    assert "zai-org/GLM-TTS" in (model / "README.md").read_text()


def test_every_tensor_arrives(model: Path, released: Path) -> None:
    shards = open_shards(released / "llm")
    lm = load_file(model / "lm/model.safetensors")
    assert lm.keys() == set(shards)
    assert all(torch.equal(lm[key], shards[key]) for key in shards)
    flow = load_file(model / "flow/model.safetensors")
    theirs = pickled(released / "flow/flow.pt")
    assert flow.keys() == theirs.keys() - {"estimator.rotary_embed.inv_freq"}
    assert all(torch.equal(flow[key], theirs[key]) for key in flow)
    heard = load_file(model / "speech_tokenizer/model.safetensors")
    whisper = open_shards(released / "speech_tokenizer")
    assert torch.equal(heard["quantizer.weight"], whisper["model.encoder.codebook.weight"])
    layer = "layers.1.fc1.weight"
    assert torch.equal(heard[f"encoder.{layer}"], whisper[f"model.encoder.{layer}"])
    assert not any(key.startswith("encoder.layers.2") for key in heard)
    graph = (model / "speaker/campplus.onnx").read_bytes()
    assert graph == (released / "campplus.onnx").read_bytes()


def test_named_ids_reach_the_language_model(model: Path) -> None:
    synthesizer = Synthesizer.load(model, device="cpu")
    special, config = synthesizer.text_tokenizer.special, synthesizer.lm.config
    ids = (config.speech_start, config.end_id, config.begin_audio_id, config.pad_id)
    assert ids == (special.ats, special.eoa, special.boa, special.pad)
    assert config.speech_count == special.speech_count == official.Sizes().codes
    assert synthesizer.text_tokenizer.encode("<|user|>") == [special.eoa]
    assert synthesizer.text_tokenizer.encode("<|audio_0|><|ANG3|>")[0] == special.ats


def test_the_prompt_is_laid_out_as_the_model_was_taught(model: Path) -> None:
    """Transcript and a space, text, BOA, speech ids moved behind the text's (spec §2.1)."""
    synthesizer = Synthesizer.load(model, device="cpu")
    encode, lm = synthesizer.text_tokenizer.encode, synthesizer.lm
    voice = synthesizer.encoder(buzz(2.0), "Hello there! 你好")
    assert voice.prompt.turns[0].text_ids == tuple(encode("hello there。你好。 "))
    assert encode("。 ") != encode("。")
    heard: list[list[int]] = []
    sequence = lm.sequence
    lm.sequence = lambda ids, prompt: heard.append(sequence(ids, prompt)) or heard[-1]  # type: ignore
    next(synthesizer.stream("今天、天气不错！", voice))
    special = synthesizer.text_tokenizer.special
    assert heard[0] == [
        *encode("hello there。你好。 "), *encode("今天，天气不错。"), special.boa,
        *(special.ats + token for token in voice.speech_tokens),
    ]  # fmt: skip


@pytest.mark.parametrize(("vocoder", "rate"), [("hift", 24_000), ("vocos2d", 32_000)])
def test_from_the_released_files_to_a_sound(
    glmtts: Run, released: Path, tmp_path: Path, vocoder: str, rate: int
) -> None:
    out, clip, spoken = tmp_path / "m", tmp_path / "clip.wav", tmp_path / "out.wav"
    buzz(2.0).save(clip)
    result = glmtts("convert", "glm-tts", released, out, "--vocoder", vocoder,
                    "--dtype", "bfloat16")  # fmt: skip
    assert result.status == 0, result.err
    assert str(out) in result.out
    lm = load_file(out / "lm/model.safetensors")
    assert {value.dtype for value in lm.values()} == {torch.bfloat16}
    result = glmtts("say", "今天天气不错。Hello!", "--model", out, "--voice", clip,
                    "--transcript", "你好。", "--seed", 1, "-o", spoken)  # fmt: skip
    assert result.status == 0, result.err
    samples, found = soundfile.read(spoken)
    assert found == rate
    assert len(samples) > rate // 2
    assert abs(samples).max() > 0


# ----- what goes wrong ----------------------------------------------------------------------------


def rewrite_shard(folder: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    """Change the second shard of a folder (its only file if there is one), not the index."""
    path = sorted(folder.glob("model*.safetensors"))[-1]
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


def rename(key: str, new: str) -> Callable[[dict[str, Tensor]], object]:
    return lambda tensors: tensors.update({new: tensors.pop(key)})


def truncate(path: Path, share: float = 0.5) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])


def rewrite_pickle(path: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    state = torch.load(path)
    state = state.get("model", state)
    change(state)
    torch.save(state, path)


def edit_json(path: Path, change: Callable[[dict], object]) -> None:
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


def rename_added(name: str, new: str) -> Callable[[dict], object]:
    def change(data: dict) -> None:
        for entry in data["added_tokens_decoder"].values():
            if entry["content"] == name:
                entry["content"] = new

    return change


def swap_speech_ids(data: dict) -> None:
    entries = {e["content"]: i for i, e in data["added_tokens_decoder"].items()}
    last = entries["<|audio_31|>"]
    data["added_tokens_decoder"][str(int(last) + 50)] = data["added_tokens_decoder"].pop(last)


NORM = "model.norm.weight"
ALPHA = "resblocks.0.activations1.0.alpha"
WHISPER = "model.encoder.conv1.bias"
FLOW = "estimator.proj_out.bias"
LLM, SPEECH = "llm", "speech_tokenizer"

DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "no file": (lambda c: (c / "hift/hift.pt").unlink(), r"hift\.pt is missing"),
    "no vocabulary": (
        lambda c: (c / TEXT / "tokenizer.model").unlink(), r"tokenizer\.model is missing",
    ),
    "no shard": (
        lambda c: (c / "llm/model-00002-of-00002.safetensors").unlink(),
        r"model-00002-of-00002\.safetensors is missing",
    ),
    "no speech tokenizer": (
        lambda c: (c / "speech_tokenizer/model.safetensors").unlink(),
        r"holds no model\.safetensors",
    ),
    "no speaker network": (
        lambda c: (c / "campplus.onnx").unlink(), r"campplus\.onnx is not among.*--campplus",
    ),
    "cut shard": (
        lambda c: truncate(c / "llm/model-00001-of-00002.safetensors"),
        r"model-00001-of-00002\.safetensors is damaged or was cut short.*Download",
    ),
    "cut header": (
        lambda c: truncate(c / "llm/model-00001-of-00002.safetensors", 1e-4),
        r"model-00001-of-00002\.safetensors is damaged or was cut short.*Download",
    ),
    "cut pickle": (lambda c: truncate(c / "flow/flow.pt"), r"flow\.pt is damaged or was cut"),
    "cut vocabulary": (
        lambda c: truncate(c / TEXT / "tokenizer.model", 0.3), r"tokenizer\.model",
    ),
    "cut index": (
        lambda c: truncate(c / "llm/model.safetensors.index.json"), r"Cannot read .*index\.json",
    ),
    "renamed in a shard": (
        lambda c: rewrite_shard(c / LLM, rename(NORM, "model.norm.scale")),
        r"'model\.norm\.weight' is not in model-00002",
    ),
    "renamed everywhere": (
        lambda c: (
            rewrite_shard(c / LLM, rename(NORM, "model.norm.scale")),
            edit_json(
                c / "llm/model.safetensors.index.json",
                lambda d: d["weight_map"].update({"model.norm.scale": d["weight_map"].pop(NORM)}),
            ),
        ),
        r"llm.*'model\.norm\.weight'",
    ),
    "one too many": (
        lambda c: rewrite_shard(c / LLM, lambda t: t.update({"extra": torch.ones(1)})),
        r"'extra'",
    ),
    "renamed in the flow": (
        lambda c: rewrite_pickle(c / "flow/flow.pt", rename(FLOW, "estimator.out.bias")),
        r"flow.*'estimator\.proj_out\.bias'",
    ),
    "renamed in the vocoder": (
        lambda c: rewrite_pickle(c / "hift/hift.pt", rename(ALPHA, "resblocks.0.beta")),
        r"hift.*resblocks\.0",
    ),
    "renamed in the speech tokenizer": (
        lambda c: rewrite_shard(c / SPEECH, rename(WHISPER, "model.encoder.conv1.b")),
        r"speech_tokenizer.*conv1\.b",
    ),
    "another shape": (
        lambda c: rewrite_shard(c / LLM, lambda t: t.update({NORM: torch.ones(3)})),
        r"'model\.norm\.weight'.*\(3,\).*\(32,\)",
    ),
    "not numbers": (
        lambda c: rewrite_shard(c / LLM, lambda t: t[NORM].fill_(float("nan"))),
        r"'model\.norm\.weight' holds values that are not numbers",
    ),
    "wrong vocabulary": (
        lambda c: edit_json(
            c / TEXT / "tokenizer_config.json", rename_added("<|begin_of_audio|>", "<|boa|>")
        ),
        r"no token <\|begin_of_audio\|>",
    ),
    "vocabulary without speech": (
        lambda c: edit_json(
            c / TEXT / "tokenizer_config.json", rename_added("<|audio_0|>", "<|sound_0|>")
        ),
        r"no token <\|audio_0\|>",
    ),
    "speech ids not in a row": (
        lambda c: edit_json(c / TEXT / "tokenizer_config.json", swap_speech_ids),
        r"speech ids run from \d+ to \d+; 32 in a row",
    ),
    "vocabulary too small": (
        lambda c: edit_json(c / "llm/config.json", lambda d: d.update(vocab_size=500)),
        r"llm.*outside the vocabulary of 500",
    ),
    "another network": (
        lambda c: edit_json(c / "llm/config.json", lambda d: d.update(hidden_act="gelu")),
        r"hidden_act",
    ),
    "unknown flow setting": (
        lambda c: (c / "flow/config.yaml").write_text(official.FLOW_YAML + "    turbo: True\n"),
        r"config\.yaml.*'turbo'",
    ),
    "code in the yaml": (
        lambda c: (c / "flow/config.yaml").write_text(
            "flow: !new:flow.flow.Flow\n    mel_dim: !!python/object/apply:os.getpid []\n"
        ),
        r"config\.yaml: line 2",
    ),
    "no codebook size": (
        lambda c: edit_json(
            c / "speech_tokenizer/config.json", lambda d: d.pop("quantize_vocab_size")
        ),
        r"lacks quantize_vocab_size",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_one_sentence_and_leaves_nothing(name: str, ckpt: Path, glmtts: Run) -> None:
    damage, message = DAMAGE[name]
    damage(ckpt)
    with pytest.raises(CheckpointError, match=message):
        convert(ckpt, ckpt.parent / "out")
    result = glmtts("convert", "glm-tts", ckpt, ckpt.parent / "out")
    assert result.status == 2
    assert result.err.startswith("glmtts: ")
    assert result.err.count("\n") == 1
    assert left_behind(ckpt.parent) == []


@pytest.mark.parametrize("name", ["flow/flow.pt", "hift/hift.pt"])
@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_pickle_is_refused_and_not_run(ckpt: Path, name: str, zipped: bool) -> None:
    trace = ckpt.parent / "trace"

    class Malicious:
        def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
            return os.mkdir, (str(trace),)

    state = torch.load(ckpt / name)
    torch.save({**state, "hook": Malicious()}, ckpt / name, _use_new_zipfile_serialization=zipped)
    with pytest.raises(
        CheckpointError, match=r"\.pt holds more than tensors.*nothing of it was run"
    ):
        convert(ckpt, ckpt.parent / "out")
    (ckpt / name).write_bytes(pickle.dumps(Malicious()))
    with pytest.raises(
        CheckpointError, match=r"\.pt holds more than tensors.*nothing of it was run"
    ):
        convert(ckpt, ckpt.parent / "out")
    assert left_behind(ckpt.parent) == []
    pickle.loads((ckpt / name).read_bytes())  # the trap is a real one
    assert trace.is_dir()


def test_an_existing_folder_is_left_alone(released: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("precious")
    with pytest.raises(BadInput, match=r"out exists already"):
        convert(released, out)
    assert (out / "mine.txt").read_text() == "precious"
    with pytest.raises(BadInput, match="Choose a folder that exists"):
        convert(released, tmp_path / "no" / "out")
    with pytest.raises(CheckpointError, match="is not a folder"):
        convert(tmp_path / "nothing", tmp_path / "new")
    assert left_behind(tmp_path) == ["out"]


def test_an_empty_folder_is_filled(released: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    convert(released, tmp_path / "out")
    assert (tmp_path / "out/glmtts.json").is_file()
    assert left_behind(tmp_path) == ["out"]


def test_a_small_disk_is_noticed_first(
    released: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(BadInput, match=r"has 0\.0 GB free, the model takes 0\.1 GB"):
        convert(released, tmp_path / "out")
    assert left_behind(tmp_path) == []


@pytest.mark.parametrize("error", [
    OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt(), MemoryError(),
])  # fmt: skip
def test_what_stops_it_half_way_leaves_nothing(
    released: Path, tmp_path: Path, error: BaseException
) -> None:
    def progress(done: int, total: int) -> None:
        if done > total / 2:
            assert left_behind(tmp_path), "nothing has been written yet"
            raise error

    full = isinstance(error, OSError)
    with pytest.raises(BadInput if full else type(error)) as raised:
        convert(released, tmp_path / "out", progress=progress)
    assert not full or "is full" in str(raised.value)
    assert left_behind(tmp_path) == []


def test_a_disk_that_is_full_while_a_foreign_file_is_written(
    released: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint, "save", full)
    with pytest.raises(BadInput, match="is full"):
        convert(released, tmp_path / "out")
    assert left_behind(tmp_path) == []


def test_sigterm_removes_what_was_written(
    released: Path, tmp_path: Path, glmtts: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(*arguments: Any, **more: Any) -> int:
        count = write_component(*arguments, **more)
        assert left_behind(tmp_path), "nothing has been written yet"
        signal.raise_signal(signal.SIGTERM)
        return count

    monkeypatch.setattr(glm_tts, "write_component", write)
    result = glmtts("convert", "glm-tts", released, tmp_path / "out")
    assert result.status == 128 + signal.SIGTERM
    assert "nothing was left behind" in result.err
    assert left_behind(tmp_path) == []


# ----- memory, and small files --------------------------------------------------------------------


class Counted(Mapping[str, Tensor]):
    """Tensors made when asked for; knows how many bytes of them were alive at once."""

    def __init__(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self.shapes, self.alive, self.peak = shapes, 0, 0

    def __getitem__(self, key: str) -> Tensor:
        value = torch.ones(self.shapes[key])
        self.alive += value.nbytes
        self.peak = max(self.peak, self.alive)
        weakref.finalize(value, self.forget, value.nbytes)
        return value

    def forget(self, count: int) -> None:
        self.alive -= count

    def __iter__(self) -> Iterator[str]:
        return iter(self.shapes)

    def __len__(self) -> int:
        return len(self.shapes)


def test_one_tensor_is_in_memory_at_a_time(model: Path, tmp_path: Path) -> None:
    config = checkpoint.load_config(TextToSpeechTokens, model / "lm")
    tensors = Counted(official.llm_shapes(official.Sizes()))
    sizes = [4 * int(torch.tensor(shape).prod()) for shape in tensors.shapes.values()]
    for dtype in (torch.float32, torch.bfloat16):
        folder = tmp_path / str(dtype)
        write_component("x", TextToSpeechTokens, config, tensors, folder, dtype=dtype)
        loaded = checkpoint.load(TextToSpeechTokens, folder)
        assert all(bool((value == 1).all()) for value in loaded.state_dict().values())
    assert tensors.peak == max(sizes)


def test_the_plan_reads_no_large_tensor(
    released: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*arguments: object) -> Tensor:
        raise AssertionError("a tensor was read before its turn")

    monkeypatch.setattr("glmtts.convert.ckpt_files.Shards.__getitem__", never)
    special = glm_tts.write_text_tokenizer(released, tmp_path / "t")
    parts = glm_tts.released_parts(released, Options(), special)
    assert {part.name for part in parts} == {"lm", "flow", "speech_tokenizer", "vocoder"}


def test_a_head_that_is_tied_may_be_there_too(ckpt: Path) -> None:
    embedding = open_shards(ckpt / "llm")["model.embed_tokens.weight"].clone()
    index = ckpt / "llm/model.safetensors.index.json"
    last = "model-00002-of-00002.safetensors"
    edit_json(index, lambda d: d["weight_map"].update({"lm_head.weight": last}))
    rewrite_shard(ckpt / LLM, lambda t: t.update({"lm_head.weight": embedding}))
    out = convert(ckpt, ckpt.parent / "out")
    assert "lm_head.weight" not in load_file(out / "lm/model.safetensors")
    rewrite_shard(ckpt / LLM, lambda t: t.update({"lm_head.weight": embedding + 1}))
    with pytest.raises(CheckpointError, match="differs"):
        convert(ckpt, ckpt.parent / "other")


def test_the_speaker_network_may_lie_elsewhere(ckpt: Path, tmp_path: Path) -> None:
    graph = (ckpt / "campplus.onnx").rename(tmp_path / "my.onnx")
    out = convert(ckpt, tmp_path / "out", Options(campplus=graph))
    assert (out / "speaker/campplus.onnx").read_bytes() == graph.read_bytes()
    with pytest.raises(CheckpointError, match=r"none\.onnx does not exist"):
        convert(ckpt, tmp_path / "other", Options(campplus=tmp_path / "none.onnx"))
    (tmp_path / "frontend").mkdir()
    graph.rename(tmp_path / "frontend/campplus.onnx")  # a checkout of the code with ckpt in it
    convert(ckpt, tmp_path / "third")


@pytest.mark.parametrize("options", [{"dtype": "int8"}, {"vocoder": "griffin"}])
def test_unknown_options_are_refused(options: dict[str, str]) -> None:
    with pytest.raises(BadInput, match="Known"):
        Options(**options)  # pyright: ignore[reportArgumentType]


def test_yaml_is_read_as_plain_values(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("# made by hand\nflow: !new:a.b.C  # class\n  one: 1\n  x: 0.5\n  s: 'cosine'\n"
                    "  yes: True\n  no: null\n")  # fmt: skip
    assert yaml_mapping(path, "flow") == {
        "one": 1, "x": 0.5, "s": "cosine", "yes": True, "no": None,
    }  # fmt: skip
    wrong = ("", "flow: 3", "other:\n  a: 1", "flow:\n  a: 1\n  a: 2", "flow:\n  a: [1]",
             "flow:\n  a: !new:os.system x", "flow:\n  a: *b", "flow:\n  a: b: c")  # fmt: skip
    for text in wrong:
        path.write_text(text)
        with pytest.raises(CheckpointError, match=r"config\.yaml"):
            yaml_mapping(path, "flow")


# ----- the prompt of a long text ------------------------------------------------------------------


def test_history_makes_room_for_the_next_sentence() -> None:
    """Spec §2.5: while what was said and what is expected pass the limit, the oldest turn goes."""
    voice = Prompt((Turn((1, 2), (0,) * 20),), own=1)
    prompt = voice.extended((3,), (0,) * 10, limit=None).extended((4,), (0,) * 30, limit=None)
    assert len(prompt.turns) == 3
    # 60 tokens for 4 ids: 15 an id
    assert prompt.before(2, limit=90) == prompt
    assert prompt.before(3, limit=100).turns == (prompt.turns[0], prompt.turns[2])
    assert prompt.before(50, limit=100).turns == voice.turns
    assert Prompt().before(5) == Prompt()


def test_a_clip_is_heard_as_it_was_recorded(model: Path) -> None:
    synthesizer = Synthesizer.load(model, device="cpu")
    loud, quiet = buzz(2.0), buzz(2.0)
    quiet = replace(quiet, samples=quiet.samples * 0.5)
    difference = synthesizer.encoder(loud).mel - synthesizer.encoder(quiet).mel
    assert float(difference.median()) == pytest.approx(math.log(2), abs=1e-3)
