from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch

from glmtts import checkpoint
from glmtts.errors import BadInput
from glmtts.lm import LMBatch, LMConfig, TextToSpeechTokens
from glmtts.nn.llama import Llama, LlamaConfig, blocked_attention
from glmtts.runaway import Guard, RunawayGuard
from glmtts.sampling import Sampling
from glmtts.voice import Prompt, Turn

TINY = LMConfig(
    speech_start=20, end_id=1, begin_audio_id=2, pad_id=0, vocab_size=60, speech_count=40,
    hidden_size=32, layers=2, heads=4, kv_heads=2, head_dim=8, ffn_size=64,
    min_ratio=2.0, max_ratio=10.0, max_context=256, align_layer=1, align_head=2,
)  # fmt: skip
PROMPT = Prompt((Turn((5, 6, 7), (3, 9, 27)), Turn((8,), (4, 4))), own=1)


@pytest.fixture
def lm() -> TextToSpeechTokens:
    torch.manual_seed(0)
    model = TextToSpeechTokens(TINY).eval()
    for parameter in model.parameters():  # far from uniform, so that mistakes show
        torch.nn.init.normal_(parameter, std=0.3) if parameter.ndim == 2 else None
    return model


def document(text: Sequence[int], speech: Sequence[int], spoken: Sequence[int]) -> LMBatch:
    """One row with one document."""
    ids = [*text, TINY.begin_audio_id, *(s + TINY.speech_start for s in speech)]
    silent = [-1] * len(text)
    return LMBatch(
        torch.tensor([ids]),
        torch.arange(len(ids))[None],
        torch.zeros(1, len(ids), dtype=torch.long),
        torch.tensor([[*silent, *speech, TINY.speech_count]]),
        torch.tensor([[*silent, *spoken, -1]]),
    )


def joined(*batches: LMBatch, pad: int = 3) -> LMBatch:
    """Several documents in one row, then padding."""
    parts: list[list[torch.Tensor]] = [[], [], [], [], []]
    offset = 0
    for number, b in enumerate(batches):
        align = torch.where(b.align >= 0, b.align + offset, -1)
        for part, value in zip(
            parts, (b.ids, b.positions, b.documents + number, b.labels, align), strict=True
        ):
            part.append(value)
        offset += b.ids.shape[1]
    for part, filler in zip(parts, (TINY.pad_id, 0, -1, -1, -1), strict=True):
        part.append(torch.full((1, pad), filler))
    return LMBatch(*(torch.cat(part, 1) for part in parts))


FIRST = document([4, 5, 6], [7, 8, 9, 30], [0, 1, 1, 2])
SECOND = document([11, 12], [1, 2, 3], [0, -1, 1])


def test_loss_falls_on_one_batch_and_the_head_aligns():
    torch.manual_seed(0)
    model = TextToSpeechTokens(TINY)
    batch = joined(FIRST, SECOND)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    seen = []
    for _ in range(60):
        losses = model.loss(batch, align_weight=0.5)
        optimizer.zero_grad()
        losses["loss"].backward()
        optimizer.step()
        seen.append({name: float(value.detach()) for name, value in losses.items()})
    assert seen[0]["nll"] == pytest.approx(torch.tensor(41.0).log().item(), abs=0.2)
    assert seen[-1]["nll"] < 0.1
    assert seen[-1]["top1"] == 1.0
    assert seen[-1]["align"] < 0.3
    assert seen[-1]["align_top1"] == 1.0


def test_packing_changes_nothing(lm: TextToSpeechTokens):
    alone = [lm.loss(b, align_weight=1.0) for b in (FIRST, SECOND)]
    packed = lm.loss(joined(FIRST, SECOND), align_weight=1.0)
    nll = (alone[0]["nll"] * 5 + alone[1]["nll"] * 4) / 9
    align = (alone[0]["align"] * 4 + alone[1]["align"] * 2) / 6
    torch.testing.assert_close(packed["nll"], nll)
    torch.testing.assert_close(packed["align"], align)


def test_only_speech_and_end_rows_of_the_head_matter(lm: TextToSpeechTokens):
    hidden = torch.randn(3, 32)
    full = hidden @ lm.model.embed_tokens.weight.T
    wanted = torch.cat([full[:, 20:60], full[:, 1:2]], -1)
    torch.testing.assert_close(lm.logits(hidden), wanted)


def test_without_known_alignment_the_loss_is_finite_and_has_gradients(lm: TextToSpeechTokens):
    batch = replace(FIRST, align=torch.full_like(FIRST.align, -1))
    losses = lm.loss(batch, align_weight=1.0)
    losses["loss"].backward()
    assert losses["align"] == 0
    assert torch.isfinite(losses["loss"])
    assert lm.model.layers[1].self_attn.q_proj.weight.grad is not None


def test_layout_of_the_prompt(lm: TextToSpeechTokens):
    assert lm.sequence([10, 11], PROMPT) == [5, 6, 7, 8, 10, 11, 2, 23, 29, 47, 24, 24]


def test_cached_generation_equals_the_full_forward(lm: TextToSpeechTokens):
    generation = lm.generate([10, 11, 12], PROMPT, Sampling(temperature=0))
    tokens = list(generation)
    assert len(tokens) >= 6
    ids = lm.sequence([10, 11, 12], PROMPT) + [t + 20 for t in tokens]
    with torch.no_grad():
        hidden, _ = lm.model(torch.tensor([ids]))
        logits = lm.logits(hidden[0, -len(tokens) - 1 : -1])
    logits[:6, 40] = float("-inf")
    assert logits.argmax(-1).tolist() == tokens


def test_chunks_through_the_cache_equal_one_pass(lm: TextToSpeechTokens):
    ids = torch.randint(0, 60, (2, 17), generator=torch.Generator().manual_seed(0))
    cache = lm.model.cache(2, 17)
    with torch.no_grad():
        whole, _ = lm.model(ids)
        parts = [lm.model(part, cache=cache)[0] for part in ids.split([5, 1, 8, 3], 1)]
    torch.testing.assert_close(torch.cat(parts, 1), whole, atol=1e-5, rtol=1e-4)


def test_same_seed_same_tokens_and_other_seed_others(lm: TextToSpeechTokens):
    def speak(seed: int) -> list[int]:
        return list(lm.generate([10, 11, 12], PROMPT, Sampling(seed=seed)))

    assert speak(3) == speak(3)
    assert speak(3) != speak(4)
    rng = torch.Generator().manual_seed(3)
    assert list(lm.generate([10, 11, 12], PROMPT, Sampling(), rng=rng)) == speak(3)


@pytest.mark.parametrize("length", [1, 2, 6])
def test_generation_obeys_its_bounds(lm: TextToSpeechTokens, length: int):
    for seed in range(8):
        generation = lm.generate([9] * length, Prompt(), Sampling(seed=seed))
        tokens = list(generation)
        assert all(0 <= t < 40 for t in tokens)
        assert tokens == generation.tokens
        assert len(tokens) <= max(25, 10 * length)
        if generation.finish_reason == "stop":
            assert len(tokens) >= 2 * length
        if generation.finish_reason == "length":
            assert len(tokens) == max(25, 10 * length)
        assert generation.finish_reason is not None


def test_an_end_that_is_certain_waits_for_the_shortest_length(lm: TextToSpeechTokens):
    lm.lm_head = torch.nn.Linear(32, 60, bias=False)
    with torch.no_grad():
        lm.model.norm.weight.zero_()[0] = 1.0  # logits follow one hidden channel; make it the end's
        lm.lm_head.weight.zero_()
        lm.model.embed_tokens.weight[:, 0] = 50.0
        lm.lm_head.weight[1, 0] = 100.0
    generation = lm.generate([9] * 4, Prompt(), Sampling(seed=0))
    assert len(list(generation)) == 8
    assert generation.finish_reason == "stop"


def test_the_context_limits_the_length(lm: TextToSpeechTokens):
    lm.config = replace(TINY, max_context=16)
    generation = lm.generate([9, 9, 9], PROMPT, Sampling(temperature=0))
    list(generation)
    assert len(generation.tokens) <= 16 - 13 + 1
    with pytest.raises(BadInput, match="Split"):
        lm.generate([9] * 8, PROMPT)


@pytest.mark.parametrize(
    ("text", "prompt", "message"),
    [
        ([], Prompt(), "no text"),
        ([60], Prompt(), "text id"),
        ([5], Prompt((Turn((5,), (40,)),)), "another model"),
    ],
)
def test_foreign_ids_are_refused(
    lm: TextToSpeechTokens, text: list[int], prompt: Prompt, message: str
):
    with pytest.raises(BadInput, match=message):
        lm.generate(text, prompt)


def pushed(tokens: Sequence[int], silence: Sequence[int] = ()) -> tuple[int, str | None]:
    """How many tokens the guard takes, and what it says then."""
    guard = RunawayGuard(silence)
    for count, token in enumerate(tokens, 1):
        if reason := guard.push(token):
            return count, reason
    return len(tokens), None


def test_the_guard_lets_speech_pass():
    rng = torch.Generator().manual_seed(0)
    speech = torch.randint(0, 40, (400,), generator=rng).tolist()
    assert pushed(speech) == (400, None)
    word = speech[:20]
    assert pushed([*word, *word, *speech[20:]]) == (420, None)  # a word said twice is no loop
    assert pushed([*word, *[0] * 28, *word], silence=[0]) == (68, None)


@pytest.mark.parametrize("period", [2, 3, 11, 25])
def test_the_guard_cuts_loops(period: int):
    count, reason = pushed(list(range(period)) * 60, silence=[99])
    assert reason == "repetition"
    assert count == period + Guard().pattern


def test_the_guard_cuts_one_token_and_silence():
    assert pushed([5] * 100, silence=[0, 1]) == (13, "repetition")
    assert pushed([5, *[0, 1, 0] * 40], silence=[0, 1]) == (32, "silence")
    assert pushed([5] * 100) == (31, "repetition")  # it may be a pause


def looping(model: TextToSpeechTokens) -> TextToSpeechTokens:
    """Make speech token 7 certain."""
    head = model.lm_head = torch.nn.Linear(32, 60, bias=False)
    with torch.no_grad():
        model.model.norm.weight.zero_()[0] = 1.0
        model.model.embed_tokens.weight[:, 0] = 50.0
        head.weight.zero_()[27, 0] = 100.0
    return model


def test_a_loop_ends_the_stream_and_is_cut_from_the_checked_result(lm: TextToSpeechTokens):
    looping(lm).config = replace(TINY, silence_ids=(3,))
    generation = lm.generate([9] * 8, Prompt(), Sampling(seed=0))
    assert list(generation) == [7] * 13
    assert generation.finish_reason == "repetition"
    tokens, reason = lm.generate_checked([9] * 8, Prompt(), Sampling(seed=0))
    assert (tokens, reason) == ([7], "repetition")


def test_a_failed_attempt_is_tried_again_a_bounded_number_of_times(
    lm: TextToSpeechTokens, monkeypatch: pytest.MonkeyPatch
):
    calls = []
    generate = lm.generate

    def counted(*args, **kwargs):
        calls.append(1)
        return generate(*args, **kwargs)

    looping(lm)
    monkeypatch.setattr(lm, "generate", counted)
    lm.generate_checked([9] * 8, Prompt(), Sampling(seed=0, retries=3))
    assert len(calls) == 4


def test_retries_stop_at_the_first_good_attempt(
    lm: TextToSpeechTokens, monkeypatch: pytest.MonkeyPatch
):
    class Fake:
        def __init__(self, tokens: list[int], reason: str, runaway: int = 0) -> None:
            self.tokens, self.finish_reason, self.runaway = tokens, reason, runaway

        def __iter__(self):
            return iter(self.tokens)

    outcomes = [Fake([1, 2, 3, 3], "repetition", 1), Fake([4] * 9, "length"), Fake([5], "stop")]
    attempts = iter(outcomes)
    monkeypatch.setattr(lm, "generate", lambda *_, **__: next(attempts))
    assert lm.generate_checked([9], Prompt(), Sampling(retries=5)) == ([5], "stop")
    attempts = iter([outcomes[1], outcomes[0]])
    assert lm.generate_checked([9], Prompt(), Sampling(retries=1)) == ([4] * 9, "length")


def test_rollouts_know_their_log_probabilities(lm: TextToSpeechTokens):
    rollouts = lm.generate_group([10, 11, 12], PROMPT, Sampling(seed=1), size=5)
    assert rollouts.tokens.shape == rollouts.logprobs.shape == rollouts.masks.shape
    torch.testing.assert_close(lm.log_probs(rollouts), rollouts.logprobs, atol=1e-4, rtol=1e-4)
    assert lm.log_probs(rollouts).requires_grad
    for row, reason in enumerate(rollouts.finish):
        speech = rollouts.speech(row)
        assert 6 <= len(speech) <= 30
        drawn = int(rollouts.masks[row].sum())
        assert drawn == len(speech) + (reason == "stop")
        if reason == "stop":
            assert rollouts.tokens[row, drawn - 1] == 40
    assert len({tuple(rollouts.speech(row)) for row in range(5)}) > 1


def test_alignment_is_the_attention_that_was_trained(lm: TextToSpeechTokens):
    spoken = lm.alignment([4, 5, 6], Prompt(), [7, 8, 9, 30])
    assert spoken.shape == (4, 3)
    assert (spoken > 0).all()
    assert (spoken.sum(-1) <= 1 + 1e-5).all()
    chosen = spoken[torch.arange(4), torch.tensor([0, 1, 1, 2])]
    expected = lm.loss(FIRST, align_weight=1.0)["align"]
    torch.testing.assert_close(-chosen.log().mean(), expected, atol=1e-4, rtol=1e-4)
    assert lm.alignment([10, 11], PROMPT, [1, 2, 3]).shape == (3, 2)
    lm.config = replace(TINY, align_layer=None, align_head=None)
    with pytest.raises(BadInput, match="align_layer"):
        lm.alignment([4], Prompt(), [7])


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_blocked_attention_is_attention(kv_heads: int):
    q = torch.randn(2, 4, 37, 8)
    k, v = torch.randn(2, 2, kv_heads, 37, 8)
    documents = torch.arange(37) // 15
    seen = (documents[:, None] == documents).tril()
    bias = torch.zeros(1, 1, 37, 37).masked_fill(~seen, float("-inf"))
    expected = torch.nn.functional.scaled_dot_product_attention(q, k, v, bias, enable_gqa=True)
    torch.testing.assert_close(blocked_attention(q, k, v, bias, block=16), expected)


def test_checkpoint_round_trip_speaks_the_same(lm: TextToSpeechTokens, tmp_path):
    checkpoint.save(lm, tmp_path)
    again = checkpoint.load(TextToSpeechTokens, tmp_path)
    first = list(lm.generate([10, 11], PROMPT, Sampling(seed=2)))
    assert list(again.generate([10, 11], PROMPT, Sampling(seed=2))) == first


def test_official_sizes_are_the_defaults():
    ids = {"speech_start": 65_000, "end_id": 59_253, "begin_audio_id": 59_260, "pad_id": 59_246}
    with torch.device("meta"):
        model = TextToSpeechTokens(LMConfig(**ids))
    assert sum(p.numel() for p in model.parameters()) == 1_552_009_216
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    assert shapes["model.embed_tokens.weight"] == (98_304, 2_048)
    assert shapes["model.layers.27.self_attn.k_proj.weight"] == (512, 2_048)
    assert shapes["model.layers.0.mlp.down_proj.weight"] == (2_048, 6_144)
    assert shapes["model.layers.3.post_attention_layernorm.weight"] == (2_048,)
    assert shapes["model.norm.weight"] == (2_048,)
    assert len(shapes) == 2 + 28 * 9


def test_hidden_states_of_a_hand_worked_layer():
    config = LlamaConfig(
        vocab_size=3, hidden_size=2, layers=1, heads=1, kv_heads=1, head_dim=2, ffn_size=1
    )
    model = Llama(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_() if parameter.ndim == 2 else parameter.fill_(1.0)
        model.embed_tokens.weight.copy_(torch.tensor([[3.0, 4.0], [1.0, -1.0], [0.0, 2.0]]))
        model.layers[0].self_attn.v_proj.weight.copy_(torch.eye(2))
        model.layers[0].self_attn.o_proj.weight.copy_(torch.eye(2))
    hidden, _ = model(torch.tensor([[0, 1]]))
    norm = torch.nn.functional.normalize
    # No queries and keys: the second position sees the mean of the normalised values.
    values = norm(torch.tensor([[3.0, 4.0], [1.0, -1.0]]), dim=-1) * 2**0.5
    expected = torch.tensor([[3.0, 4.0], [1.0, -1.0]]) + torch.stack([values[0], values.mean(0)])
    torch.testing.assert_close(hidden[0], norm(expected, dim=-1) * 2**0.5, atol=1e-4, rtol=1e-4)
