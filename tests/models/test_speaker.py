import copy
import io
import pickle
import sys
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import torch

from glmtts import checkpoint
from glmtts.audio import Audio, kaldi_fbank, mel_basis, sinc_resampled
from glmtts.convert import resemblyzer
from glmtts.convert.official_speaker import campplus_encoder
from glmtts.errors import BadAudio, BadInput, CheckpointError, MissingExtra
from glmtts.speaker import SpeakerConfig, SpeakerEncoder

TINY = SpeakerConfig(hidden=12, layers=2, dims=8)


@pytest.fixture
def tiny() -> SpeakerEncoder:
    torch.manual_seed(0)
    return SpeakerEncoder(TINY).eval()


def voice(seconds: float, pitch: float, rate: int = 16_000, level: float = 0.1) -> Audio:
    time = torch.arange(round(seconds * rate)) / rate
    wave = sum(torch.sin(2 * torch.pi * pitch * k * time) / k for k in range(1, 9))
    assert isinstance(wave, torch.Tensor)
    return Audio(level * wave * (0.1 + torch.sin(torch.pi * 4 * time).abs()), rate)


@pytest.mark.parametrize("seconds", [0.05, 0.5, 1.6, 3.5, 12.0])
def test_any_length_gives_one_unit_vector(tiny: SpeakerEncoder, seconds: float) -> None:
    vector = tiny.embed(voice(seconds, 120))
    assert vector.shape == (8,)
    assert vector.dtype == torch.float32
    assert float(vector.norm()) == pytest.approx(1.0, abs=1e-5)


def test_a_batch_gives_what_its_sounds_give_alone(tiny: SpeakerEncoder) -> None:
    sounds = [voice(s, p) for s, p in ((0.4, 90), (5.0, 200), (2.0, 150))]
    together = tiny.embed_batch(sounds, batch_size=3)
    assert together.shape == (3, 8)
    for row, sound in zip(together, sounds, strict=True):
        torch.testing.assert_close(row, tiny.embed(sound), atol=1e-5, rtol=1e-4)
    assert tiny.embed_batch([]).shape == (0, 8)


def test_rate_quiet_recording_and_long_silences_hardly_matter(tiny: SpeakerEncoder) -> None:
    plain = tiny.embed(voice(3.2, 130, level=0.02))
    rate = tiny.embed(voice(3.2, 130, rate=44_100, level=0.02))
    assert float(plain @ rate) > 0.999
    sound = voice(3.2, 130).samples
    pause = torch.zeros(32_000)
    late = Audio(torch.cat([pause, sound, pause, pause]), 16_000)
    direct = tiny.embed(Audio(sound, 16_000))
    assert float(direct @ tiny.embed(late)) > 0.99


def test_silence_emptiness_and_broken_samples_are_refused(tiny: SpeakerEncoder) -> None:
    for samples in (torch.zeros(0), torch.zeros(16_000), torch.full((16_000,), float("nan"))):
        with pytest.raises(BadAudio, match="speaker"):
            tiny.embed(Audio(samples, 16_000))


def test_windows_overlap_by_half_and_cover_the_sound(tiny: SpeakerEncoder) -> None:
    for seconds, count in ((0.5, 1), (1.6, 1), (2.2, 2), (2.9, 3), (16.0, 20)):
        windows = tiny._windows(voice(seconds, 120))
        assert windows.shape == (count, 160, 40)


def test_the_mel_is_the_power_of_centred_windows(tiny: SpeakerEncoder) -> None:
    samples = voice(0.5, 300).samples
    mel = tiny._mel(samples).numpy()
    padded = np.pad(samples.numpy().astype(np.float64), 200)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    frame = np.abs(np.fft.rfft(padded[20 * 160 : 20 * 160 + 400] * window)) ** 2
    expected = mel_basis(16_000, 400, 40, 0.0, 8_000.0).numpy() @ frame
    assert mel.shape == (51, 40)
    np.testing.assert_allclose(mel[20], expected, rtol=1e-4, atol=1e-7)


def test_the_lstm_is_the_textbook_one(tiny: SpeakerEncoder) -> None:
    mels = torch.rand(2, 5, 40)
    weights = tiny.state_dict()
    x = mels
    for layer in range(TINY.layers):
        h = c = torch.zeros(2, TINY.hidden)
        steps = []
        for step in x.unbind(1):
            gates = (
                step @ weights[f"lstm.weight_ih_l{layer}"].T + weights[f"lstm.bias_ih_l{layer}"]
                + h @ weights[f"lstm.weight_hh_l{layer}"].T + weights[f"lstm.bias_hh_l{layer}"]
            )  # fmt: skip
            i, f, g, o = gates.chunk(4, dim=1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
            steps.append(h)
        x = torch.stack(steps, dim=1)
    expected = torch.relu(x[:, -1] @ weights["linear.weight"].T + weights["linear.bias"])
    expected = expected / expected.norm(dim=1, keepdim=True)
    torch.testing.assert_close(tiny(mels), expected)


def test_a_saved_encoder_loads_as_it_was(tiny: SpeakerEncoder, tmp_path) -> None:
    checkpoint.save(tiny, tmp_path / "speaker")
    again = checkpoint.load(SpeakerEncoder, tmp_path / "speaker")
    assert again.config == TINY
    sound = voice(2, 140)
    assert torch.equal(again.embed(sound), tiny.embed(sound))


def wheel_of(content: object, path, member: str = resemblyzer.WEIGHTS):
    data = io.BytesIO()
    torch.save(content, data)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(member, data.getvalue())
    return path


def test_the_published_layout_converts(tmp_path) -> None:
    source = SpeakerEncoder(SpeakerConfig())
    extra = {"similarity_weight": torch.ones(1), "similarity_bias": torch.ones(1)}
    stored = {"step": 1, "model_state": {**source.state_dict(), **extra}, "optimizer_state": {}}
    made = resemblyzer.convert(wheel_of(stored, tmp_path / "a.whl"), sha256=None)
    assert made.config == SpeakerConfig()
    for key, value in source.state_dict().items():
        assert torch.equal(made.state_dict()[key], value)


def test_other_packages_are_refused(tmp_path) -> None:
    path = tmp_path / "a.whl"
    with pytest.raises(CheckpointError, match="pip download"):
        resemblyzer.convert(path)
    path.write_bytes(b"no zip")
    with pytest.raises(CheckpointError, match="pip download"):
        resemblyzer.convert(path)
    with pytest.raises(CheckpointError, match="pip download"):
        resemblyzer.convert(wheel_of({}, path, member="other.pt"))
    with pytest.raises(CheckpointError, match="SHA-256"):
        resemblyzer.convert(wheel_of({}, path))
    with pytest.raises(CheckpointError, match="does not hold the encoder"):
        resemblyzer.convert(wheel_of({"model_state": {}}, path), sha256=None)


def message(*fields: tuple[int, int | bytes | str]) -> bytes:
    """A protocol buffer of numbers, texts and messages."""

    def varint(value: int) -> bytes:
        low, rest = value & 0x7F, value >> 7
        return bytes([low | 0x80]) + varint(rest) if rest else bytes([low])

    out = b""
    for number, value in fields:
        if isinstance(value, int):
            out += varint(number << 3) + varint(value)
        else:
            data = value.encode() if isinstance(value, str) else value
            out += varint(number << 3 | 2) + varint(len(data)) + data
    return out


def tiny_graph(weights: torch.Tensor) -> bytes:
    """An ONNX file: the largest value of each mel bin (B, F, M) -> (B, M), times weights (M, E)."""

    def value(name: str, *dims: int | str) -> bytes:
        sizes = [(1, message((1 if isinstance(d, int) else 2, d))) for d in dims]
        return message((1, name), (2, message((1, message((1, 1), (2, message(*sizes)))))))

    axes = message((1, "axes"), (8, 1), (20, 7))
    keep = message((1, "keepdims"), (3, 0), (20, 2))
    mels, dims = weights.shape
    tensor = message((1, mels), (1, dims), (2, 1), (8, "w"), (9, weights.numpy().tobytes()))
    graph = message(
        (1, message((1, "feats"), (2, "m"), (4, "ReduceMax"), (5, axes), (5, keep))),
        (1, message((1, "m"), (1, "w"), (2, "embs"), (4, "MatMul"))),
        (2, "tiny"), (5, tensor), (11, value("feats", "B", "T", mels)),
        (12, value("embs", "B", dims)),
    )  # fmt: skip
    return message((1, 8), (7, graph), (8, message((1, ""), (2, 13))))


@pytest.fixture(scope="module")
def projection() -> torch.Tensor:
    torch.manual_seed(0)
    return torch.randn(80, 192)


@pytest.fixture(scope="module")
def campplus(projection: torch.Tensor) -> SpeakerEncoder:
    return SpeakerEncoder(SpeakerConfig.official(), tiny_graph(projection)).eval()


def test_campplus_hears_the_whole_sound_as_kaldi_does(
    campplus: SpeakerEncoder, projection: torch.Tensor
) -> None:
    sound = voice(1.3, 150, rate=24_000)
    features = kaldi_fbank(sinc_resampled(sound.samples, 24_000, 16_000))
    assert features.shape == (128, 80)
    expected = (features - features.mean(0)).amax(0) @ projection
    vector = campplus.embed(sound)
    assert vector.shape == (192,)
    torch.testing.assert_close(vector, expected / expected.norm(), atol=1e-5, rtol=1e-4)
    both = campplus.embed_batch([voice(0.4, 90), sound])
    torch.testing.assert_close(both[1], vector)
    assert campplus.embed_batch([]).shape == (0, 192)


def test_campplus_is_kept_beside_its_configuration(campplus: SpeakerEncoder, tmp_path) -> None:
    checkpoint.save(campplus, tmp_path / "speaker")
    assert (tmp_path / "speaker" / "campplus.onnx").read_bytes() == campplus.blob
    loaded = checkpoint.load(SpeakerEncoder, tmp_path / "speaker")
    sound = voice(1.0, 140)
    expected = campplus.embed(sound)
    converted = campplus_encoder(tmp_path / "speaker" / "campplus.onnx")
    for again in (loaded, converted, copy.deepcopy(campplus), pickle.loads(pickle.dumps(campplus))):
        assert again.config == SpeakerConfig.official()
        assert torch.equal(again.embed(sound), expected)
    (tmp_path / "speaker" / "campplus.onnx").unlink()
    with pytest.raises(CheckpointError, match=r"campplus\.onnx"):
        checkpoint.load(SpeakerEncoder, tmp_path / "speaker")
    with pytest.raises(CheckpointError, match=r"campplus\.onnx"):
        campplus_encoder(tmp_path / "speaker" / "campplus.onnx")
    (tmp_path / "empty.onnx").write_bytes(b"")
    with pytest.raises(CheckpointError, match="is empty"):
        campplus_encoder(tmp_path / "empty.onnx")


def test_campplus_says_what_it_lacks(
    campplus: SpeakerEncoder, projection: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound, config = voice(0.5, 140), SpeakerConfig.official()
    with pytest.raises(CheckpointError, match="cannot be read"):
        SpeakerEncoder(config, b"not a graph").embed(sound)
    with pytest.raises(CheckpointError, match="gives 7 numbers, the configuration says 192"):
        SpeakerEncoder(config, tiny_graph(projection[:, :7].contiguous())).embed(sound)
    with pytest.raises(CheckpointError, match="does not take an input"):
        SpeakerEncoder(replace(config, n_mels=40), campplus.blob).embed(sound)
    for samples in (torch.zeros(0), torch.zeros(16_000), torch.full((16_000,), float("nan"))):
        with pytest.raises(BadAudio, match="speaker"):
            campplus.embed(Audio(samples, 16_000))
    with pytest.raises(BadAudio, match="20 ms"):
        campplus.embed(voice(0.02, 140))
    with pytest.raises(BadInput, match="Known: ge2e, campplus"):
        SpeakerEncoder(replace(config, kind="other"))
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtra, match=r"pip install 'glmtts\[official\]'"):
        SpeakerEncoder(config, campplus.blob).embed(sound)
