"""The vocoders: one interface, bounded context, streams that equal whole decoding."""

import random
from dataclasses import replace

import numpy as np
import pytest
import torch

from glmtts import checkpoint
from glmtts.audio import AudioSpec, log_mel
from glmtts.errors import BadInput
from glmtts.nn.discriminators import Augmentation, Discriminator, generator_losses
from glmtts.nn.harmonic import (
    PITCH_BINS,
    HarmonicVocoder,
    fundamental_phase,
    interpolate,
    pitch_centres,
    pitch_loss,
    pitch_of,
    pulse_train,
    voicing_of,
    white_noise,
)
from glmtts.nn.hift import HiFTConfig
from glmtts.nn.refiner import Refiner, RefinerConfig
from glmtts.nn.stft import centred_istft, overlap_add, phase_loss, spectral_loss
from glmtts.nn.vocos2d import DepthwiseConv
from glmtts.vocoder import VOCODERS, Vocoder, VocoderConfig

KINDS = ("refined", *(kind for kind in VOCODERS if kind != "torchscript"))
HIFT = HiFTConfig(dims=32, pitch_dims=16)


def tiny(kind: str) -> Vocoder:
    """A small random vocoder; "refined": harmonic, with a refiner that changes its sound."""
    torch.manual_seed(0)
    refined = kind == "refined"
    config = VocoderConfig(
        kind="harmonic" if refined else kind, dims=32, blocks=2, hidden=48, kernel=5, bands=10,
        cepstrum=24, noise_cepstrum=12, hift=HIFT if kind == "hift" else None,
        refiner=RefinerConfig(dims=16, blocks=2, hidden=24, kernel=5) if refined else None,
    )  # fmt: skip
    vocoder = Vocoder(config).eval()
    if isinstance(vocoder.network, HarmonicVocoder) and vocoder.network.refiner is not None:
        torch.nn.init.normal_(vocoder.network.refiner.settings.weight, std=0.1)
    return vocoder


def some_mel(frames: int, seed: int = 0) -> torch.Tensor:
    """A plausible log-mel (F, 80)."""
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(frames, 80, generator=rng).cumsum(0).clamp(-4, 4) * 0.5 - 4.0


def vowel(seconds: float, hertz: float = 140.0) -> torch.Tensor:
    """A buzz with a falling spectrum, (N,)."""
    t = torch.arange(round(seconds * 24_000)) / 24_000
    return sum(torch.sin(2 * torch.pi * hertz * k * t) / k for k in range(1, 30)) * 0.1


@pytest.mark.parametrize("kind", KINDS)
def test_a_frame_is_exactly_a_hop_of_samples(kind: str) -> None:
    vocoder = tiny(kind)
    assert vocoder.decode(some_mel(17)).shape == (17 * 480,)
    assert vocoder(torch.stack([some_mel(9), some_mel(9, 1)])).shape == (2, 9 * 480)
    assert vocoder.decode(some_mel(0)).shape == (0,)
    assert torch.isfinite(vocoder.decode(some_mel(1))).all()


@pytest.mark.parametrize("kind", KINDS)
def test_any_split_of_the_mel_gives_the_whole_decoding(kind: str) -> None:
    vocoder, mel = tiny(kind), some_mel(80)
    whole = vocoder.decode(mel)
    for seed in range(3):
        cuts = sorted(random.Random(seed).sample(range(81), 1 + 3 * seed))
        stream = vocoder.stream()
        parts = [stream.push(p, last=False) for p in torch.tensor_split(mel, cuts)]
        parts.append(stream.push(mel[:0], last=True))
        joined = torch.cat(parts)
        assert joined.shape == whole.shape
        assert (joined - whole).abs().max() < 1e-4 * whole.abs().max().clamp(min=1.0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_stream_waits_no_longer_than_its_look_ahead(kind: str) -> None:
    vocoder = tiny(kind)
    stream = vocoder.stream()
    assert stream.push(some_mel(40), last=False).shape == ((40 - vocoder.network.right) * 480,)
    stream.push(some_mel(0), last=True)
    with pytest.raises(BadInput, match="ended"):
        stream.push(some_mel(1), last=True)


@pytest.mark.parametrize("kind", KINDS)
def test_samples_see_no_frame_beyond_the_documented_context(kind: str) -> None:
    vocoder, mel = tiny(kind), some_mel(80)
    other = mel.clone()
    other[60:] = some_mel(20, seed=5)
    same = (60 - vocoder.network.right) * 480
    difference = (vocoder.decode(mel) - vocoder.decode(other)).abs()
    assert difference[:same].max() < 1e-5
    assert difference[same:].max() > 1e-3


def test_unknown_kind_is_refused() -> None:
    with pytest.raises(BadInput, match="harmonic, vocos, vocos2d"):
        Vocoder(VocoderConfig(kind="vocoder"))


@pytest.mark.parametrize("kind", KINDS)
def test_saved_and_loaded_it_sounds_the_same(kind: str, tmp_path) -> None:
    vocoder = tiny(kind)
    checkpoint.save(vocoder, tmp_path)
    loaded = checkpoint.load(Vocoder, tmp_path)
    assert torch.equal(vocoder.decode(some_mel(12)), loaded.decode(some_mel(12)))


@pytest.mark.parametrize("kind", KINDS)
def test_packed_it_sounds_the_same(kind: str) -> None:
    plain, mel = tiny(kind), some_mel(60)
    wave, names = plain.decode(mel), list(plain.state_dict())
    packed = tiny(kind).packed()
    torch.testing.assert_close(packed.decode(mel), wave, atol=1e-4, rtol=0)
    assert list(packed.state_dict()) == names
    if kind == "hift":
        return  # has no such blocks
    rounded = tiny(kind).packed(torch.bfloat16).decode(mel)
    assert not torch.equal(rounded, wave)
    spec = plain.spec
    assert (log_mel(rounded, spec) - log_mel(wave, spec)).abs().mean() < 0.05


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_falls(kind: str) -> None:
    vocoder = tiny(kind).train()
    target = vowel(0.4)[None].repeat(2, 1)
    mel = log_mel(target, vocoder.spec)
    pitch = torch.full((2, 40), 140.0)
    optimizer = torch.optim.Adam(vocoder.parameters(), lr=3e-3)
    losses: list[float] = []
    for _ in range(15):
        output, pitch_term = vocoder(mel, pitch, torch.ones_like(pitch, dtype=torch.bool))
        loss = spectral_loss(output, target) + 0.2 * pitch_term
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0], losses


def test_silence_in_is_near_silence_out() -> None:
    vocoder = tiny("harmonic")
    silence = log_mel(torch.zeros(24_000), vocoder.spec)
    loud = vocoder.decode(log_mel(vowel(1.0), vocoder.spec)).square().mean().sqrt()
    quiet = vocoder.decode(silence).square().mean().sqrt()
    assert quiet < 0.01 * loud


def test_an_untrained_harmonic_vocoder_has_the_pitch_it_is_given() -> None:
    vocoder = tiny("harmonic")
    target = vowel(0.6, 200.0)[None]
    mel, pitch = log_mel(target, vocoder.spec), torch.full((1, 60), 200.0)
    with torch.no_grad():
        output, _ = vocoder(mel, pitch, torch.ones(1, 60, dtype=torch.bool))
    spectrum = torch.fft.rfft(output[0]).abs()
    peak = int(spectrum.argmax()) * 24_000 / output.shape[1]
    assert min(abs(peak - 200.0 * k) for k in range(1, 6)) < 5.0


def test_a_new_refiner_changes_nothing_and_a_trained_one_leaves_what_is_above_its_band() -> None:
    torch.manual_seed(0)
    rng = torch.Generator().manual_seed(0)
    pulses, noise = torch.randn(2, 1, 9600, generator=rng)
    features = torch.randn(1, 20, 8, generator=rng)
    refiner = Refiner(RefinerConfig(dims=16, blocks=2, hidden=24, top_hz=4000.0), 8, 24_000, 480)
    # The first and last window overlap with nothing outside: there the sum is only nearly kept.
    same = refiner(pulses, noise, features)
    assert (same - pulses - noise)[:, 480:-480].abs().max() < 1e-4
    torch.nn.init.normal_(refiner.settings.bias, std=0.5)
    changed = torch.fft.rfft(refiner(pulses, noise, features) - pulses - noise).abs()[0]
    hertz = torch.fft.rfftfreq(9600, 1 / 24_000)
    assert changed[hertz > 4200].max() < 0.05 * changed[hertz < 3800].mean()


def test_the_sum_of_pulses_and_noise_is_refined() -> None:
    vocoder = tiny("refined")
    mel = some_mel(20)
    assert isinstance(vocoder.network, HarmonicVocoder)
    refined, vocoder.network.refiner = vocoder.decode(mel), None
    plain = vocoder.decode(mel)
    assert (refined - plain).abs().max() > 0.01 * plain.abs().max()


def test_noise_is_a_function_of_the_sample_index() -> None:
    whole = white_noise(torch.tensor([1000]), 48_000)[0]
    part = white_noise(torch.tensor([3400]), 500)[0]
    assert torch.equal(part, whole[2400:2900])
    assert abs(float(whole.mean())) < 0.02
    assert abs(float(whole.std()) - 1.0) < 0.02
    spectrum = torch.fft.rfft(whole).abs().square()
    assert float(spectrum[1:].reshape(10, -1).mean(1).std() / spectrum[1:].mean()) < 0.05
    lagged = (whole[:-1] * whole[1:]).mean()
    assert abs(float(lagged)) < 0.02


def test_the_pulse_train_is_a_sum_of_cosines() -> None:
    frequency = torch.full((1, 2400), 987.0)
    cycles = torch.cumsum(frequency.double() / 24_000, 1)
    train = pulse_train(cycles, frequency, 24_000)
    count = 12  # harmonics of 987 Hz below 12 kHz
    expected = sum(torch.cos(2 * torch.pi * k * cycles) for k in range(1, count + 1))
    assert torch.allclose(train.double(), expected * (2 / count) ** 0.5, atol=1e-3)


def test_pulses_follow_the_fundamental_of_a_recording_whose_pitch_is_only_roughly_known() -> None:
    t = torch.arange(24_000).double()[None] / 24_000
    true = 140.0 * t + 0.3 + 0.2 * torch.sin(2 * torch.pi * 2 * t)  # cycles: offset and drift
    recording = sum(torch.cos(2 * torch.pi * k * true) / k for k in range(1, 20)).float() * 0.1
    tracked = 140.0 * t

    def heard(cycles: torch.Tensor) -> torch.Tensor:
        frequency = torch.full(cycles.shape, 140.0)
        return pulse_train(cycles, frequency, 24_000) * 0.1

    ahead = fundamental_phase(recording, tracked, 24_000)
    wrong = (tracked + ahead - true)[:, 1000:-1000]
    assert ahead.shape == tracked.shape
    assert (wrong - wrong.round()).abs().max() < 0.02
    assert phase_loss(heard(tracked + ahead), recording) < 0.15
    assert phase_loss(heard(tracked), recording) > 0.5


def test_random_phases_cost_one_and_right_ones_nothing() -> None:
    rng = torch.Generator().manual_seed(0)
    one, other = torch.randn(2, 8, 12_000, generator=rng)
    assert 0.95 < float(phase_loss(one, other)) < 1.05
    assert float(phase_loss(0.5 * one, one)) < 0.01
    assert float(phase_loss(-one, one)) > 1.99


def test_pitch_comes_back_from_its_bins() -> None:
    hertz = torch.tensor([80.0, 150.0, 440.0])
    distance = (pitch_centres(hertz.device) - torch.log2(hertz)[:, None]).square()
    logits = torch.cat([-distance / (2 * 0.02**2), torch.tensor([[4.0], [4.0], [-4.0]])], dim=1)
    assert torch.allclose(pitch_of(logits), hertz, rtol=2e-3)
    voiced = torch.tensor([True, True, False])
    good = pitch_loss(logits, hertz, voiced)
    bad = pitch_loss(logits, hertz * 1.5, voiced)
    unvoiced_only = pitch_loss(logits, hertz * torch.tensor([1.0, 1.0, 3.0]), voiced)
    assert good < bad
    assert torch.equal(good, unvoiced_only)
    assert logits.shape[-1] == PITCH_BINS + 1
    assert (voicing_of(logits) > 0.5).tolist() == voiced.tolist()
    assert pitch_loss(logits, hertz, ~voiced) > pitch_loss(logits, hertz, voiced) + 1.0


def test_interpolation_meets_its_points_at_their_centres() -> None:
    points = torch.tensor([[100.0, 200.0, 300.0]])
    out = interpolate(points, 10)[0]
    assert out.shape == (30,)
    assert torch.allclose((out[14] + out[15]) / 2, torch.tensor(200.0))
    assert torch.equal(out[:5], torch.full((5,), 100.0))


def test_overlap_add_and_istft_restore_a_signal() -> None:
    frames = torch.arange(6.0).reshape(1, 2, 3)
    assert overlap_add(frames, 2).tolist() == [[0.0, 1.0, 5.0, 4.0, 5.0]]
    sound = torch.randn(1, 24 * 480, generator=torch.Generator().manual_seed(1))
    padded = torch.nn.functional.pad(sound, (720, 720))
    window = torch.hann_window(1920)
    stft = torch.stft(padded, 1920, 480, window=window, center=False, return_complex=True)
    assert torch.allclose(centred_istft(stft.transpose(1, 2), 1920, 480), sound, atol=1e-4)


def test_the_quick_depthwise_gradient_is_exact() -> None:
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(2, 32, 9, 11, generator=rng, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(32, 1, 3, 5, generator=rng, dtype=torch.float64, requires_grad=True)
    out = DepthwiseConv.apply(x, weight)
    plain = torch.nn.functional.conv2d(x, weight, groups=32)
    assert torch.equal(out, plain)
    mine = torch.autograd.grad(out.square().sum(), (x, weight))
    theirs = torch.autograd.grad(plain.square().sum(), (x, weight))
    assert all(torch.allclose(a, b) for a, b in zip(mine, theirs, strict=True))


def test_augmentation_turns_phases_and_passes_gradients() -> None:
    torch.manual_seed(3)
    sound = vowel(0.3)[None].repeat(3, 1).requires_grad_()
    augment = Augmentation.draw(3, sound.device)
    out = augment(sound)
    assert out.shape == (3, sound.shape[1] - augment.shift)
    straight = replace(augment, rotation=torch.zeros(3, 1), shift=0)(sound)
    assert torch.allclose(straight, sound * augment.gain, atol=1e-5)
    plain = torch.fft.rfft(sound[0].detach()).abs()
    turned = torch.fft.rfft(replace(augment, shift=0)(sound)[0].detach() / augment.gain[0]).abs()
    assert torch.allclose(plain[1:-1], turned[1:-1], atol=1e-2)
    out.square().sum().backward()
    assert torch.isfinite(sound.grad).all()
    assert float(sound.grad.abs().sum()) > 0


@pytest.mark.parametrize("phase", [False, True])
def test_the_discriminator_scores_each_resolution(phase: bool) -> None:
    critic = Discriminator(4, (512, 256), phase)
    real = critic(vowel(0.3)[None])
    fake = critic(torch.zeros(1, 7200))
    assert len(real) == 2
    assert [len(part) for part in real] == [6, 6]
    adversarial, matching = generator_losses(real, fake)
    assert adversarial.ndim == 0
    assert matching.item() > 0
    assert generator_losses(real, real)[1].item() == 0.0


def test_another_rate_is_only_configuration() -> None:
    spec = AudioSpec(sample_rate=32_000, hop_length=640, n_fft=2_560, f_max=16_000.0)
    config = VocoderConfig(kind="vocos2d", spec=spec, dims=16, blocks=1, hidden=16, bands=20)
    out = Vocoder(config).decode(log_mel(torch.from_numpy(np.zeros(6400, np.float32)), spec))
    assert out.shape == (6400,)
