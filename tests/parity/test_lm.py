"""Our language model against the official one: ras.jsonl, ras.safetensors, ras_minlen.safetensors.

Where we differ on purpose:

* The official code draws from the whole vocabulary, so that text ids come out as negative or
  overflowing speech tokens. `official` below is its loop over our network and our sampling, without
  that restriction; `generate` draws among speech tokens and the end alone.
* Its top-k mode does not forbid the end before the shortest length but draws again, for ever when
  the end is certain (`stop: hang`). We forbid the end in every mode.
* It never stops a loop or a silence; our guard does, and is left out of these comparisons.
"""

from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from glmtts.convert.official_lm import official_lm_config, official_lm_state
from glmtts.errors import CheckpointError
from glmtts.lm import LMConfig, TextToSpeechTokens
from glmtts.nn.cache import KVCache
from glmtts.sampling import Sampling, draw
from glmtts.voice import Prompt, Turn
from tests.parity.goldens import FOLDER, needs_goldens, read, read_json, under

pytestmark = needs_goldens

Case = dict[str, Any]
LINES: list[Case] = read_json("ras.jsonl") if FOLDER.is_dir() else []
SINGLE = [
    line for line in LINES
    if line["kind_"] in ("llm_inference", "llm_minlen") and line["case"] != "batch_inference"
]  # fmt: skip
BATCH = [line for line in LINES if line["case"] == "batch_inference"]
CLEAR = 1e-3
"""Least distance of the two best logits at which greedy ids must agree."""


@pytest.fixture(scope="module")
def recorded() -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    return read("ras.safetensors")


def config_of(meta: dict[str, Any]) -> LMConfig:
    ids = meta["special_token_ids"]
    return official_lm_config(
        meta["config"], speech_start=ids["ats"], speech_end=ids["ate"],
        begin_audio_id=ids["boa"], end_id=ids["eoa"], pad_id=ids["pad"],
    )  # fmt: skip


@pytest.fixture(scope="module")
def models(recorded: tuple[dict[str, torch.Tensor], dict[str, Any]]):
    """The network for each kind of line; `llm_minlen` has another embedding of the end."""
    tensors, meta = recorded
    config = config_of(meta)
    weights = under(tensors, "llm.weights.")
    built = {}
    for kind in ("llm_inference", "llm_minlen"):
        state = {key: value.clone() for key, value in official_lm_state(weights, config).items()}
        if kind == "llm_minlen":
            row = read("ras_minlen.safetensors")[0]["eoa_row"]
            state["model.embed_tokens.weight"][config.end_id] = row
        built[kind] = TextToSpeechTokens(config).eval()
        built[kind].load_state_dict(state)
    return built


def full_logits(lm: TextToSpeechTokens, hidden: torch.Tensor) -> torch.Tensor:
    """Scores of the whole vocabulary."""
    head = lm.model.embed_tokens.weight if lm.lm_head is None else lm.lm_head.weight
    return F.linear(hidden, head)


def sequence_of(lm: TextToSpeechTokens, case: Case) -> list[int]:
    """The official layout; speech is shifted only where there is both prompt text and speech."""
    shift = lm.config.speech_start if case["prompt_text"] and case["prompt_speech"] else 0
    return [
        *(case.get("spk_prompt") or []), *case["prompt_text"], *case["text"],
        lm.config.begin_audio_id, *(i + shift for i in case["prompt_speech"]),
    ]  # fmt: skip


def sampling_of(case: Case) -> Sampling:
    """The official modes in our terms: RAS, or the k likeliest without a look at repetitions."""
    if case["sample_method"] == "ras":
        return Sampling()
    if case["sampling"] == 1:
        return Sampling(temperature=0)
    return Sampling(top_p=2.0, top_k=case["sampling"], repetition_threshold=2.0)


@torch.no_grad()
def official(
    lm: TextToSpeechTokens, case: Case, rng: torch.Generator, draws: int = 5_000
) -> tuple[list[int], str, list[torch.Tensor]]:
    """Ids less the first speech id, how it ended, and the logits of each step."""
    c, sampling = lm.config, sampling_of(case)
    sequence = sequence_of(lm, case)
    cache: KVCache = lm.model.cache(1, len(sequence) + case["max_len"])
    new, ids, steps = torch.tensor([sequence]), [], []
    for step in range(case["max_len"]):
        logits = full_logits(lm, lm.model(new, cache=cache)[0][:, -1])
        steps.append(logits[0])
        scores = logits.log_softmax(-1)
        early = step < case["min_len"]
        if early and case["sample_method"] == "ras":
            scores[:, c.end_id] = float("-inf")
        history = torch.tensor([ids], dtype=torch.long)
        token = int(draw(scores, history, sampling, rng))
        while early and token == c.end_id and draws:
            token, draws = int(draw(scores, history, sampling, rng)), draws - 1
        if token == c.end_id:
            return [i - c.speech_start for i in ids], "hang" if early else "eoa", steps
        ids.append(token)
        new = torch.tensor([[token]])
    return [i - c.speech_start for i in ids], "max", steps


def test_there_are_cases():
    assert SINGLE
    assert BATCH


def test_teacher_forced_logits(models: dict[str, TextToSpeechTokens], recorded):
    tensors, _ = recorded
    lm = models["llm_inference"]
    with torch.no_grad():
        hidden, _ = lm.model(tensors["tf.ids"])
        got = full_logits(lm, hidden)
        ours = lm.logits(hidden)
    torch.testing.assert_close(hidden, tensors["tf.hidden_last"], atol=2e-4, rtol=0)
    torch.testing.assert_close(got, tensors["tf.logits"], atol=2e-4, rtol=0)
    c = lm.config
    rows = [*range(c.speech_start, c.speech_start + c.speech_count), c.end_id]
    torch.testing.assert_close(ours, tensors["tf.logits"][..., rows], atol=2e-4, rtol=0)


@pytest.mark.parametrize("case", SINGLE, ids=lambda c: c["case"])
def test_the_official_loop_gives_the_official_ids(
    models: dict[str, TextToSpeechTokens], recorded, case: Case
):
    lm = models[case["kind_"]]
    if case["stop"] == "hang":  # they were stopped by hand after many draws, so do we
        ids, stop, _ = official(lm, case, torch.Generator().manual_seed(case["seed"]), draws=50)
        assert stop == "hang"
        assert len(ids) < case["min_len"]
        return
    rng = torch.Generator().manual_seed(case["seed"])
    ids, stop, steps = official(lm, case, rng)
    greedy = case["sample_method"] == "topk" and case["sampling"] == 1
    if not greedy or case["min_top2_logit_margin"] > CLEAR:
        assert ids == case["out"]
        assert stop == case["stop"]
    if not greedy:  # ours draws nothing where there is nothing to choose
        after = float(torch.rand(1, generator=rng))
        assert after == pytest.approx(case["next_rand"], abs=1e-7)
    expected = recorded[0].get(f"{case['case']}.step_logits")
    if expected is not None:
        same = [a == b for a, b in zip(ids, case["out"], strict=False)]
        count = min(len(expected), (same.index(False) if False in same else len(same)) + 1)
        got = torch.stack(steps[:count])
        torch.testing.assert_close(got, expected[:count], atol=2e-4, rtol=0)


@pytest.mark.parametrize("case", SINGLE, ids=lambda c: c["case"])
def test_ours_obeys_the_official_lengths_and_ends(
    models: dict[str, TextToSpeechTokens], case: Case
):
    """`generate`, whose classes are the speech tokens and the end, against a loop without cache."""
    lm = models[case["kind_"]]
    original = lm.config
    ratios = {
        "min_ratio": case["min_token_text_ratio"], "max_ratio": case["max_token_text_ratio"]
    }  # fmt: skip
    lm.config = replace(original, **ratios)
    try:
        assert lm.bounds(len(case["text"]), 0) == (case["min_len"], case["max_len"])
        turns = (Turn(tuple(case["prompt_text"]), tuple(case["prompt_speech"])),)
        prompt = Prompt(turns, own=1)
        generation = lm.generate(case["text"], prompt, Sampling(temperature=0))
        if case["prompt_text"] and case["prompt_speech"] and not case.get("spk_prompt"):
            assert generation.sequence == sequence_of(lm, case)
        tokens = list(generation)
        ids = [*generation.sequence, *(t + lm.config.speech_start for t in tokens)]
        with torch.no_grad():
            hidden, _ = lm.model(torch.tensor([ids]))
            logits = lm.logits(hidden[0, len(generation.sequence) - 1 :])
        logits[: case["min_len"], -1] = float("-inf")
        best = logits.topk(2).values
        clear = bool(((best[:, 0] - best[:, 1]) > CLEAR).all())
        assert not clear or logits[: len(tokens)].argmax(-1).tolist() == tokens
        assert len(tokens) <= case["max_len"]
        reason = generation.finish_reason
        assert reason != "length" or len(tokens) == case["max_len"]
        if reason == "stop":
            assert len(tokens) >= case["min_len"]
            assert not clear or int(logits[len(tokens)].argmax()) == lm.config.speech_count
    finally:
        lm.config = original


@pytest.mark.parametrize("case", BATCH, ids=lambda c: c["case"])
@torch.no_grad()
def test_left_padded_rollouts(models: dict[str, TextToSpeechTokens], case: Case):
    """They pad on the left and count positions from the padding; rotary positions do not mind."""
    lm = models["llm_inference"]
    c, answers = lm.config, case["num_answers"]
    rng = torch.Generator().manual_seed(case["seed"])
    prompts = [
        [*text, *target, c.begin_audio_id, *(i + c.speech_start for i in speech)]
        for text, target, speech in zip(
            case["prompt_text"], case["text"], case["prompt_speech"], strict=True
        )
        for _ in range(answers)
    ]
    assert prompts == case["prefix"]
    caches = [lm.model.cache(1, len(ids) + case["max_gen_len"]) for ids in prompts]
    new = [torch.tensor([ids]) for ids in prompts]
    out: list[list[int]] = [[] for _ in prompts]
    for _ in range(case["max_gen_len"]):
        for row, ids in enumerate(out):
            if ids and ids[-1] == c.end_id:
                continue
            scores = full_logits(lm, lm.model(new[row], cache=caches[row])[0][:, -1])
            history = torch.tensor([ids], dtype=torch.long)
            ids.append(int(draw(scores.log_softmax(-1), history, Sampling(), rng)))
            new[row] = torch.tensor([ids[-1:]])
    assert [[i for i in ids if i != c.end_id] for ids in out] == case["generated"]


def test_full_size_names_and_shapes():
    recorded = read_json("shapes_full.json")
    config = official_lm_config(
        recorded["configs"]["llm"], speech_start=60_000, speech_end=92_767,
        begin_audio_id=59_260, end_id=59_253, pad_id=59_246,
    )  # fmt: skip
    with torch.device("meta"):
        state = TextToSpeechTokens(config).state_dict()
        given = {key: torch.empty(shape) for key, shape in recorded["llm"].items()}
    if config.tied and "lm_head.weight" in given:  # Hugging Face lists the embedding twice
        assert given["lm_head.weight"].shape == given["model.embed_tokens.weight"].shape
        given["lm_head.weight"] = given["model.embed_tokens.weight"]
    shapes = {key: list(value.shape) for key, value in state.items()}
    assert shapes == {k: v for k, v in recorded["llm"].items() if k in shapes}
    assert sum(value.numel() for value in state.values()) == recorded["llm_params"]
    assert set(official_lm_state(given, config)) == set(state)


def test_a_wrong_state_is_refused_by_name(recorded):
    tensors, meta = recorded
    config = config_of(meta)
    weights = under(tensors, "llm.weights.")
    tied = {**weights, "lm_head.weight": weights["model.embed_tokens.weight"].clone()}
    assert set(official_lm_state(tied, config)) == set(weights)
    key = "model.layers.0.mlp.up_proj.weight"
    with pytest.raises(CheckpointError, match="lm_head"):
        official_lm_state({**tied, "lm_head.weight": tied["lm_head.weight"] + 1}, config)
    with pytest.raises(CheckpointError, match=f"lacks tensor '{key}'"):
        official_lm_state({k: v for k, v in weights.items() if k != key}, config)
    with pytest.raises(CheckpointError, match="shape"):
        official_lm_state({**weights, key: weights[key][:-1]}, config)
    with pytest.raises(CheckpointError, match=r"'model\.extra' is not part"):
        official_lm_state({**weights, "model.extra": weights[key]}, config)
    with pytest.raises(CheckpointError, match="hidden_act"):
        official_lm_config({**meta["config"], "hidden_act": "gelu"}, **IDS)
    with pytest.raises(CheckpointError, match="rms_norm_eps"):
        official_lm_config({k: v for k, v in meta["config"].items() if k != "rms_norm_eps"}, **IDS)
    with pytest.raises(CheckpointError, match="out of order"):
        official_lm_config(meta["config"], **{**IDS, "begin_audio_id": 3})


IDS = {"speech_start": 2, "speech_end": 5, "begin_audio_id": 1, "end_id": 0, "pad_id": 0}
