"""Sound to bytes while it is made: one `Encoder` for each response.

libsndfile writes FLAC, MP3 and Opus into a file that only grows, from which finished bytes are
taken as they come; PyAV, where it is installed, writes AAC. What these would go back to and fill in
at the end (a length, a table for seeking) stays as it was at the beginning.
"""

import io
import struct
from typing import Any, Protocol

import torch

from glmtts.audio import Audio
from glmtts.audio_writer import ENDLESS
from glmtts.errors import BadInput, MissingExtra
from glmtts.watermark import LOWEST_RATE, Watermarker

FORMATS = {
    "mp3": "audio/mpeg",
    "opus": "audio/ogg;codecs=opus",
    "aac": "audio/aac",
    "flac": "audio/flac",
    "wav": "audio/wav",
    "pcm": "audio/pcm",
}
"""Media types of the formats of OpenAI's API."""

MARK = "Synthetic speech, made by a machine (glmtts)."

_SNDFILE = {
    "mp3": ("MP3", "MPEG_LAYER_III"),
    "opus": ("OGG", "OPUS"),
    "flac": ("FLAC", "PCM_16"),
}


class Encoder(Protocol):
    """Sound in, bytes out."""

    media_type: str

    def push(self, audio: Audio) -> bytes:
        """What is finished after this sound."""
        ...

    def finish(self) -> bytes:
        """The rest."""
        ...


def encoder(
    kind: str, sample_rate: int, *, mark: bool = True, watermark: str | None = None
) -> Encoder:
    """A new encoder.

    Args:
        kind: One of `FORMATS`.
        sample_rate: Of the sound that will come.
        mark: Say in the metadata, where the format has any, that a machine made it.
        watermark: Key of a watermark to put into the sound; below 12 kHz there is none.

    Raises:
        BadInput: the format is unknown.
        MissingExtra: AAC is asked for, and PyAV is not installed.
    """
    if watermark and sample_rate >= LOWEST_RATE:
        return _Watermarked(encoder(kind, sample_rate, mark=mark), watermark, sample_rate)
    if kind == "pcm":
        return _Pcm(f"audio/pcm;rate={sample_rate};channels=1;bits=16")
    if kind == "wav":
        return _Wav(sample_rate, mark)
    if kind == "aac":
        return _Aac(sample_rate)
    if kind in _SNDFILE:
        return _Sndfile(kind, sample_rate, mark)
    raise BadInput(f"Unknown format {kind!r}. Known: {', '.join(FORMATS)}.")


def pcm16(audio: Audio) -> bytes:
    """Samples clipped to [-1, 1], as 16-bit integers, little-endian."""
    samples = audio.samples.detach().float().cpu().clamp(-1.0, 1.0)
    whole = (samples * 32_768.0).round().clamp(max=32_767).to(torch.int16)
    return whole.numpy().astype("<i2").tobytes()


class _Watermarked:
    """Puts a watermark into what another encoder encodes."""

    def __init__(self, inner: Encoder, key: str, sample_rate: int) -> None:
        self._inner, self.media_type = inner, inner.media_type
        self._marker = Watermarker(key, sample_rate)

    def push(self, audio: Audio) -> bytes:
        return self._inner.push(self._marker.push(audio))

    def finish(self) -> bytes:
        return self._inner.push(self._marker.finish()) + self._inner.finish()


class _Pcm:
    def __init__(self, media_type: str) -> None:
        self.media_type = media_type

    def push(self, audio: Audio) -> bytes:
        return pcm16(audio)

    def finish(self) -> bytes:
        return b""


class _Wav:
    """A WAV whose length is not known yet, as ffmpeg and OpenAI stream it."""

    media_type = FORMATS["wav"]

    def __init__(self, sample_rate: int, mark: bool) -> None:
        layout = struct.pack("<HHIIHH", 1, 1, sample_rate, 2 * sample_rate, 2, 16)
        head = b"RIFF" + struct.pack("<I", ENDLESS) + b"WAVE"
        head += b"fmt " + struct.pack("<I", len(layout)) + layout
        if mark:
            said = MARK.encode() + b"\0"
            said += b"\0" * (len(said) % 2)
            info = b"INFOICMT" + struct.pack("<I", len(said)) + said
            head += b"LIST" + struct.pack("<I", len(info)) + info
        self._head = head + b"data" + struct.pack("<I", ENDLESS)

    def push(self, audio: Audio) -> bytes:
        head, self._head = self._head, b""
        return head + pcm16(audio)

    def finish(self) -> bytes:
        return self._head


class _Growing(io.RawIOBase):
    """A file of which only what is new is kept; going back to what was taken changes nothing."""

    def __init__(self) -> None:
        self._new = bytearray()
        self._taken = self._place = 0

    def write(self, data: Any, /) -> int:
        piece = bytes(data)
        start = self._place - self._taken
        self._place += len(piece)
        if start < 0:  # a part that has been taken
            piece, start = piece[-start:], 0
        self._new[start : start + len(piece)] = piece
        return len(data)

    def seek(self, offset: int, whence: int = 0, /) -> int:
        base = (0, self._place, self._taken + len(self._new))[whence]
        self._place = max(0, base + offset)
        return self._place

    def tell(self) -> int:
        return self._place

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        """Read back what is still there (libsndfile does so while it writes a header)."""
        start = max(0, self._place - self._taken)
        piece = bytes(self._new[start : start + len(buffer)])
        buffer[: len(piece)] = piece
        self._place += len(piece)
        return len(piece)

    def take(self) -> bytes:
        piece = bytes(self._new)
        self._taken += len(piece)
        self._new.clear()
        return piece


class _Sndfile:
    def __init__(self, kind: str, sample_rate: int, mark: bool) -> None:
        import soundfile

        self.media_type = FORMATS[kind]
        self._bytes = _Growing()
        target: Any = self._bytes
        container, coding = _SNDFILE[kind]
        self._file: Any = soundfile.SoundFile(
            target, "w", sample_rate, 1, subtype=coding, format=container
        )
        if mark:
            self._file.comment = MARK

    def push(self, audio: Audio) -> bytes:
        self._file.buffer_write(pcm16(audio), "int16")
        return self._bytes.take()

    def finish(self) -> bytes:
        if not self._file.closed:
            self._file.close()
        return self._bytes.take()


class _Aac:
    """AAC in ADTS frames."""

    media_type = FORMATS["aac"]

    def __init__(self, sample_rate: int) -> None:
        try:
            import av
        except ImportError as error:
            raise MissingExtra("AAC", "aac") from error
        self._av: Any = av
        self._bytes = _Growing()
        self._container: Any = av.open(self._bytes, "w", format="adts")
        self._stream: Any = self._container.add_stream("aac", rate=sample_rate)
        self._stream.layout = "mono"

    def push(self, audio: Audio) -> bytes:
        if audio.samples.numel():
            import numpy as np

            data = np.frombuffer(pcm16(audio), "<i2")[None]
            frame = self._av.AudioFrame.from_ndarray(data, format="s16", layout="mono")
            frame.sample_rate = audio.sample_rate
            self._container.mux(self._stream.encode(frame))
        return self._bytes.take()

    def finish(self) -> bytes:
        self._container.mux(self._stream.encode(None))
        self._container.close()
        return self._bytes.take()
