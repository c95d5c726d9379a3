"""Continuous batching, slots and 8-bit decoding: a request is alone, whoever sits beside it."""

from dataclasses import replace

import pytest
import torch

from glmtts import checkpoint
from glmtts.engine import Engine, Request
from glmtts.errors import BadInput
from glmtts.lm import LMConfig, TextToSpeechTokens
from glmtts.nn.int8 import Int8Linear, exact_kernels
from glmtts.options import SpeakOptions
from glmtts.sampling import Sampling, draw, draw_each
from glmtts.synthesizer import Synthesizer
from glmtts.voice import Prompt, Turn
from tests.tiny import build

TINY = LMConfig(
    speech_start=20, end_id=1, begin_audio_id=2, pad_id=0, vocab_size=60, speech_count=40,
    hidden_size=32, layers=2, heads=4, kv_heads=2, head_dim=8, ffn_size=64,
    min_ratio=2.0, max_ratio=10.0, max_context=256, align_layer=1, align_head=2,
)  # fmt: skip
VOICE = Prompt((Turn((5, 6, 7), (3, 9, 27)), Turn((8,), (4, 4))), own=1)
OTHER = Prompt((Turn((9, 4, 3, 5, 12), (30, 31, 32, 33, 34, 35, 36)),), own=1)

JOBS = [
    ([10, 11, 12], VOICE, Sampling(seed=1)),
    ([13], Prompt(), Sampling(seed=2)),
    ([14, 15, 16, 17, 18, 19], OTHER, Sampling(seed=3, top_p=0.95, temperature=1.3, ahead=4)),
    ([10, 4], VOICE, Sampling(temperature=0)),
    ([3, 4, 5, 6], OTHER, Sampling(seed=5, top_k=3, ahead=1)),
    ([7] * 7, Prompt(), Sampling(seed=6, repetition_window=4, repetition_threshold=0.5, ahead=2)),
    ([8, 9], VOICE, Sampling(seed=7, top_p=0.3)),
    ([11, 12, 13, 14, 15], VOICE, Sampling(seed=8, top_k=59, ahead=1)),
]


def model(packed: bool = False) -> TextToSpeechTokens:
    torch.manual_seed(0)
    lm = TextToSpeechTokens(TINY).eval()
    for parameter in lm.parameters():  # far from uniform, so that mistakes show
        torch.nn.init.normal_(parameter, std=0.3) if parameter.ndim == 2 else None
    return lm.pack() if packed else lm


@pytest.fixture(params=["float32", "int8"])
def lm(request: pytest.FixtureRequest) -> TextToSpeechTokens:
    return model(packed=request.param == "int8")


Outcome = tuple[list[int], str | None]


def outcome(request: Request) -> Outcome:
    return request.tokens, request.finish_reason


def one_by_one(lm: TextToSpeechTokens, salt: int = 0) -> list[Outcome]:
    engine, out = Engine(lm, slots=8), []
    for text, prompt, sampling in JOBS:
        request = engine.submit(text, prompt, salted(sampling, salt))
        engine.run()
        out.append(outcome(request))
    return out


def salted(sampling: Sampling, salt: int) -> Sampling:
    return replace(sampling, seed=(sampling.seed or 0) + 100 * salt)


@pytest.mark.parametrize("salt", [0, 1])
def test_a_batch_of_eight_speaks_as_eight_alone(lm: TextToSpeechTokens, salt: int):
    alone = one_by_one(lm, salt)
    assert len({len(tokens) for tokens, _ in alone}) > 3
    engine = Engine(lm, slots=8)
    together = [engine.submit(t, p, salted(s, salt)) for t, p, s in JOBS]
    engine.run()
    assert [outcome(r) for r in together] == alone
    plain = []
    for text, prompt, sampling in JOBS:
        generation = lm.generate(text, prompt, salted(sampling, salt))
        plain.append((list(generation), generation.finish_reason))
    assert plain == alone


def test_joining_late_queueing_and_leaving_change_nothing(lm: TextToSpeechTokens):
    alone = one_by_one(lm)
    engine = Engine(lm, slots=3)
    requests: list[Request] = []
    for number, (text, prompt, sampling) in enumerate(JOBS):
        requests.append(engine.submit(text, prompt, sampling))
        if number == 1:
            gone = engine.submit([9, 9, 9], OTHER, Sampling(seed=77))
        for _ in range(4 * (number % 3)):
            engine.step()
        if number == 3:
            engine.cancel(gone)
            engine.cancel(gone)
    engine.run()
    assert [outcome(r) for r in requests] == alone
    assert gone.finish_reason is None
    assert not engine.busy
    assert engine.step() == []


def test_each_step_gives_every_running_request_one_token():
    engine = Engine(model(), slots=2)
    first = engine.submit([10, 11, 12], VOICE, Sampling(seed=1))
    assert engine.step() == [first]
    second = engine.submit([10, 11, 12], VOICE, Sampling(seed=2))
    third = engine.submit([10, 11, 12], VOICE, Sampling(seed=3))
    assert engine.step() == [first, second]
    assert [len(r.tokens) for r in (first, second, third)] == [2, 1, 0]
    assert third.slot is None
    engine.cancel(first)
    assert engine.step() == [second, third]
    engine.cancel(third)
    waiting = engine.submit([10], VOICE)
    engine.cancel(waiting)
    assert engine.step() == [second]


def test_the_text_of_a_voice_is_read_once(lm: TextToSpeechTokens, monkeypatch):
    alone = one_by_one(lm)
    engine, read = Engine(lm, slots=8), []
    original = engine._decoder.read
    monkeypatch.setattr(
        engine._decoder, "read", lambda slot, ids: read.append(len(ids)) or original(slot, ids)
    )
    requests = [engine.submit(*job) for job in (*JOBS, *JOBS)]
    engine.run()
    assert [outcome(r) for r in requests] == [*alone, *alone]
    shared = len(VOICE.turns[0].text_ids), len(OTHER.turns[0].text_ids)
    assert len(read) == 2 * len(JOBS) + 2
    assert sum(read) == 2 * sum(len(lm.sequence(t, p)) for t, p, _ in JOBS) + sum(shared) - 2 * (
        4 * shared[0] + 2 * shared[1]
    )
    small = Engine(lm, slots=2, prefixes=1)  # forgotten and read again: the same
    again = [small.submit(*job) for job in JOBS]
    small.run()
    assert [outcome(r) for r in again] == alone
    assert len(small._prefixes.entries) == 1


def test_fixed_shapes_for_graphs_speak_the_same():
    lm = model()  # not of 8 bits: those make a rounding of the last bit visible
    engine = Engine(lm, slots=4, static=True)
    requests = [engine.submit(*job) for job in JOBS]
    engine.run()
    assert [outcome(r) for r in requests] == one_by_one(lm)


def test_what_does_not_fit_a_slot_is_refused():
    engine = Engine(model(), slots=2, capacity=40)
    with pytest.raises(BadInput, match="slot"):
        engine.submit([10] * 4, VOICE)
    with pytest.raises(BadInput, match="no text"):
        engine.submit([], VOICE)
    request = engine.submit([10], Prompt(), Sampling(seed=0))
    engine.run()
    assert request.finish_reason is not None


@pytest.mark.parametrize("packed", [False, True])
def test_scores_do_not_depend_on_neighbours_in_any_bit(packed: bool):
    lm = model(packed)
    alone, crowded = lm.decoder(8, 64), lm.decoder(8, 64)
    ids = [5, 7, 9, 11]
    crowded.read(0, [3, 4])
    crowded.read(6, [9] * 30)
    first = alone.read(2, ids)
    assert torch.equal(first, crowded.read(5, ids))
    for step in range(12):
        mine = alone.step([2], [20 + step])
        others = crowded.step([0, 5, 6], [21, 20 + step, 59])
        assert torch.equal(mine[0], others[1])
        if step == 6:
            crowded.clear(6)
            crowded.read(6, [8, 8, 8])


def test_a_copied_slot_goes_on_like_its_origin():
    decoder = model().decoder(3, 32)
    decoder.read(1, [4, 5, 6])
    decoder.put(0, decoder.copied(1))
    scores = decoder.step([0, 1], [30, 30])
    assert torch.equal(scores[0], scores[1])
    assert [decoder.length(slot) for slot in range(3)] == [4, 4, 0]


def test_rows_are_drawn_as_if_alone():
    logits = torch.randn(16, 300, generator=torch.Generator().manual_seed(0)) * 3
    logits[:, 7] = float("-inf")
    samplings = [
        Sampling(top_p=0.5 + row / 40, top_k=2 + 3 * row, temperature=0.5 + row / 10)
        for row in range(15)
    ]
    samplings.append(Sampling(temperature=0))
    histories = [logits[row].topk(2).indices.tolist() * (row % 4) for row in range(16)]
    rngs = [torch.Generator().manual_seed(row) for row in range(16)]
    together = draw_each(logits, histories, samplings, rngs)
    for row, sampling in enumerate(samplings):
        rng = torch.Generator().manual_seed(row)
        history = torch.tensor([histories[row]], dtype=torch.long)
        assert draw(logits[row : row + 1], history, sampling, rng).tolist() == [together[row]]
        assert torch.equal(rng.get_state(), rngs[row].get_state())


def test_this_machine_has_exact_kernels_or_says_so(monkeypatch: pytest.MonkeyPatch):
    if exact_kernels():
        assert model(packed=True).packed_head is not None
    monkeypatch.setattr("glmtts.nn.llama.exact_kernels", lambda: False)
    with pytest.raises(BadInput, match="bfloat16"):
        model().pack()


@pytest.mark.parametrize("size", [(48, 32), (33, 130), (1024, 96)])
def test_eight_bit_products_are_those_of_the_rounded_weights(size: tuple[int, int]):
    weight = torch.randn(size, generator=torch.Generator().manual_seed(0))
    layer = Int8Linear(weight)
    rounded = checkpoint.dequantised(*checkpoint.quantised(weight))
    torch.testing.assert_close(layer.weight, rounded)
    x = torch.randn(7, 3, size[1], generator=torch.Generator().manual_seed(1))
    x[0, 0] = 0.0
    x[1] *= 1e4
    expected = x.double() @ rounded.T.double()
    scale = x.abs().amax(-1, keepdim=True) * rounded.abs().sum(-1)  # worst case of the rounding
    assert ((layer(x) - expected).abs() <= scale / 15_000 + 1e-6).all()
    assert torch.equal(layer(x[2:3, 1:2])[0, 0], layer(x)[2, 1])


def test_a_packed_model_speaks_nearly_the_same_and_cannot_be_saved(tmp_path):
    plain, packed = model(), model(packed=True)
    assert packed.pack() is packed
    ids = torch.randint(0, 60, (2, 30), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected, got = (lm.logits(lm.model(ids)[0]) for lm in (plain, packed))
    assert (got - expected).norm() < 0.05 * expected.norm()
    assert got.dtype == torch.float32
    spoken = [lm.alignment([4, 5, 6], Prompt(), [7, 8, 9]) for lm in (plain, packed)]
    torch.testing.assert_close(spoken[1], spoken[0], atol=0.05, rtol=0)
    with pytest.raises(BadInput, match="cannot be saved"):
        checkpoint.save(packed, tmp_path)
    rollouts = packed.generate_group([10, 11], VOICE, Sampling(seed=0), size=3)
    # Steps and rows round activations apart, each to 14 bits.
    torch.testing.assert_close(packed.log_probs(rollouts), rollouts.logprobs, atol=0.02, rtol=0.02)


def test_bfloat16_weights_speak_side_by_side_as_alone():
    lm = model().to(torch.bfloat16)
    alone = one_by_one(lm)
    engine = Engine(lm, slots=8)
    together = [engine.submit(*job) for job in JOBS]
    engine.run()
    assert [outcome(r) for r in together] == alone


def test_a_synthesizer_speaks_with_eight_bits(tmp_path):
    synthesizer = Synthesizer.load(build(tmp_path / "model"), device="cpu", dtype="int8")
    assert synthesizer.lm.packed_head is not None
    options = SpeakOptions(sampling=Sampling(seed=1))
    first = synthesizer.speak("你好。", options=options)
    assert first.seconds > 0
    assert torch.equal(first.samples, synthesizer.speak("你好。", options=options).samples)


def test_those_who_say_the_same_are_let_in_together_and_speak_as_alone(lm: TextToSpeechTokens):
    options = [Sampling(seed=seed, top_p=0.95) for seed in range(5)]
    alone = []
    for sampling in options:
        engine = Engine(lm, slots=8)
        request = engine.submit([10, 11, 12], VOICE, sampling)
        engine.run()
        alone.append(outcome(request))
    engine = Engine(lm, slots=8)
    other = engine.submit([13], OTHER, Sampling(seed=2))
    engine.step()
    group = [engine.submit([10, 11, 12], VOICE, sampling) for sampling in options]
    late = engine.submit([9], OTHER, Sampling(seed=3))
    assert engine.step() == [other, *group]
    assert late.slot is None
    engine.run()
    assert [outcome(request) for request in group] == alone
    assert len({tuple(tokens) for tokens, _ in alone}) > 1
