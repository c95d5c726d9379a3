"""GRPO with control tags: texts that ask for a style, paid for by what their tokens tell."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from glmtts import checkpoint
from glmtts.judges.styles import statistics_of_tokens
from glmtts.lm import TextToSpeechTokens
from glmtts.recipes import recipe
from glmtts.rewards.base import Failed, Score
from glmtts.speech_tokenizer import TokenizerHeads, TokenizerHeadsConfig
from glmtts.style_net import StyleConfig, StyleNet
from glmtts.synthesizer import Synthesizer
from glmtts.text.styles import STYLES
from glmtts.train import grpo as stage
from glmtts.train.cases import Cases
from glmtts.train.guards import Limits
from glmtts.train.scoring import Answer, Renderer, Weight, scorer
from tests.tiny import build


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose tokenizer kept its heads, a language model with tags, a judge, texts."""
    home = tmp_path_factory.mktemp("styles")
    build(home / "model")
    torch.manual_seed(1)
    heads = TokenizerHeads(TokenizerHeadsConfig(code_dim=8, dim=16, layers=1))
    torch.nn.init.constant_(heads.pitch_out.bias, 1.0)  # mostly voiced
    checkpoint.save(heads, home / "model" / "speech_tokenizer" / "heads")
    lm = checkpoint.load(TextToSpeechTokens, home / "model" / "lm")
    lm.config = replace(lm.config, styles=STYLES)
    checkpoint.save(lm, home / "lm")
    checkpoint.save(StyleNet(StyleConfig("tokens", "nothing", width=8)), home / "judge")
    lines = [{"text": "你好世界你好世界。", "style": style} for style in STYLES] + [
        {"text": "世界你好世界你好。"}
    ]
    (home / "texts.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    return home


@pytest.fixture(scope="module")
def synthesizer(home: Path) -> Synthesizer:
    return Synthesizer.load(home / "model", device="cpu")


def test_texts_with_a_style_carry_its_tag_where_the_policy_has_learnt_it(
    home: Path, synthesizer: Synthesizer
) -> None:
    source = str(home / "texts.jsonl")
    said = [Cases(source, synthesizer, styles=STYLES).at(i) for i in range(5)]
    assert {case.style for case in said} == {*STYLES, None}
    read = synthesizer.text_tokenizer.decode
    for case in said:
        assert read(case.text_ids).startswith(f"[{case.style}]") == (case.style is not None)


def test_a_style_is_judged_by_tokens_and_no_sound_is_made(
    home: Path, synthesizer: Synthesizer
) -> None:
    weight = Weight.parse(f"emotion=tokens:{home / 'judge'}@1:0.05")
    assert (weight.name, weight.spread) == ("emotion", 0.05)
    score = scorer([weight], synthesizer, Renderer(synthesizer))
    assert not score.on_sound
    case = Cases(str(home / "texts.jsonl"), synthesizer, styles=STYLES).at(0)
    tokens = tuple(int(n) for n in torch.arange(40) % 32)
    assert synthesizer.proofreader is not None
    net = checkpoint.load(StyleNet, home / "judge")
    chances = net.chances(statistics_of_tokens(synthesizer.proofreader, tokens))
    for style in (*STYLES, None):
        (found,) = score([Answer(replace(case, style=style), tokens, "stop")])
        verdict = found["emotion"]
        assert isinstance(verdict, Score)
        assert verdict.value == pytest.approx(chances[style or "neutral"])
    (found,) = score([Answer(case, tokens[:3], "stop")])
    assert isinstance(found["emotion"], Failed), "too short to tell: never a zero"


def test_a_policy_is_trained_on_styles(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torch.utils.tensorboard.writer", None)
    texts, judge = str(home / "texts.jsonl"), home / "judge"
    config = replace(
        recipe("grpo", "styles"), texts=texts, valid=texts, model=str(home / "model"),
        init=home / "lm", out=tmp_path, rewards=(f"emotion=tokens:{judge}@1:0", "reading@1"),
        steps=2, prompts=2, answers=4, top_p=1.0, top_k=0, valid_texts=2, valid_every=2,
        save_every=0, sample_every=0, device="cpu", amp=False, actor_dtype="float32",
        guards=Limits(length=0.0, entropy=0.0),
    )  # fmt: skip
    stage.main(config)
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    steps, checks = [r for r in rows if "emotion" in r], [r for r in rows if "valid_emotion" in r]
    assert len(steps) == 2
    assert all(0.0 < row["emotion"] < 1.0 for row in steps)
    assert steps[0]["useful"] > 0.0, "answers that are paid differently are learnt from"
    assert 0.0 < checks[-1]["valid_emotion"] < 1.0
    assert checkpoint.load(TextToSpeechTokens, tmp_path / "lm").config.styles == STYLES
