"""Recordings of any format to mono sound of one rate, in stretches that fit into memory.

Read `stretches` first. libsndfile reads WAV, FLAC, MP3, Ogg and Opus; what it does not know (m4a,
aac, wma, webm, video, g722, …) goes to PyAV, whose wheels carry FFmpeg's libraries (extra
`prepare`): no program is called, nothing is written in between.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from glmtts.audio import Audio
from glmtts.errors import BadAudio, MissingExtra
from glmtts.vad import FRAME_SECONDS, frame_levels

Samples = npt.NDArray[np.float32]

STRETCH_SECONDS = 600.0
"""A recording is worked on in stretches of about ten minutes (paper §2.1)."""
SEARCH_SECONDS = 30.0
"""A stretch ends at the quietest moment of its last half minute."""
BLOCK = 1 << 18
"""Samples read at once."""


@dataclass(frozen=True)
class Stretch:
    """A part of a recording.

    Attributes:
        start: Seconds from the beginning of the recording.
        audio: Mono sound.
    """

    start: float
    audio: Audio


@dataclass(frozen=True)
class Format:
    """What a file says it is: samples per second, channels before they are mixed, length."""

    sample_rate: int
    channels: int
    seconds: float


def probe(path: Path) -> Format:
    """Rate and channels of a recording.

    Raises:
        BadAudio: it cannot be read as sound.
        MissingExtra: its format needs PyAV, which is not installed.
    """
    import soundfile

    try:
        info = soundfile.info(str(path))
        return Format(int(info.samplerate), int(info.channels), float(info.duration))
    except (OSError, RuntimeError, TypeError, ValueError):
        container, stream = _opened(path)
        with container:
            seconds = (container.duration or 0) / 1e6
            return Format(int(stream.rate), int(stream.codec_context.channels), seconds)


def stretches(path: Path, sample_rate: int) -> Iterator[Stretch]:
    """The sound of a recording at `sample_rate`, mixed to mono, ten minutes at a time.

    Raises:
        BadAudio: it cannot be decoded, to its end, or holds no sound.
        MissingExtra: its format needs PyAV, which is not installed.
    """
    held: list[Samples] = []
    count, start = 0, 0
    most = round((STRETCH_SECONDS + SEARCH_SECONDS) * sample_rate)
    for block in _resampled(path, sample_rate):
        if not np.isfinite(block).all():
            raise BadAudio(f"{path} holds samples that are not numbers. Export it again.")
        held.append(block)
        count += len(block)
        if count > most:
            samples = np.concatenate(held)
            end = _quietest(samples, sample_rate)
            yield Stretch(start / sample_rate, _audio(samples[:end], sample_rate))
            held, count, start = [samples[end:]], len(samples) - end, start + end
    if count == 0 and start == 0:
        raise BadAudio(f"{path} holds no sound.")
    if count:
        yield Stretch(start / sample_rate, _audio(np.concatenate(held), sample_rate))


def _audio(samples: Samples, sample_rate: int) -> Audio:
    return Audio(torch.from_numpy(np.ascontiguousarray(samples)), sample_rate)


def _quietest(samples: Samples, sample_rate: int) -> int:
    """The sample in the middle of the quietest 0.3 s of the last half minute."""
    begin = len(samples) - round(SEARCH_SECONDS * sample_rate)
    levels = frame_levels(_audio(samples[begin:], sample_rate))
    width = round(0.3 / FRAME_SECONDS)
    loud = np.convolve(10.0 ** (levels / 10.0), np.ones(width), mode="valid")
    frame = int(loud.argmin()) + width // 2
    return begin + round(frame * FRAME_SECONDS * sample_rate)


def _resampled(path: Path, sample_rate: int) -> Iterator[Samples]:
    import soxr

    source = _blocks(path)
    rate, first = next(source, (sample_rate, np.zeros(0, np.float32)))
    if rate == sample_rate:
        yield first
        yield from (block for _, block in source)
        return
    resampler = soxr.ResampleStream(rate, sample_rate, 1, dtype="float32")
    held = first
    for _, block in source:
        yield resampler.resample_chunk(held)
        held = block
    yield resampler.resample_chunk(held, last=True)


def _blocks(path: Path) -> Iterator[tuple[int, Samples]]:
    """(rate, mono samples) by libsndfile or, where it gives up at once, by PyAV."""
    import soundfile

    try:
        file = soundfile.SoundFile(str(path))
    except (OSError, RuntimeError, TypeError, ValueError):
        yield from _by_av(path)
        return
    with file:
        read = 0
        while True:
            try:
                data: np.ndarray = file.read(BLOCK, dtype="float32", always_2d=True)
            except (OSError, RuntimeError) as error:
                at = read / file.samplerate
                raise BadAudio(f"{path} is damaged {at:.1f} s from its start ({error}).") from error
            if not len(data):
                return
            read += len(data)
            yield int(file.samplerate), data.mean(axis=1)


def _opened(path: Path) -> tuple[Any, Any]:
    """The container and the first audio stream of a file, by PyAV."""
    try:
        import av
    except ImportError as error:
        raise MissingExtra(f"Reading {path.name}", "prepare") from error
    try:
        container: Any = av.open(str(path), metadata_errors="ignore")
    except (OSError, ValueError) as error:  # every error of FFmpeg is one of the two
        raise BadAudio(f"{path} cannot be read as sound ({_short(error)}).") from error
    if not container.streams.audio:
        container.close()
        raise BadAudio(f"{path} holds no sound.")
    return container, container.streams.audio[0]


def _by_av(path: Path) -> Iterator[tuple[int, Samples]]:
    import av

    container, stream = _opened(path)
    rate = int(stream.rate)
    to_float: Any = av.AudioResampler(format="fltp", rate=rate)
    with container:
        try:
            for frame in container.decode(stream):
                for part in to_float.resample(frame):
                    yield rate, np.ascontiguousarray(part.to_ndarray().mean(axis=0), np.float32)
        except (OSError, ValueError) as error:
            raise BadAudio(f"{path} is damaged ({_short(error)}).") from error


def _short(error: Exception) -> str:
    return str(getattr(error, "strerror", "") or error)
