"""Answers come from the engine, each by its seed; scoring a group reads its prompt once."""

from dataclasses import replace

import pytest
import torch

from glmtts.lm import TextToSpeechTokens
from glmtts.sampling import Sampling
from glmtts.train.policy import entropy
from glmtts.train.rollouts import Actor, Order, scored
from glmtts.voice import Prompt
from tests.models.test_lm_engine import OTHER, TINY, VOICE, model

ORDERS = [
    Order((10, 11, 12), VOICE, (1, 2, 3)),
    Order((13,), Prompt(), (4, 5)),
    Order((14, 15, 16), OTHER, (6, 7, 8, 9)),
]
SAMPLING = Sampling(top_p=0.9)


@pytest.fixture(scope="module")
def lm() -> TextToSpeechTokens:
    return model()


@pytest.fixture(scope="module")
def actor(lm: TextToSpeechTokens) -> Actor:
    actor = Actor(TINY, dtype="float32", slots=4)
    actor.follow(lm.state_dict())
    return actor


def test_the_policy_finds_answers_as_likely_as_one_by_one(lm: TextToSpeechTokens, actor: Actor):
    ends = 0
    for group in actor.draw(ORDERS, SAMPLING):
        plain = lm.log_probs(group)
        torch.testing.assert_close(scored(lm, group).logprobs, plain)
        ends += group.finish.count("stop")
        assert group.masks.sum(-1).tolist() == [
            int(n) + (f == "stop") for n, f in zip(group.lengths, group.finish, strict=True)
        ]
    assert ends


def test_gradients_and_entropy_are_those_of_one_by_one(lm: TextToSpeechTokens, actor: Actor):
    (group,) = actor.draw(ORDERS[2:], SAMPLING)
    weights = torch.randn(group.tokens.shape)
    gradients = []
    for logprobs in (lm.log_probs(group), scored(lm, group).logprobs):
        lm.zero_grad()
        (logprobs * weights).sum().backward()
        gradients.append([p.grad.clone() for p in lm.parameters() if p.grad is not None])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=2e-3, atol=1e-4)

    c = TINY
    total = []
    for row in range(len(group.tokens)):
        draws = int(group.masks[row].sum())
        ids = torch.cat([group.sequence, group.tokens[row, : draws - 1] + c.speech_start])[None]
        logits = lm.logits(lm.model(ids)[0][0, -draws:])
        logits[: group.shortest, -1] = float("-inf")
        total.append(entropy(logits))
    expected = torch.cat(total).mean()
    torch.testing.assert_close(scored(lm, group).entropy, expected)


def test_an_answer_depends_on_its_seed_and_not_on_its_neighbours(actor: Actor):
    together = actor.draw(ORDERS, SAMPLING)
    (alone,) = actor.draw([Order((14, 15, 16), OTHER, (8,))], SAMPLING)
    assert alone.speech(0) == together[2].speech(2)
    assert alone.speech(0) != together[2].speech(1)


def test_the_actor_follows_the_policy(lm: TextToSpeechTokens):
    other = TextToSpeechTokens(TINY).eval()
    actor = Actor(TINY, dtype="float32")
    actor.follow(other.state_dict())
    (before,) = actor.draw(ORDERS[:1], SAMPLING)
    actor.follow(lm.state_dict())
    (after,) = actor.draw(ORDERS[:1], SAMPLING)
    assert before.speech(0) != after.speech(0)
    assert after.speech(0) == list(lm.generate((10, 11, 12), VOICE, SAMPLING, rng=lm.generator(1)))


def test_a_held_head_is_scored_as_it_was_when_drawn(lm: TextToSpeechTokens):
    """Against the decoder, token by token, which masks as it goes."""
    speaking = Actor(TINY, dtype="float32")
    speaking.follow(lm.state_dict())
    text, begin = (9, 3, 7, 12, 11, 18, 5, 4), len(OTHER.turns[0].text_ids)
    sampling = Sampling(top_p=1.0, top_k=1_000, repetition_window=0, ahead=1)
    order = Order(text, OTHER, tuple(range(12)))
    (group,) = speaking.draw([order], sampling)
    assert group.held is not None
    assert int(group.held.places.max()) > 0, "some came forward in the text"
    with torch.no_grad():
        found = scored(lm, group).logprobs
    free = scored(lm, replace(group, held=None)).logprobs
    assert not torch.allclose(found, free, atol=1e-3)
    for row, draws in enumerate(group.masks.sum(-1).tolist()):
        decoder = lm.decoder(1, 128)
        scores = decoder.read(0, group.sequence.tolist())
        decoder.watch(0, begin, len(text), 1)
        for number in range(draws):
            logits = scores.flatten().float().clone()
            if number < group.shortest:
                logits[-1] = float("-inf")
            token = int(group.tokens[row, number])
            assert float(found[row, number]) == pytest.approx(
                float(logits.log_softmax(-1)[token]), abs=1e-3
            )
            if number + 1 < draws:
                assert decoder.places([0]) == [int(group.held.places[row, number])]
                scores = decoder.step([0], [token + TINY.speech_start])
