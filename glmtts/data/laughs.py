"""Laughs made of a speaker's own voice. Read `laugh`.

No corpus of laughs can be shipped, and the teacher does not laugh. But a laugh is simple: a row of
short breathy vowels, about five a second, far above the pitch of the same person's speech and
falling, with an h between them (Bachorowski, Smoski & Owren 2001; Trouvain 2003). So the most open
vowel of a clip is taken apart by WORLD (Morise 2016) and put together again as such a row. How it
is put together is drawn at random, and only what a detector takes for a laugh is kept
(`glmtts.data.laughing`).

**These laughs are a rule, not amusement.** Recordings of people who laugh, with `[laughter]` in
their transcripts, are better data and need nothing of this.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from glmtts.data.pitch import world
from glmtts.errors import BadInput

PERIOD_S = 0.005
"""Step of WORLD's frames."""


@dataclass(frozen=True)
class Timbre:
    """What laughs of a speaker are made of.

    Attributes:
        vowel: (K,) power spectrum of the most open vowel.
        noise: (K,) how much of each band of it is noise, 0 to 1.
        hz: (K,) frequencies.
        pitch_hz: Median F0 of the speech.
        peak: Loudest sample of the speech.
        sample_rate: Of the speech.
    """

    vowel: np.ndarray
    noise: np.ndarray
    hz: np.ndarray
    pitch_hz: float
    peak: float
    sample_rate: int


@dataclass(frozen=True)
class Shape:
    """How a laugh goes.

    Attributes:
        bursts: Number of "ha".
        rate: Bursts a second at the beginning.
        slowing: By which share each burst is longer than the one before.
        pitch: F0 of the first burst, in median F0 of the speech.
        fall: Share of its F0 that each burst loses to the next.
        decay: Share of its amplitude.
        voiced: Share of a burst that is vowel; the rest is h.
        arch: How far F0 rises in the middle of a vowel, as a share.
        drop: How far it falls over a vowel.
        sharp: Exponent of a vowel's loudness, a half sine: 1 is round, 2 a peak.
        breath: Amplitude of the h, in that of the vowel.
        bright: Tilt of the h above 2.5 kHz, as an exponent.
        breathy: Share of the vowel's harmonics that turns into noise.
        formants: Factor on the formants: a laughing mouth is wide.
        tail_s: Breath at the end.
    """

    bursts: int
    rate: float
    slowing: float
    pitch: float
    fall: float
    decay: float
    voiced: float
    arch: float
    drop: float
    sharp: float
    breath: float
    bright: float
    breathy: float
    formants: float
    tail_s: float


def draw(rng: np.random.Generator) -> Shape:
    """A shape that is often taken for a laugh (figures: LOG.md, 2026-11-29, Laughs)."""
    u = rng.uniform
    return Shape(
        bursts=int(rng.integers(5, 9)), rate=u(4.2, 6.2), slowing=u(0.0, 0.07), pitch=u(1.85, 2.35),
        fall=u(0.0, 0.05), decay=u(0.0, 0.1), voiced=u(0.45, 0.65), arch=u(0.15, 0.38),
        drop=u(0.05, 0.18), sharp=u(1.4, 2.2), breath=u(0.6, 1.3), bright=u(0.3, 1.9),
        breathy=u(0.0, 0.25), formants=u(0.98, 1.2), tail_s=u(0.05, 0.25),
    )  # fmt: skip


def timbre(samples: np.ndarray, sample_rate: int) -> Timbre:
    """What a laugh of the speaker of (N,) samples is made of.

    Raises:
        BadInput: hardly anything in it is voiced.
        MissingExtra: pyworld is not installed.
    """
    wave = np.ascontiguousarray(samples, np.float64)
    kit = world()
    f0, times = kit.dio(
        wave, sample_rate, f0_floor=60.0, f0_ceil=600.0, frame_period=PERIOD_S * 1_000
    )
    f0 = kit.stonemask(wave, f0, times, sample_rate)
    voiced = f0 > 0
    if int(voiced.sum()) < 20:
        raise BadInput("Hardly anything in the clip is voiced; a laugh needs a vowel of 0.1 s.")
    around = round(PERIOD_S * sample_rate)
    padded = np.pad(np.square(wave), (around, len(f0) * around))
    level = np.array([padded[i * around : (i + 2) * around].mean() for i in range(len(f0))])
    core = voiced & (level > np.quantile(level[voiced], 0.4))
    inner = core.copy()  # frames whose neighbours are voiced and loud as well
    for step in (1, 2, 3):
        inner[step:] &= core[:-step]
        inner[:-step] &= core[step:]
    frames = np.flatnonzero(inner if int(inner.sum()) >= 10 else core)
    frames = frames[np.linspace(0, len(frames) - 1, min(80, len(frames))).astype(int)]
    power: np.ndarray = kit.cheaptrick(wave, f0[frames], times[frames], sample_rate)
    hz = np.linspace(0.0, sample_rate / 2, power.shape[1])

    def band(low: float, high: float) -> np.ndarray:
        return np.log(power[:, (hz >= low) & (hz < high)].mean(axis=1) + 1e-12)

    openness = band(650.0, 1_300.0) - band(200.0, 450.0)  # an open vowel has a high first formant
    chosen = np.argsort(-openness)[: max(6, len(frames) // 12)]
    at = frames[chosen]
    noise: np.ndarray = kit.d4c(wave, f0[at], times[at], sample_rate)
    return Timbre(
        vowel=np.exp(np.log(power[chosen] + 1e-16).mean(axis=0)),
        noise=noise.mean(axis=0),
        hz=hz,
        pitch_hz=float(np.median(f0[voiced])),
        peak=float(np.abs(wave).max()),
        sample_rate=sample_rate,
    )


def laugh(of: Timbre, shape: Shape, rng: np.random.Generator) -> np.ndarray:
    """(N,) float32 samples of one laugh, as loud as the speech was at its loudest.

    Args:
        of: Who laughs.
        shape: How.
        rng: Draws how the bursts differ: 4 % in length, 2 % in pitch.
    """
    vowel = np.interp(of.hz / shape.formants, of.hz, of.vowel)
    breath = vowel * (1.0 + np.square(of.hz / 2_500.0)) ** (shape.bright / 2)
    noise = 1.0 - (1.0 - of.noise) * (1.0 - shape.breathy)
    f0: list[np.ndarray] = []
    power: list[np.ndarray] = []
    noises: list[np.ndarray] = []

    def add(
        pitch: np.ndarray, amplitude: np.ndarray, spectrum: np.ndarray, air: np.ndarray
    ) -> None:
        f0.append(pitch)
        power.append(np.outer(np.square(amplitude), spectrum))
        noises.append(np.tile(air, (len(pitch), 1)))

    everything_noise = np.ones_like(noise)
    for burst in range(shape.bursts):
        length = (1.0 + shape.slowing * burst) * (1.0 + 0.04 * rng.standard_normal()) / shape.rate
        frames = max(6, round(length / PERIOD_S))
        first = 1.3 if burst == 0 else 1.0  # people begin with a longer one
        vowels = min(round(frames * shape.voiced * first), frames - 2)
        loud = (1.0 - shape.decay) ** burst
        top = of.pitch_hz * shape.pitch * (1.0 - shape.fall) ** burst
        top *= 1.0 + 0.02 * rng.standard_normal()

        place = np.linspace(0.0, 1.0, frames - vowels, endpoint=False)
        rising = 0.15 + 0.85 * np.sin(np.pi * (0.15 + 0.6 * place))
        add(np.zeros(len(place)), loud * shape.breath * rising, breath, everything_noise)
        place = np.linspace(0.0, 1.0, vowels, endpoint=False)
        pitch = top * (1.0 + shape.arch * np.sin(np.pi * place) - shape.drop * place)
        add(pitch, loud * np.sin(np.pi * (0.12 + 0.83 * place)) ** shape.sharp, vowel, noise)
    fading = np.linspace(0.6, 0.1, max(1, round(shape.tail_s / PERIOD_S)))
    add(np.zeros(len(fading)), 0.6 * shape.breath * fading, breath, everything_noise)
    made: Any = world().synthesize(
        np.concatenate(f0), np.concatenate(power), np.concatenate(noises), of.sample_rate,
        PERIOD_S * 1_000,
    )  # fmt: skip
    return (made / max(1e-9, float(np.abs(made).max())) * of.peak).astype(np.float32)
