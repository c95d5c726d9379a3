"""Where somebody speaks: levels of short frames, a threshold above the noise floor, hysteresis.

Everything is relative to the sound itself, so recordings at any gain and with any steady noise
work. Read `speech_mask` first; `speech_spans` and `trimmed` are what callers need.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from glmtts.audio import Audio

Levels = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

FRAME_SECONDS = 0.01
"""Time resolution of the masks."""

WINDOW_FRAMES = 3
"""A level is measured over 30 ms, longer than two periods of a low voice."""

SILENT_DB = -75.0
"""Below this a frame is digital silence: never speech, and no measure of the noise floor."""


@dataclass(frozen=True)
class VadOptions:
    """What counts as speech.

    Attributes:
        min_speech: Bursts shorter than this many seconds are clicks.
        max_gap: Pauses up to this many seconds inside speech still count as speech.
        hysteresis_db: Speech ends this far below the level at which it starts.
    """

    min_speech: float = 0.06
    max_gap: float = 0.2
    hysteresis_db: float = 4.0


def frame_levels(audio: Audio) -> Levels:
    """RMS level of every 10 ms in dBFS, without the mean (DC) of each: (N,) -> (frames,)."""
    samples = audio.samples.detach().cpu().numpy().astype(np.float32, copy=False)
    size = max(1, round(audio.sample_rate * FRAME_SECONDS))
    frames = len(samples) // size
    if frames == 0:
        return np.zeros(0, np.float32)
    samples = samples[: frames * size]
    blocks = (samples - samples.mean()).reshape(frames, size)
    mean, power = _smoothed(blocks.mean(axis=1)), _smoothed(np.square(blocks).mean(axis=1))
    return (10.0 * np.log10(np.maximum(power - mean**2, 1e-10))).astype(np.float32)


def _smoothed(values: Levels) -> Levels:
    """Average each value with its neighbours within `WINDOW_FRAMES`."""
    side = WINDOW_FRAMES // 2
    padded = np.pad(values, side, mode="edge")
    kernel = np.full(WINDOW_FRAMES, 1.0 / WINDOW_FRAMES, np.float32)
    return np.convolve(padded, kernel, mode="valid").astype(np.float32)


def thresholds(levels: Levels, options: VadOptions) -> tuple[float, float]:
    """The levels in dBFS that start speech and that keep it going, for these frame levels.

    Loud is what at least 0.3 s of the sound reaches (so a click is not), the floor is the quietest
    tenth of what is not digital silence. Speech starts 40 % of the way from floor to loud, at least
    6 dB above the floor and between 38 and 6 dB below loud. A sound as steady as a held tone has no
    floor to tell apart: all of it counts.
    """
    audible = np.sort(levels[levels > SILENT_DB])
    if len(audible) == 0:
        return 0.0, 0.0
    loud = float(audible[-min(30, 1 + len(audible) // 4)])
    floor = float(audible[len(audible) // 10])
    start = float(np.clip(floor + max(6.0, 0.4 * (loud - floor)), loud - 38.0, loud - 6.0))
    # Near the floor, noise itself would keep speech going: stay half way above it.
    return start, min(start, max(start - options.hysteresis_db, (start + floor) / 2.0))


def speech_mask(audio: Audio, options: VadOptions | None = None) -> Mask:
    """True for every 10 ms that belongs to speech: (N,) -> (frames,)."""
    options = options or VadOptions()
    levels = frame_levels(audio)
    start, keep = thresholds(levels, options)
    # A run above the lower threshold is speech when it reaches the upper one anywhere, so that
    # soft onsets count as much as soft endings.
    mask = (levels >= keep) & (levels > SILENT_DB)
    for first, last in spans_of(mask):
        short = last - first < options.min_speech / FRAME_SECONDS
        if short or levels[first:last].max() < start:
            mask[first:last] = False
    for first, last in spans_of(~mask):
        inside = first > 0 and last < len(mask)
        if inside and last - first <= options.max_gap / FRAME_SECONDS:
            mask[first:last] = True
    return mask


def spans_of(mask: Mask) -> list[tuple[int, int]]:
    """The runs of True in a mask as (first, one past last)."""
    edges = np.diff(np.concatenate(([0], mask.astype(np.int8), [0])))
    firsts, lasts = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    return list(zip(firsts.tolist(), lasts.tolist(), strict=True))


def widened(mask: Mask, before: float, after: float) -> Mask:
    """A mask whose runs start `before` seconds earlier and end `after` seconds later."""
    wide = np.array(mask)
    early, late = round(before / FRAME_SECONDS), round(after / FRAME_SECONDS)
    for first, last in spans_of(mask):
        wide[max(0, first - early) : last + late] = True
    return wide


def samples_where(audio: Audio, mask: Mask) -> npt.NDArray[np.float32]:
    """The samples of the frames a mask names, joined: (N,) -> (n,), n <= N."""
    size = max(1, round(audio.sample_rate * FRAME_SECONDS))
    samples = audio.samples.detach().cpu().numpy().astype(np.float32, copy=False)
    return samples[: len(mask) * size].reshape(len(mask), size)[mask].reshape(-1)
