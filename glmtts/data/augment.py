"""Make clean speech sound like recordings people have: other tempi, rooms' noise, other codecs.

Used on reference clips (prompts), so that cloning works from a phone memo as from a studio.
Every function is pure: samples in, samples out, all randomness from the generator passed in. All
but `tempo` keep the length and the timing, so speech tokens and frames of the clean clip still fit.
"""

import io
from dataclasses import dataclass

import numpy as np
import soundfile
import soxr

from glmtts.errors import BadAudio


@dataclass(frozen=True)
class Codec:
    """A lossy coding: container and subtype of libsndfile, level (0 best, 1 smallest), rate."""

    format: str
    subtype: str
    level: float | None = None
    sample_rate: int | None = None


CODECS = {
    "opus-30k": Codec("OGG", "OPUS", 0.9),
    "opus-16k": Codec("OGG", "OPUS", 0.95, 16_000),
    "opus-8k": Codec("OGG", "OPUS", 1.0),
    "vorbis-33k": Codec("OGG", "VORBIS", 1.0),
    "vorbis-narrow": Codec("OGG", "VORBIS", 0.9, 16_000),
    "mp3-42k": Codec("MP3", "MPEG_LAYER_III", 0.5),
    "mp3-27k": Codec("MP3", "MPEG_LAYER_III", 0.9),
    "phone-gsm": Codec("WAV", "GSM610", None, 8_000),
    "phone-ulaw": Codec("WAV", "ULAW", None, 8_000),
}
"""What voice notes, downloads and telephone lines do to speech (rates at 24 kHz, bits a second)."""


def through_codec(samples: np.ndarray, sample_rate: int, codec: str | Codec) -> np.ndarray:
    """Encode and decode again: (N,) float32 -> (N,) float32, aligned with the input.

    Raises:
        BadAudio: the codec is unknown, or libsndfile was built without it.
    """
    if isinstance(codec, str):
        if codec not in CODECS:
            raise BadAudio(f"Unknown codec {codec!r}. Known: {', '.join(sorted(CODECS))}.")
        codec = CODECS[codec]
    rate = codec.sample_rate or sample_rate
    sent = samples if rate == sample_rate else soxr.resample(samples, sample_rate, rate)
    buffer = io.BytesIO()
    try:
        soundfile.write(
            buffer, np.clip(sent, -1.0, 1.0), rate,
            format=codec.format, subtype=codec.subtype, compression_level=codec.level,
        )  # fmt: skip
        buffer.seek(0)
        received, _ = soundfile.read(buffer, dtype="float32")
    except (RuntimeError, ValueError) as error:
        raise BadAudio(
            f"Cannot code audio as {codec.format}/{codec.subtype} ({error}). "
            "Install a newer soundfile: pip install -U soundfile"
        ) from error
    if rate != sample_rate:
        received = soxr.resample(received, rate, sample_rate)
    return _fitted(received, len(samples))


def band_limited(samples: np.ndarray, sample_rate: int, narrow_rate: int = 8_000) -> np.ndarray:
    """Lose everything above half of `narrow_rate`, as a telephone does; same length and rate."""
    narrow = soxr.resample(samples, sample_rate, narrow_rate)
    return _fitted(soxr.resample(narrow, narrow_rate, sample_rate), len(samples))


def coloured_noise(
    count: int, sample_rate: int, slope: float, rng: np.random.Generator
) -> np.ndarray:
    """(N,) noise of unit power whose spectrum falls by `slope` decibels an octave above 50 Hz.

    0 is white (hiss), 3 is pink (rooms, traffic), 6 is brown (rumble).
    """
    spectrum = np.fft.rfft(rng.standard_normal(count))
    frequency = np.maximum(np.fft.rfftfreq(count, 1.0 / sample_rate), 50.0)
    shaped = np.fft.irfft(spectrum * (frequency / 50.0) ** (-slope / (20.0 * np.log10(2.0))), count)
    return (shaped / np.sqrt(np.mean(shaped**2))).astype(np.float32)


def add_noise(samples: np.ndarray, noise: np.ndarray, snr_db: float) -> np.ndarray:
    """Mix `noise` in so that the power ratio of speech to noise is `snr_db`."""
    power, noise_power = (float(np.mean(np.square(x, dtype=np.float64))) for x in (samples, noise))
    gain = np.sqrt(power / max(noise_power, 1e-12) / 10.0 ** (snr_db / 10.0))
    return (samples + gain * noise).astype(np.float32)


def tempo(samples: np.ndarray, sample_rate: int, factor: float) -> np.ndarray:
    """Speak faster (`factor` > 1) or slower at the same pitch: (N,) -> (round(N / factor),).

    WSOLA (Verhelst and Roelands 1993): 40 ms windows, laid at half overlap, each taken where it
    continues the one before best, within 10 ms of its due place.

    Raises:
        BadAudio: the factor is not between 0.5 and 2, or the clip is shorter than 0.1 s.
    """
    if not 0.5 <= factor <= 2.0:
        raise BadAudio(f"Tempo {factor} is out of range; expected 0.5 to 2.")
    hop, reach = sample_rate // 50, sample_rate // 100
    if len(samples) < 5 * hop:
        raise BadAudio(f"{len(samples)} samples are too few for a change of tempo (0.1 s).")
    window = np.hanning(2 * hop + 1)[:-1].astype(np.float32)
    padded = np.pad(samples, (reach, 3 * hop + 2 * reach)).astype(np.float32)
    frames = int(len(samples) / factor / hop)
    out = np.zeros((frames + 1) * hop, np.float32)
    start = reach
    for frame in range(frames):
        if frame:
            due = reach + round(frame * hop * factor)
            wanted = padded[start + hop : start + 2 * hop]  # what would have followed
            area = padded[due - reach : due + reach + hop]
            spots = np.lib.stride_tricks.sliding_window_view(area, hop)
            energy = np.sqrt(np.square(spots).sum(axis=1)) + 1e-6
            start = due - reach + int(np.argmax(spots @ wanted / energy))
        out[frame * hop : (frame + 2) * hop] += window * padded[start : start + 2 * hop]
    out[:hop] = np.where(window[:hop] > 0.05, out[:hop] / np.maximum(window[:hop], 0.05), out[:hop])
    return out[: round(len(samples) / factor)]


def recorded(samples: np.ndarray, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    """A random everyday recording of (N,) samples: gain, then noise, then a codec or a narrow band.

    Gain -15..0 dB; noise in 3 of 5 at 8-35 dB; in 1 of 2 a codec of `CODECS`, in 1 of 10 a narrow
    band. Length and timing stay.
    """
    out = samples * np.float32(10.0 ** (rng.uniform(-15.0, 0.0) / 20.0))
    if rng.random() < 0.6:
        noise = coloured_noise(len(out), sample_rate, rng.uniform(0.0, 6.0), rng)
        out = add_noise(out, noise, rng.uniform(8.0, 35.0))
    kind = rng.random()
    if kind < 0.5:
        out = through_codec(out, sample_rate, sorted(CODECS)[int(rng.integers(len(CODECS)))])
    elif kind < 0.6:
        out = band_limited(out, sample_rate)
    return np.clip(out, -1.0, 1.0).astype(np.float32)


def _fitted(samples: np.ndarray, count: int) -> np.ndarray:
    """Cut or pad with silence to `count` samples."""
    return np.pad(samples[:count], (0, max(0, count - len(samples)))).astype(np.float32)
