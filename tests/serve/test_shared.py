"""Many texts through one model: each sounds as it does alone, and leaves nothing behind."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from glmtts import checkpoint
from glmtts.audio import Audio
from glmtts.engine import Engine
from glmtts.errors import BadInput, Cancelled, SpeechError
from glmtts.flow import FlowOptions, TokenToMel
from glmtts.lm import TextToSpeechTokens
from glmtts.options import Pace, SpeakOptions
from glmtts.sampling import Sampling
from glmtts.serve.shared import SharedLM, Turns, due, shared
from glmtts.synthesizer import Synthesizer
from glmtts.train.lora import FLOW_LAYERS, LM_LAYERS, Trained
from glmtts.wanted import until
from tests import tiny

OPTIONS = SpeakOptions(
    sampling=Sampling(seed=1, retries=1, candidates=3), flow=FlowOptions(steps=2)
)
TEXTS = [
    "你好世界你好世界。你好你好世界，世界你好！",
    "Hello world, hello hello. The world is good today.",
    "世界世界世界你好。",
    "你好 hello 世界 world 你好。",
    "世界，你好世界你好世界你好。你好世界你好你好！",
]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Synthesizer:
    folder = tiny.build(tmp_path_factory.mktemp("tiny"))
    return Synthesizer.load(folder, device="cpu", voices=folder / "stored")


@pytest.fixture
def together(alone: Synthesizer) -> Iterator[Synthesizer]:
    synthesizer = shared(alone, slots=8)
    yield synthesizer
    assert isinstance(synthesizer.shared_lm, SharedLM)
    synthesizer.shared_lm.close()


@pytest.mark.parametrize("judged", [False, True], ids=["unread", "read back"])
@pytest.mark.parametrize("pace", [Pace(), Pace.quick_start(4, 8), Pace.growing(5, 10)])
def test_texts_spoken_together_sound_as_they_do_alone(
    alone: Synthesizer, together: Synthesizer, pace: Pace, judged: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    if judged:
        for synthesizer in (alone, together):
            monkeypatch.setattr(synthesizer, "proofreader", tiny.proofreader(alone))
    options = [
        replace(OPTIONS, pace=pace, sampling=replace(OPTIONS.sampling, seed=n)) for n in range(5)
    ]
    expected = [alone.speak(text, options=o) for text, o in zip(TEXTS, options, strict=True)]
    with ThreadPoolExecutor(5) as threads:
        found = list(threads.map(lambda job: together.speak(job[0], options=job[1]),
                                 zip(TEXTS, options, strict=True)))  # fmt: skip
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.equal(ours.samples, theirs.samples)
        assert ours.finish_reason == theirs.finish_reason


def test_voices_with_adapters_speak_beside_others_as_they_do_alone(
    alone: Synthesizer, together: Synthesizer, tmp_path: Path
) -> None:
    model = tiny.build(tmp_path / "model")
    for component, endings in (("lm", LM_LAYERS), ("flow", FLOW_LAYERS)):
        folder = model / component
        kind = TextToSpeechTokens if component == "lm" else TokenToMel
        learnt = Trained.adapter_of(component, checkpoint.load(kind, folder), folder, endings, 0.3)
        with torch.no_grad():
            for parameter in learnt.learning:
                torch.nn.init.normal_(parameter, std=0.2)
        learnt.save(tmp_path / "adapter" / component)
    plain = alone.voice("mei")
    voices = [plain, replace(plain, adapter=str(tmp_path / "adapter")), plain]
    expected = [alone.speak(TEXTS[3], voice, OPTIONS) for voice in voices]
    assert not torch.equal(expected[0].samples, expected[1].samples)
    with ThreadPoolExecutor(3) as threads:
        found = list(threads.map(lambda v: together.speak(TEXTS[3], v, OPTIONS), voices))
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.equal(ours.samples, theirs.samples)


def test_giving_up_frees_the_slots_at_once(together: Synthesizer) -> None:
    lm = together.shared_lm
    assert isinstance(lm, SharedLM)
    wanted = threading.Event()
    wanted.set()
    errors: list[BaseException] = []

    def speak() -> None:
        try:
            with until(wanted.is_set):
                together.speak("你好世界" * 40, options=OPTIONS)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=speak) for _ in range(4)]
    for thread in threads:
        thread.start()
    while not lm.speaking:
        time.sleep(0.001)
    wanted.clear()
    deadline = time.monotonic() + 0.2
    for thread in threads:
        thread.join(5)
    assert time.monotonic() < deadline + 0.3  # a busy machine may wake the threads late
    assert [type(error) for error in errors] == [Cancelled] * 4
    while lm.speaking and time.monotonic() < deadline + 1:
        time.sleep(0.001)
    assert lm.speaking == 0


def test_closing_a_stream_while_it_waits_for_a_slot_ends_it(alone: Synthesizer) -> None:
    lm = SharedLM(alone.lm, slots=1)
    voice = alone.voice("mei")
    first = lm.generate([5] * 300, voice.prompt, Sampling(seed=1))
    second = lm.generate([5] * 30, voice.prompt, Sampling(seed=1))
    next(first)
    second.close()
    with until(lambda: False), pytest.raises(Cancelled):
        next(second)
    first.close()
    lm.close()


def test_what_is_too_long_is_told_to_its_caller_alone(alone: Synthesizer) -> None:
    lm, voice = SharedLM(alone.lm, slots=2, capacity=120), alone.voice("mei")
    with pytest.raises(BadInput, match="positions"):
        list(lm.generate([5] * 200, voice.prompt))
    assert len(list(lm.generate([5], voice.prompt, Sampling(seed=1)))) > 0
    lm.close()
    with pytest.raises(SpeechError, match="closed"):
        lm.generate([5], voice.prompt)


def test_a_failing_engine_tells_everybody_and_the_next_text_is_spoken(
    alone: Synthesizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm, voice, step = SharedLM(alone.lm, slots=2), alone.voice("mei"), Engine.step
    failing = threading.Event()
    failing.set()

    def broken(engine: Engine) -> object:
        if failing.is_set():
            raise RuntimeError("out of memory")
        return step(engine)

    monkeypatch.setattr(Engine, "step", broken)
    with pytest.raises(SpeechError, match="out of memory"):
        list(lm.generate([7], voice.prompt))
    failing.clear()
    assert len(list(lm.generate([5], voice.prompt, Sampling(seed=1)))) > 0
    lm.close()


def test_who_runs_dry_first_is_served_first() -> None:
    turns, order, inside = Turns(1), list[float](), threading.Event()

    def work(when: float) -> None:
        due.set(lambda: when)
        with turns.turn():
            order.append(when)

    threads: list[threading.Thread] = []
    with turns.turn():
        for when in (3.0, 1.0, 2.0):
            thread = threading.Thread(target=copy_context().run, args=(work, when))
            thread.start()
            threads.append(thread)
            time.sleep(0.02)
        inside.set()
    for thread in threads:
        thread.join(5)
    assert order == [1.0, 2.0, 3.0]


def test_waiting_for_a_turn_can_be_given_up() -> None:
    turns = Turns(1)
    with turns.turn(), until(lambda: False), pytest.raises(Cancelled), turns.turn():
        pass
    with turns.turn():
        pass


def test_a_voice_is_opened_once(
    alone: Synthesizer, together: Synthesizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[object] = []
    original = alone.flow.open

    def counting(*args: object) -> object:
        opened.append(args[0])
        return original(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(alone.flow, "open", counting)
    known = alone.voice("mei")
    voice = replace(known, speaker=-known.speaker)  # one that no other test has opened
    first = together.speak("你好世界。", voice, OPTIONS)
    again: Audio = together.speak("你好世界。", voice, OPTIONS)
    assert torch.equal(first.samples, again.samples)
    assert len(opened) == 1
