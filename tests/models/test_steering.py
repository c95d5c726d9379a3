"""Candidates that lead one another: what is settled stays, and a slip costs a stretch."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from glmtts.engine import Engine
from glmtts.errors import BadInput
from glmtts.lm import TextToSpeechTokens
from glmtts.runaway import Finish
from glmtts.sampling import Sampling
from glmtts.steering import NEVER, Marks, Rivals
from glmtts.voice import Prompt, Turn
from tests.models.test_lm_engine import model

VOICE = Prompt((Turn((5, 6, 7), (3, 9, 27)),), own=1)
TEXT = [10, 11, 12, 13, 14, 15]
FOUR = Sampling(seed=3, candidates=4, top_p=0.95, retries=0)


class Evenness:
    """Likes even tokens."""

    phonemes = ("x",)

    def misread(self, tokens: Sequence[int]) -> float:
        return sum(token % 2 for token in tokens) / max(1, len(tokens))

    def so_far(self, beginnings: Sequence[Sequence[int]]) -> list[float]:
        return [self.misread(tokens) for tokens in beginnings]


@dataclass
class Told:
    """A candidate whose tokens are told in advance."""

    script: list[int]
    tokens: list[int] = field(default_factory=list[int])
    finish_reason: Finish | None = None

    def step(self) -> None:
        self.tokens.append(self.script[len(self.tokens)])
        if len(self.tokens) == len(self.script):
            self.finish_reason = "stop"

    def follow(self, other: "Told") -> None:
        self.tokens = list(other.tokens)


@pytest.fixture(params=["float32", "int8"])
def lm(request: pytest.FixtureRequest) -> TextToSpeechTokens:
    return model(packed=request.param == "int8")


def test_marks_lie_at_the_ends_of_blocks_and_as_much_later_as_is_asked_for() -> None:
    marks, at = Marks((12, 25, 50), ahead=3), [0]
    while at[-1] < 150:
        at.append(marks.after(at[-1]))
    assert at == [0, 15, 40, 90, 140, 190]
    assert Marks().after(0) == 25
    assert Marks().after(30) == 50


def test_at_a_mark_all_go_on_from_the_best() -> None:
    odd, even = Told([1] * 40), Told([2] * 9 + [1] * 31)
    rivals = Rivals([odd, even], Evenness(), Marks((4,)))
    for _ in range(3):
        odd.step(), even.step()
        assert rivals.lead() is None
    assert rivals.settled == 0
    odd.step(), even.step()
    assert rivals.lead() == 1
    assert odd.tokens == even.tokens == [2] * 4
    assert rivals.settled == 4
    odd.step(), even.step()
    assert odd.tokens == [2] * 4 + [1]


def test_who_is_much_longer_than_the_first_to_end_is_not_waited_for() -> None:
    short, endless = Told([2] * 6), Told([2] * 99)
    rivals = Rivals([short, endless], Evenness(), Marks((50,)))
    while not rivals.ended:
        for each in (short, endless):
            if each.finish_reason is None:
                each.step()
        rivals.lead()
    assert (short.finish_reason, endless.finish_reason) == ("stop", "length")
    assert len(endless.tokens) == 6 + 12


def test_whole_sentences_wait_for_all() -> None:
    short, slow = Told([2] * 6), Told([2] * 40)
    rivals = Rivals([short, slow], Evenness(), NEVER)
    while not rivals.ended:
        for each in (short, slow):
            if each.finish_reason is None:
                each.step()
        assert rivals.lead() is None
    assert (slow.finish_reason, len(slow.tokens)) == ("stop", 40)


def test_led_candidates_read_better_than_independent_ones(lm: TextToSpeechTokens) -> None:
    judge, led, alone = Evenness(), 0.0, 0.0
    for seed in range(12):
        sampling = Sampling(seed=seed, candidates=4, top_p=0.95, retries=0)
        rng = lm.generator(seed)
        together = list(lm._rivals(TEXT * 3, VOICE, sampling, rng, judge, Marks()))[-1]
        led += min(judge.misread(each.tokens) for each in together.all)
        rng = lm.generator(seed)
        apart = list(lm._rivals(TEXT * 3, VOICE, sampling, rng, judge, NEVER))[-1]
        alone += min(judge.misread(each.tokens) for each in apart.all)
        stream = lm.generate(TEXT * 3, VOICE, sampling, judge=judge, marks=Marks((4,)))
        led_often = judge.misread(list(stream))
        assert led_often < 0.5
    assert led < alone


def test_a_stream_gives_each_block_as_soon_as_it_is_settled(lm: TextToSpeechTokens) -> None:
    steps = []
    stream = lm.generate(TEXT, VOICE, FOUR, judge=Evenness(), marks=Marks((5, 10), ahead=2))
    rivals_after = stream._drawn  # type: ignore[union-attr]

    def counted():
        for rivals in rivals_after:
            steps.append(1)
            yield rivals

    stream._drawn = counted()  # type: ignore[union-attr]
    first = [next(stream) for _ in range(7)]
    assert len(steps) == 7
    next(stream)
    assert len(steps) >= 10 or stream.finish_reason is not None
    again = list(lm.generate(TEXT, VOICE, FOUR, judge=Evenness(), marks=Marks((5, 10), ahead=2)))
    assert again[:7] == first
    assert stream.finish_reason is None or len(steps) > 7
    assert again == [*first, again[7], *stream]
    assert stream.finish_reason is not None


def test_rivals_in_an_engine_with_others_draw_what_they_draw_alone() -> None:
    lm, judge = model(packed=True), Evenness()
    jobs = [(TEXT, Sampling(seed=n, candidates=1 + n % 4, top_p=0.95)) for n in range(7)]
    expected = [
        list(lm._rivals(text, VOICE, s, lm.generator(s.seed), judge, Marks((4,))))[-1].all
        if s.side_by_side > 1
        else None
        for text, s in jobs
    ]
    engine = Engine(lm, slots=6)
    found = [engine.submit_rivals(t, VOICE, s, judge=judge, marks=Marks((4,))) for t, s in jobs]
    engine.run()
    for rivals, alone in zip(found, expected, strict=True):
        assert rivals.ended
        for ours, theirs in zip(rivals.all, alone or [], strict=alone is not None):
            assert (ours.tokens, ours.finish_reason) == (theirs.tokens, theirs.finish_reason)
    assert sum(alone is not None for alone in expected) == 5
    with pytest.raises(BadInput, match="as many slots"):
        engine.submit_rivals(TEXT, VOICE, Sampling(candidates=7))


def test_the_likeliest_tokens_need_no_candidates(lm: TextToSpeechTokens) -> None:
    greedy = Sampling(temperature=0, candidates=4)
    led = list(lm.generate(TEXT, VOICE, greedy, judge=Evenness()))
    assert led == list(lm.generate(TEXT, VOICE, greedy))
