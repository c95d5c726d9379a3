"""A synthesizer that hums instead of speaking, for tests of what stands around it.

Run as a script it is the command line with that synthesizer: python tests/fakes.py PAUSE say …
"""

import re
import sys
import time
from collections.abc import Iterator

import torch

from glmtts.audio import Audio
from glmtts.errors import BadText
from glmtts.flow import FlowOptions

SECONDS = 0.25
"""Length of every sentence."""


class FakeSynthesizer:
    sample_rate = 24_000

    def __init__(self, pause_s: float = 0.0) -> None:
        self.pause_s = pause_s
        self.calls: list[tuple] = []
        self.flow_options = FlowOptions()

    def default_voice(self, text: str) -> str:
        return "default"

    def voice(self, name_or_audio: object, transcript: str | None = None) -> tuple:
        return (name_or_audio, transcript)

    def sentences(self, text: str, options: object = None, voice: object = None) -> list[str]:
        return [part for part in re.findall(r"[^.。]+[.。]?", text) if part.strip()]

    def stream(self, text: str, voice: object, options: object) -> Iterator[Audio]:
        self.calls.append((text, voice, options))
        sentences = self.sentences(text)
        if not sentences:
            raise BadText("The text holds nothing that can be spoken.")
        for sentence in sentences:
            time.sleep(self.pause_s)
            count = int(SECONDS * self.sample_rate)
            hum = 0.5 * torch.sin(torch.arange(count) * (2 * torch.pi * 220 / self.sample_rate))
            yield Audio(hum, self.sample_rate, "length" if "endless" in sentence else "stop")


def main() -> None:
    from glmtts.cli import main as cli
    from glmtts.synthesizer import Synthesizer

    fake = FakeSynthesizer(float(sys.argv[1]))
    Synthesizer.load = lambda *args, **kwargs: fake  # type: ignore[method-assign]
    cli(sys.argv[2:])


if __name__ == "__main__":
    main()
