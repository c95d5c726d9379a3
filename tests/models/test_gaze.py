"""The aligned head is held near the present place in the text, and goes forward only."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from glmtts.lm import Generation
from glmtts.nn.cache import Places
from glmtts.nn.gaze import BACK, Gaze, look
from glmtts.nn.rope import rotate
from glmtts.sampling import Sampling
from glmtts.steering import NEVER
from glmtts.synthesizer import Synthesizer
from glmtts.text_reader import TextReader
from glmtts.voice import Prompt
from tests.models.test_lm_engine import JOBS, OTHER, VOICE, model

HIDDEN = -math.inf


def looked(gaze: Gaze, *scores: Sequence[float], slots: Sequence[int] = (0,)) -> list[list[float]]:
    """The masks of one step, whose places are then committed."""
    index = places(slots)
    visible, at = look(torch.tensor(scores), gaze.sight(index))
    gaze.note(index, at)
    gaze.commit(slots)
    return [[0 if there else HIDDEN for there in row] for row in visible.tolist()]


def places(slots: Sequence[int]) -> Places:
    index = torch.tensor(slots)
    return Places(index, torch.zeros_like(index), None)


def test_only_what_is_near_is_seen_and_the_place_goes_forward():
    gaze = Gaze(0, 0, 1, torch.device("cpu"))
    gaze.watch(0, begin=2, size=5, ahead=2)
    prompt, speech = [9.0, 9.0], [0.5, 0.5]
    # Before the first id: the next two, never the prompt's text, always what comes after the text.
    text = [1.0, 2.0, 8.0, 8.0, 8.0]
    assert looked(gaze, [*prompt, *text, *speech]) == [
        [HIDDEN, HIDDEN, 0, 0, HIDDEN, HIDDEN, HIDDEN, 0, 0]
    ]
    assert gaze.places([0])[0] == 1
    assert BACK == 1
    # At the second: it, the one before and two more; what was before the last one is gone.
    text = [9.0, 3.0, 1.0, 1.0, 9.0]
    assert looked(gaze, [*prompt, *text, *speech]) == [[HIDDEN, HIDDEN, 0, 0, 0, 0, HIDDEN, 0, 0]]
    assert gaze.places([0])[0] == 1, "it may look back at one, the place stays"
    text = [0.0, 0.0, 1.0, 7.0, 9.0]
    looked(gaze, [*prompt, *text, *speech])
    assert gaze.places([0])[0] == 3
    # Speech is looked at most: no news of the text.
    assert looked(gaze, [*prompt, 9.0, 9.0, 0.0, 0.1, 0.2, 5.0, 5.0]) == [
        [HIDDEN, HIDDEN, HIDDEN, HIDDEN, 0, 0, 0, 0, 0]
    ]
    assert gaze.places([0])[0] == 3
    looked(gaze, [*prompt, 9.0, 9.0, 0.0, 0.0, 6.0, 5.0, 5.0])
    assert gaze.places([0])[0] == 4


def test_a_step_that_is_not_committed_changes_nothing():
    gaze = Gaze(0, 0, 2, torch.device("cpu"))
    gaze.watch(1, begin=0, size=4, ahead=1)
    for _ in range(2):
        seen, at = look(torch.tensor([[5.0, 4.0, 9.0, 9.0, 0.0]]), gaze.sight(places([1])))
        gaze.note(places([1]), at)
        assert seen.tolist() == [[True, False, False, False, True]]
    assert gaze.places([1])[0] == -1
    gaze.commit([0])
    assert gaze.places([1])[0] == -1
    gaze.commit([0, 1])
    assert gaze.places([1])[0] == 0


def test_slots_that_are_not_watched_see_everything():
    gaze = Gaze(0, 0, 3, torch.device("cpu"))
    gaze.watch(0, begin=0, size=3, ahead=1)
    gaze.watch(2, begin=0, size=3, ahead=1)
    gaze.follow(1, 0)
    gaze.clear(2)
    masks = looked(gaze, *[[1.0, 2.0, 3.0, 0.0]] * 3, slots=(0, 1, 2))
    assert masks == [[0, HIDDEN, HIDDEN, 0], [0, HIDDEN, HIDDEN, 0], [0, 0, 0, 0]]
    gaze.watch(0, begin=0, size=3, ahead=0)
    assert gaze.guided == {1}


@torch.no_grad()
@pytest.mark.parametrize("static", [False, True])
@pytest.mark.parametrize("packed", [False, True])
def test_the_head_hears_what_brute_force_gives(static: bool, packed: bool):
    lm = model(packed)
    layer = lm.model.layers[1].self_attn
    text = [9, 3, 7, 12, 11, 18, 5, 4]
    sequence = lm.sequence(text, OTHER)
    begin = len(OTHER.turns[0].text_ids)
    decoder = lm.decoder(3, 64, static=static)
    decoder._step = lm.model.step  # which can be listened to; tests/models/test_program.py
    decoder.read(1, sequence)
    decoder.watch(1, begin, len(text), 1)
    heard: list[Tensor] = []
    layer.o_proj.register_forward_pre_hook(lambda _, x: heard.append(x[0].clone()))
    asked: list[Tensor] = []
    plain = layer.together
    layer.together = lambda x: asked.append(x.clone()) or plain(x)  # pyright: ignore
    row = 1 if static or not packed else 0
    for step, token in enumerate([21, 35, 22, 28, 40, 23]):
        (at,) = decoder.places([1]) or [None]
        with torch.inference_mode():
            decoder.step([1], [token])
        size = len(sequence) + step + 1
        keys, values = (x[1, 1, 1, :size] for x in (decoder._cache.keys, decoder._cache.values))
        parts = plain(asked.pop())[row : row + 1]
        cos, sin = (t[:, 0] for t in lm.model.rotary(torch.tensor([[size - 1]]), parts.dtype))
        query = rotate(parts[:, :6], cos, sin)[0, 2]
        scores = keys @ query * 8**-0.5
        assert at is not None
        for position in range(size):
            in_text = position < begin + len(text)
            place = position - begin
            if in_text and not (place >= 0 and at - 1 <= place <= at + 1):
                scores[position] = HIDDEN
        torch.testing.assert_close(heard.pop()[row, 16:24], scores.softmax(-1) @ values)
        best = int(scores.argmax()) - begin
        assert decoder.places([1]) == [max(best, at) if best < len(text) else at]
    assert decoder.places([1]) != [-1], "it came forward"


def test_without_an_aligned_head_nothing_is_held():
    lm = model()
    lm.config = replace(lm.config, align_layer=None, align_head=None)
    free = [list(lm.generate(text, voice, replace(how, ahead=0))) for text, voice, how in JOBS]
    told = [list(lm.generate(text, voice, replace(how, ahead=1))) for text, voice, how in JOBS]
    assert free == told


def test_holding_changes_what_a_model_says():
    """Of random weights the head looks anywhere, so the tests above compare something."""
    lm = model()
    free = list(lm.generate([14, 15, 16, 17, 18, 19], OTHER, Sampling(seed=3, ahead=0)))
    held = list(lm.generate([14, 15, 16, 17, 18, 19], OTHER, Sampling(seed=3, ahead=1)))
    assert free != held


def test_candidates_drawn_together_are_those_drawn_alone():
    lm = model()
    text, sampling = [14, 15, 16, 17], Sampling(seed=4, candidates=3, ahead=1)
    drawn = list(lm._rivals(text, VOICE, sampling, lm.generator(4), None, NEVER))[-1].all
    alone = [
        list(lm.generate(text, VOICE, sampling, rng=own))
        for own in lm.generators(lm.generator(4), 3)
    ]
    assert [candidate.tokens for candidate in drawn] == alone
    assert len({tuple(tokens) for tokens in alone}) == 3


@pytest.mark.parametrize(
    "text",
    ["老人们坐在长椅上，一边晒太阳，一边聊天。", "Old men sat there and talked all day."],
)
def test_the_bundled_model_reads_to_the_end_in_order(text: str):
    nano = Synthesizer.load()
    ids = TextReader(nano.text_tokenizer, phonemes=True).ids(text)
    sampling = nano.sampling(Sampling(seed=0))
    assert sampling.ahead == nano.manifest.ahead > 0
    assert nano.sampling(Sampling(ahead=0)).ahead == 0
    generation = Generation(nano.lm, ids, Prompt(), sampling, nano.lm.generator(0))
    been: list[int] = []
    for _ in generation:
        been += generation._decoder.places([0]) or []
    assert generation.finish_reason == "stop"
    assert been == sorted(been)
    assert max(np.diff(been)) <= nano.manifest.ahead
    assert been[-1] >= len(ids) - 3
