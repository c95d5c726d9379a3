"""Many listeners at once, half of them leaving at random: nobody hears a wrong sample. Slow.

`GLMTTS_LOAD_S=180` sets how long, `GLMTTS_LOAD_MODEL=glmtts-nano` who speaks (a tiny model else).
"""

import os
import random
import threading
import time
from pathlib import Path

import httpx
import numpy as np
import pytest

from glmtts.options import SpeakOptions
from glmtts.sampling import Sampling
from glmtts.serve import engine as engine_module
from glmtts.serve.encode import pcm16
from glmtts.serve.service import PACES
from glmtts.serve.shared import SharedLM, shared
from glmtts.synthesizer import Synthesizer
from tests import tiny
from tests.serve.live import live

SECONDS = float(os.environ.get("GLMTTS_LOAD_S", "20"))
MODEL = os.environ.get("GLMTTS_LOAD_MODEL", "")
SEEDS = 1 if MODEL else 3
TEXTS = [
    "你好世界你好世界。你好你好世界，世界你好！",
    "Hello world, hello hello. The world is good today.",
    "世界世界世界你好。",
    "你好 hello 世界 world 你好。你好世界你好世界你好世界。",
]


class Counted:
    """A synthesizer that knows how many texts it speaks."""

    def __init__(self, synthesizer: Synthesizer) -> None:
        self._synthesizer, self.at_work = synthesizer, 0

    def __getattr__(self, name: str) -> object:
        return getattr(self._synthesizer, name)


class Freed:
    """How long after it was cancelled each text held nothing any more."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seconds: list[float] = []
        self._began: dict[str, float] = {}
        cancel, end = engine_module.Speech.cancel, engine_module.Speech.end

        def cancelled(speech: engine_module.Speech) -> None:
            if speech.outcome == "running":
                self._began.setdefault(speech.id, time.monotonic())
            cancel(speech)

        def ended(speech: engine_module.Speech, error: BaseException | None) -> None:
            if (began := self._began.pop(speech.id, None)) is not None:
                self.seconds.append(time.monotonic() - began)
            end(speech, error)

        monkeypatch.setattr(engine_module.Speech, "cancel", cancelled)
        monkeypatch.setattr(engine_module.Speech, "end", ended)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads memory from /proc")
def test_eight_listeners_half_of_them_leaving(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = MODEL or tiny.build(tmp_path / "tiny")
    alone = Synthesizer.load(model, device="cpu", voices=tmp_path / "voices")
    expected: dict[tuple[int, int], bytes] = {}
    for place, text in enumerate(TEXTS):
        for seed in range(SEEDS):
            options = SpeakOptions(sampling=Sampling(seed=seed), pace=PACES["quick"])
            expected[place, seed] = b"".join(
                pcm16(audio) for audio in alone.stream(text, options=options)
            )
    together = shared(alone, slots=8 * max(1, alone.manifest.candidates))
    wrong, done, left, refused = [0], [0], [0], [0]
    freed = Freed(monkeypatch)
    with live(tmp_path, speaker=Counted(together), running_per_key=99, waiting=4) as server:
        engine, until = server.service.engine, time.monotonic() + SECONDS

        def listener(number: int) -> None:
            rng = random.Random(number)
            with httpx.Client(base_url=server.url, timeout=120) as http:
                while time.monotonic() < until:
                    place, seed = rng.randrange(len(TEXTS)), rng.randrange(SEEDS)
                    body = {"input": TEXTS[place], "seed": seed, "response_format": "pcm"}
                    leaves = number % 2 and rng.random() < 0.7
                    with http.stream("POST", "/v1/audio/speech", json=body) as answer:
                        if answer.status_code == 429:
                            refused[0] += 1
                            time.sleep(0.05)
                            continue
                        data = b""
                        for piece in answer.iter_raw():
                            data += piece
                            if leaves:
                                break
                    if leaves:
                        left[0] += 1
                    else:
                        done[0] += 1
                        wrong[0] += data != expected[place, seed]

        threads = [threading.Thread(target=listener, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        sizes: list[int] = []
        while any(thread.is_alive() for thread in threads):
            time.sleep(0.5)
            sizes.append(int(Path("/proc/self/statm").read_text().split()[1]))
        ended = time.monotonic()
        while engine.running and time.monotonic() < ended + 5:
            time.sleep(0.002)
        assert engine.running == engine.waiting == 0
        lm = together.shared_lm
        assert isinstance(lm, SharedLM)
        time.sleep(0.1)
        assert lm.speaking == 0
        live_threads = [t.name for t in threading.enumerate() if t.name.startswith("glmtts-req")]
        assert live_threads == []
    third = max(1, len(sizes) // 3)
    growth = np.mean(sizes[-third:]) / np.mean(sizes[third : 2 * third])
    median, latest = np.median(freed.seconds), max(freed.seconds)
    print(f"{done[0]} whole, {left[0]} left, {refused[0]} refused, {wrong[0]} wrong; "
          f"{len(freed.seconds)} texts freed {1000 * median:.0f} ms after they were left (median, "
          f"at most {1000 * latest:.0f}); memory x {growth:.3f}, "
          f"{max(sizes) * 4096 / 1e6:.0f} MB at most")  # fmt: skip
    assert done[0] > 8
    assert left[0] > 0
    assert wrong[0] == 0
    assert median < 0.2
    assert latest < 1.0
    assert growth < 1.1
