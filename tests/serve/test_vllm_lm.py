"""The contract with vLLM: what is drawn is ours, whoever computes the scores. No vLLM is needed."""

import sys
import types
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch

from glmtts.errors import BadInput
from glmtts.flow import FlowOptions
from glmtts.lm import TextToSpeechTokens
from glmtts.options import Pace, SpeakOptions
from glmtts.sampling import Sampling
from glmtts.serve.remote import RemoteLM
from glmtts.serve.shared import SharedLM, shared
from glmtts.serve.vllm_lm import Ras, VllmEngine, VllmWire, processor
from glmtts.synthesizer import Synthesizer
from glmtts.voice import Prompt, Turn
from tests import tiny
from tests.models.test_lm_engine import TINY, model

VOICE = Prompt((Turn((5, 6, 7), (3, 9, 27)),), own=1)


class Fake:
    """Computes scores with our own model, and takes the likeliest id as vLLM is told to."""

    def __init__(self, lm: TextToSpeechTokens, breaks: int = 0) -> None:
        self.lm, self.breaks = lm, breaks
        self.aborted: list[str] = []
        self.begun = 0

    def scores(self, classes: torch.Tensor) -> torch.Tensor:
        """(classes,) -> (V,), what is no speech being the likeliest by far."""
        c = self.lm.config
        full = torch.full((c.vocab_size,), 50.0)
        full[c.speech_start : c.speech_start + c.speech_count] = classes[:-1]
        full[c.end_id] = classes[-1]
        return full

    async def draw(
        self, ids: Sequence[int], longest: int, told: dict[str, Any], request_id: str
    ) -> AsyncIterator[Sequence[int]]:
        ras, out = Ras(told), list[int]()
        self.begun += 1
        decoder = self.lm.decoder(1, len(ids) + longest + 2)
        scores = decoder.read(0, ids)
        while len(out) <= longest:
            only = ras(out, self.scores(scores))
            out.append(int(only.argmax()))
            assert int((only > float("-inf")).sum()) == 1
            if self.breaks and len(out) == 3:
                self.breaks -= 1
                raise ConnectionResetError("the engine died")
            yield out[-1:]
            if out[-1] == told["end"]:
                return
            scores = decoder.step([0], out[-1:])[0]

    async def abort(self, request_id: str) -> None:
        self.aborted.append(request_id)


@pytest.fixture
def lm() -> TextToSpeechTokens:
    return model(packed=True)


@pytest.fixture
def wire(lm: TextToSpeechTokens) -> Iterator[VllmWire]:
    wire = VllmWire(Fake(lm), TINY)
    yield wire
    wire.close()


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(seed=1, candidates=1),
        Sampling(seed=2, top_p=0.3, candidates=1),
        Sampling(seed=3, top_k=3, repetition_window=4, repetition_threshold=0.5, candidates=1),
        Sampling(seed=4, top_p=0.95, temperature=1.3, candidates=1),
        Sampling(temperature=0, candidates=1),
    ],
    ids=["official", "narrow", "repetition", "hot", "likeliest"],
)
def test_tokens_are_drawn_as_in_this_process(
    lm: TextToSpeechTokens, wire: VllmWire, sampling: Sampling
) -> None:
    for salt in range(4):
        parent = torch.Generator().manual_seed(salt)
        own = TextToSpeechTokens.generators(torch.Generator().manual_seed(salt), 1)[0]
        expected = lm.generate([10, 11, 12], VOICE, sampling, rng=own)
        found = RemoteLM(wire).generate([10, 11, 12], VOICE, sampling, rng=parent)
        assert list(found) == list(expected)
        assert found.finish_reason == expected.finish_reason
        assert parent.initial_seed() == salt


def test_candidates_are_those_of_this_process(lm: TextToSpeechTokens, wire: VllmWire) -> None:
    sampling = Sampling(candidates=4, retries=1)
    parent, own = (torch.Generator().manual_seed(9) for _ in range(2))
    expected = lm.generate_checked([10, 11, 12], VOICE, sampling, rng=own)
    assert RemoteLM(wire).generate_checked([10, 11, 12], VOICE, sampling, rng=parent) == expected
    assert torch.equal(parent.get_state(), own.get_state())


def test_a_loop_is_cut_and_the_request_aborted(lm: TextToSpeechTokens) -> None:
    fake = Fake(lm)
    fake.scores = lambda classes: Fake.scores(fake, torch.eye(len(classes))[7] * 99)  # type: ignore
    wire = VllmWire(fake, replace(TINY, silence_ids=(3,)))
    tokens = RemoteLM(wire).generate([9] * 8, Prompt(), Sampling(seed=0, temperature=0))
    assert list(tokens) == [7] * 13
    assert tokens.finish_reason == "repetition"
    assert len(fake.aborted) == 1
    wire.close()


def test_who_hangs_up_aborts_the_request(lm: TextToSpeechTokens) -> None:
    fake = Fake(lm)
    wire = VllmWire(fake, TINY)
    tokens = RemoteLM(wire).generate([9] * 8, VOICE, Sampling(seed=5))
    next(tokens)
    tokens.close()
    list(RemoteLM(wire).generate([9], VOICE, Sampling(seed=5)))  # the loop has gone round
    assert fake.begun == 2
    wire.close()


def test_an_engine_that_dies_is_asked_again(lm: TextToSpeechTokens) -> None:
    sampling = Sampling(seed=6, top_p=0.95)
    calm, shaky = VllmWire(Fake(lm), TINY), VllmWire(Fake(lm, breaks=1), TINY)
    expected = list(RemoteLM(calm).generate([10, 11, 12], VOICE, sampling))
    assert list(RemoteLM(shaky).generate([10, 11, 12], VOICE, sampling)) == expected
    calm.close()
    shaky.close()


def test_a_text_is_spoken_with_it(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tiny.build(tmp_path_factory.mktemp("tiny"))
    alone = Synthesizer.load(folder, device="cpu", voices=folder / "stored")
    together = shared(alone, slots=1)
    assert isinstance(together.shared_lm, SharedLM)
    together.shared_lm.close()
    wire = VllmWire(Fake(alone.lm), alone.lm.config)
    together.shared_lm = RemoteLM(wire)
    for pace in (Pace(), Pace.quick_start(4, 8)):
        options = SpeakOptions(Sampling(seed=1), FlowOptions(steps=2), pace)
        assert together.speak("你好世界。Hello world.", options=options).seconds > 0.1
    wire.close()


def test_without_vllm_it_says_what_to_do() -> None:
    with pytest.raises(BadInput, match="Install vllm"):
        VllmEngine("somewhere")


def test_the_processor_asks_for_its_arguments_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    module: Any = types.ModuleType("vllm.v1.sample.logits_processor")
    module.AdapterLogitsProcessor = object
    for name in ("vllm", "vllm.v1", "vllm.v1.sample"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    made = processor()()
    told = {"start": 20, "count": 40, "end": 1, "shortest": 2, "seed": 3, "sampling": {}}
    params = types.SimpleNamespace(extra_args={"glmtts": told})
    assert isinstance(made.new_req_logits_processor(params), Ras)
    assert made.new_req_logits_processor(types.SimpleNamespace(extra_args=None)) is None
    assert not made.is_argmax_invariant()
