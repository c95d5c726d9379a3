"""Words know when they are said; subtitles are what players read."""

import pytest
import torch

from glmtts.audio import Audio, AudioSpec
from glmtts.options import Pace
from glmtts.pieces import Block, Piece
from glmtts.text.frontend import Frontend
from glmtts.timing import Clock, Line, characters, subtitles
from tests.conftest import tiny_voice


class Heard:
    """Says each phoneme in two tokens."""

    def spans(self, tokens: tuple[int, ...], phonemes: list[str]) -> list[tuple[int, int]]:
        return [(2 * i, 2 * i + 2) for i in range(len(phonemes))]


def pieces(text: str, seconds: float = 2.0) -> list[Piece]:
    voice, found = tiny_voice("mei"), []
    for sentence in Frontend()(text):
        half = Audio(torch.zeros(int(seconds * 12_000)), 24_000)
        rest = torch.cat([half.samples, torch.zeros(round(sentence.pause_s * 24_000))])
        found.append(Piece(half, Block([1], sentence, voice, Pace(), last=False)))
        last = Block([1], sentence, voice, Pace(), last=True, utterance=(1,) * 50)
        found.append(Piece(Audio(rest, 24_000, "stop"), last))
    return found


def lines(clock: Clock, text: str) -> list[Line]:
    return [line for piece in pieces(text) if (line := clock.push(piece))]


def test_words_are_timed_by_what_is_heard() -> None:
    clock = Clock(AudioSpec(), Heard())  # type: ignore[arg-type]
    first, second = lines(clock, "今天天气很好啊。<break time='1s'/>Hello my friends today.")
    assert first.exact
    assert [word.text for word in first.words] == list("今天天气很好啊")
    assert first.words[0].start_s == 0.0
    assert first.words[1].start_s == pytest.approx(first.words[0].end_s)
    assert first.words[0].index == 0
    assert (first.start_s, first.end_s) == (0.0, 2.0)
    assert second.start_s == pytest.approx(3.0)  # the pause is no part of a line
    assert second.words[0].text == "Hello"
    assert characters(second)[1].text == "e"
    assert all(b.start_s >= a.start_s for a, b in zip(second.words, second.words[1:], strict=False))


def test_silence_ahead_of_a_sentence_is_no_part_of_its_line() -> None:
    clock = Clock(AudioSpec(), Heard())  # type: ignore[arg-type]
    found: list[Line] = []
    for piece in pieces("今天天气很好啊。Hello my friends today."):
        ahead = 0.0 if piece.block.last else 0.5
        samples = torch.cat([torch.zeros(round(ahead * 24_000)), piece.audio.samples])
        piece = Piece(Audio(samples, 24_000), piece.block, ahead)
        if line := clock.push(piece):
            found.append(line)
    assert [(line.start_s, line.end_s) for line in found] == [(0.5, 2.5), (3.0, 5.0)]
    assert [line.words[0].start_s for line in found] == [0.5, 3.0]


def test_without_a_reader_words_share_the_line_and_say_so() -> None:
    (line,) = lines(Clock(AudioSpec()), "今天天气很好啊。")
    assert not line.exact
    assert line.words[-1].end_s == pytest.approx(line.end_s)


def test_speed_makes_times_shorter() -> None:
    slow = lines(Clock(AudioSpec(), Heard(), 0.5), "今天天气。")[0]  # type: ignore[arg-type]
    fast = lines(Clock(AudioSpec(), Heard(), 2.0), "今天天气。")[0]  # type: ignore[arg-type]
    assert slow.words[0].end_s == pytest.approx(4 * fast.words[0].end_s)


def test_subtitles_in_both_formats() -> None:
    found = [Line("你好。", 0.0, 1.5, (), True), Line("a --> b", 3_661.25, 3_662.0, (), True)]
    assert subtitles(found) == (
        "1\n00:00:00,000 --> 00:00:01,500\n你好。\n\n2\n01:01:01,250 --> 01:01:02,000\na → b\n"
    )
    assert subtitles(found, "vtt").startswith("WEBVTT\n\n00:00:00.000 --> 00:00:01.500\n你好。")
