"""The official vocoders without recorded tensors: HiFT, its weights, TorchScript archives."""

import copy
import io
import math
import pickle
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from glmtts import checkpoint
from glmtts.audio import AudioSpec, log_mel
from glmtts.convert.official_hift import official_hift_config, official_hift_state
from glmtts.convert.official_vocos import EVERYTHING, SPEC, torchscript_vocoder
from glmtts.errors import BadInput, CheckpointError
from glmtts.nn.conv import BLOCK, Conv, UpConv, block_convolution, transformed_kernel
from glmtts.nn.hift import HiFT, HiFTConfig, ResBlock, gaussian_noise
from glmtts.nn.scripted import ScriptedVocoder
from glmtts.nn.vocos import Position
from glmtts.vocoder import ArchiveConfig, Vocoder, VocoderConfig

TINY = VocoderConfig(kind="hift", hift=HiFTConfig(dims=32, pitch_dims=16))
STREAM_TOLERANCE = 1e-5
"""Of a HiFT stream in samples of full scale; what is left is rounding."""


def voiced_hift(config: VocoderConfig = TINY) -> Vocoder:
    """A random network that hears pitches of about 115 Hz."""
    torch.manual_seed(0)
    vocoder = Vocoder(config).eval()
    assert isinstance(vocoder.network, HiFT)
    with torch.no_grad():
        classifier = vocoder.network.f0_predictor.classifier
        classifier.weight.mul_(100.0 / classifier.weight.norm())
        classifier.bias.fill_(100.0)
        for name, value in vocoder.named_parameters():
            if name.endswith("alpha"):
                value.uniform_(0.5, 2.0)
            elif name.endswith("conv_post.weight"):
                value.mul_(3.0)
    return vocoder


def some_mel(frames: int, seed: int = 0) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(frames, 80, generator=rng) - 4.0


# ----- convolutions -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("taps", "dilation", "length", "batch"),
    [(7, 1, 100, 1), (7, 5, 331, 3), (9, 1, 18, 1), (11, 3, 250, 2), (13, 2, 5, 1), (11, 1, 1, 2)],
)
def test_a_convolution_in_blocks_is_the_plain_one(
    taps: int, dilation: int, length: int, batch: int
) -> None:
    rng = torch.Generator().manual_seed(1)
    x = torch.randn(batch, length, 6, generator=rng)
    weight = torch.randn(4, 6, taps, generator=rng)
    bias = torch.randn(4, generator=rng)
    mine = block_convolution(x, transformed_kernel(weight), bias, taps, dilation)
    plain = F.conv1d(
        x.double().transpose(1, 2), weight.double(), bias.double(),
        padding=dilation * (taps // 2), dilation=dilation,
    ).transpose(1, 2)  # fmt: skip
    assert mine.shape == plain.shape
    assert (mine - plain).abs().max() < 3e-6 * plain.abs().max().clamp(min=1.0) * taps


def test_a_wide_convolution_takes_the_quick_way_and_follows_its_weight() -> None:
    torch.manual_seed(0)
    conv, x = Conv(128, 128, 7, dilation=3), torch.randn(2, 61, 128)
    assert conv.gains
    plain = conv(x)
    with torch.no_grad():
        assert not torch.equal(conv(x), plain)  # another way to the same
        assert torch.allclose(conv(x), plain, atol=2e-5)
        assert conv(x).shape == plain.shape
        conv.weight.mul_(2.0)
        assert torch.allclose(conv(x), 2.0 * plain, atol=4e-5)
        for other in (copy.deepcopy(conv), pickle.loads(pickle.dumps(conv))):
            assert other._prepared is None
            assert torch.equal(other(x), conv(x))
    with torch.inference_mode():
        assert torch.allclose(conv(x), 2.0 * plain, atol=4e-5)
    assert len(transformed_kernel(conv.weight)) == 3 * BLOCK // 2 - 1
    assert not Conv(48, 48, 7).gains
    assert not Conv(128, 128, 3).gains


def test_time_major_convolutions_are_those_of_torch() -> None:
    torch.manual_seed(0)
    down, up, x = Conv(6, 5, 8, 4, padding=2), UpConv(6, 4, 11, 5), torch.randn(2, 21, 6)
    plain = F.conv1d(x.transpose(1, 2), down.weight, down.bias, 4, 2)
    assert torch.allclose(down(x), plain.transpose(1, 2), atol=1e-5)
    plain = F.conv_transpose1d(x.transpose(1, 2), up.weight, up.bias, 5, 3)
    assert torch.allclose(up(x), plain.transpose(1, 2), atol=1e-5)
    assert up(x).shape == (2, 105, 4)


@torch.no_grad()
def test_a_residual_block_in_pieces_is_the_whole_one() -> None:
    torch.manual_seed(0)
    block, x = ResBlock(8, 11, (1, 3, 5)), torch.randn(2, 700, 8)
    whole = block(x)
    assert block.piece > 700
    block.piece = 150
    assert torch.allclose(block(x), whole, atol=1e-5)
    block.reach -= 1  # what it says it sees is no more than it does
    assert not torch.allclose(block(x), whole, atol=1e-7)


# ----- HiFT ---------------------------------------------------------------------------------------


def test_the_default_is_the_released_network() -> None:
    with torch.device("meta"):
        vocoder = Vocoder(VocoderConfig(kind="hift"))
    assert (vocoder.network.left, vocoder.network.right) == (21, 21)
    assert not list(vocoder.buffers())
    with pytest.raises(BadInput, match="480 samples a frame"):
        Vocoder(VocoderConfig(kind="hift", spec=AudioSpec(hop_length=240)))


@torch.no_grad()
def test_any_split_of_a_voiced_mel_gives_the_whole_decoding() -> None:
    sizes = HiFTConfig(dims=32, pitch_dims=16, voiced_above_hz=119.0)  # some frames are, some not
    vocoder, mel = voiced_hift(replace(TINY, hift=sizes)), some_mel(90)
    whole = vocoder.decode(mel)
    assert isinstance(vocoder.network, HiFT)
    pitch = vocoder.network.f0_predictor(mel[None])
    assert 0.2 < (pitch > 119.0).float().mean() < 0.8
    assert whole.abs().max() > 0.05
    for size in (4, 31):
        stream = vocoder.stream()
        parts = [stream.push(part, last=False) for part in mel.split(size)]
        joined = torch.cat([*parts, stream.push(mel[:0], last=True)])
        assert joined.shape == whole.shape
        assert (joined - whole).abs().max() < STREAM_TOLERANCE, size


@torch.no_grad()
def test_the_source_goes_on_where_it_was() -> None:
    network = voiced_hift().network
    assert isinstance(network, HiFT)
    f0 = torch.linspace(100.0, 300.0, 40)[None]
    whole, phases = network.source(f0)
    position = Position(frame=15, anchor=5, phase=float(phases[0, 20]))
    part, later = network.source(f0[:, 15:], position)
    half = network.hop // 2  # before the first centre of a window nothing is known of the pitch
    assert (part[:, half:] - whole[:, 15 * network.hop + half :]).abs().max() < 1e-5
    turns = (later - phases[:, 15:]).remainder(1.0)
    assert torch.minimum(turns, 1.0 - turns).max() < 1e-12


@torch.no_grad()
def test_the_source_is_nine_sines_of_the_pitch_or_noise() -> None:
    network = voiced_hift().network
    assert isinstance(network, HiFT)
    linear = network.m_source.l_linear
    linear.weight.zero_()
    linear.bias.zero_()
    linear.weight[0, 2] = 1.0
    silence = torch.zeros(1, 50 * network.hop, 9)
    tone, phases = network.source(torch.full((1, 50), 200.0), noise=silence)
    spectrum = torch.fft.rfft(tone[0]).abs()
    assert int(spectrum.argmax()) == 600  # the third, in a second of sound
    assert tone.abs().max() == pytest.approx(math.tanh(0.1), rel=5e-3)
    assert phases.shape == (1, 51)
    linear.weight.fill_(1.0 / 3.0)  # nine sources of a weight of a third: as loud as one
    hiss, _ = network.source(torch.zeros(1, 50))
    assert float(hiss.std()) == pytest.approx(0.1 / 3.0, rel=0.02)


def test_noise_is_normal_and_belongs_to_the_sample() -> None:
    whole = gaussian_noise(torch.tensor([7]), 100_000)[0]
    assert torch.equal(gaussian_noise(torch.tensor([5_007]), 100)[0], whole[5_000:5_100])
    assert abs(float(whole.mean())) < 0.02
    assert float(whole.std()) == pytest.approx(1.0, abs=0.01)
    assert float((whole.abs() < 1.0).float().mean()) == pytest.approx(0.6827, abs=0.01)
    assert 3.5 < float(whole.abs().max()) < 6.0


def test_wide_networks_decode_alike_with_and_without_gradients() -> None:
    """The quick convolutions serve inference only."""
    sizes = HiFTConfig(dims=256, up_rates=(8, 15), up_kernels=(16, 31), pitch_dims=16,
                       source_kernels=(7, 11), source_dilations=((1, 3), (1,)),
                       kernels=(7, 11), dilations=((1, 3), (1, 5)))  # fmt: skip
    vocoder, mel = voiced_hift(replace(TINY, hift=sizes)), some_mel(30)
    assert any(m.gains for m in vocoder.modules() if isinstance(m, Conv))
    trained = vocoder(mel[None])
    assert isinstance(trained, Tensor)
    assert (vocoder.decode(mel) - trained[0]).abs().max() < 2e-5


# ----- its released weights -----------------------------------------------------------------------


def released(vocoder: Vocoder, form: str) -> dict[str, Tensor]:
    """The weights as upstream stores them."""
    found: dict[str, Tensor] = {}
    for key, value in vocoder.network.state_dict().items():
        normed = value.ndim == 3 and not key.startswith("source_downs")
        if not normed or form == "fused":
            found[key] = value
            continue
        name = key.removesuffix(".weight")
        length = value.flatten(1).norm(dim=1).view(-1, 1, 1)
        names = {
            "legacy": (f"{name}.weight_g", f"{name}.weight_v"),
            "parametrized": tuple(f"{name}.parametrizations.weight.original{i}" for i in (0, 1)),
        }[form]
        found[names[0]], found[names[1]] = length, 2.0 * value
    return found


@pytest.mark.parametrize("form", ["fused", "legacy", "parametrized"])
def test_every_form_of_the_released_weights_is_read(form: str) -> None:
    vocoder = voiced_hift()
    state = released(vocoder, form) | {"stft_window": torch.ones(16)}
    config = official_hift_config(state)
    assert config == TINY
    again = Vocoder(config)
    again.load_state_dict(official_hift_state(state))
    for mine, theirs in zip(again.parameters(), vocoder.parameters(), strict=True):
        assert torch.allclose(mine, theirs, atol=1e-6)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("ups.1.bias", "lacks tensor 'ups.1.bias'"),
        ("conv_pre.parametrizations.weight.original1", "lacks tensor 'conv_pre.param.*original1'"),
        ("conv_pre.parametrizations.weight.original0", "lacks tensor 'conv_pre.param.*original0'"),
        ("m_source.l_linear.weight", r"lacks tensor 'm_source\.l_linear\.weight'"),
        ("more", "'discriminator.bias' is not part of the vocoder"),
        ("shape", r"'resblocks.3.convs2.1.bias' .* has shape \(3,\)"),
        ("length", "does not go with"),
        ("twice", "twice"),
    ],
)
def test_damaged_weights_are_named(damage: str, message: str) -> None:
    state = released(voiced_hift(), "parametrized")
    if damage == "more":
        state["discriminator.bias"] = torch.zeros(1)
    elif damage == "shape":
        state["resblocks.3.convs2.1.bias"] = torch.zeros(3)
    elif damage == "length":
        state["ups.0.parametrizations.weight.original0"] = torch.ones(7, 1, 1)
    elif damage == "twice":
        state["conv_pre.weight"] = torch.ones(32, 80, 7)
    else:
        del state[damage]
    with pytest.raises(CheckpointError, match=message):
        official_hift_state(state)


# ----- TorchScript archives -----------------------------------------------------------------------


class Buzz(nn.Module):
    """(B, F, M) to (B, F * hop): three frames of mel make a frame of samples."""

    def __init__(self, hop: int, spare: int = 0) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.conv, self.spare = nn.Conv1d(80, hop, 5, padding=2), spare

    def forward(self, mel: Tensor) -> Tensor:
        if mel.shape[1] < 2:
            raise ValueError("one frame is too short")
        samples = self.conv(torch.exp(mel).transpose(1, 2)).transpose(1, 2).reshape(len(mel), -1)
        return torch.tanh(samples[:, : samples.shape[1] - self.spare])


class Leveller(Buzz):
    """One that hears the whole utterance."""

    def forward(self, mel: Tensor) -> Tensor:
        return torch.tanh(self.conv((mel - mel.mean(1, keepdim=True)).transpose(1, 2))).flatten(1)


def archive_of(module: nn.Module, path: Path) -> Path:
    """Save as TorchScript."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(module), path)
    return path


@pytest.fixture
def released_archive(tmp_path: Path) -> Path:
    return archive_of(Buzz(640), tmp_path / "generator_jit.ckpt")


def test_an_archive_becomes_a_component(released_archive: Path, tmp_path: Path) -> None:
    torchscript_vocoder(released_archive, tmp_path / "vocoder")
    names = {path.name for path in (tmp_path / "vocoder").iterdir()}
    assert names == {"config.json", "model.safetensors", "generator_jit.pt"}
    assert (tmp_path / "vocoder/generator_jit.pt").read_bytes() == released_archive.read_bytes()
    vocoder = checkpoint.load(Vocoder, tmp_path / "vocoder")
    assert vocoder.spec == AudioSpec(32_000, 640, 2_560, 80, 0.0, 8_000.0, 25.0) == SPEC
    assert vocoder.config.archive == ArchiveConfig(3, 3)  # two, and one to spare
    mel = some_mel(30)
    assert torch.allclose(vocoder.decode(mel), Buzz(640)(mel[None] - math.log(2_560))[0], atol=1e-6)
    assert vocoder.decode(mel[:1]).shape == (640,)
    assert vocoder.decode(mel[:0]).shape == (0,)
    for other in (copy.deepcopy(vocoder), pickle.loads(pickle.dumps(vocoder))):
        assert torch.equal(other.decode(mel), vocoder.decode(mel))


def test_an_archive_is_streamed_as_far_as_it_sees(released_archive: Path, tmp_path: Path) -> None:
    torchscript_vocoder(released_archive, tmp_path / "vocoder")
    vocoder, mel = checkpoint.load(Vocoder, tmp_path / "vocoder"), some_mel(40)
    stream = vocoder.stream()
    parts = [stream.push(part, last=False) for part in mel.split(7)]
    assert len(parts[0]) == (7 - 3) * 640
    joined = torch.cat([*parts, stream.push(mel[:0], last=True)])
    assert (joined - vocoder.decode(mel)).abs().max() < 1e-6
    torchscript_vocoder(archive_of(Leveller(640), tmp_path / "level.pt"), tmp_path / "level")
    vocoder = checkpoint.load(Vocoder, tmp_path / "level")
    assert vocoder.config.archive == ArchiveConfig(EVERYTHING, EVERYTHING)
    stream = vocoder.stream()
    assert len(stream.push(mel, last=False)) == 0
    assert torch.equal(stream.push(mel[:0], last=True), vocoder.decode(mel))


def test_mels_of_either_rate_have_their_level(released_archive: Path, tmp_path: Path) -> None:
    """The same sound at 24 and at 32 kHz: its mels differ by 0.288, the samples do not."""
    low, high = AudioSpec(), SPEC
    rng = torch.Generator().manual_seed(0)
    parts = torch.rand(40, generator=rng), torch.rand(40, generator=rng) * 6.0

    def hum(rate: int) -> Tensor:
        time = torch.arange(rate // 2, dtype=torch.float64) / rate
        waves = [a * torch.sin(2 * math.pi * 150.0 * (n + 1) * time + b)
                 for n, (a, b) in enumerate(zip(*parts, strict=True))]  # fmt: skip
        return 0.02 * torch.stack(waves).sum(0)

    mels = {rate.sample_rate: log_mel(hum(rate.sample_rate), rate).float() for rate in (low, high)}
    gap = (mels[32_000] - mels[24_000])[3:-3]
    assert float(gap.median()) == pytest.approx(math.log(2_560 / 1_920), abs=2e-3)
    waves: list[Tensor] = []
    for spec in (low, high):
        torchscript_vocoder(released_archive, tmp_path / str(spec.n_fft), mels=spec)
        vocoder = checkpoint.load(Vocoder, tmp_path / str(spec.n_fft))
        assert vocoder.spec == high
        waves.append(vocoder.decode(mels[spec.sample_rate])[3 * 640 : -3 * 640])
    assert (waves[0] - waves[1]).abs().mean() < 1e-2 * waves[1].abs().mean()
    with pytest.raises(CheckpointError, match="frames a second"):
        torchscript_vocoder(released_archive, tmp_path / "x", mels=AudioSpec(hop_length=256))


class Trap:
    """A pickle that would run code."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (Path("/nowhere/executed"),)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("missing", "Cannot read"),
        ("pickle", "a pickle is not opened"),
        ("trap", "no TorchScript archive"),
        ("zip", "no TorchScript archive"),
        ("cut", "was cut short"),
        ("rate", "expected 163840"),
        ("other", "cannot take a mel"),
    ],
)
def test_what_is_no_vocoder_is_refused(damage: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "generator_jit.ckpt"
    if damage == "pickle":
        path.write_bytes(pickle.dumps({"conv.weight": [1.0]}))
    elif damage == "trap":
        torch.save({"generator": Trap()}, path)
    elif damage == "zip":
        torch.save({"conv.weight": torch.ones(3)}, path)
    elif damage == "cut":
        data = archive_of(Buzz(640), path).read_bytes()
        path.write_bytes(data[: len(data) // 2])
    elif damage == "rate":
        archive_of(Buzz(480), path)
    elif damage == "other":
        archive_of(nn.Linear(7, 7), path)
    with pytest.raises(CheckpointError, match=message):
        torchscript_vocoder(path, tmp_path / "vocoder")
    assert not (tmp_path / "vocoder").exists()


def test_an_archive_may_end_some_samples_short() -> None:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(Buzz(640, spare=100)), buffer)
    network = ScriptedVocoder(640, 0.0, 2, 2)
    network.archive = buffer.getvalue()
    samples = network(some_mel(10)[None]).samples
    assert samples.shape == (1, 6_400)
    assert samples[0, -100:].abs().max() == 0.0
    assert torch.equal(samples[0, :-100], Buzz(640, spare=100)(some_mel(10)[None])[0])
    assert list(network.state_dict()) == ["shift"]
    with pytest.raises(CheckpointError, match="no TorchScript archive"):
        ScriptedVocoder(640, 0.0, 2, 2)(some_mel(3)[None])
