"""A small net learns where somebody laughs in speech tokens, and the bundled one knows it."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from glmtts import checkpoint
from glmtts.audio import Audio
from glmtts.data.laughs import draw, laugh, timbre
from glmtts.data.shards import Clip, write_shard
from glmtts.errors import BadInput
from glmtts.hub import resolve
from glmtts.laugh_net import LaughNet
from glmtts.options import SpeakOptions
from glmtts.sampling import Sampling
from glmtts.speech_tokenizer import SpeechTokenizer
from glmtts.synthesizer import Synthesizer
from glmtts.train import laugh_judge as stage
from tests.tiny import build

LAUGHS, WORDS = np.arange(0, 5), np.arange(5, 16)


def write(folder: Path, split: str, count: int, *, laughing: bool = True) -> None:
    """Clips of tokens 5 to 15; in every second one twenty of 0 to 4 are a laugh."""
    rng = np.random.default_rng(len(split))
    clips, tokens, spans = [], [], []
    for number in range(count):
        said, laughs = rng.choice(WORDS, 40), number % 2 == 0 and laughing
        start = int(rng.integers(0, 20))
        if laughs:
            said[start : start + 20] = rng.choice(LAUGHS, 20)
        clips.append(Clip(f"{split}{number}", "zh", "s", "x", (("x", ()),), 1.6))
        tokens.append(said.astype(np.int32))
        spans.append(np.array([start, start + 20] if laughs else [], np.int16))
    audio = [np.zeros(8, np.int16) for _ in clips]
    write_shard(folder / "audio" / split, 0, clips, {"audio": audio, "laugh": spans})
    write_shard(folder / "tokens" / split, 0, clips[::-1], {"tokens": tokens[::-1]})


def test_a_net_learns_which_tokens_are_a_laugh(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    build(tmp_path / "model")
    write(tmp_path / "data", "train", 60)
    write(tmp_path / "data", "valid", 20)
    stage.main(
        stage.Config(
            str(tmp_path / "data"), ("valid",), tmp_path / "out", str(tmp_path / "model"), width=8,
            reach=2, steps=400, clips=16, lr=0.02,
        )
    )  # fmt: skip
    found = json.loads((tmp_path / "out" / "found.json").read_text())
    assert (found["clips"], found["clips_with_a_laugh"]) == (20, 10)
    assert found["tokens_of_laughs_found"] > 0.9
    assert found["other_tokens_taken_for_laughs"] < 0.1
    assert "tokens_of_laughs_found" in capsys.readouterr().out
    net = checkpoint.load(LaughNet, tmp_path / "out" / "judge")
    home = tmp_path / "model" / "speech_tokenizer"
    codes = checkpoint.load(SpeechTokenizer, home).quantizer.weight
    heard = net.chances(F.embedding(torch.tensor([9, 9, 9, *LAUGHS, 9, 9, 9]), codes))
    assert heard[4:7].min() > 0.5 > heard[[0, -1]].max()


def test_shards_without_laughs_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "data", "train", 4, laughing=False)
    with pytest.raises(BadInput, match="Nobody laughs"):
        stage.clips_of(str(tmp_path / "data"), ("train",))


def test_the_bundled_net_tells_a_laugh_from_a_pause_and_from_words() -> None:
    synthesizer = Synthesizer.load(resolve("glmtts-nano"), device="cpu")
    reader = synthesizer.proofreader
    assert reader is not None
    options = SpeakOptions(sampling=Sampling(seed=0))
    sound = synthesizer.speak(
        "今天天气真不错，我们一起出去走一走吧。", synthesizer.voice("mei"), options
    )
    samples, rate = sound.samples.numpy(), sound.sample_rate
    rng = np.random.default_rng(2)
    laughing = laugh(timbre(samples, rate), draw(rng), rng)
    tokenizer = checkpoint.load(SpeechTokenizer, resolve("glmtts-nano") / "speech_tokenizer")

    def heard(*parts: np.ndarray) -> float:
        joined = torch.from_numpy(np.concatenate(parts).astype(np.float32))
        tokens = tokenizer.encode(Audio(joined, rate))
        sentence = next(iter(synthesizer.frontend("今天天气真不错，我们一起出去走一走吧。")))
        phonemes = synthesizer.reader().read(sentence).phonemes
        return reader.laughed(tokens, phonemes, [len(phonemes)])

    assert heard(samples, laughing) > 0.8
    assert heard(samples, np.zeros(2 * rate, np.float32)) < 0.2
    assert heard(samples) < 0.2
