"""The official 24 kHz vocoder against hift* and shapes_full."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from glmtts.audio import AudioSpec
from glmtts.convert.official_hift import official_hift_config, official_hift_state
from glmtts.nn.hift import HiFT, HiFTConfig, stft_matrices
from glmtts.vocoder import Vocoder, VocoderConfig
from tests.parity.goldens import Tensors, names, needs_goldens, read, read_json, under

pytestmark = needs_goldens
F0_HZ, F0_RELATIVE, SOURCE, WAVE, DECODED = 1e-3, 1e-5, 2e-3, 3e-3, 1e-4
"""Tolerances of the folder's README."""
Recorded = tuple[Vocoder, Tensors, dict[str, Any]]


def recorded_config(settings: dict[str, Any]) -> VocoderConfig:
    """The vocoder of the recorded settings."""
    stft, pitch = settings["istft_params"], settings["f0_predictor"]
    sizes = HiFTConfig(
        dims=settings["base_channels"],
        harmonics=settings["nb_harmonics"],
        sine_gain=settings["nsf_alpha"],
        voiced_noise=settings["nsf_sigma"],
        voiced_above_hz=settings["nsf_voiced_threshold"],
        up_rates=tuple(settings["upsample_rates"]),
        up_kernels=tuple(settings["upsample_kernel_sizes"]),
        n_fft=stft["n_fft"],
        stft_hop=stft["hop_len"],
        kernels=tuple(settings["resblock_kernel_sizes"]),
        dilations=tuple(map(tuple, settings["resblock_dilation_sizes"])),
        source_kernels=tuple(settings["source_resblock_kernel_sizes"]),
        source_dilations=tuple(map(tuple, settings["source_resblock_dilation_sizes"])),
        slope=settings["lrelu_slope"],
        limit=settings["audio_limit"],
        pitch_dims=pitch["cond_channels"],
    )
    spec = AudioSpec(settings["sampling_rate"], sizes.hop, n_mels=settings["in_channels"])
    return VocoderConfig(kind="hift", spec=spec, hift=sizes)


@pytest.fixture(scope="module", params=names("hift*.safetensors"))
def recorded(request: pytest.FixtureRequest) -> Recorded:
    """A vocoder with its weights, and the recorded tensors and settings."""
    tensors, meta = read(request.param)
    config = recorded_config(meta["config"])
    vocoder = Vocoder(config)
    vocoder.load_state_dict(official_hift_state(under(tensors, "weights."), config))
    return vocoder.eval(), tensors, meta


def network_of(vocoder: Vocoder) -> HiFT:
    assert isinstance(vocoder.network, HiFT)
    return vocoder.network


def difference(mine: torch.Tensor, theirs: torch.Tensor) -> float:
    assert mine.shape == theirs.shape
    return (mine - theirs).abs().max().item()


def mel_of(tensors: Tensors, case: str) -> torch.Tensor:
    """(1, F, M) of a case such as "case0.zero."."""
    return tensors[f"{case.split('.')[0]}.mel"].transpose(1, 2)


def noise_of(tensors: Tensors, case: str, network: HiFT) -> torch.Tensor:
    """(1, N, H): as recorded, or zeros."""
    count = mel_of(tensors, case).shape[1] * network.hop
    silence = torch.zeros(1, count, network.config.harmonics + 1)
    return tensors.get(f"{case}sine_noise", silence)


@torch.no_grad()
def test_pitch(recorded: Recorded) -> None:
    vocoder, tensors, _ = recorded
    cases = [key.removesuffix("f0") for key in tensors if key.startswith("case") and ".f0" in key]
    assert cases
    for case in cases:
        mine = network_of(vocoder).f0_predictor(mel_of(tensors, case))
        theirs = tensors[f"{case}f0"]
        # Relative to the highest: the pitch is a magnitude, near its zeros nothing is relative.
        bound = max(F0_HZ, F0_RELATIVE * theirs.max().item())
        assert difference(mine, theirs) < bound, case


@torch.no_grad()
def test_source_and_wave_with_the_recorded_draws(recorded: Recorded) -> None:
    vocoder, tensors, meta = recorded
    network = network_of(vocoder)
    assert any(case.endswith("ctl.") for case in meta["cases"])
    for case in meta["cases"]:
        mel, noise = mel_of(tensors, case), noise_of(tensors, case, network)
        source, _ = network.source(network.f0_predictor(mel), noise=noise)
        assert difference(source, tensors[f"{case}source"][:, 0]) < SOURCE, case
        wave = network(mel, noise=noise).samples
        assert difference(wave, tensors[f"{case}wav"]) < WAVE, case
        wave = network.decode(mel, tensors[f"{case}source"][:, 0])
        assert difference(wave, tensors[f"{case}wav"]) < DECODED, case


@torch.no_grad()
def test_a_source_that_was_kept_from_before(recorded: Recorded) -> None:
    vocoder, tensors, _ = recorded
    cases = [key.removesuffix("in") for key in tensors if key.endswith("cache_source.in")]
    assert cases
    for case in cases:
        name = case.split(".")[0]
        kept, source = tensors[f"{case}in"][:, 0], tensors[f"{name}.zero.source"][:, 0].clone()
        source[:, : kept.shape[1]] = kept
        wave = network_of(vocoder).decode(mel_of(tensors, name), source)
        assert difference(wave, tensors[f"{case}wav"]) < DECODED, case


@torch.no_grad()
def test_without_a_voice(recorded: Recorded) -> None:
    """Here the pitch is 3 Hz, below the threshold, whatever the mel."""
    vocoder, tensors, _ = recorded
    network, got = network_of(vocoder), under(tensors, "unvoiced.")
    frames = got["wav"].shape[1] // network.hop
    mel = next(
        value.transpose(1, 2)
        for key, value in tensors.items()
        if key.endswith(".mel") and value.shape[2] == frames
    )
    assert network.config.voiced_above_hz > 3.0
    source, _ = network.source(torch.full((1, frames), 3.0), noise=got["sine_noise"])
    assert difference(source, got["source"][:, 0]) < 1e-5
    assert difference(network.decode(mel, source), got["wav"]) < DECODED


@torch.no_grad()
def test_the_source_of_a_given_pitch(recorded: Recorded) -> None:
    vocoder, tensors, _ = recorded
    network, got = network_of(vocoder), under(tensors, "source_test.")
    for noise, out in (
        (got["sine_noise"], got["out"]),
        (torch.zeros_like(got["sine_noise"]), got["out_zero_noise"]),
    ):
        source, _ = network.source(got["f0"], noise=noise)
        assert difference(source, out[..., 0]) < SOURCE


def test_the_window(recorded: Recorded) -> None:
    vocoder, tensors, _ = recorded
    n_fft = network_of(vocoder).config.n_fft
    analysis, synthesis = stft_matrices(n_fft, torch.device("cpu"))
    window = tensors["stft_window"]
    assert difference(analysis[:, 0], window) < 1e-7  # the sum over the window
    assert difference((analysis @ synthesis).diagonal(), window.square()) < 1e-6


def test_every_released_tensor_has_its_place() -> None:
    shapes = read_json("shapes_full.json")
    released = {key: torch.empty(shape, device="meta") for key, shape in shapes["hift"].items()}
    state = official_hift_state(released)
    assert official_hift_config(released) == VocoderConfig(kind="hift", hift=HiFTConfig())
    with torch.device("meta"):
        mine = Vocoder(VocoderConfig(kind="hift")).state_dict()
    assert {key: value.shape for key, value in state.items()} == {
        key: value.shape for key, value in mine.items()
    }
    count = sum(value.numel() for value in released.values())
    assert count == shapes["hift_params"]
    lengths = sum(v.numel() for k, v in released.items() if k.endswith("original0"))
    assert sum(value.numel() for value in mine.values()) == count - lengths


def test_a_mutant_is_told_apart(recorded: Recorded) -> None:
    """The recorded waves are sharp enough to see a wrong slope, a wrong level or a wrong cap."""
    vocoder, tensors, meta = recorded
    case = next(iter(meta["cases"]))
    mel, source = mel_of(tensors, case), tensors[f"{case}source"][:, 0]
    wrong = replace(network_of(vocoder).config, slope=0.2)
    other = HiFT(wrong, mel.shape[2], vocoder.spec.sample_rate)
    other.load_state_dict(network_of(vocoder).state_dict())
    with torch.no_grad():
        assert difference(other.decode(mel, source), tensors[f"{case}wav"]) > 10 * DECODED
