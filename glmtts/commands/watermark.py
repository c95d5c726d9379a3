"""`glmtts watermark`: put a watermark into sound files, and look for it."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from glmtts.audio import Audio
from glmtts.audio_writer import AudioWriter
from glmtts.watermark import PUBLIC_KEY, Watermarker
from glmtts.watermark import detect as look_for


def add(sound: Path, out: Path, key: str | None, strength: float) -> float:
    """Write `sound` with the watermark of a key to `out`; its length in seconds.

    Raises:
        BadAudio: a file cannot be read or written.
        BadInput: the key is empty or the strength makes no sense.
    """
    audio = Audio.load(sound)
    marker = Watermarker(PUBLIC_KEY if key is None else key, audio.sample_rate, strength)
    with AudioWriter(out, audio.sample_rate) as writer:
        writer.write(marker.push(audio))
        writer.write(marker.finish())
    return audio.seconds


def detect(sounds: Sequence[Path], key: str | None) -> list[dict[str, Any]]:
    """What was found in each file.

    Raises:
        BadAudio: a file cannot be read.
        BadInput: it is too short, or the key is empty.
    """
    key = PUBLIC_KEY if key is None else key
    return [{"file": str(path), **asdict(look_for(Audio.load(path), key))} for path in sounds]
