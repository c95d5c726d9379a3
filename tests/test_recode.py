"""A tokenizer trained on gives other tokens; what spoke the old ones is carried over."""

from pathlib import Path

import numpy as np
import pytest
import torch

from glmtts.convert import recode
from glmtts.data.shards import Clip, Corpus, write_shard
from glmtts.errors import BadInput
from glmtts.speech_tokenizer import SpeechTokenizer, SpeechTokenizerConfig

CONFIG = SpeechTokenizerConfig(
    n_mels=80, dim=16, heads=2, ffn=16, layers=1, codes=12, code_dim=4, sample_rate=16_000
)


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    rng = np.random.default_rng(0)
    clips = [Clip(str(n), "en", "s", "", (), 1.0) for n in range(20)]
    sounds = [(rng.standard_normal(16_000) * 3_000).astype(np.int16) for _ in clips]
    write_shard(tmp_path, 0, clips, {"audio": sounds})
    return Corpus(tmp_path)


def test_renumbered_codes_take_their_embeddings_along(corpus: Corpus) -> None:
    torch.manual_seed(0)
    old = SpeechTokenizer(CONFIG)
    new = SpeechTokenizer(CONFIG)
    new.load_state_dict(old.state_dict())
    order = torch.randperm(12)
    new.quantizer.weight.copy_(old.quantizer.weight[order])
    table = recode.counts(old, new, corpus, 20)
    assert int(table.sum()) == 20 * 25
    embeddings = torch.randn(12, 6)
    out = recode.recoded(embeddings, table, new.quantizer.weight)
    met = table.sum(1) > 0
    assert int(met.sum()) >= 2
    torch.testing.assert_close(out[met], embeddings[order][met])


def test_a_token_never_met_takes_the_row_of_its_nearest_neighbour() -> None:
    table = torch.tensor([[3.0, 0.0], [0.0, 5.0], [0.0, 0.0]])
    codes = torch.tensor([[0.0], [1.0], [0.9]])
    out = recode.recoded(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), table, codes)
    assert out.tolist() == [[1.0, 2.0], [3.0, 4.0], [3.0, 4.0]]


def test_tokenizers_of_other_rates_are_refused(corpus: Corpus) -> None:
    slow = SpeechTokenizer(SpeechTokenizerConfig(**{**vars(CONFIG), "pooling": 4}))
    with pytest.raises(BadInput, match="token rates"):
        recode.counts(SpeechTokenizer(CONFIG), slow, corpus, 4)
