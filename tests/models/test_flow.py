"""The flow stage: training losses, exact lengths, and streams that equal the whole sentence."""

from dataclasses import replace

import pytest
import torch

from glmtts import checkpoint
from glmtts.errors import BadInput
from glmtts.flow import FlowConfig, FlowOptions, FlowPrompt, Guided, TokenToMel
from glmtts.nn.dit import DiTConfig
from glmtts.nn.flow_batch import FlowBatch
from glmtts.nn.masks import attention_bias, block_ends, look_ahead_ends, prompt_block_ends
from glmtts.voice import Prompt, Voice

NETWORK = DiTConfig(
    n_mels=16, vocab_size=32, dim=32, layers=2, heads=4, ff_dim=48, speaker_dim=8,
    token_dim=16, token_blocks=2, frame_blocks=1, lookahead_tokens=2, conv_kernel=5, conv_groups=4,
)  # fmt: skip
TINY = FlowConfig(network=NETWORK, block_tokens=(3, 5), prompt_tokens=20)


def tiny(config: FlowConfig = TINY) -> TokenToMel:
    """A random model whose zero-initialised layers are not zero."""
    torch.manual_seed(0)
    model = TokenToMel(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.any():
                parameter.normal_(std=0.2)
    return model.eval()


def voice(tokens: int = 7, network: DiTConfig = NETWORK) -> Voice:
    rng = torch.Generator().manual_seed(1)
    return Voice(
        name="someone", transcript="", prompt=Prompt(),
        speech_tokens=tuple(torch.randint(0, 32, (tokens,), generator=rng).tolist()),
        mel=torch.randn(tokens * 2, network.n_mels, generator=rng) - 5.0,
        speaker=torch.nn.functional.normalize(
            torch.randn(network.speaker_dim, generator=rng), dim=0
        ),
    )  # fmt: skip


def sentence(length: int = 23) -> torch.Tensor:
    return torch.randint(0, 32, (length,), generator=torch.Generator().manual_seed(2))


def batch(network: DiTConfig = NETWORK) -> FlowBatch:
    torch.manual_seed(3)
    tokens = torch.randint(0, 32, (4, 12))
    table = torch.randn(32, network.n_mels)
    return FlowBatch(
        tokens=tokens, mel=table[tokens].repeat_interleave(2, 1) * 2.5 - 5.5,
        frames=torch.tensor([24, 24, 20, 16]), joint=torch.tensor([0, 8, 0, 6]),
        speaker=torch.nn.functional.normalize(torch.randn(4, network.speaker_dim), dim=-1),
    )  # fmt: skip


def test_the_loss_of_one_batch_falls() -> None:
    torch.manual_seed(0)
    model, data = TokenToMel(TINY), batch()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    totals: list[float] = []
    for step in range(120):
        torch.manual_seed(step)
        loss = model.loss(data)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        totals.append(float(loss.detach()))
    assert sum(totals[-10:]) < 0.7 * sum(totals[:10])


def test_padding_changes_no_loss() -> None:
    """Longer padding, filled with anything, gives the gradient of the unpadded batch."""
    model, data = tiny(replace(TINY, drop_rate=0.0)), batch()
    network = model.estimator
    wide = torch.randn(4, 30, NETWORK.n_mels)
    features = [
        network.token_features(ids, data.speaker, 2 * ids.shape[1], data.frames // 2)[0]
        for ids in (data.tokens, torch.nn.functional.pad(data.tokens, (0, 3), value=9))
    ]
    coarse = torch.zeros_like(wide)
    outs = []
    for feature, length in zip(features, (24, 30), strict=True):
        visible = prompt_block_ends(data.joint, torch.tensor([50, 6, 50, 6]), data.frames, length)
        x = wide[:, :length]
        outs.append(
            network(x, x, feature, coarse[:, :length], torch.rand(1).expand(4) * 0 + 0.3,
                    data.speaker, visible)
        )  # fmt: skip
    for row, frames in enumerate(data.frames.tolist()):
        torch.testing.assert_close(outs[0][row, :frames], outs[1][row, :frames])


@pytest.mark.parametrize("length", [1, 2, 23])
@pytest.mark.parametrize("prompt", [0, 7, 40])
@torch.no_grad()
def test_a_sample_has_exactly_the_frames_of_its_tokens(length: int, prompt: int) -> None:
    mel = tiny().sample(sentence(length), voice(prompt), FlowOptions(steps=2))
    assert mel.shape == (2 * length, 16)
    assert mel.isfinite().all()


def test_the_same_seed_gives_the_same_mel() -> None:
    model = tiny()
    one, same, other = (
        model.sample(sentence(), voice(), FlowOptions(steps=2, seed=seed)) for seed in (5, 5, 6)
    )
    assert torch.equal(one, same)
    assert not torch.allclose(one, other)
    drawn = model.sample(
        sentence(), voice(), FlowOptions(steps=2), rng=torch.Generator().manual_seed(5)
    )
    assert torch.equal(one, drawn)


def test_prompt_speaker_and_tokens_are_heard() -> None:
    model, options = tiny(), FlowOptions(steps=2, blocks=(4,))
    mel = model.sample(sentence(), voice(), options)
    louder = replace(voice(), mel=voice().mel + 1.0)
    turned = replace(voice(), speaker=-voice().speaker)
    tokens = sentence()
    tokens[15] = (tokens[15] + 1) % 32
    for changed in (
        model.sample(sentence(), louder, options),
        model.sample(sentence(), turned, options),
        model.sample(tokens, voice(), options),
    ):
        assert (changed - mel).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("blocks", "prompt"), [((), 7), ((4,), 0), ((4,), 40), ((2, 5, 9), 7), ((1,), 7), ((50,), 7)]
)
def test_any_split_of_the_tokens_gives_the_whole_sentence(
    blocks: tuple[int, ...], prompt: int
) -> None:
    model, tokens = tiny(), sentence().tolist()
    options = FlowOptions(steps=2, blocks=blocks, temperature=0.9)
    whole = model.sample(tokens, voice(prompt), options)
    for split in ([23], [1] * 23, [5, 0, 11, 3, 4], [23, 0]):
        stream, pieces, at = model.stream(voice(prompt), options), [], 0
        for index, count in enumerate(split):
            last = index == len(split) - 1
            pieces.append(stream.push(tokens[at : at + count], last=last))
            at += count
        torch.testing.assert_close(torch.cat(pieces), whole, atol=1e-4, rtol=0)


@pytest.mark.parametrize("blocks", [(), (4,), (2, 5, 9)])
@pytest.mark.parametrize("prompt", [0, 7])
def test_a_laugh_has_noise_of_its_own(blocks: tuple[int, ...], prompt: int) -> None:
    model, tokens = tiny(), sentence().tolist()
    laughing = [5 <= place < 9 for place in range(23)]
    options = FlowOptions(steps=2, blocks=blocks, temperature=0.1, laugh_temperature=1.0)
    plain = model.sample(tokens, voice(prompt), options)
    whole = model.sample(tokens, voice(prompt), options, laughing=laughing)
    change = (whole - plain).abs().mean(1)  # (F,)
    assert change[10:18].min() > change[18:].max()  # through attention others hear of it
    assert change[10:18].min() > change[:10].max()
    if not prompt:
        noisy = model.sample(tokens, voice(prompt), replace(options, temperature=1.0))
        torch.testing.assert_close(
            model.sample(tokens, voice(prompt), options, laughing=[True] * 23), noisy
        )
    deaf = replace(options, laugh_temperature=None)
    assert torch.equal(model.sample(tokens, voice(prompt), deaf, laughing=laughing), plain)
    for split in ([23], [1] * 23, [5, 0, 11, 3, 4]):
        stream, pieces, at = model.stream(voice(prompt), options), [], 0
        for index, count in enumerate(split):
            own = slice(at, at + count)
            last = index == len(split) - 1
            pieces.append(stream.push(tokens[own], last=last, laughing=laughing[own]))
            at += count
        torch.testing.assert_close(torch.cat(pieces), whole, atol=1e-4, rtol=0)


def test_an_opened_voice_speaks_any_number_of_sentences() -> None:
    model, options = tiny(), FlowOptions(steps=2, blocks=(4, 50))
    opening = model.open(voice(), options)
    for length in (23, 5, 23):
        tokens = sentence(length)
        mel = opening.stream().push(tokens.tolist(), last=True)
        torch.testing.assert_close(mel, model.sample(tokens, voice(), options), atol=1e-4, rtol=0)


def test_a_block_is_spoken_as_soon_as_its_look_ahead_is_there() -> None:
    stream = tiny().stream(voice(), FlowOptions(steps=2, blocks=(4,)))
    counts = [len(stream.push([token], last=False)) for token in sentence(11).tolist()]
    assert counts == [0, 0, 0, 0, 0, 8, 0, 0, 0, 8, 0]
    assert len(stream.push([], last=True)) == 6
    with pytest.raises(BadInput, match="has ended"):
        stream.push([1], last=True)


def test_an_empty_sentence_has_no_frames() -> None:
    for blocks in ((), (4,)):
        stream = tiny().stream(voice(), FlowOptions(steps=2, blocks=blocks))
        assert stream.push([], last=True).shape == (0, 16)


def test_guidance_is_the_mix_of_two_calls() -> None:
    model, w = tiny(), 0.7
    prompt, ids = voice(0), sentence()[None]
    speaker = prompt.speaker[None]
    mel = model.sample(ids[0], prompt, FlowOptions(steps=1, guidance=w))
    noise = torch.stack([*map(torch.Tensor, _draws(46, 16))])[None]
    velocities = []
    for row in (speaker, torch.zeros_like(speaker)):
        features, coarse = model.estimator.token_features(ids, row, 46)
        time, nothing = torch.zeros(1), torch.zeros(1, 46, 16)
        velocities.append(model.estimator(noise, nothing, features, coarse, time, row))
    x = noise + (1 + w) * velocities[0] - w * velocities[1]
    torch.testing.assert_close(mel, x[0] * 2.2 - 4.5, atol=1e-4, rtol=0)


def test_a_flow_that_learnt_its_guidance_takes_no_other() -> None:
    model, ids, prompt = tiny(), sentence(), voice()
    without = model.sample(ids, prompt, FlowOptions(steps=2, guidance=0.0))
    model.config = replace(model.config, guided=1.3)
    torch.testing.assert_close(model.sample(ids, prompt, FlowOptions(steps=2)), without)
    asked = FlowOptions(steps=2, guidance=0.7)
    with pytest.raises(BadInput, match=r"holds a guidance of 1\.3 inside"):
        model.sample(ids, prompt, asked)
    with pytest.raises(BadInput, match=r"holds a guidance of 1\.3 inside"):
        model.stream(prompt, asked)


def _draws(frames: int, bins: int) -> list[torch.Tensor]:
    rng = torch.Generator().manual_seed(0)
    return [torch.randn(bins, generator=rng) for _ in range(frames)]


def test_tokens_voices_and_options_that_do_not_fit_are_refused() -> None:
    model = tiny()
    for tokens in ([1, 32], [-1]):
        with pytest.raises(BadInput, match="vocabulary of 32"):
            model.sample(tokens, voice())
        with pytest.raises(BadInput, match="vocabulary of 32"):
            model.stream(voice()).push(tokens, last=False)
    with pytest.raises(BadInput, match="speaker vector"):
        model.sample([1], replace(voice(), speaker=torch.ones(5)))
    with pytest.raises(BadInput, match="mel of shape"):
        model.sample([1], replace(voice(), mel=torch.ones(14, 80)))
    for wrong in (
        {"steps": 0},
        {"blocks": (0,)},
        {"guidance": -1.0},
        {"temperature": float("nan")},
        {"laugh_temperature": -0.1},
    ):
        with pytest.raises(BadInput):
            FlowOptions(**wrong)


def test_a_saved_model_speaks_the_same(tmp_path) -> None:
    model = tiny()
    checkpoint.save(model, tmp_path)
    loaded = checkpoint.load(TokenToMel, tmp_path)
    options = FlowOptions(steps=2)
    assert loaded.config == model.config
    assert torch.equal(
        loaded.sample(sentence(), voice(), options), model.sample(sentence(), voice(), options)
    )


def test_block_patterns() -> None:
    assert block_ends([2, 3], 9).tolist() == [2, 2, 5, 5, 5, 8, 8, 8, 9]
    assert block_ends([], 3).tolist() == [3, 3, 3]
    seen = [2, 3, 6, 6, 7, 8, 14, 14, 14, 14, 15, 16, 17, 18, 20, 20, 20, 20, 20, 20]
    assert look_ahead_ends([2, 4, 8], 20).tolist() == seen
    rows = prompt_block_ends(
        torch.tensor([3, 0]), torch.tensor([2, 99]), torch.tensor([7, 4]), 8
    ).tolist()
    assert rows == [[3, 3, 3, 5, 5, 7, 7, 7], [4, 4, 4, 4, 4, 4, 4, 4]]
    bias = attention_bias(torch.tensor([[1, 2]]), 2)
    assert bias.tolist() == [[[[0.0, float("-inf")], [0.0, 0.0]]]]


def test_the_official_network_is_a_configuration() -> None:
    with torch.device("meta"):
        model = TokenToMel(FlowConfig.official())
    assert sum(parameter.numel() for parameter in model.parameters()) == 225_299_792


@pytest.mark.parametrize("drop_tokens", [False, True])
@pytest.mark.parametrize("channels", [0, 3])
def test_what_a_teacher_teaches_is_the_guided_velocity(drop_tokens: bool, channels: int) -> None:
    network = replace(NETWORK, speaker_channels=channels)
    model = tiny(replace(TINY, network=network, drop_tokens=drop_tokens))
    who, spoken, options = voice(), sentence(9).tolist(), FlowOptions(steps=1, guidance=0.7)
    prompt = FlowPrompt.of(model, who, options)
    ids, known = [*prompt.tokens, *spoken], len(prompt.mel)
    frames = 2 * len(ids)
    x = torch.randn(frames, network.n_mels)
    guide = model.estimator.guide(
        prompt.condition(0, frames), *model.token_features(prompt, ids, frames), prompt.modulations
    )
    expected = model.velocity(x, guide, 0, options)
    mel = torch.cat((prompt.mel, torch.randn(frames - known, network.n_mels)))
    taught = Guided(model, 0.7).velocity(
        x[None], (torch.arange(frames) < known)[None], mel[None], torch.tensor([ids]),
        torch.tensor([len(ids)]), torch.zeros(1), who.speaker[None],
        torch.full((1, frames), frames),
    )  # fmt: skip
    torch.testing.assert_close(taught[0], expected)


def test_a_flow_learns_to_do_without_guidance() -> None:
    torch.manual_seed(0)
    model, pupil, data = tiny(), tiny(), batch()
    teacher = Guided(model, 2.0)
    optimizer = torch.optim.AdamW(pupil.parameters(), lr=3e-3)
    losses: list[float] = []
    for step in range(60):
        torch.manual_seed(step % 4)
        found = pupil(data, teacher=teacher)
        losses.append(float(found.flow))
        found.total.backward()
        optimizer.step()
        optimizer.zero_grad()
    torch.manual_seed(0)
    assert float(model(data, teacher=Guided(model, 0.0)).flow) < 1e-9  # it is its own already
    assert sum(losses[-4:]) < 0.6 * sum(losses[:4])


def test_of_two_teachers_the_plain_one_teaches_what_tells_no_style() -> None:
    network = replace(NETWORK, phonemes=3, styles=2)
    torch.manual_seed(0)
    styled, plain = (TokenToMel(replace(TINY, network=network)).eval() for _ in range(2))
    for model in (styled, plain):  # zero at first
        torch.nn.init.normal_(model.estimator.proj_out.weight)
    rows, length = 3, 6
    tokens = torch.randint(0, network.vocab_size, (rows, length))
    tokens[1] += network.vocab_size * (1 + network.phonemes) * 2
    tokens[2] += network.vocab_size * 3  # a phoneme is no style
    given = (
        torch.randn(rows, 2 * length, network.n_mels), torch.zeros(rows, 2 * length) > 0,
        torch.randn(rows, 2 * length, network.n_mels), tokens, torch.full((rows,), length),
        torch.rand(rows), torch.randn(rows, network.speaker_dim),
        torch.full((rows, 2 * length), 2 * length),
    )  # fmt: skip
    mixed = Guided(styled, 1.0, plain).velocity(*given)
    one, other = (Guided(model, 1.0).velocity(*given) for model in (styled, plain))
    torch.testing.assert_close(mixed[1], one[1])
    torch.testing.assert_close(mixed[[0, 2]], other[[0, 2]])
    assert not torch.allclose(one, other, atol=0.1)
