"""A synthesizer that hums instead of speaking, with all that a server asks of one."""

import re
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from pathlib import Path

import torch

from glmtts.audio import Audio, AudioSpec
from glmtts.cloning import prepared
from glmtts.errors import BadText
from glmtts.model_folder import Manifest
from glmtts.options import Pace, SpeakOptions
from glmtts.pieces import Block, Piece
from glmtts.text.frontend import Frontend
from glmtts.text.pieces import whole_sentences
from glmtts.voice import Prompt, Voice
from glmtts.voices import VoiceLibrary
from glmtts.wanted import check_wanted, is_wanted

SECONDS = 0.25
"""Length of every sentence."""


class Humming:
    """A quarter second of hum for each sentence, `pause_s` of work before each."""

    sample_rate = 24_000
    proofreader = None
    styles: tuple[str, ...] = ()
    turn = nullcontext

    def __init__(self, folder: Path, pause_s: float = 0.0) -> None:
        self.pause_s = pause_s
        self.calls: list[tuple[str, Voice | None, SpeakOptions | None]] = []
        self.at_work = 0
        self.gate = threading.Event()
        self.gate.set()
        self.manifest = Manifest(1, "humming", "Apache-2.0", AudioSpec())
        self.frontend = Frontend()
        bundled = folder / "bundled"
        bundled.mkdir(parents=True, exist_ok=True)
        for name, language in (("mei", "zh"), ("tom", "en")):
            hum_voice(name, language).save(bundled / f"{name}.safetensors")
        self.voices = VoiceLibrary(bundled, folder / "voices")

    def default_voice(self, text: str) -> Voice:
        return self.voices.get("mei" if re.search("[\u4e00-\u9fff]", text) else "tom")

    def voice(self, audio: str | Audio, transcript: str | None = None) -> Voice:
        if isinstance(audio, str):
            return self.voices.get(audio)
        return self.encoder(audio, transcript)

    def encoder(
        self, audio: Audio, transcript: str | None = None, name: str = "", language: str = "",
        gender: str = "", *, trim_long: bool = False,
    ) -> Voice:  # fmt: skip
        prepared(audio, self.manifest.audio, transcribed=bool(transcript))
        return hum_voice(name, language or "en", gender)

    def pieces(
        self,
        text: str | Iterable[str],
        voice: Voice | None = None,
        options: SpeakOptions | None = None,
    ) -> Iterator[Piece]:
        self.at_work += 1
        try:
            count = 0
            for chunk in [text] if isinstance(text, str) else whole_sentences(text):
                self.calls.append((chunk, voice, options))
                who = voice or self.default_voice(chunk)
                for part in re.findall(r"[^.。!?]*\w[^.。!?]*[.。!?]*", chunk):
                    sentence = self.frontend(part)[0]
                    count += 1
                    done = time.monotonic() + self.pause_s
                    while time.monotonic() < done or not self.gate.is_set():
                        check_wanted()
                        time.sleep(0.002)
                    if "explode" in sentence.text:
                        raise RuntimeError("secret path /home/somebody")
                    reason = "length" if "endless" in sentence.text else "stop"
                    block = Block([1], sentence, who, Pace(), last=True, finish_reason=reason)
                    yield Piece(Audio(hum(), self.sample_rate, reason), block)
            if not count and is_wanted():
                raise BadText("The text holds nothing that can be spoken.")
        finally:
            self.at_work -= 1


def hum(seconds: float = SECONDS, rate: int = 24_000) -> torch.Tensor:
    return 0.5 * torch.sin(torch.arange(int(seconds * rate)) * (2 * torch.pi * 220 / rate))


def hum_voice(name: str, language: str, gender: str = "") -> Voice:
    return Voice(
        name, "", Prompt(), (1, 2), torch.zeros(4, 80), torch.ones(256) / 16, language, gender
    )
