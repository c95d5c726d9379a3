"""A voice is opened once, however many sentences it speaks."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from glmtts.flow import FlowOptions, Opening, TokenToMel
from glmtts.openings import Openings
from glmtts.synthesizer import Synthesizer
from glmtts.voice import Voice
from tests import tiny


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The blocks of each opening that is computed."""
    found: list[tuple[int, ...]] = []
    known = TokenToMel.open

    def counted(flow: TokenToMel, voice: Voice, options: FlowOptions = FlowOptions()) -> Opening:
        found.append(options.blocks)
        return known(flow, voice, options)

    monkeypatch.setattr(TokenToMel, "open", counted)
    return found


def test_a_voice_is_opened_once_however_often_it_is_read(
    tmp_path: Path, opened: list[tuple[int, ...]]
) -> None:
    speaker = Synthesizer.load(tiny.build(tmp_path), device="cpu", voices=tmp_path / "stored")
    openings, flow, name = Openings(room=2), speaker.flow, speaker.voices.names()[0]
    options = FlowOptions(steps=2)
    first, again = (openings.of(flow, speaker.voices.get(name), options) for _ in range(2))
    assert first is again
    assert len(opened) == 1
    voice = speaker.voices.get(name)
    assert openings.of(flow, replace(voice, speaker=-voice.speaker), options) is not first
    assert openings.of(flow, voice, options) is first  # the latest asked for
    assert openings.of(flow, voice, FlowOptions(steps=3)) is not first
    assert len(opened) == 3
    assert openings.of(flow, voice, options) is first  # the oldest one went
    assert openings.of(flow, replace(voice, speaker=-voice.speaker), options) is not first
    assert len(opened) == 4


def test_a_flow_that_has_learnt_opens_anew(tmp_path: Path, opened: list[tuple[int, ...]]) -> None:
    speaker = Synthesizer.load(tiny.build(tmp_path), device="cpu", voices=tmp_path / "stored")
    openings, voice, options = Openings(), speaker.voices.get("mei"), FlowOptions(steps=2)
    first = openings.of(speaker.flow, voice, options)
    optimizer = torch.optim.SGD(speaker.flow.parameters(), lr=0.1)
    for weight in speaker.flow.parameters():
        weight.grad = torch.ones_like(weight)
    optimizer.step()
    again = openings.of(speaker.flow, voice, options)
    assert not torch.equal(first.caches[0].keys[0], again.caches[0].keys[0])
    assert openings.of(speaker.flow, voice, options) is again
    assert len(opened) == 2


def test_texts_share_it(tmp_path: Path, opened: list[tuple[int, ...]]) -> None:
    speaker = Synthesizer.load(tiny.build(tmp_path), device="cpu", voices=tmp_path / "stored")
    for text in ("你好世界。", "你好。世界你好。"):
        speaker.speak(text)
    assert opened == [()]
