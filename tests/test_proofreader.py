import math

import pytest
import torch
from torch import Tensor

from glmtts.proofreader import AMISS, FALSE_START, NO_LAUGH, UNLIKE, USUAL, WHOLE_LAUGH, Proofreader
from glmtts.style_net import STATISTICS, StyleConfig
from glmtts.text.phonemes import CTC_CLASS, pinyin_to_tokens
from tests.reading import CLASSES, Reading, reader, spoken


@pytest.fixture(scope="module")
def proofreader() -> Proofreader:
    return reader(Reading)


PHONEMES = [p for s in ("ni3", "hao3") for p in pinyin_to_tokens(s)]


def test_clear_speech_reads_back(proofreader: Proofreader) -> None:
    assert proofreader.misread(spoken("ni3", "hao3"), PHONEMES) < 0.1
    assert proofreader.misread([0, *spoken("ni3"), 0, 0, *spoken("hao3")], PHONEMES) < 0.1


@pytest.mark.parametrize(
    "said",
    [
        ("ni3",),
        ("ni3", "ni3", "hao3"),
        ("hao3", "ni3"),
        ("ni3", "hao4"),
        ("ni3", "hao3", "shi4", "jie4"),
    ],
    ids=["left out", "said twice", "swapped", "wrong tone", "too much"],
)
def test_what_goes_wrong_is_heard(proofreader: Proofreader, said: tuple[str, ...]) -> None:
    assert proofreader.misread(spoken(*said), PHONEMES) > 1.0


def test_of_beginnings_the_one_that_reads_well_is_known(proofreader: Proofreader) -> None:
    right = spoken("ni3", "hao3")
    beginnings = [
        right[:6],
        [*spoken("ni3"), *spoken("shi4")][:6],
        [0] * 6,
        spoken("hao3", "ni3")[:6],
    ]
    costs = proofreader.misread_so_far(beginnings, PHONEMES)
    assert costs.index(min(costs)) == 0
    assert costs[2] < min(costs[1], costs[3])  # silence is no mistake yet
    (whole,) = proofreader.misread_so_far([right], PHONEMES)
    assert whole == pytest.approx(
        (proofreader.misread(right, PHONEMES) - USUAL) * len(PHONEMES), abs=0.1
    )
    assert proofreader.misread_so_far([[], []], PHONEMES) == [0.0, 0.0]
    judge = proofreader.judge(PHONEMES)
    assert judge is not None
    assert judge.so_far(beginnings) == costs
    assert proofreader.judge([]) is None


def test_too_short_to_spell(proofreader: Proofreader) -> None:
    assert math.isinf(proofreader.misread(spoken("ni3")[:1], PHONEMES))


def test_nothing_to_check(proofreader: Proofreader) -> None:
    assert proofreader.misread([1, 2], []) == 0.0


def test_what_is_heard(proofreader: Proofreader) -> None:
    assert proofreader.heard([0, *spoken("ni3"), 0, *spoken("hao3")]) == PHONEMES
    assert proofreader.heard([0, 0]) == []


def test_clear_tokens_are_clear_and_a_wrong_one_is_found(proofreader: Proofreader) -> None:
    tokens = spoken("ni3", "hao3")
    assert min(proofreader.clarity(tokens, PHONEMES)) > 0.9
    wrong = [*tokens[:-2], *spoken("hao4")[-2:]]  # the final of the second syllable
    clear = proofreader.clarity(wrong, PHONEMES)
    assert min(clear[:6]) > 0.9
    assert max(clear[6:]) < 0.1


def test_what_was_left_out_takes_its_neighbourhood_down(proofreader: Proofreader) -> None:
    said = [t for t in spoken("ni3", "hao3") if t != CTC_CLASS[PHONEMES[2]]]
    clear = proofreader.clarity(said, PHONEMES)
    assert min(clear) < 0.1
    assert max(clear) > 0.9
    assert proofreader.clarity(spoken("ni3")[:1], PHONEMES) == [0.0]


def test_each_phoneme_is_found_where_it_is_said(proofreader: Proofreader) -> None:
    tokens = [0, 0, 0, *spoken("ni3"), 0, 0, *spoken("hao3"), 0, 0, 0, 0]
    spans = proofreader.spans(tokens, PHONEMES)
    assert spans == [(2, 5), (5, 8), (8, 11), (11, 14)]
    assert proofreader.spans([1], PHONEMES) == []
    assert proofreader.spans([], PHONEMES) == []
    assert proofreader.spans(tokens, []) == []


def test_a_laugh_is_no_misreading_but_where_one_is_missing_there_is(
    proofreader: Proofreader,
) -> None:
    laugh = [1, 1, 5, 9, 9, 2, 7, 1, 5, 5, 9, 3, 8, 8]
    laughing = [*spoken("ni3"), *laugh, *spoken("hao3")]
    assert proofreader.misread(laughing, PHONEMES) > 1.0
    place = len(pinyin_to_tokens("ni3"))
    assert proofreader.misread(laughing, PHONEMES, [place]) < 0.1
    assert proofreader.misread([*spoken("ni3", "hao3"), *laugh], PHONEMES, [len(PHONEMES)]) < 0.1
    assert proofreader.misread([*laugh, *spoken("ni3", "hao3")], PHONEMES, [0]) < 0.1
    assert proofreader.misread(laughing, PHONEMES, [0]) > 1.0  # in another place
    plain = [token for token in spoken("ni3", "hao3") for _ in range(3)]
    assert proofreader.misread(plain, PHONEMES) < 0.1
    assert proofreader.misread(plain, PHONEMES, [place]) > 0.9  # nobody laughs
    longer = [*spoken("ni3"), *laugh, *laugh, *laugh, *spoken("hao3")]
    assert proofreader.misread(longer, PHONEMES, [place]) == pytest.approx(
        proofreader.misread(laughing, PHONEMES, [place]), abs=0.1
    )
    wrong = [*spoken("ni3"), *laugh, *spoken("hao4")]
    assert proofreader.misread(wrong, PHONEMES, [place]) > 1.0


class Nine:
    """Hears a laugh wherever code 9 stands, as `LaughNet` would."""

    def chances(self, codes: Tensor) -> Tensor:
        return (codes.argmax(-1) == 9).float()


def test_a_pause_is_no_laugh_where_a_net_tells_them_apart(
    proofreader: Proofreader, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = len(pinyin_to_tokens("ni3"))

    def said(*between: int) -> list[int]:
        return [*spoken("ni3"), *between, *spoken("hao3")]

    laugh, half, pause = (said(*[9] * n, *[1] * (30 - n)) for n in (30, 14, 0))
    for tokens in (laugh, half, pause):
        assert proofreader.laughed(tokens, PHONEMES, [place]) == 1.0  # their length is all there is
    monkeypatch.setattr(proofreader, "_laughs", Nine())
    heard = [proofreader.laughed(tokens, PHONEMES, [place]) for tokens in (laugh, half, pause)]
    assert heard == [1.0, pytest.approx(14 / WHOLE_LAUGH), 0.0]
    costs = [proofreader.misread(tokens, PHONEMES, [place]) for tokens in (laugh, half, pause)]
    assert costs[0] < 0.1
    assert costs[1] - costs[0] == pytest.approx(NO_LAUGH / 2, abs=0.05)
    assert costs[2] - costs[0] == pytest.approx(NO_LAUGH, abs=0.05)
    assert proofreader.laughed([], PHONEMES, [place]) == 0.0
    assert proofreader.laughed([9], PHONEMES, [place]) == 0.0  # too short for the words
    assert proofreader.laughed(pause, PHONEMES, []) == 1.0


def test_beginnings_may_laugh_where_the_sentence_does(proofreader: Proofreader) -> None:
    place = len(pinyin_to_tokens("ni3"))
    laugh = [1, 1, 5, 9, 9, 2, 7, 1, 5, 5, 9, 3, 8, 8]
    laughing = [*spoken("ni3"), *laugh]
    at_once = [*spoken("ni3", "hao3"), *[0] * (len(laugh) - len(spoken("hao3")))]
    told, plain = (
        proofreader.misread_so_far([laughing, at_once], PHONEMES, laughs)
        for laughs in ([place], [])
    )
    assert told[0] - told[1] < 0.3 * (plain[0] - plain[1])
    assert plain[0] - plain[1] > 5.0


def test_each_token_knows_the_phoneme_it_is_part_of(proofreader: Proofreader) -> None:
    tokens = spoken("ni3", "hao3")
    assert proofreader.classes([0, *tokens, 0, 0], PHONEMES) == [
        tokens[0],
        *tokens,
        *[tokens[-1]] * 2,
    ]
    wrong = [*tokens[:4], *spoken("shi4"), 0]  # the text lies along what was drawn
    assert sorted(set(proofreader.classes(wrong, PHONEMES))) == sorted(set(tokens))
    assert proofreader.classes(tokens[:6], PHONEMES, whole=False) == tokens[:6]
    assert proofreader.classes(tokens[:6], PHONEMES) != tokens[:6]
    assert proofreader.classes([0, 0], PHONEMES, whole=False) == [tokens[0]] * 2
    assert proofreader.classes(tokens[:1], PHONEMES) == [0]
    assert proofreader.classes(tokens, []) == [0] * len(tokens)
    assert proofreader.classes([], PHONEMES) == []
    laugh = [1, 1, 5, 9, 9, 2, 7, 1, 5, 5, 9, 3, 8, 8]
    place = len(pinyin_to_tokens("ni3"))
    laughing = [*spoken("ni3"), *laugh, *spoken("hao3")]
    told = proofreader.classes(laughing, PHONEMES, [place])
    assert told == [*spoken("ni3"), *[0] * len(laugh), *spoken("hao3")]
    own = proofreader.laughing(laughing, PHONEMES, [place])
    assert own == [False] * len(spoken("ni3")) + [True] * len(laugh) + [False] * len(spoken("hao3"))
    begun = proofreader.laughing(laughing[:9], PHONEMES, [place], whole=False)
    assert begun == own[:9]
    assert proofreader.laughing(laughing, PHONEMES, []) == [False] * len(laughing)
    assert proofreader.laughing(laughing[:1], PHONEMES, [place]) == [False]  # cannot be all


class Melody:
    """Hears "sad" with a probability of 0.75, if there is any melody."""

    config = StyleConfig("tokens")

    def chances(self, statistics: Tensor) -> dict[str, float]:
        assert statistics.shape == (STATISTICS,)
        return {"neutral": 0.25, "sad": 0.75}


def test_a_style_that_is_not_heard_counts_as_misread(
    proofreader: Proofreader, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = spoken("ni3", "hao3")
    phonemes = [p for s in ("ni3", "hao3") for p in pinyin_to_tokens(s)]
    plain = proofreader.judge(phonemes)
    sad = proofreader.judge(phonemes, style="sad")
    assert plain is not None
    assert sad is not None
    assert sad.misread(tokens) == plain.misread(tokens)  # nobody there who tells styles
    monkeypatch.setattr(proofreader, "_styles", Melody())
    frames = torch.linspace(5.0, 5.5, 200), torch.ones(200), torch.rand(200)
    monkeypatch.setattr(proofreader, "melody", lambda tokens: frames)
    assert sad.misread(tokens) == pytest.approx(plain.misread(tokens) + 0.25 * UNLIKE)
    assert proofreader.judge(phonemes, style="whispered").misread(tokens) == plain.misread(tokens)
    silent = frames[0], torch.zeros(200), frames[2]
    monkeypatch.setattr(proofreader, "melody", lambda tokens: silent)
    assert sad.misread(tokens) == pytest.approx(plain.misread(tokens) + UNLIKE)


class Voicing(Reading):
    """What it reads as nothing may be voiced: `vowel` and all tokens that say something are."""

    vowel = CLASSES - 1

    def phoneme_scores(self, codes: Tensor) -> Tensor:
        nothing = 12.0 * torch.eye(CLASSES)[0]
        return torch.where(codes.argmax(-1, keepdim=True) == self.vowel, nothing, codes)

    def pitch_curve(self, codes: Tensor) -> tuple[Tensor, Tensor]:
        voiced = (codes.argmax(-1) > 0).repeat_interleave(2, -1)
        return torch.zeros_like(voiced).float(), torch.where(voiced, 9.0, -9.0)


@pytest.fixture(scope="module")
def voiced() -> Proofreader:
    return reader(Voicing)


@pytest.mark.parametrize(
    ("first", "lead", "kept"),
    [
        ("ta1", "..", ".."),
        ("ta1", ".vvv.", ".."),
        ("ta1", ".vvv", "."),
        ("ta1", ".v..", ".."),
        ("ma1", ".vv", ".vv"),
        ("ma1", ".vvvvv", ".vv"),
        ("ma1", "...", "..."),
        ("ma1", "", ""),
    ],
)
def test_a_false_start_is_cut_off(voiced: Proofreader, first: str, lead: str, kept: str) -> None:
    marks = {".": 0, "v": Voicing.vowel}
    said, phonemes = spoken(first), pinyin_to_tokens(first)
    found = voiced.well_begun([marks[mark] for mark in lead] + said, phonemes)
    assert found == [marks[mark] for mark in kept] + said
    assert voiced.well_begun([], phonemes) == []


def test_a_false_start_in_a_style_counts_as_misread(voiced: Proofreader) -> None:
    phonemes, tokens = pinyin_to_tokens("ta1"), [0, *[Voicing.vowel] * 3, 0, *spoken("ta1")]
    sad, plain = voiced.judge(phonemes, style="sad"), voiced.judge(phonemes)
    after_laugh = voiced.judge(phonemes, [0], style="sad")
    assert sad is not None
    assert plain is not None
    assert after_laugh is not None
    assert sad.misread(tokens) == pytest.approx(plain.misread(tokens) + FALSE_START)
    assert sad.misread(spoken("ta1")) == plain.misread(spoken("ta1"))
    assert after_laugh.misread(tokens) == voiced.misread(tokens, phonemes, [0])


def test_a_syllable_said_twice_in_a_style_counts_as_much_as_it_is(proofreader: Proofreader) -> None:
    said = spoken("ni3", "hao3")
    for tokens, wrong in (
        (said, 0),
        (spoken("ni2", "hao3"), 0),  # another tone
        (spoken("ni3", "ni3", "hao3"), 2),
        (spoken("ni3"), 2),
        (spoken("di3", "hao3"), 1),
        ([], 4),
    ):
        assert proofreader.amiss(tokens, PHONEMES) == wrong
    sad, laughing = (
        proofreader.judge(PHONEMES, style="sad"),
        proofreader.judge(PHONEMES, [2], "sad"),
    )
    assert sad is not None
    assert laughing is not None
    twice = spoken("ni3", "ni3", "hao3")
    plain = proofreader.misread(twice, PHONEMES)
    assert sad.misread(twice) == pytest.approx(plain + 2 * AMISS)
    assert laughing.misread(twice) == proofreader.misread(twice, PHONEMES, [2])


def test_each_token_has_its_phoneme(proofreader: Proofreader) -> None:
    assert proofreader.owners(spoken("ni3", "hao3"), PHONEMES) == [0, 0, 1, 1, 2, 2, 3, 3]
    assert proofreader.owners([0, 0], PHONEMES) == [-1, -1]
