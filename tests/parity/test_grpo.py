"""Our policy-gradient maths against the official trainer's: grpo.json, grpo.safetensors."""

from itertools import groupby
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from glmtts.convert.official_lm import official_lm_config, official_lm_state
from glmtts.lm import TextToSpeechTokens
from glmtts.train import policy
from tests.parity.goldens import FOLDER, needs_goldens, read, read_json, under

pytestmark = needs_goldens

RECORDED: dict[str, Any] = read_json("grpo.json") if FOLDER.is_dir() else {}
CASES: list[dict[str, Any]] = RECORDED.get("normalisers", [])
UPDATES: list[dict[str, Any]] = RECORDED.get("updates", [])


@pytest.fixture(scope="module")
def tensors() -> dict[str, torch.Tensor]:
    return read("grpo.safetensors")[0]


def groups(case: dict[str, Any]) -> list[list[dict[str, Any]]]:
    return [list(rows) for _, rows in groupby(case["episodes"], key=lambda e: e["group"])]


def rewards_of(group: list[dict[str, Any]]) -> dict[str, list[Any]]:
    return {key: [e["reward_info"][key] for e in group] for key in group[0]["reward_info"]}


def close(got: list[float], expected: list[float]) -> bool:
    return got == pytest.approx(expected, abs=1e-9)


def test_there_are_cases():
    assert CASES
    assert UPDATES


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"case{c['case']}")
def test_group_advantages(case: dict[str, Any]):
    expected = case["normalize_rewards_per_group"]
    assert expected["order"] == [e["group"] for e in case["episodes"]]
    rows, useful = iter(expected["rewards"]), []
    for group in groups(case):
        rewards = {k: v for k, v in rewards_of(group).items() if k not in policy.RAW_REWARDS}
        weights = case["weights"] and {k: w for k, w in case["weights"].items() if k in rewards}
        advantages, differs = policy.group_advantages(rewards, weights)
        useful.append(differs)
        for episode, advantage in zip(group, advantages.tolist(), strict=True):
            assert close([advantage] * episode["n_tokens"], next(rows))
    assert all(useful) == expected["has_grad"]


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"case{c['case']}")
def test_reward_first_advantages(case: dict[str, Any]):
    expected = case["normalize_rewards_per_group_norm_first"]
    if "error" in expected:  # theirs needs weights, and knows no token-wise reward
        assert case["weights"] is None or any(k in case["weights"] for k in policy.RAW_REWARDS)
        return
    rows, useful = iter(expected["rewards"]), []
    for group in groups(case):
        advantages, differs = policy.reward_first_advantages(
            rewards_of(group), case["weights"], upstream_compat=True
        )
        useful.append(differs)
        for episode, advantage in zip(group, advantages.tolist(), strict=True):
            assert close([advantage] * episode["n_tokens"], next(rows))
    assert any(useful) == expected["has_grad"]


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"case{c['case']}")
def test_token_advantages(case: dict[str, Any]):
    expected = case["normalize_rewards_per_group_token_level"]
    if "error" in expected:  # theirs needs weights
        assert case["weights"] is None
        return
    rows, useful = iter(expected["rewards"]), []
    for group in groups(case):
        advantages, differs = policy.token_advantages(
            rewards_of(group), case["weights"], [e["n_tokens"] for e in group],
            upstream_compat=True,
        )  # fmt: skip
        useful.append(differs)
        for advantage in advantages:
            assert close(advantage.tolist(), next(rows))
    assert any(useful) == expected["has_grad"]


def test_our_reward_first_prefers_the_better_answer():
    rewards, weights = {"cer_reward": [0.9, 0.2], "sim_reward": [0.5, 0.6]}, {"cer_reward": 1.0}
    ours, _ = policy.reward_first_advantages(rewards, weights)
    theirs, _ = policy.reward_first_advantages(rewards, weights, upstream_compat=True)
    assert ours.tolist() == pytest.approx([1.0, -1.0])
    assert theirs.tolist() == pytest.approx([-1.0, 1.0], abs=1e-3)


def test_schedules():
    for schedule in RECORDED["clip_schedule"]:
        got = [policy.clip_at(step, **schedule["conf"]) for step in schedule["steps"]]
        assert close(got, schedule["values"])
    for schedule in RECORDED["temperature_schedule"]:
        start, final = schedule["start"], schedule["final_step"]
        got = [policy.temperature_at(step, start, final) for step in schedule["steps"]]
        assert close(got, schedule["values"])
    tables = {k: v for k, v in RECORDED.items() if k.startswith("lr_schedules_lr")}
    assert tables
    for name, table in tables.items():
        rate = float(name.removeprefix("lr_schedules_lr").rsplit("_", 1)[0])
        for kind, values in table.items():
            size = int(kind.rsplit("_", 1)[1]) if "_" in kind else 0
            rules = {
                "WarmupLR": lambda n, rate=rate, size=size: policy.warmup_rate(n, rate, size),
                "CosineAnnealing": lambda n, rate=rate, size=size: policy.cosine_rate(
                    n, rate, size
                ),
                "ConstantLR": lambda n, rate=rate: rate,
            }
            rule = rules[kind.split("_")[0]]
            assert close([rule(step) for step in range(len(values))], values)


def test_kl_and_entropy(tensors: dict[str, torch.Tensor]):
    for kind in ("k1", "k2", "k3"):
        got = policy.kl_estimate(tensors["kl.log_probs"], tensors["kl.log_probs_base"], kind)
        torch.testing.assert_close(got, tensors[f"kl.{kind}"], atol=1e-5, rtol=1e-5)
    got = policy.entropy(tensors["entropy.logits"])
    torch.testing.assert_close(got, tensors["entropy.out"], atol=1e-5, rtol=0)


def model(tensors: dict[str, torch.Tensor], name: str) -> TextToSpeechTokens:
    ids = RECORDED["special"]
    config = official_lm_config(
        RECORDED["config"], speech_start=ids["ats"], speech_end=ids["ate"],
        begin_audio_id=ids["boa"], end_id=ids["eoa"], pad_id=ids["pad"],
    )  # fmt: skip
    lm = TextToSpeechTokens(config)
    lm.load_state_dict(official_lm_state(under(tensors, f"{name}."), config))
    return lm


def log_probs(lm: TextToSpeechTokens) -> torch.Tensor:
    """(B, S) of what each episode drew, over the whole vocabulary and without the end, as theirs.

    Ours (`TextToSpeechTokens.log_probs`) are over speech tokens and the end, which counts too.
    """
    rows: list[torch.Tensor] = []
    for episode in RECORDED["episodes"]:
        ids = torch.tensor([episode["prefix"] + episode["generated"]])
        count = len(episode["generated"])
        hidden, _ = lm.model(ids[:, :-1])
        logits = F.linear(hidden[0, -count:], lm.model.embed_tokens.weight)
        rows.append(logits.log_softmax(-1).gather(-1, ids[0, -count:, None])[:, 0])
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)


@pytest.mark.parametrize("update", UPDATES, ids=lambda u: f"u{u['update']}")
def test_one_update(tensors: dict[str, torch.Tensor], update: dict[str, Any]):
    """Losses, gradients before clipping, and parameters after one AdamW step."""
    lm = model(tensors, "policy")
    with torch.no_grad():
        reference = log_probs(model(tensors, "ref"))
    logprobs = log_probs(lm)
    advantages = [torch.tensor(e["advantage"]) for e in RECORDED["episodes"]]
    masks = torch.nn.utils.rnn.pad_sequence(
        [torch.ones_like(a, dtype=torch.bool) for a in advantages], batch_first=True
    )
    surrogate = policy.policy_loss(
        logprobs, reference,
        torch.nn.utils.rnn.pad_sequence(advantages, batch_first=True), masks,
        clip_low=update["clip_eps_low"], clip_high=update["clip_eps_high"],
        sequence_ratio=update["policy_loss_type"] == "gspo",
    )  # fmt: skip
    kl = policy.masked_mean(policy.kl_estimate(logprobs, reference), masks)
    loss = surrogate.loss + update["kl_weight"] * kl
    got = {
        "loss": loss, "grpo_loss": surrogate.loss, "kl_loss": kl,
        "ratio_clip_low": surrogate.clipped_low, "ratio_clip_high": surrogate.clipped_high,
    }  # fmt: skip
    for key, value in update["loss_dict"].items():
        assert float(got[key].detach()) == pytest.approx(value, abs=1e-5)

    optimizer = torch.optim.AdamW(lm.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.01)
    loss.backward()
    prefix = f"u{update['update']}."
    parameters = dict(lm.named_parameters())
    for key, value in tensors.items():
        if key.startswith(prefix + "grad."):
            gradient = parameters[key.removeprefix(prefix + "grad.")].grad
            scale = float(value.abs().max())
            torch.testing.assert_close(gradient, value, atol=1e-4 * scale, rtol=1e-4)
    norm = torch.nn.utils.clip_grad_norm_(lm.parameters(), 1.0)
    assert float(norm) == pytest.approx(update["grad_norm_before_clip"], rel=1e-4)
    optimizer.step()
    after = [key for key in tensors if key.startswith(prefix + "after.")]
    assert after
    for key in after:
        name = key.removeprefix(prefix + "after.")
        gradient = tensors[f"{prefix}grad.{name}"].abs()
        steady = gradient > 1e-4 * gradient.max()  # a first step follows the sign of a gradient
        assert steady.float().mean() > 0.9
        got, expected = parameters[name].detach()[steady], tensors[key][steady]
        torch.testing.assert_close(got, expected, atol=2e-6, rtol=1e-5)
