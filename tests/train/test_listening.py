"""What a tokenizer hears in sound that is being learnt, and a vocoder that learns by it."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from glmtts import checkpoint
from glmtts.errors import BadInput
from glmtts.speech_tokenizer import SpeechTokenizer, TokenizerHeads, TokenizerHeadsConfig
from glmtts.text.phonemes import CTC_CLASS
from glmtts.train.listening import Listener
from glmtts.train.vocoder import main
from tests import tiny
from tests.train.test_vocoder import shards, weights  # noqa: F401
from tests.train.test_vocoder import tiny as vocoder_config


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer with heads, random but always the same."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("tokenizer")
    checkpoint.save(SpeechTokenizer(tiny.TOKENIZER), folder)
    heads = TokenizerHeadsConfig(code_dim=8, dim=16, classes=1 + len(CTC_CLASS), layers=1)
    checkpoint.save(TokenizerHeads(heads), folder / "heads")
    return folder


def test_the_gradient_of_what_is_heard_leads_back_to_what_was_said(folder: Path) -> None:
    listener = Listener(folder, torch.device("cpu"), 24_000)
    recorded = tiny.buzz(0.4).samples[None]
    generator = torch.Generator().manual_seed(0)
    sound = torch.randn(recorded.shape, generator=generator) * 0.1
    with torch.no_grad():  # all that is wrong with the recording is that codes are few
        floor = float(sum(listener.compare(recorded, recorded)))
    losses = []
    sound.requires_grad_(True)
    optimizer = torch.optim.Adam([sound], 1e-3)
    for _ in range(40):
        apart, less = listener.compare(sound, recorded)
        assert apart >= 0.0
        assert less >= -1e-6
        optimizer.zero_grad()
        (apart + less).backward()
        optimizer.step()
        losses.append(float((apart + less).detach()))
    assert losses[-1] - floor < 0.5 * (losses[0] - floor)
    assert all(p.grad is None for p in listener.parameters())


def test_what_is_heard_as_meant_costs_nothing(folder: Path) -> None:
    listener = Listener(folder, torch.device("cpu"), 24_000)
    codes = listener.codes[None, :5]
    apart, less = listener.apart(codes, codes), listener.misheard(codes, codes)
    assert apart.shape == (1, 5)
    assert less.shape == (1, 5 * listener.heads.config.upsample)
    assert float(apart.abs().max()) == 0.0
    assert float(less.abs().max()) == 0.0
    assert not listener.train().tokenizer.training


def test_a_vocoder_learns_by_what_is_heard_and_again_the_same(
    folder: Path,
    shards: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    config = vocoder_config(
        shards, tmp_path / "whole", listener=folder, adversarial_from=1, adversarial_alone=1,
        valid=str(shards), valid_every=4, steps=4,
    )  # fmt: skip
    main(config)
    log = (tmp_path / "whole" / "metrics.jsonl").read_text()
    for name in ('"code"', '"phonemes"', '"valid_code"', '"valid_phonemes"'):
        assert name in log
    main(replace(config, out=tmp_path / "deaf", listener=None))
    main(replace(config, out=tmp_path / "again"))
    whole, deaf, again = (weights(tmp_path / name) for name in ("whole", "deaf", "again"))
    assert any(not torch.equal(whole[name], deaf[name]) for name in whole)
    assert all(torch.equal(whole[name], again[name]) for name in whole)


def test_a_tokenizer_of_another_rate_is_refused(folder: Path) -> None:
    with pytest.raises(BadInput, match="speaks at 16000 Hz and the tokenizer listens at 24000"):
        Listener(folder, torch.device("cpu"), 16_000)
