"""The benchmark measures what it says, and the official loops it compares with say the same."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from glmtts import baseline, bench
from glmtts.errors import BadInput
from glmtts.flow import FlowOptions, TokenToMel
from glmtts.lm import TextToSpeechTokens
from glmtts.nn.hift import HiFT, HiFTConfig
from glmtts.sampling import Sampling
from glmtts.text.tokenizer import TextTokenizer
from glmtts.train.lm import with_ids
from glmtts.voice import Prompt
from tests import tiny


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.build(tmp_path_factory.mktemp("bench") / "tiny")


@pytest.fixture(scope="module")
def lm(model: Path) -> TextToSpeechTokens:
    torch.manual_seed(1)
    sizes = with_ids(tiny.LANGUAGE_MODEL, TextTokenizer.load(model / "text_tokenizer"))
    return TextToSpeechTokens(sizes).eval()


def test_the_official_loop_chooses_the_tokens_that_we_choose(lm: TextToSpeechTokens) -> None:
    greedy = Sampling(temperature=0.0, seed=0)
    ids = list(range(20, 40))
    ours = list(lm.generate(ids, Prompt(), greedy))
    loop = baseline.LanguageModelLoop(lm, greedy)
    with torch.inference_mode():
        loop.read([*ids, lm.config.begin_audio_id])
        theirs = [loop.draw() for _ in ours]
    assert theirs == ours
    assert len(ours) >= 5


def test_the_flow_loop_gives_the_same_mel() -> None:
    torch.manual_seed(0)
    whole = replace(tiny.FLOW.network, causal_convs=False)  # attends to everything
    flow = TokenToMel(replace(tiny.FLOW, network=whole)).eval()
    for parameter in flow.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    voice, options = bench.voice_of(flow, 12), FlowOptions(3, 0.7)
    tokens = [i % 30 for i in range(20)]
    ours = flow.sample(tokens, voice, options)
    theirs = baseline.flow_loop(flow, tokens, voice, options)
    torch.testing.assert_close(theirs, ours, atol=2e-4, rtol=0)


def test_plain_convolutions_sound_the_same() -> None:
    torch.manual_seed(0)
    network = HiFT(HiFTConfig(dims=64, pitch_dims=16), 8, 24_000).eval()
    with torch.no_grad():
        mel = torch.randn(1, 20, 8)
        ours = network(mel).samples
        with baseline.plain_convolutions():
            theirs = network(mel).samples
    torch.testing.assert_close(theirs, ours, atol=1e-5, rtol=0)


def test_every_part_is_measured_and_every_figure_is_in_the_table(
    model: Path, tmp_path: Path
) -> None:
    plan = bench.Plan(str(model), device="cpu", quick=True, baseline=True)
    results = {"machine": bench.machine(), "ours": {}, "official_loop": {}}
    for part in bench.PARTS:
        results["ours"][part] = bench.run_part(plan, part, official=False)
        if part != "speech":
            results["official_loop"][part] = bench.run_part(plan, part, official=True)
    bench.save(results, tmp_path / "out")
    assert json.loads((tmp_path / "out" / "results.json").read_text()) == results
    table = (tmp_path / "out" / "results.md").read_text()
    assert all(name in table for _, _, name, _ in bench.ROWS)
    assert "| NO |" not in table
    assert (tmp_path / "out" / "throughput.png").stat().st_size > 1_000
    for part, key, _, _ in bench.ROWS:
        assert results["ours"][part][key]["wall_s"] > 0


def test_each_part_has_a_process_of_its_own(model: Path) -> None:
    told: list[str] = []
    kept: list[int] = []
    plan = bench.Plan(str(model), device="cpu", quick=True, parts=("vocoder",))
    results = bench.measure(plan, told.append, lambda found: kept.append(len(found["ours"])))
    assert told == ["vocoder …"]
    assert kept == [1]
    assert results["ours"]["vocoder"]["decode"]["audio_s"] == 2


def test_an_unknown_part_is_refused() -> None:
    with pytest.raises(BadInput, match="Known: lm, flow"):
        bench.Plan(parts=("ears",))
