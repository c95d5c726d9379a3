"""Writing sound while it is made: whatever was added before an interruption can be played.

A WAV file's header is brought up to date with every part, so even a killed process leaves a valid
file; compressed formats are finished when the writer closes.
"""

import struct
import wave
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Protocol

import torch

from glmtts.audio import Audio
from glmtts.errors import BadAudio

ENDLESS = 0xFFFFFFFF
"""Length in the header of a WAV stream whose end is not known yet (as ffmpeg writes it)."""

COMPRESSED = {
    ".flac": ("FLAC", "PCM_16"),
    ".mp3": ("MP3", "MPEG_LAYER_III"),
    ".ogg": ("OGG", "VORBIS"),
    ".opus": ("OGG", "OPUS"),
}
"""libsndfile's container and coding for each suffix besides .wav."""


class _Sink(Protocol):
    def write(self, pcm: bytes) -> None: ...
    def close(self) -> None: ...


class AudioWriter:
    """A file that grows part by part: `with AudioWriter(path, 24_000) as out: out.write(audio)`."""

    def __init__(self, target: str | Path | BinaryIO, sample_rate: int) -> None:
        """Open `target` for writing.

        Args:
            target: A path (.wav, .flac, .mp3, .ogg, .opus), or an open binary stream, which gets
                a WAV and is left open.
            sample_rate: Of everything that will be written.

        Raises:
            BadAudio: the suffix is unknown or the file cannot be created.
        """
        self.sample_rate = sample_rate
        self.seconds = 0.0
        """Seconds of sound written so far."""
        self._stack = ExitStack()
        self._sink = self._open(target)

    def _open(self, target: str | Path | BinaryIO) -> _Sink:
        if not isinstance(target, (str, Path)):
            return _wav_sink(target, self.sample_rate)
        suffix = Path(target).suffix.lower()
        if suffix != ".wav" and suffix not in COMPRESSED:
            raise BadAudio(
                f"Cannot tell an audio format from the name {str(target)!r}. "
                f"Expected one that ends in .wav, {', '.join(sorted(COMPRESSED))}."
            )
        try:
            if suffix == ".wav":
                return _wav_sink(
                    self._stack.enter_context(Path(target).open("wb")), self.sample_rate
                )
            return _CompressedSink(target, self.sample_rate, *COMPRESSED[suffix])
        except (OSError, RuntimeError) as error:
            raise BadAudio(
                f"Cannot write {target} ({error}). Choose a folder that exists and can be written."
            ) from error

    def write(self, audio: Audio) -> None:
        """Append a sound, clipped to [-1, 1], as 16-bit samples.

        Raises:
            BadAudio: its sample rate is not the file's, or the disk refuses it.
        """
        if audio.sample_rate != self.sample_rate:
            raise BadAudio(
                f"This file has {self.sample_rate} samples a second, the sound "
                f"{audio.sample_rate}. Use audio.resampled({self.sample_rate})."
            )
        samples = audio.samples.detach().float().cpu().clamp(-1.0, 1.0)
        pcm = (samples * 32_768.0).round().clamp(max=32_767).to(torch.int16).numpy().tobytes()
        try:
            self._sink.write(pcm)
        except BrokenPipeError:  # the reader of a pipe has gone: not a fault of the sound
            raise
        except (OSError, RuntimeError) as error:
            raise BadAudio(f"Cannot write more sound ({error}).") from error
        self.seconds += audio.seconds

    def close(self) -> None:
        """Finish the file."""
        self._sink.close()
        self._stack.close()

    def __enter__(self) -> "AudioWriter":
        """The writer itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Finish the file, also after an error."""
        self.close()


def _wav_sink(stream: BinaryIO, sample_rate: int) -> _Sink:
    return (_WavSink if stream.seekable() else _PipeSink)(stream, sample_rate)


class _WavSink:
    """A seekable WAV file; `wave` rewrites the two lengths in the header after every part."""

    def __init__(self, stream: BinaryIO, sample_rate: int) -> None:
        self.stream = stream
        self.wave = wave.open(stream, "wb")  # noqa: SIM115
        self.wave.setnchannels(1)
        self.wave.setsampwidth(2)
        self.wave.setframerate(sample_rate)
        self.write(b"")

    def write(self, pcm: bytes) -> None:
        self.wave.writeframes(pcm)
        self.stream.flush()

    def close(self) -> None:
        self.wave.close()
        self.stream.flush()


class _PipeSink:
    """A WAV for a pipe: the lengths in its header say "until the end"."""

    def __init__(self, stream: BinaryIO, sample_rate: int) -> None:
        self.stream = stream
        layout = struct.pack("<HHIIHH", 1, 1, sample_rate, 2 * sample_rate, 2, 16)
        riff = b"RIFF" + struct.pack("<I", ENDLESS) + b"WAVE"
        form = b"fmt " + struct.pack("<I", len(layout)) + layout
        self.write(riff + form + b"data" + struct.pack("<I", ENDLESS))

    def write(self, pcm: bytes) -> None:
        self.stream.write(pcm)
        self.stream.flush()

    def close(self) -> None:
        self.stream.flush()


class _CompressedSink:
    """FLAC, MP3, Vorbis or Opus through libsndfile."""

    def __init__(self, path: str | Path, sample_rate: int, container: str, coding: str) -> None:
        import soundfile

        self.file = soundfile.SoundFile(
            str(path), "w", sample_rate, 1, subtype=coding, format=container
        )

    def write(self, pcm: bytes) -> None:
        self.file.buffer_write(pcm, "int16")

    def close(self) -> None:
        self.file.close()
