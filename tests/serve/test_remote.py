"""A language model elsewhere: the same sound, also when it dies in the middle."""

import pickle
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from glmtts.errors import BadInput, SpeechError
from glmtts.flow import FlowOptions
from glmtts.options import Pace, SpeakOptions
from glmtts.sampling import Sampling
from glmtts.serve.remote import Desk, RemoteLM, Spoken, Wanted
from glmtts.serve.shared import SharedLM, shared
from glmtts.synthesizer import Synthesizer
from tests import tiny

OPTIONS = SpeakOptions(
    sampling=Sampling(seed=4, retries=1, candidates=3), flow=FlowOptions(steps=2),
    pace=Pace.quick_start(4, 8),
)  # fmt: skip
TEXT = "你好世界你好世界。你好你好世界，世界你好！Hello world, hello my world."


class Line:
    """Passes everything through pickle, and breaks when it is told to."""

    def __init__(self, desk: Desk, breaks: int = 0) -> None:
        self.desk, self.breaks = desk, breaks
        self.broken = 0

    def _break(self) -> None:
        if self.broken < self.breaks:
            self.broken += 1
            raise ConnectionResetError("the replica was killed")

    def tokens(self, wanted: Wanted) -> Iterator[object]:
        for count, item in enumerate(self.desk.tokens(pickle.loads(pickle.dumps(wanted)))):
            if count == 3:
                self._break()
            yield pickle.loads(pickle.dumps(item))

    def utterances(self, wanted: Wanted) -> tuple[list[Spoken], bytes]:
        self._break()
        return pickle.loads(pickle.dumps(self.desk.utterances(wanted)))


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Synthesizer:
    folder = tiny.build(tmp_path_factory.mktemp("tiny"))
    return Synthesizer.load(folder, device="cpu", voices=folder / "stored")


@pytest.fixture(params=["unread", "read back"])
def desk(
    alone: Synthesizer, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Desk]:
    if request.param == "read back":
        monkeypatch.setattr(alone, "proofreader", tiny.proofreader(alone))
    lm = SharedLM(alone.lm, slots=6)
    yield Desk(lm, alone.proofreader)
    lm.close()


def far(alone: Synthesizer, line: Line) -> Synthesizer:
    together = shared(alone, slots=1)
    assert isinstance(together.shared_lm, SharedLM)
    together.shared_lm.close()
    together.shared_lm = RemoteLM(line)  # type: ignore[arg-type]
    return together


@pytest.mark.parametrize("breaks", [0, 1, 2])
def test_a_model_elsewhere_sounds_the_same_even_if_it_dies(
    alone: Synthesizer, desk: Desk, breaks: int
) -> None:
    line = Line(desk, breaks)
    expected = alone.speak(TEXT, options=OPTIONS)
    assert torch.equal(far(alone, line).speak(TEXT, options=OPTIONS).samples, expected.samples)
    assert line.broken == breaks


def test_when_none_answers_the_text_fails_clearly(alone: Synthesizer, desk: Desk) -> None:
    for pace in (Pace(), Pace.growing(4)):
        with pytest.raises(SpeechError, match="No language model answers"):
            far(alone, Line(desk, 99)).speak(TEXT, options=replace(OPTIONS, pace=pace))


def test_errors_of_the_caller_are_not_tried_again(alone: Synthesizer, desk: Desk) -> None:
    line = Line(desk)
    voice = replace(alone.voice("mei"), language="zh")
    bad = replace(voice, prompt=replace(voice.prompt, turns=(replace(
        voice.prompt.turns[0], speech_tokens=(10**6,)),)))  # fmt: skip
    with pytest.raises(BadInput, match="speech token"):
        far(alone, line).speak("你好世界", bad, OPTIONS)
