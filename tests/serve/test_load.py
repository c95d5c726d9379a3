"""Many listeners at once, half of them leaving at random: nobody hears a wrong sample. Slow.

`GLMTTS_LOAD_S=180` sets how long.
"""

import os
import random
import threading
import time
from pathlib import Path

import httpx
import numpy as np
import pytest

from glmtts.sampling import Sampling
from glmtts.serve.encode import pcm16
from glmtts.serve.service import PACES
from glmtts.serve.shared import SharedLM, shared
from glmtts.synthesizer import SpeakOptions, Synthesizer
from tests import tiny
from tests.serve.live import live

SECONDS = float(os.environ.get("GLMTTS_LOAD_S", "20"))
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


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads memory from /proc")
def test_eight_listeners_half_of_them_leaving(tmp_path: Path) -> None:
    folder = tiny.build(tmp_path / "tiny")
    alone = Synthesizer.load(folder, device="cpu", voices=tmp_path / "voices")
    expected: dict[tuple[int, int], bytes] = {}
    for place, text in enumerate(TEXTS):
        for seed in range(3):
            options = SpeakOptions(sampling=Sampling(seed=seed), pace=PACES["quick"])
            expected[place, seed] = b"".join(
                pcm16(audio) for audio in alone.stream(text, options=options)
            )
    together = shared(alone, slots=8)
    wrong, done, left, refused = [0], [0], [0], [0]
    with live(tmp_path, speaker=Counted(together), running_per_key=99, waiting=4) as server:
        engine, until = server.service.engine, time.monotonic() + SECONDS

        def listener(number: int) -> None:
            rng = random.Random(number)
            with httpx.Client(base_url=server.url, timeout=30) as http:
                while time.monotonic() < until:
                    place, seed = rng.randrange(len(TEXTS)), rng.randrange(3)
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
        freed = time.monotonic() - ended
        assert engine.running == engine.waiting == 0
        lm = together.shared_lm
        assert isinstance(lm, SharedLM)
        time.sleep(0.1)
        assert lm.speaking == 0
        live_threads = [t.name for t in threading.enumerate() if t.name.startswith("glmtts-req")]
        assert live_threads == []
    third = max(1, len(sizes) // 3)
    growth = np.mean(sizes[-third:]) / np.mean(sizes[third : 2 * third])
    print(f"{done[0]} whole, {left[0]} left, {refused[0]} refused, {wrong[0]} wrong, "
          f"freed {1000 * freed:.0f} ms after the last, memory x {growth:.3f}")  # fmt: skip
    assert done[0] > 8
    assert left[0] > 0
    assert wrong[0] == 0
    assert freed < 1.0
    assert growth < 1.1
