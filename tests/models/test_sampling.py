import pytest
import torch

from glmtts.sampling import Sampling, draw, nucleus, repeated


def many(logits: torch.Tensor, history: list[int], sampling: Sampling, n: int = 20_000):
    """Share of each token among `n` draws of the same row."""
    rng = torch.Generator().manual_seed(0)
    past = torch.tensor([history], dtype=torch.long).expand(n, -1)
    drawn = draw(logits.expand(n, -1), past, sampling, rng)
    return torch.bincount(drawn, minlength=logits.shape[-1]) / n


def test_the_token_that_crosses_the_mass_is_kept():
    probs = torch.tensor([[0.1, 0.5, 0.15, 0.25], [0.9, 0.05, 0.05, 0.0]])
    ids, kept = nucleus(probs, top_p=0.7, top_k=25)
    assert ids[0].tolist() == [1, 3]
    torch.testing.assert_close(kept, torch.tensor([[0.5, 0.25], [0.9, 0.0]]))


def test_ties_keep_the_order_of_ids_and_top_k_cuts():
    ids, kept = nucleus(torch.full((1, 10), 0.1), top_p=0.95, top_k=3)
    assert ids.tolist() == [[0, 1, 2]]
    assert kept.shape == (1, 3)


def test_one_repeat_in_the_window_is_too_many_by_default():
    history = torch.tensor([[7] + [1] * 10, [1] * 10 + [7], [-1] * 10 + [1]])
    drawn = torch.tensor([7, 7, 7])
    assert repeated(drawn, history, Sampling()).tolist() == [False, True, False]
    tolerant = Sampling(repetition_threshold=0.2)
    assert repeated(drawn, history, tolerant).tolist() == [False, False, False]


def test_marginal_without_repetition_is_the_renormalised_nucleus():
    logits = torch.tensor([0.4, 0.3, 0.2, 0.1]).log()
    shares = many(logits, [3, 3], Sampling(top_p=0.65))
    torch.testing.assert_close(shares, torch.tensor([4 / 7, 3 / 7, 0.0, 0.0]), atol=0.015, rtol=0)


def test_marginal_with_repetition_falls_back_to_all_tokens():
    probs = torch.tensor([0.4, 0.3, 0.2, 0.1])
    shares = many(probs.log(), [0], Sampling(top_p=0.65))
    expected = 4 / 7 * probs + torch.tensor([0.0, 3 / 7, 0.0, 0.0])
    torch.testing.assert_close(shares, expected, atol=0.015, rtol=0)


def test_temperature_zero_takes_the_likeliest_even_if_repeated():
    logits = torch.tensor([[0.0, 2.0, 1.0]])
    assert draw(logits, torch.tensor([[1, 1, 1]]), Sampling(temperature=0)).tolist() == [1]


@pytest.mark.parametrize("history", [[], [0, 1, 2, 3]])
def test_a_forbidden_token_is_never_drawn(history: list[int]):
    logits = torch.tensor([5.0, float("-inf"), 4.0, 3.0])
    assert many(logits, history, Sampling(top_p=1.0))[1] == 0


def test_same_seed_same_draws_and_rows_are_independent():
    logits = torch.randn(64, 100, generator=torch.Generator().manual_seed(1))
    history = torch.full((64, 0), -1)
    first = draw(logits, history, Sampling(), torch.Generator().manual_seed(5))
    again = draw(logits, history, Sampling(), torch.Generator().manual_seed(5))
    assert torch.equal(first, again)
    assert len(first.unique()) > 10
