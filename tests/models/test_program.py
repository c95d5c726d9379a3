"""The compiled step does what the step of modules does, up to rounding."""

import copy
import importlib.util
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from glmtts.adapters import Adapter, LowRank
from glmtts.engine import Engine, Request
from glmtts.lm import TextToSpeechTokens
from glmtts.nn import program as module
from glmtts.nn.adapted import Rows, view
from glmtts.nn.decoder import Decoder
from glmtts.nn.int8 import Int8Linear
from glmtts.nn.program import FewRows, program_of
from glmtts.sampling import Sampling
from glmtts.voice import Prompt
from tests.models.test_lm_engine import OTHER, TINY, VOICE, model

SLOTS = (0, 1, 2, 3, 4, 5)


def steps(decoder: Decoder, ahead: int, only: tuple[int, ...] = SLOTS) -> list[torch.Tensor]:
    """Scores of sequences of different lengths, some of them alike, that come and go."""
    for slot, size in enumerate((9, 9, 20, 14, 14, 14)):
        decoder.read(slot, [3 + (slot + i) % 15 for i in range(size)])
        decoder.watch(slot, 2, 6, ahead if slot % 3 else 0)
    scores: list[torch.Tensor] = []
    for number in range(16):
        slots = [slot for slot in (SLOTS if number % 3 else (1, 2, 5)) if slot in only]
        if slots:
            scores += decoder.step(slots, [21 + (7 * number + 3 * slot) % 30 for slot in slots])
        if number == 8:
            decoder.follow(4, 5)
    return scores


def rounded() -> TextToSpeechTokens:
    """The tiny model in float32, with the weights of the packed one."""
    lm = model()
    for parameter in (p for n, p in lm.named_parameters() if p.ndim == 2 and "layers" in n):
        parameter.data = Int8Linear(parameter).weight
    return lm


@pytest.mark.parametrize("ahead", [0, 1, 3])
def test_it_is_as_exact_as_the_step_of_modules(ahead: int):
    lm = model(packed=True)
    compiled, plain, exact = lm.decoder(6, 64), lm.decoder(6, 64), rounded().decoder(6, 64)
    program = program_of(lm.model)
    assert program is not None
    assert compiled._step == program.step
    plain._step = lm.model.step
    exact.head = plain.head = compiled.head
    truth = torch.stack(steps(exact, ahead))
    errors = [(torch.stack(steps(x, ahead)) - truth).abs().mean() for x in (compiled, plain)]
    assert errors[1] < 1e-3 * truth.abs().mean()
    assert errors[0] < 1.5 * errors[1]
    held = [1, 2, 5]
    assert compiled.places(held) == plain.places(held) == exact.places(held)
    assert ahead == 0 or compiled.places(held) != [-1] * 3, "the head has come forward"


def test_no_row_depends_on_its_neighbours():
    lm = model(packed=True)
    together = steps(lm.decoder(6, 64), 2)
    order = [slot for number in range(16) for slot in (SLOTS if number % 3 else (1, 2, 5))]
    for only in ((0,), (2,), (3, 5)):
        alone = steps(lm.decoder(6, 64), 2, only)
        kept = [x for slot, x in zip(order, together, strict=True) if slot in only]
        assert all(map(torch.equal, alone, kept))


def test_grouped_heads_and_a_model_without_an_aligned_head():
    assert TINY.kv_heads < TINY.heads
    lm = model(packed=True)
    decoder, plain = lm.decoder(1, 64), lm.decoder(1, 64)
    decoder._gaze = plain._gaze = None
    plain._step = lm.model.step
    for one in (decoder, plain):
        one.read(0, [5, 6, 7])
    for token in (25, 31, 40):
        torch.testing.assert_close(
            decoder.step([0], [token]), plain.step([0], [token]), rtol=1e-3, atol=0.02
        )


def test_nothing_is_written_beyond_a_slot():
    decoder = model(packed=True).decoder(2, 8)
    decoder.read(0, [3] * 7)
    decoder.step([0], [21])
    with pytest.raises(IndexError, match="full"):
        decoder.step([0], [21])


def test_the_head_of_few_rows():
    torch.manual_seed(1)
    weight, x = torch.randn(41, 32), torch.randn(3, 5, 32)
    x[0, 0] = 0.0
    out = FewRows(weight)(x)
    exact = x.double() @ Int8Linear(weight).weight.double().T
    assert out.shape == (3, 5, 41)
    assert (out - exact).abs().max() < 5e-3
    assert not out[0, 0].any()
    assert torch.equal(FewRows(weight)(x[1, 2]), out[1, 2])


def adapter() -> Adapter:
    torch.manual_seed(2)
    part = LowRank(torch.randn(2, 32), torch.randn(TINY.ffn_size, 2))
    return Adapter({"model.layers.0.mlp.up_proj": part})


def test_an_engine_takes_it_for_all_who_bring_no_adapter():
    lm = model(packed=True)
    jobs: list[tuple[list[int], Prompt, Sampling, Adapter | None]] = [
        ([5, 6, 7, 8], OTHER, Sampling(seed=1, ahead=2), None),
        ([5, 6, 7], OTHER, Sampling(seed=2, temperature=2.0), adapter()),
        ([9, 4], VOICE, Sampling(seed=3), None),
        ([5, 6, 7], VOICE, Sampling(seed=4, ahead=1), adapter()),
    ]

    def spoken(*numbers: int) -> list[Request]:
        engine = Engine(lm, slots=4, adapters=True)
        requests = [
            engine.submit(ids, prompt, sampling, adapter=own)
            for ids, prompt, sampling, own in (jobs[number] for number in numbers)
        ]
        engine.run()
        return requests

    together = spoken(0, 1, 2, 3)
    alone = [spoken(number)[0] for number in range(4)]
    assert [x.tokens for x in together] == [x.tokens for x in alone]
    assert min(len(x.tokens) for x in together) > 2
    plain = Engine(lm, slots=1)
    request = plain.submit(*jobs[0][:3])
    plain.run()
    assert request.tokens == together[0].tokens, "engines made for adapters say the same"


def test_without_numba_all_is_said_by_modules(monkeypatch: pytest.MonkeyPatch):
    find: Callable[[str], object] = importlib.util.find_spec
    monkeypatch.setattr(
        module.importlib.util, "find_spec", lambda name: None if name == "numba" else find(name)
    )
    lm = model(packed=True)
    assert program_of(lm.model) is None
    assert isinstance(lm.packed_head, Int8Linear)
    there = torch.stack(steps(lm.decoder(6, 64), 1))
    monkeypatch.undo()
    here = torch.stack(steps(model(packed=True).decoder(6, 64), 1))
    assert (here - there).abs().mean() < 2e-3 * there.abs().mean()


def test_a_folder_that_cannot_be_written_is_no_obstacle():
    code = """
import numba.core.caching as caching
caching.CacheImpl._locator_classes = []
import numpy as np
from glmtts.nn.kernels import products
x, out = np.ones((1, 4), np.float32), np.zeros((1, 2), np.float32)
products(x, np.array([[1, 2, 3, 4], [0, 0, 0, 1]], np.int8), np.ones(2, np.float32), out)
print(out.round(3).tolist())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[[10.0, 1.0]]"


def test_only_packed_narrow_models_without_adapters_have_one():
    assert program_of(model().model) is None
    lm = model(packed=True)
    assert program_of(view(lm, Rows()).model) is None
    assert program_of(lm.model) is program_of(lm.model)
    assert program_of(copy.copy(lm.model)) is not program_of(lm.model)
    wide = TextToSpeechTokens(replace(TINY, hidden_size=1_024, layers=1, ffn_size=32)).pack()
    assert program_of(wide.model) is None
    assert isinstance(wide.packed_head, Int8Linear)
