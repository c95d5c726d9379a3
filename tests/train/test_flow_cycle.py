"""The flow that is taught to be understood: gradients go where they should, runs resume."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from glmtts import checkpoint
from glmtts.audio import mel_basis, whisper_log_mel
from glmtts.data.flow_batches import FlowBatches
from glmtts.data.shards import Corpus
from glmtts.errors import BadInput
from glmtts.flow import FlowOptions, TokenToMel
from glmtts.nn.mel_critic import MelCritic
from glmtts.speech_tokenizer import SpeechTokenizer, TokenizerHeads, TokenizerHeadsConfig
from glmtts.text.phonemes import CTC_CLASS
from glmtts.train import flow_cycle as stage
from glmtts.vocoder import Vocoder
from glmtts.voice import Prompt, Voice
from tests import tiny
from tests.train.test_voice import write_data


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cycle")
    tiny.build(folder / "model")
    heads = TokenizerHeadsConfig(code_dim=8, dim=16, classes=1 + len(CTC_CLASS), layers=1)
    checkpoint.save(TokenizerHeads(heads), folder / "model" / "speech_tokenizer" / "heads")
    write_data(folder / "data", folder / "model")
    return folder


def config(home: Path, out: Path, **more: object) -> stage.Config:
    model = home / "model"
    settings = {
        "data": str(home / "data" / "train"), "init": model / "flow", "vocoder": model / "vocoder",
        "tokenizer": model / "speech_tokenizer", "out": out, "steps": 6, "critic_from": 2,
        "critic_alone": 1, "frames_per_batch": 240, "max_frames": 120, "told": 0.0, "warmup": 1,
        "lr": 1e-3, "log_every": 1, "save_every": 2, "valid_every": 3, "valid_batches": 1,
        "device": "cpu", "amp": False,
    }  # fmt: skip
    return stage.Config(**{**settings, **more})


def test_a_stopped_run_ends_as_a_whole_one_and_the_flow_alone_has_learnt(
    home: Path, tmp_path: Path
) -> None:
    before = checkpoint.load(TokenToMel, home / "model" / "flow").state_dict()
    stage.main(config(home, tmp_path / "run", valid=str(home / "data" / "valid")))
    whole = checkpoint.load(TokenToMel, tmp_path / "run" / "flow").state_dict()
    assert any(not torch.equal(whole[name], before[name]) for name in before)
    assert list((tmp_path / "run").rglob("*.wav"))
    shutil.rmtree(tmp_path / "run" / "flow")
    shutil.rmtree(tmp_path / "run" / "step_000006")  # as if killed after the fourth step
    stage.main(config(home, tmp_path / "run", valid=str(home / "data" / "valid")))
    for name, value in checkpoint.load(TokenToMel, tmp_path / "run" / "flow").state_dict().items():
        torch.testing.assert_close(value, whole[name])


def test_speaking_in_training_is_speaking(home: Path) -> None:
    """Without a prompt and with all in sight, `follow` ends where `sample` does."""
    model = checkpoint.load(TokenToMel, home / "model" / "flow")
    model.config = replace(model.config, full_attention_rate=1.0)
    torch.manual_seed(0)
    with torch.no_grad():  # a new network answers nothing: its last layer is zero
        model.estimator.proj_out.weight.normal_(std=0.1)
    corpus = Corpus(str(home / "data" / "train"))
    batch = FlowBatches(corpus, frames_per_batch=120, max_frames=120, joined=0.0)(0)
    task = model.task(batch, drop_rate=1.0)  # nothing is shown
    assert torch.equal(task.tokens, batch.tokens)
    options = FlowOptions(steps=3, guidance=0.0, temperature=0.0)
    with torch.no_grad():
        made = model.follow(task, options, *model.features_of(task))[0]
    network = model.config.network
    silent = Voice(
        name="", transcript="", prompt=Prompt(), mel=torch.zeros(0, network.n_mels),
        speaker=torch.zeros(network.speaker_dim), speech_tokens=(),
    )  # fmt: skip
    spoken = model.sample(batch.tokens[0, : int(task.count[0])], silent, options)
    spoken = (spoken - model.config.mel_mean) / model.config.mel_std
    assert float(spoken.std()) > 0.01
    torch.testing.assert_close(made[: len(spoken)], spoken, atol=1e-4, rtol=1e-4)


def test_what_is_heard_reaches_the_flow_and_nothing_else(home: Path) -> None:
    model = checkpoint.load(TokenToMel, home / "model" / "flow")
    teaching = stage.Teaching(model, config(home, Path("unused")), torch.device("cpu"))
    batches = stage.batches_of(
        config(home, Path("unused")), Corpus(str(home / "data" / "train")), model, 0
    )
    torch.manual_seed(0)
    with torch.no_grad():  # a new network answers nothing: its last layer is zero
        model.estimator.proj_out.weight.normal_(std=0.1)
    spoken = teaching(batches(0))
    spoken.losses["code"].backward()
    touched = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    assert any(name.startswith("estimator.") for name in touched)
    for part in (teaching.vocoder, teaching.listener):
        assert all(p.grad is None and not p.requires_grad for p in part.parameters())
    outside = ~spoken.task.generated
    torch.testing.assert_close(spoken.mel[outside], spoken.task.target[outside])
    assert 0.0 <= float(spoken.same) <= 1.0


def test_what_was_made_while_speaking_serves_training() -> None:
    mel_basis.cache_clear()
    with torch.inference_mode():
        whisper_log_mel(torch.randn(1, 960), sample_rate=24_000)
    samples = torch.randn(1, 960, requires_grad=True)
    whisper_log_mel(samples, sample_rate=24_000).sum().backward()
    assert samples.grad is not None
    assert samples.grad.any()


def test_a_sound_that_says_its_tokens_costs_nothing(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = checkpoint.load(TokenToMel, home / "model" / "flow")
    teaching = stage.Teaching(model, config(home, Path("unused")), torch.device("cpu"))
    batch = stage.batches_of(
        config(home, Path("unused")), Corpus(str(home / "data" / "train")), model, 0
    )(0)
    codes = teaching.listener.tokenizer.quantizer.weight
    monkeypatch.setattr(
        SpeechTokenizer, "features", lambda self, samples, lengths: (codes[batch.tokens], None)
    )
    with torch.no_grad():
        losses = teaching(batch)
    assert float(losses.losses["code"]) == pytest.approx(0.0, abs=1e-9)
    assert float(losses.losses["phonemes"]) == pytest.approx(0.0, abs=1e-6)
    assert float(losses.same) == 1.0


def test_a_critic_learns_to_tell_noise_from_a_tone_and_padding_counts_for_nothing() -> None:
    torch.manual_seed(0)
    critic = MelCritic(4)
    optimizer = torch.optim.Adam(critic.parameters(), 3e-3)
    coarse = torch.zeros(3, 30, 16)
    frames = torch.ones(3, 30, dtype=torch.bool)
    frames[2, 10:] = False
    tone = torch.sin(torch.arange(16.0)).expand(3, 30, 16)
    for _ in range(60):
        real = critic(tone, coarse, frames)
        fake = critic(torch.randn(3, 30, 16), coarse, frames)
        loss = real.distance(1.0) + fake.distance(0.0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    noise = torch.randn(3, 30, 16)
    critic.requires_grad_(False)
    assert float(critic(tone, coarse, frames).distance(1.0)) < 0.2
    assert float(critic(noise, coarse, frames).distance(1.0)) > 0.5
    real, fake = critic(tone, coarse, frames), critic(noise, coarse, frames)
    assert float(real.unlike(real)) == 0.0 < float(fake.unlike(real))
    behind = noise.clone()
    behind[2, 24:] = 99.0  # more than a patch behind the last frame that counts
    torch.testing.assert_close(critic(behind, coarse, frames).distance(1.0), fake.distance(1.0))


def test_the_melody_of_the_recording_costs_nothing_and_another_does(home: Path) -> None:
    model = checkpoint.load(TokenToMel, home / "model" / "flow")
    settings = config(home, Path("unused"))
    teaching = stage.Teaching(model, settings, torch.device("cpu"))
    batch = stage.batches_of(settings, Corpus(str(home / "data" / "train")), model, 0)(0)
    network = teaching.vocoder.network
    with torch.no_grad():  # all is voiced to this one
        network.pitch_head.bias.view(network.pitches, -1)[:, -1] = 9.0
    teaching.model.follow = lambda task, *_: task.target  # type: ignore[method-assign]
    with torch.no_grad():
        assert float(teaching(batch).losses["pitch"]) == pytest.approx(0.0, abs=1e-5)
    learnt = torch.linspace(-3.0, 3.0, model.config.network.n_mels, requires_grad=True)
    teaching.model.follow = lambda task, *_: task.target + learnt  # type: ignore[method-assign]
    loss = teaching(batch).losses["pitch"]
    loss.backward()
    assert float(loss.detach()) > 0.0
    assert learnt.grad is not None
    assert learnt.grad.any()


def test_rows_that_are_told_a_style_are_not_shown_to_the_critic(home: Path) -> None:
    model = checkpoint.load(TokenToMel, home / "model" / "flow")
    settings = config(home, Path("unused"))
    batch = stage.batches_of(settings, Corpus(str(home / "data" / "train")), model, 0)(0)
    task = model.task(batch, 0.0)
    assert not stage.told_style(task, model).any()  # this flow knows none
    network = replace(model.config.network, phonemes=3, styles=2)
    model.config = replace(model.config, network=network)
    tokens = torch.zeros_like(task.tokens)
    tokens[0, 0] = network.vocab_size * 4 - 1  # the last phoneme, no style
    told = stage.told_style(replace(task, tokens=tokens), model)
    assert not told.any()
    tokens[0, 0] += 1
    told = stage.told_style(replace(task, tokens=tokens), model)
    assert told.tolist() == [True] + [False] * (len(tokens) - 1)


def test_bad_settings_are_refused(home: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="told is a share"):
        config(home, tmp_path, told=1.5)
    vocoder = checkpoint.load(Vocoder, home / "model" / "vocoder")
    assert vocoder.spec.sample_rate == 24_000
    slow = checkpoint.load(SpeechTokenizer, home / "model" / "speech_tokenizer")
    slow.config = replace(slow.config, sample_rate=16_000)
    shutil.copytree(home / "model" / "speech_tokenizer", tmp_path / "tokenizer")
    checkpoint.save(slow, tmp_path / "tokenizer")
    with pytest.raises(BadInput, match="speaks at 24000 Hz and the tokenizer listens at 16000"):
        stage.main(config(home, tmp_path / "run", tokenizer=tmp_path / "tokenizer"))
