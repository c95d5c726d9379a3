"""Rewards on tokens, by name and weight."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch

from glmtts.audio import Audio
from glmtts.errors import BadInput
from glmtts.proofreader import Proofreader
from glmtts.rewards.base import Failed, Sample, Score, Verdict
from glmtts.train.cases import Case
from glmtts.train.scoring import (
    MANNER_IDS,
    UNASKED,
    Answer,
    Laughs,
    PhonemeError,
    Reading,
    Renderer,
    Scorer,
    Style,
    Weight,
    distance,
    ended,
    longer,
)
from glmtts.voice import Prompt, Voice
from tests.conftest import tiny_voice
from tests.test_proofreader import PHONEMES, proofreader, spoken

CASE = Case("你好", "zh", (5, 6), tuple(PHONEMES), tiny_voice("mei"), Prompt())
__all__ = ["proofreader"]


def answer(*syllables: str, finish: str = "stop") -> Answer:
    return Answer(CASE, tuple(spoken(*syllables)), finish)  # type: ignore[arg-type]


def test_clear_speech_is_worth_more(proofreader: Proofreader):
    reading, errors = Reading(proofreader), PhonemeError(proofreader)
    right, near, wrong = answer("ni3", "hao3"), answer("ni3", "hao4"), answer("shi4")
    assert reading(right).value > 0.9 > 0.5 > reading(near).value > reading(wrong).value
    assert errors(right).value == 1.0
    assert errors(near).value == pytest.approx(torch.tensor(-2.5 / 4).exp().item())
    assert errors(Answer(CASE, (), "silence")).detail["rate"] == 1.0


def test_reading_tells_which_tokens_were_right(proofreader: Proofreader):
    score = Reading(proofreader)(answer("ni3", "hao4"))
    assert score.tokens is not None
    assert len(score.tokens) == 8
    assert score.tokens[:6].min() > 0.9 > 0.1 > score.tokens[6:].max()
    assert Reading(proofreader)(Answer(CASE, (), "silence")).value == 0.0


def test_ends_and_lengths():
    assert [ended(answer("ni3", finish=f)).value for f in ("stop", "repetition")] == [1.0, 0.0]
    assert longer(answer("ni3", "hao3")).value == 4.0


def test_what_takes_a_laugh_for_words_is_not_asked_of_one(proofreader: Proofreader):
    laughing = replace(CASE, style="laughter", laughs=(2,))
    score = Scorer({"phonemes": PhonemeError(proofreader), "emotion": Style(proofreader)})
    plain, laughed = (Answer(c, tuple(spoken("shi4")), "stop") for c in (CASE, laughing))
    found = score([plain, laughed])
    assert isinstance(found[0]["phonemes"], Score)
    assert found[0]["phonemes"].value < 0.5
    assert found[1] == {"phonemes": UNASKED, "emotion": UNASKED}
    render = Renders()
    heard = Scorer({}, {"per": Deaf()}, render)
    assert [v["per"].value for v in heard([plain, laughed])] == [0.2, 1.0]  # type: ignore[union-attr]
    assert render.rendered == [plain]  # no sound is made for nobody
    both = Scorer({}, {"per": Deaf(), "mos": Deaf()}, render)
    assert [v["mos"].value for v in both([plain, laughed])] == [0.2, 0.2]  # type: ignore[union-attr]
    assert both([laughed])[0]["per"] == UNASKED


def test_laughs_are_paid_for_where_one_is_asked_for(proofreader: Proofreader):
    place = PHONEMES.index(PHONEMES[2])
    laughing = replace(CASE, laughs=(place,))
    laughed, plain = ((*spoken("ni3"), *[9] * n, *spoken("hao3")) for n in (30, 0))
    score = Scorer({"laughs": Laughs(proofreader)})
    asked = [Answer(laughing, laughed, "stop"), Answer(laughing, plain, "stop")]
    assert [found["laughs"].value for found in score(asked)] == [1.0, 0.0]  # type: ignore[union-attr]
    assert score([Answer(CASE, laughed, "stop")]) == [{"laughs": UNASKED}]


def test_a_word_alone_is_not_asked_for_a_manner(proofreader: Proofreader):
    score = Scorer({"emotion": Style(proofreader)})
    assert score([answer("ni3", "hao3")]) == [{"emotion": UNASKED}]
    sentence = replace(CASE, text_ids=tuple(range(MANNER_IDS)))
    (found,) = score([Answer(sentence, tuple(spoken("ni3", "hao3")), "stop")])
    assert found["emotion"] != UNASKED


class Deaf:
    """Hears everything wrong."""

    name, version = "per", "1"

    def __call__(self, samples: Sequence[Sample]) -> list[Verdict]:
        return [Score(0.2)] * len(samples)


class Renders(Renderer):
    """Makes silence."""

    def __init__(self) -> None:
        """Without a model."""
        self.rendered: list[Answer] = []

    def __call__(self, answer: Answer) -> Audio:
        self.rendered.append(answer)
        return Audio(torch.zeros(2400), 24_000)

    def prompt(self, voice: Voice) -> Audio:
        return Audio(torch.zeros(2400), 24_000)


def test_a_reward_that_fails_says_why_and_the_others_still_count():
    def broken(answer: Answer) -> Score:
        raise RuntimeError("asleep")

    def endless(answer: Answer) -> Score:
        return Score(float("nan"))

    score = Scorer({"ended": ended, "broken": broken, "endless": endless})
    (found,) = score([answer("ni3")])
    assert found["ended"] == Score(1.0)
    assert found["broken"] == Failed("RuntimeError: asleep")
    assert isinstance(found["endless"], Failed)
    assert "broken: RuntimeError: asleep" in score.complaint


def test_a_text_without_phonemes_cannot_be_read_back(proofreader: Proofreader):
    plain = Answer(Case("你好", "zh", (5,), (), tiny_voice("mei"), Prompt()), (1, 2), "stop")
    (found,) = Scorer({"phonemes": PhonemeError(proofreader)})([plain])
    assert isinstance(found["phonemes"], Failed)
    assert "reads plain text" in found["phonemes"].reason


def test_weights_are_written_behind_the_name():
    assert Weight.parse("reading") == Weight("reading", 1.0)
    assert Weight.parse("sim=ge2e@0.1") == Weight("sim", 0.1, kind="ge2e")
    assert Weight.parse("sim=ge2e@0.1").asked == "sim=ge2e"
    assert Weight.parse("emotion=head:a/b.npz@0.5:0.05") == Weight(
        "emotion", 0.5, 0.05, "head:a/b.npz"
    )
    for wrong in ("reading@much", "@1", "reading@1:-1", ""):
        with pytest.raises(BadInput):
            Weight.parse(wrong)


@pytest.mark.parametrize(
    ("one", "other", "count"),
    [("", "", 0), ("abc", "", 3), ("kitten", "sitting", 3), ("ab", "ba", 2)],
)
def test_distance(one: str, other: str, count: int):
    assert distance(list(one), list(other)) == count
