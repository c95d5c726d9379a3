"""The compiled step does what the step does, in every bit."""

import copy

import pytest
import torch

from glmtts.adapters import Adapter, LowRank
from glmtts.engine import Engine
from glmtts.nn.adapted import Rows, view
from glmtts.nn.decoder import Decoder
from glmtts.nn.program import program_of
from glmtts.sampling import Sampling
from tests.models.test_lm_engine import OTHER, TINY, model


def steps(decoder: Decoder, ahead: int) -> list[torch.Tensor]:
    """Scores of sequences of different lengths, some of them alike, that come and go."""
    for slot, size in enumerate((9, 9, 20, 14, 14, 14)):
        decoder.read(slot, [3 + (slot + i) % 15 for i in range(size)])
        decoder.watch(slot, 2, 6, ahead if slot % 3 else 0)
    scores: list[torch.Tensor] = []
    for number in range(16):
        slots = [0, 1, 2, 3, 4, 5] if number % 3 else [1, 2, 5]
        ids = [21 + (7 * number + 3 * slot) % 30 for slot in slots]
        scores += list(decoder.step(slots, ids))
        if number == 8:
            decoder.follow(4, 5)
    return scores


@pytest.mark.parametrize("ahead", [0, 1, 3])
def test_the_program_gives_the_same_scores_and_places(ahead: int):
    lm = model(packed=True)
    compiled, plain = lm.decoder(6, 64), lm.decoder(6, 64)
    program = program_of(lm.model)
    assert program is not None
    assert compiled._step == program.step
    plain._step = lm.model.step
    for one, other in zip(steps(compiled, ahead), steps(plain, ahead), strict=True):
        assert torch.equal(one, other)
    held = [1, 2, 5]
    assert compiled.places(held) == plain.places(held)
    assert ahead == 0 or compiled.places(held) != [-1] * 3, "the head has come forward"


def test_grouped_heads_and_a_model_without_an_aligned_head():
    assert TINY.kv_heads < TINY.heads
    lm = model(packed=True)
    decoder = lm.decoder(1, 64)
    decoder._gaze = None
    plain = lm.decoder(1, 64)
    plain._gaze, plain._step = None, lm.model.step
    for one in (decoder, plain):
        one.read(0, [5, 6, 7])
    for token in (25, 31, 40):
        assert torch.equal(decoder.step([0], [token]), plain.step([0], [token]))


def test_an_engine_takes_it_unless_somebody_brings_an_adapter():
    lm = model(packed=True)
    program = program_of(lm.model)
    assert program is not None
    engine = Engine(lm, slots=2, adapters=True)
    engine.submit([5, 6, 7, 8], OTHER, Sampling(seed=1))
    part = LowRank(torch.randn(2, 32), torch.randn(lm.config.ffn_size, 2))
    adapter = Adapter({"model.layers.0.mlp.up_proj": part})

    def three() -> list[bool]:
        taken: list[bool] = []
        for _ in range(3):
            engine.step()
            taken.append(engine._decoder._step == program.step)
        return taken

    assert three()[1:] == [True] * 2
    brought = engine.submit([5, 6, 7], OTHER, Sampling(seed=2), adapter=adapter)
    assert three() == [True, False, False], "who has just come in is read, not stepped"
    engine.cancel(brought)
    assert three() == [True] * 3


def test_without_torchscript_all_is_as_before(monkeypatch: pytest.MonkeyPatch):
    there = steps(model(packed=True).decoder(6, 64), 1)
    monkeypatch.delattr(torch.jit, "script")
    lm = model(packed=True)
    assert program_of(lm.model) is None
    assert all(map(torch.equal, there, steps(lm.decoder(6, 64), 1)))


def test_only_packed_models_without_adapters_have_one():
    assert program_of(model().model) is None
    lm = model(packed=True)
    assert program_of(view(lm, Rows()).model) is None
    assert program_of(lm.model) is program_of(lm.model)
    assert program_of(copy.copy(lm.model)) is not program_of(lm.model)
