"""Our sampling against the official `ras_sampling`: ras.jsonl (kind ras_sampling), ras.safetensors.

Theirs draws from the whole vocabulary; here each class is one id, as in the recorded cases.
"""

from typing import Any

import pytest
import torch

from glmtts.sampling import Sampling, draw, draw_each, nucleus, repeated
from tests.parity.goldens import FOLDER, needs_goldens, read, read_json

pytestmark = needs_goldens

CASES: list[dict[str, Any]] = (
    [c for c in read_json("ras.jsonl") if c["kind_"] == "ras_sampling"] if FOLDER.is_dir() else []
)


@pytest.fixture(scope="module")
def recorded() -> dict[str, torch.Tensor]:
    return read("ras.safetensors")[0]


def sampling_of(params: dict[str, Any]) -> Sampling:
    return Sampling(
        top_p=params["top_p"], top_k=params["top_k"], temperature=params["temperature"],
        repetition_window=params["win_size"], repetition_threshold=params["tau_r"],
    )  # fmt: skip


def official_input(case: dict[str, Any], recorded: dict[str, torch.Tensor]) -> torch.Tensor:
    """(1, V) log-probabilities, one of them forbidden afterwards."""
    scores = recorded[f"c{case['case']}.logits"].log_softmax(-1)[None]
    if case["masked_id"] is not None:
        scores[0, case["masked_id"]] = float("-inf")
    return scores


def history_of(case: dict[str, Any]) -> torch.Tensor:
    return torch.tensor([case["history"]], dtype=torch.long)


def test_there_are_cases():
    assert len(CASES) > 0


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"c{c['case']}")
def test_nucleus_and_output_distribution(case: dict[str, Any], recorded: dict[str, torch.Tensor]):
    scores, sampling = official_input(case, recorded), sampling_of(case["params"])
    probs = (scores / sampling.temperature).softmax(-1)
    ids, kept = nucleus(probs, sampling.top_p or 0.0, sampling.top_k)
    assert ids[0].tolist() == case["nucleus_ids"]
    expected = torch.tensor(case["nucleus_probs"])
    torch.testing.assert_close(kept[0], expected, atol=2e-6, rtol=1e-5)

    # What comes out, in closed form from the two rules that `draw` joins.
    chance = kept[0].double() / kept[0].double().sum()
    again = repeated(ids[0], history_of(case).expand(len(ids[0]), -1), sampling)
    marginal = chance[again].sum() * scores[0].double().softmax(-1)
    marginal = marginal.index_add(0, ids[0], chance.masked_fill(again, 0.0))
    exact = recorded[f"c{case['case']}.marginal"]
    torch.testing.assert_close(marginal, exact, atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"c{c['case']}")
def test_seeded_outcomes(case: dict[str, Any], recorded: dict[str, torch.Tensor]):
    """The same draws, and the generator is left where theirs was."""
    scores, sampling = official_input(case, recorded), sampling_of(case["params"])
    for run in case["runs"]:
        rng = torch.Generator().manual_seed(run["seed"])
        assert draw(scores, history_of(case), sampling, rng).tolist() == [run["out"]]
        assert float(torch.rand(1, generator=rng)) == pytest.approx(run["next_rand"], abs=1e-7)
    rngs = [torch.Generator().manual_seed(run["seed"]) for run in case["runs"]]
    rows = len(rngs)
    drawn = draw_each(scores.expand(rows, -1), [case["history"]] * rows, [sampling] * rows, rngs)
    assert drawn == [run["out"] for run in case["runs"]]
    after = [float(torch.rand(1, generator=rng)) for rng in rngs]
    assert after == pytest.approx([run["next_rand"] for run in case["runs"]], abs=1e-7)
