import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from glmtts.convert import whisper as convert
from glmtts.data import packages, whisper
from glmtts.data.packages import Package, PackageError

D, MELS, POSITIONS = 4, 3, 6
TYPES = {"float32": 0, "int8": 1, "float16": 4}


def string(text: str) -> bytes:
    return struct.pack("<H", len(text) + 1) + text.encode() + b"\0"


def model_bin(variables: dict[str, np.ndarray], aliases: dict[str, str], version: int = 6) -> bytes:
    out = struct.pack("<I", version) + string("WhisperSpec") + struct.pack("<II", 3, len(variables))
    for name, value in variables.items():
        out += (
            string(name)
            + struct.pack("<B", value.ndim)
            + struct.pack(f"<{value.ndim}I", *value.shape)
        )
        out += struct.pack("<BI", TYPES[value.dtype.name], value.nbytes) + value.tobytes()
    out += struct.pack("<I", len(aliases))
    return out + b"".join(string(alias) + string(name) for alias, name in aliases.items())


@pytest.fixture
def variables() -> dict[str, np.ndarray]:
    """A one-layer whisper of width 4 as CTranslate2 names it."""
    rng = np.random.default_rng(0)

    def random(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(np.float16)

    layer = "encoder/layer_0"
    qkv_bias = random(3 * D)
    qkv_bias[D : 2 * D] = 0.0
    return {
        "encoder/conv1/weight": random(D, MELS, 3),
        "encoder/conv1/bias": random(D),
        "encoder/conv2/weight": random(D, D, 3),
        "encoder/conv2/bias": random(D),
        "encoder/num_heads": np.array(2, np.int8),
        "encoder/position_encodings/encodings": random(POSITIONS, D),
        "encoder/layer_norm/gamma": random(D),
        "encoder/layer_norm/beta": random(D),
        f"{layer}/self_attention/layer_norm/gamma": random(D),
        f"{layer}/self_attention/layer_norm/beta": random(D),
        f"{layer}/self_attention/linear_0/weight": random(3 * D, D),
        f"{layer}/self_attention/linear_0/bias": qkv_bias,
        f"{layer}/self_attention/linear_1/weight": random(D, D),
        f"{layer}/self_attention/linear_1/bias": random(D),
        f"{layer}/ffn/layer_norm/gamma": random(D),
        f"{layer}/ffn/layer_norm/beta": random(D),
        f"{layer}/ffn/linear_0/weight": random(8, D),
        f"{layer}/ffn/linear_0/bias": random(8),
        f"{layer}/ffn/linear_1/weight": random(D, 8),
        f"{layer}/ffn/linear_1/bias": random(D),
        "decoder/embeddings/weight": random(5, D),
    }


def test_every_variable_and_alias_is_read(variables: dict[str, np.ndarray]):
    found = whisper.read_ct2(
        model_bin(variables, {"decoder/projection/weight": "decoder/embeddings/weight"})
    )
    assert set(found) == {*variables, "decoder/projection/weight"}
    for name, value in variables.items():
        np.testing.assert_array_equal(found[name], value)
        assert found[name].dtype == value.dtype
    assert found["decoder/projection/weight"] is found["decoder/embeddings/weight"]


def test_the_encoder_gets_hugging_face_names(variables: dict[str, np.ndarray]):
    state = whisper.encoder_state(variables)
    linear = {"weight", "bias"}
    expected = {"embed_positions.weight", "layers.0.self_attn.k_proj.weight"}
    for module in (
        "conv1", "conv2", "layer_norm", "layers.0.self_attn_layer_norm",
        "layers.0.final_layer_norm", "layers.0.fc1", "layers.0.fc2",
        "layers.0.self_attn.q_proj", "layers.0.self_attn.v_proj", "layers.0.self_attn.out_proj",
    ):  # fmt: skip
        expected |= {f"{module}.{kind}" for kind in linear}
    assert set(state) == expected
    stacked = variables["encoder/layer_0/self_attention/linear_0/weight"]
    for row, letter in enumerate("qkv"):
        np.testing.assert_array_equal(
            state[f"layers.0.self_attn.{letter}_proj.weight"], stacked[row * D : (row + 1) * D]
        )
    np.testing.assert_array_equal(
        state["layers.0.fc1.weight"], variables["encoder/layer_0/ffn/linear_0/weight"]
    )


def test_a_key_bias_is_refused(variables: dict[str, np.ndarray]):
    variables["encoder/layer_0/self_attention/linear_0/bias"][D] = 1.0
    with pytest.raises(PackageError, match="key bias"):
        whisper.encoder_state(variables)


def test_damaged_files_are_refused(variables: dict[str, np.ndarray]):
    data = model_bin(variables, {})
    with pytest.raises(PackageError, match="cut short"):
        whisper.read_ct2(data[:-20])
    with pytest.raises(PackageError, match="left over"):
        whisper.read_ct2(data + b"more")
    with pytest.raises(PackageError, match="version field 5"):
        whisper.read_ct2(model_bin(variables, {}, version=5))


def wheel(path: Path, name: str, data: bytes) -> Package:
    import hashlib

    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, data)
        archive.writestr(f"{path.stem}.dist-info/METADATA", "Name: x")
    return Package(path.name.split("-")[0], "1.0", hashlib.sha256(path.read_bytes()).hexdigest())


def test_a_model_in_two_wheels_becomes_one_file(
    variables: dict[str, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    import hashlib

    data = model_bin(variables, {})
    parts = tuple(
        wheel(tmp_path / f"part{i}-1.0-py3-none-any.whl", f"part{i}/data/model.bin.part{i}", half)
        for i, half in enumerate((data[:500], data[500:]), 1)
    )
    monkeypatch.setattr(whisper, "PACKAGES", parts)
    with pytest.raises(PackageError, match="another model"):
        whisper.whisper_base_encoder(tmp_path)
    monkeypatch.setattr(whisper, "MODEL_SHA256", hashlib.sha256(data).hexdigest())
    convert.save_encoder(tmp_path / "out.safetensors", tmp_path)
    saved = load_file(tmp_path / "out.safetensors")
    expected = whisper.encoder_state(variables)
    assert set(saved) == set(expected)
    for key, value in expected.items():
        np.testing.assert_array_equal(saved[key], value)


def test_a_file_with_another_digest_is_refused(tmp_path: Path):
    package = wheel(tmp_path / "thing-1.0-py3-none-any.whl", "a.txt", b"one")
    assert packages.read_member(package.fetch(tmp_path), "a.txt") == b"one"
    wheel(tmp_path / "thing-1.0-py3-none-any.whl", "a.txt", b"two")
    with pytest.raises(PackageError, match="not the pinned file"):
        package.fetch(tmp_path)
