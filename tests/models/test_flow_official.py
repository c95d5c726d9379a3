"""The official flow by configuration: its switches, streams over the whole prefix, its weights."""

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F

import glmtts.flow as flow
from glmtts.convert.official_flow import official_flow_config, official_flow_state
from glmtts.errors import BadInput, CheckpointError
from glmtts.flow import FlowConfig, FlowOptions, Solver, TokenToMel
from glmtts.nn.dit import OFFICIAL
from glmtts.nn.flow_batch import FlowBatch
from glmtts.nn.masks import look_ahead_ends
from glmtts.voice import Prompt, Voice

NETWORK = replace(
    OFFICIAL, n_mels=16, vocab_size=32, dim=32, layers=2, heads=2, ff_dim=48, speaker_dim=8,
    token_dim=16, conv_kernel=5, conv_groups=4,
)  # fmt: skip
TINY = replace(FlowConfig.official(), network=NETWORK)
CONCATENATED = replace(
    TINY, network=replace(NETWORK, speaker_modulates=False, speaker_channels=6), drop_tokens=True,
    token_rate=12.5, frame_rate=86.0,
)  # fmt: skip
TWO_SPEAKERS = replace(TINY, speaker_parts=(5, 3), linear_grid=True)


def tiny(config: FlowConfig = TINY) -> TokenToMel:
    """A random model whose zero-initialised layers are not zero."""
    torch.manual_seed(0)
    model = TokenToMel(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.any():
                parameter.normal_(std=0.2)
    return model.eval()


def voice(tokens: int = 7, frames: int | None = None) -> Voice:
    rng = torch.Generator().manual_seed(1)
    return Voice(
        "someone", "", Prompt(),
        speech_tokens=tuple(torch.randint(0, 32, (tokens,), generator=rng).tolist()),
        mel=torch.randn(2 * tokens if frames is None else frames, 16, generator=rng),
        speaker=torch.randn(8, generator=rng),
    )  # fmt: skip


SENTENCE = torch.randint(0, 32, (23,), generator=torch.Generator().manual_seed(2)).tolist()


def by_hand(model: TokenToMel, ids: Sequence[int], who: Voice, noise: torch.Tensor) -> torch.Tensor:
    """Two passes a step and nothing computed ahead: what `sample` must come to."""
    config, network = model.config, model.config.network
    frames, known = len(noise), len(who.mel)
    parts = who.speaker.split([*config.speaker_parts] or 8)
    speaker = torch.cat([F.normalize(part, dim=0) for part in parts])[None]
    condition = torch.zeros(1, frames, 16)
    condition[0, :known] = who.mel
    if network.speaker_channels:
        projected = model.spk_embed_affine_layer(speaker)
        condition = torch.cat((condition, projected[:, None].expand(-1, frames, -1)), -1)
    tokens = torch.tensor([[*who.speech_tokens, *ids]])
    grid = torch.linspace(0, 1, 5)
    grid = grid if config.linear_grid else 1 - torch.cos(0.5 * torch.pi * grid)
    x = noise[None]
    for time, end in pairwise(grid):
        velocities = []
        for on in (1, 0):
            heard = tokens * 0 if config.drop_tokens and not on else tokens
            features, coarse = model.estimator.token_features(heard, speaker * on, frames)
            velocities.append(
                model.estimator(x, condition * on, features, coarse, time[None], speaker * on)
            )
        x = x + (end - time) * (1.7 * velocities[0] - 0.7 * velocities[1])
    return x[0, known:]


@torch.no_grad()
@pytest.mark.parametrize("config", [TINY, CONCATENATED, TWO_SPEAKERS])
def test_a_sentence_is_what_two_passes_a_step_give(
    config: FlowConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, who = tiny(config), voice(7, config.frames(7))
    frames = config.frames(7 + len(SENTENCE))
    noise = torch.randn(frames, 16, generator=torch.Generator().manual_seed(3))
    parts = iter(noise.split([len(who.mel), frames - len(who.mel)]))
    monkeypatch.setattr(flow, "draw_noise", lambda *_: next(parts))
    mel = model.sample(SENTENCE, who, FlowOptions(steps=4))
    torch.testing.assert_close(mel, by_hand(model, SENTENCE, who, noise), atol=1e-4, rtol=0)


@pytest.mark.parametrize("config", [TINY, CONCATENATED, TWO_SPEAKERS])
def test_every_configuration_trains(config: FlowConfig) -> None:
    model = tiny(config)
    frames = config.frames(12)
    batch = FlowBatch(
        tokens=torch.randint(0, 32, (3, 12)), mel=torch.randn(3, frames, 16),
        frames=torch.tensor([frames, frames, frames - 4]), joint=torch.tensor([0, 6, 0]),
        speaker=F.normalize(torch.randn(3, 8), dim=-1),
    )  # fmt: skip
    model.loss(batch).backward()
    quiet = [name for name, weight in model.named_parameters() if weight.grad is None]
    assert not quiet


def test_frames_are_counted_exactly() -> None:
    for config in (TINY, CONCATENATED):
        ratio = (config.frame_rate * 2) / (config.token_rate * 2)
        for tokens in (1, 7, 29, 57, 113, 3_999):
            frames = config.frames(tokens)
            assert frames <= tokens * ratio + 1e-9 < frames + 1
            assert config.whole_tokens(frames) == tokens
            assert config.whole_tokens(frames - 1) == tokens - 1
    wrong = [n for n in range(1, 4_000) if TINY.frames(n, upstream=True) != 2 * n]
    assert wrong[:4] == [29, 57, 58, 113]
    assert len(wrong) == 272


def test_a_prompt_that_ends_within_a_token_leaves_no_frame_behind() -> None:
    model, who, options = tiny(), voice(7, 13), FlowOptions(steps=1)
    assert len(model.sample(SENTENCE, who, options)) == 46
    theirs = model.sample(SENTENCE, who, replace(options, upstream_compat=True))
    assert len(theirs) == 47  # one of the prompt's


def test_block_ends_look_half_a_block_ahead() -> None:
    ends = [2, 3, 6, 6, 7, 8, 14, 14, 14, 14, 15, 16, 17, 18, 20, 20, 20, 20, 20, 20]
    assert look_ahead_ends([2, 4, 8], 20).tolist() == ends
    theirs = look_ahead_ends([200], 300, upstream=True)
    assert look_ahead_ends([200], 300)[199] == 300
    assert (look_ahead_ends([200], 600)[199], look_ahead_ends([200], 600)[150]) == (300, 251)
    assert theirs[100] == 234


@pytest.mark.parametrize("config", [TINY, TWO_SPEAKERS])
@pytest.mark.parametrize("prompt", [0, 7])
def test_a_stream_does_not_depend_on_how_its_tokens_arrive(config: FlowConfig, prompt: int) -> None:
    model, options = tiny(config), FlowOptions(steps=2, blocks=(4, 6), temperature=0.9)
    spoken: list[torch.Tensor] = []
    for split in ([23], [1] * 23, [4, 6, 6, 6, 1], [5, 0, 11, 7], [23, 0]):
        stream, pieces, at = model.stream(voice(prompt), options), list[torch.Tensor](), 0
        for index, count in enumerate(split):
            last = index == len(split) - 1
            pieces.append(stream.push(SENTENCE[at : at + count], last=last))
            at += count
        spoken.append(torch.cat(pieces))
    assert spoken[0].shape == (46, 16)
    for other in spoken[1:]:
        torch.testing.assert_close(other, spoken[0], atol=1e-5, rtol=0)


def test_a_stream_holds_back_half_of_its_newest_block() -> None:
    stream = tiny().stream(voice(), FlowOptions(steps=2, blocks=(4, 6)))
    counts = [len(stream.push([token], last=False)) for token in SENTENCE[:11]]
    assert counts == [0, 0, 0, 4, 0, 0, 0, 0, 0, 10, 0]  # 4 - 2 tokens, then 10 - 3
    assert len(stream.push([], last=True)) == 8
    with pytest.raises(BadInput, match="has ended"):
        stream.push([1], last=True)


def test_a_stream_is_near_the_whole_sentence() -> None:
    """What was spoken holds while the sentence grows: the joint is no worse than the rest."""
    model, options = tiny(), FlowOptions(steps=4)
    whole = model.sample(SENTENCE, voice(), options)
    stream = model.stream(voice(), replace(options, blocks=(8,)))
    streamed = torch.cat(
        [stream.push([t], last=False) for t in SENTENCE] + [stream.push([], last=True)]
    )
    other = model.sample(SENTENCE, voice(), replace(options, seed=1))
    assert (streamed - whole).abs().mean() < 0.5 * (other - whole).abs().mean()


def test_a_sentence_may_be_short_or_empty() -> None:
    for blocks, tokens in (((4,), 0), ((), 0), ((), 1)):
        stream = tiny().stream(voice(), FlowOptions(steps=2, blocks=blocks))
        assert stream.push(SENTENCE[:tokens], last=True).shape == (2 * tokens, 16)


def test_steps_of_second_order_come_nearer_in_as_many_steps() -> None:
    """On a velocity that turns, dx/dt = -4 x: half the error, and the first step is Euler's."""
    ends: list[float] = []
    for second_order in (False, True):
        solver, x = Solver(second_order), torch.ones(1)
        for _ in range(20):
            x = solver(x, -4.0 * x, 0.05)
        ends.append(abs(x.item() - math.exp(-4.0)))
    assert ends[1] < 0.5 * ends[0]
    model = tiny()
    exact = model.sample(SENTENCE, voice(), FlowOptions(steps=64))
    one, two = (
        (model.sample(SENTENCE, voice(), FlowOptions(steps=8, second_order=order)) - exact)
        .abs()
        .mean()
        for order in (False, True)
    )
    assert two < one


@torch.no_grad()
def test_packed_layers_give_the_same_mel() -> None:
    options = FlowOptions(steps=4)
    plain, packed = tiny(), tiny().packed()
    names = list(plain.state_dict())
    mel = plain.sample(SENTENCE, voice(), options)
    torch.testing.assert_close(packed.sample(SENTENCE, voice(), options), mel, atol=1e-4, rtol=0)
    assert list(packed.state_dict()) == names
    rounded = tiny().packed(torch.bfloat16).sample(SENTENCE, voice(), options)
    assert 0.0 < (rounded - mel).abs().max() < 0.1


def test_weights_are_taken_over_strictly() -> None:
    own = tiny().state_dict()
    released = {**own, "estimator.rotary_embed.inv_freq": torch.ones(8)}
    for given in (
        released,
        {"model": released},
        {f"module.{key}": value for key, value in released.items()},
        {key.replace("estimator.", "dit."): value for key, value in released.items()},
    ):
        state = official_flow_state(given, TINY)
        assert {key: id(value) for key, value in state.items()} == {
            key: id(value) for key, value in own.items()
        }
    name = "estimator.proj_out.bias"
    missing = {key: value for key, value in released.items() if key != name}
    for wrong, message in (
        (missing, "lacks tensor 'estimator.proj_out.bias'"),
        ({**released, name: torch.ones(3)}, r"shape \(3,\)"),
        ({**released, "estimator.extra": torch.ones(3)}, "'estimator.extra' is not part"),
        ({**released, f"module.{name}": torch.ones(16)}, "twice"),
    ):
        with pytest.raises(CheckpointError, match=message):
            official_flow_state(wrong, TINY)


def test_settings_are_taken_over_strictly() -> None:
    released = {
        "spkr_emb_adaLN": True, "speech_token_cfg": False, "remove_spkr_concat_condition": True,
        "mel_dim": 80, "mel_framerate": 50, "input_frame_rate": 25, "use_mdt": False,
    }  # fmt: skip
    assert official_flow_config(released) == FlowConfig.official()
    defaults = official_flow_config({})
    assert (defaults.token_rate, defaults.frame_rate, defaults.drop_tokens) == (12.5, 86.0, True)
    assert (defaults.network.speaker_channels, defaults.network.speaker_modulates) == (80, False)
    both = official_flow_config({**released, "use_wavlm_emb": True, "t_scheduler": "linear"})
    assert (both.network.speaker_dim, both.speaker_parts, both.linear_grid) == (
        448,
        (192, 256),
        True,
    )
    big = official_flow_config({**released, "big_model": True}).network
    assert (big.dim, big.layers, big.heads, big.ff_dim) == (1024, 22, 16, 2048)
    with pytest.raises(CheckpointError, match="'colour'"):
        official_flow_config({**released, "colour": 1})
