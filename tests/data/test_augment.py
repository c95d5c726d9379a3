import numpy as np
import pytest

from glmtts.data import augment
from glmtts.errors import BadAudio

RATE = 24_000


@pytest.fixture(scope="module")
def vowel() -> np.ndarray:
    """Half a second of a buzz at 150 Hz whose loudness moves."""
    time = np.arange(RATE // 2) / RATE
    buzz = sum(np.sin(2 * np.pi * 150 * k * time) / k for k in range(1, 60))
    return (0.1 * buzz * (1 + 0.5 * np.sin(2 * np.pi * 5 * time))).astype(np.float32)


def spectrum(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    power = np.abs(np.fft.rfft(samples * np.hanning(len(samples)))) ** 2
    return np.fft.rfftfreq(len(samples), 1 / RATE), power


@pytest.mark.parametrize("name", sorted(augment.CODECS))
def test_codecs_keep_length_and_timing(vowel: np.ndarray, name: str):
    coded = augment.through_codec(vowel, RATE, name)
    assert coded.shape == vowel.shape
    assert coded.dtype == np.float32
    assert 0.8 < np.corrcoef(vowel[2000:-2000], coded[2000:-2000])[0, 1] < 0.99999


def test_an_unknown_codec_is_refused(vowel: np.ndarray):
    with pytest.raises(BadAudio, match="Known: mp3"):
        augment.through_codec(vowel, RATE, "minidisc")


def test_a_narrow_band_has_nothing_above(vowel: np.ndarray):
    frequency, power = spectrum(augment.band_limited(vowel, RATE))
    assert len(augment.band_limited(vowel, RATE)) == len(vowel)
    assert power[frequency > 4_300].sum() < 1e-4 * power.sum()
    _, before = spectrum(vowel)
    assert before[frequency > 4_300].sum() > 1e-3 * before.sum()


@pytest.mark.parametrize("snr_db", [0.0, 10.0, 25.0])
def test_noise_is_as_loud_as_asked(vowel: np.ndarray, snr_db: float):
    noise = augment.coloured_noise(len(vowel), RATE, 3.0, np.random.default_rng(0))
    added = augment.add_noise(vowel, noise, snr_db).astype(np.float64) - vowel
    assert 10 * np.log10(np.mean(vowel**2) / np.mean(added**2)) == pytest.approx(snr_db, abs=0.05)


def test_brown_noise_is_darker_than_white():
    def share_above_1k(slope: float) -> float:
        noise = augment.coloured_noise(RATE, RATE, slope, np.random.default_rng(1))
        assert np.mean(noise**2) == pytest.approx(1.0, rel=1e-3)
        frequency, power = spectrum(noise)
        return float(power[frequency > 1_000].sum() / power.sum())

    assert share_above_1k(0.0) > 0.85
    assert share_above_1k(3.0) < 0.7
    assert share_above_1k(6.0) < 0.15


@pytest.mark.parametrize("factor", [0.7, 1.0, 1.3])
def test_tempo_changes_length_and_not_pitch(vowel: np.ndarray, factor: float):
    out = augment.tempo(vowel, RATE, factor)
    assert len(out) == round(len(vowel) / factor)
    frequency, power = spectrum(out)
    low = frequency < 220
    assert frequency[low][power[low].argmax()] == pytest.approx(150, abs=4)
    middle = slice(2_000, -2_000)
    assert np.sqrt(np.mean(out[middle] ** 2)) == pytest.approx(
        np.sqrt(np.mean(vowel[middle] ** 2)), rel=0.1
    )


def test_tempo_one_gives_the_sound_back(vowel: np.ndarray):
    out = augment.tempo(vowel, RATE, 1.0)
    np.testing.assert_allclose(out[1_000:-1_500], vowel[1_000:-1_500], atol=1e-4)


@pytest.mark.parametrize(("count", "factor"), [(24_000, 3.0), (1_000, 1.1)])
def test_tempo_refuses_what_it_cannot_do(count: int, factor: float):
    with pytest.raises(BadAudio):
        augment.tempo(np.zeros(count, np.float32), RATE, factor)


def test_recordings_depend_on_the_generator_alone(vowel: np.ndarray):
    kept = vowel.copy()
    takes = [augment.recorded(vowel, RATE, np.random.default_rng(seed)) for seed in range(12)]
    again = augment.recorded(vowel, RATE, np.random.default_rng(3))
    np.testing.assert_array_equal(takes[3], again)
    np.testing.assert_array_equal(vowel, kept)
    assert all(take.shape == vowel.shape and np.abs(take).max() <= 1 for take in takes)
    assert not np.array_equal(takes[0], takes[1])
