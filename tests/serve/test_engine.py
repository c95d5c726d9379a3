"""The queue before the model: order, limits, cancellation, deadlines, an orderly end."""

import asyncio
import gc
import platform
import sys
import time
import weakref
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from glmtts.errors import BadInput, BadText, Cancelled, GlmTtsError, SpeechError
from glmtts.options import SpeakOptions
from glmtts.pieces import Piece
from glmtts.serve.engine import (
    Busy,
    Closing,
    Order,
    Speech,
    SpeechEngine,
    TextSource,
    TooLate,
    log,
)
from glmtts.serve.heap import Heap
from glmtts.serve.settings import Settings, checked_bind
from glmtts.voice import Voice
from tests.serve.humming import SECONDS, Humming


@pytest.fixture
def humming(tmp_path: Path) -> Humming:
    return Humming(tmp_path)


def run(test: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 30))  # type: ignore[arg-type]


async def seconds_of(speech: Speech) -> float:
    return sum([piece.audio.seconds async for piece in speech])


def test_a_text_is_spoken_and_told_about(humming: Humming) -> None:
    async def test() -> None:
        engine = SpeechEngine(humming, Settings())
        speech = engine.submit(Order("One sentence here. And another one."))
        assert await seconds_of(speech) == 2 * SECONDS
        await speech.ended()
        assert (speech.outcome, speech.finish_reason) == ("done", "stop")
        assert speech.seconds == 2 * SECONDS
        assert speech.first_audio_s is not None
        assert speech.first_audio_s < 5
        assert (engine.running, engine.waiting) == (0, 0)
        assert b'glmtts_requests_total{outcome="done"} 1.0' in engine.metrics.page()
        cut = engine.submit(Order("An endless sentence is here. And another one."))
        await seconds_of(cut)
        assert cut.finish_reason == "length"

    run(test)


def test_free_memory_is_given_back_now_and_then(humming: Humming) -> None:
    async def test(heap: Heap) -> None:
        engine = SpeechEngine(humming, Settings())
        engine._heap = heap
        await seconds_of(engine.submit(Order("One sentence here. And another one. And a third.")))

    trims: list[int] = []
    run(lambda: test(Heap(0.0, trims.append)))
    assert trims == [0, 0, 0]
    run(lambda: test(Heap(60.0, trims.append)))
    assert len(trims) == 3
    assert sys.platform != "linux" or platform.libc_ver()[0] != "glibc" or Heap()._trim is not None


class Heavy:
    """Stands for the tensors that a text is made with."""


class Laden(Humming):
    """Holds something heavy while it speaks."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.held: list[weakref.ref[Heavy]] = []

    def pieces(
        self,
        text: str | Iterable[str],
        voice: Voice | None = None,
        options: SpeakOptions | None = None,
    ) -> Iterator[Piece]:
        heavy = Heavy()
        self.held.append(weakref.ref(heavy))
        yield from super().pieces(text, voice, options)
        assert heavy


@pytest.mark.parametrize("text", ["One. Two.", "。。。", "Please explode now.", "left"])
def test_an_ended_text_holds_nothing_although_somebody_keeps_it(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test() -> None:
        laden = Laden(tmp_path)
        engine = SpeechEngine(laden, Settings(running=1))
        if text == "left":
            laden.gate.clear()
        kept = [engine.submit(Order(text)) for _ in range(3)]  # two of them wait, by a clock
        if text == "left":
            while not laden.held:
                await asyncio.sleep(0.001)
            for speech in kept:
                speech.cancel()
        for speech in kept:
            with suppress(GlmTtsError):
                await seconds_of(speech)
            await speech.ended()
        await asyncio.sleep(0.05)  # the threads end
        assert laden.held
        assert [ref() for ref in laden.held] == [None] * len(laden.held)
        assert [speech.timer for speech in kept] == [None] * 3

    monkeypatch.setattr(log, "disabled", True)  # what is logged is kept for the test's report
    gc.disable()
    try:
        run(test)
    finally:
        gc.enable()


def test_errors_reach_the_caller_and_no_inner_detail_does(humming: Humming) -> None:
    async def test() -> None:
        engine = SpeechEngine(humming, Settings())
        with pytest.raises(BadText):
            await seconds_of(engine.submit(Order("。。。")))
        with pytest.raises(SpeechError) as error:
            await seconds_of(engine.submit(Order("Please explode now, would you.")))
        assert "secret" not in str(error.value)
        assert engine.running == 0

    run(test)


def test_more_than_may_wait_are_refused_with_a_time(humming: Humming) -> None:
    async def test() -> None:
        humming.gate.clear()
        engine = SpeechEngine(humming, Settings(running=2, waiting=3, running_per_key=99))
        speeches = [engine.submit(Order("One sentence here.")) for _ in range(5)]
        assert (engine.running, engine.waiting) == (2, 3)
        with pytest.raises(Busy, match="Try again in") as busy:
            engine.submit(Order("One sentence here."))
        assert busy.value.retry_after_s >= 1
        humming.gate.set()
        assert [await seconds_of(speech) for speech in speeches] == [SECONDS] * 5
        assert await seconds_of(engine.submit(Order("One sentence here."))) == SECONDS

    run(test)


def test_one_key_cannot_take_all(humming: Humming) -> None:
    async def test() -> None:
        humming.gate.clear()
        engine = SpeechEngine(humming, Settings(running_per_key=2, requests_per_minute=3))
        first = [engine.submit(Order("One sentence.", key="a")) for _ in range(2)]
        with pytest.raises(Busy, match="running"):
            engine.submit(Order("One sentence.", key="a"))
        other = engine.submit(Order("One sentence.", key="b"))
        humming.gate.set()
        for speech in (*first, other):
            assert await seconds_of(speech) == SECONDS
        await asyncio.sleep(0.05)
        await seconds_of(engine.submit(Order("One sentence.", key="a")))
        await asyncio.sleep(0.05)
        with pytest.raises(Busy, match="minute"):
            engine.submit(Order("One sentence.", key="a"))

    run(test)


def test_cancelling_frees_the_slot_within_200_ms(humming: Humming) -> None:
    async def test() -> None:
        humming.pause_s = 10.0
        engine = SpeechEngine(humming, Settings(running=1))
        speech = engine.submit(Order("One sentence here."))
        waiting = engine.submit(Order("One sentence here."))
        queued = engine.submit(Order("One sentence here."))
        await asyncio.sleep(0.05)
        assert humming.at_work == 1
        queued.cancel()
        with pytest.raises(Cancelled):
            await anext(queued)
        humming.pause_s = 0.0
        started = time.monotonic()
        speech.cancel()
        await speech.ended()
        assert time.monotonic() - started < 0.2
        assert speech.finish_reason == "cancelled"
        assert await seconds_of(waiting) == SECONDS
        assert humming.at_work == 0

    run(test)


def test_deadlines_end_what_runs_and_what_waits(humming: Humming) -> None:
    async def test() -> None:
        humming.pause_s = 10.0
        engine = SpeechEngine(humming, Settings(running=1, wait_s=0.2))
        slow = engine.submit(Order("One sentence here.", deadline_s=0.3))
        waiting = engine.submit(Order("One sentence here."))
        with pytest.raises(TooLate, match="waited"):
            await anext(waiting)
        with pytest.raises(TooLate, match="deadline"):
            await anext(slow)
        assert slow.outcome == "late"
        assert engine.running == engine.waiting == 0

    run(test)


def test_nothing_is_made_far_ahead_of_a_slow_listener(humming: Humming) -> None:
    async def test() -> None:
        engine = SpeechEngine(humming, Settings(ahead_s=1.0))
        speech = engine.submit(Order("This is one sentence. " * 40))
        await asyncio.sleep(0.5)
        assert SECONDS * 4 <= speech.seconds <= 1.0 + 2 * SECONDS
        assert await seconds_of(speech) == 40 * SECONDS

    run(test)


def test_a_text_that_still_comes_is_spoken_as_it_comes(humming: Humming) -> None:
    async def test() -> None:
        engine, source = SpeechEngine(humming, Settings()), TextSource()
        speech = engine.submit(Order(source))
        source.push("Here is a whole sentence. And")
        assert (await anext(speech)).audio.seconds == SECONDS
        source.push(" some more")
        source.flush()
        assert (await anext(speech)).audio.seconds == SECONDS
        source.end()
        assert await seconds_of(speech) == 0
        assert [call[0].strip() for call in humming.calls] == [
            "Here is a whole sentence.", "And some more",
        ]  # fmt: skip

    run(test)


def test_an_orderly_end_lets_what_runs_finish_and_takes_nothing_new(humming: Humming) -> None:
    async def test() -> None:
        humming.pause_s = 0.2
        engine = SpeechEngine(humming, Settings(running=1))
        speech = engine.submit(Order("One sentence here."))
        draining = asyncio.create_task(engine.drain(5.0))
        await asyncio.sleep(0)
        with pytest.raises(Closing):
            engine.submit(Order("One sentence here."))
        await draining
        assert speech.outcome == "done"
        humming.pause_s = 30.0
        engine = SpeechEngine(humming, Settings(running=1))
        stuck = engine.submit(Order("One sentence here."))
        await engine.drain(0.1)
        assert stuck.outcome == "cancelled"

    run(test)


def test_a_book_waits_for_those_who_wait_in_person(humming: Humming) -> None:
    async def test() -> None:
        humming.gate.clear()
        engine = SpeechEngine(humming, Settings(running=1))
        first = engine.submit(Order("One sentence here."))
        book = engine.submit(Order("A chapter of a book.", patient=True))
        person = engine.submit(Order("A person waits here."))
        humming.gate.set()
        for speech in (first, book, person):
            await seconds_of(speech)
        said = [call[0] for call in humming.calls]
        assert said.index("A person waits here.") < said.index("A chapter of a book.")

    run(test)


def test_other_machines_are_not_let_in_without_a_key() -> None:
    checked_bind("127.0.0.1", has_keys=False)
    checked_bind("0.0.0.0", has_keys=True)
    with pytest.raises(BadInput, match="key"):
        checked_bind("0.0.0.0", has_keys=False)
    with pytest.raises(BadInput, match="nobody"):
        Settings(running=0)
