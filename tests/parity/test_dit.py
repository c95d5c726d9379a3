"""The official flow network against dit_main, dit_variant_*, dit_masks and shapes_full."""

from dataclasses import replace
from typing import Any

import pytest
import torch

import glmtts.flow as flow
from glmtts.convert.official_flow import official_flow_config, official_flow_state
from glmtts.flow import FlowConfig, FlowOptions, FlowPrompt, TokenToMel
from glmtts.nn.masks import look_ahead_ends, upstream_block_frames
from glmtts.voice import Prompt, Voice
from tests.parity.goldens import Tensors, names, needs_goldens, read, read_json, under

pytestmark = needs_goldens
FILES = ["dit_main.safetensors", *names("dit_variant_*.safetensors")]
DEFAULT_BLOCKS = (25, 50, 200)
TOLERANCE = 3e-5
Recorded = tuple[TokenToMel, Tensors, dict[str, Any]]


def recorded_model(tensors: Tensors, config: dict[str, Any]) -> TokenToMel:
    """The network with the recorded weights, by configuration alone."""
    sizes = config["dit"]
    flags = {**config["flow"], "t_scheduler": config.get("t_scheduler", "cosine")}
    flags["use_wavlm_emb"] = sizes.get("wav_lm_emb", flags.get("use_wavlm_emb", False))
    official = official_flow_config(flags)
    network = replace(
        official.network, dim=sizes["trans_dim"], layers=sizes["depth"], heads=sizes["heads"],
        ff_dim=sizes["trans_dim"] * sizes["ff_mult"], token_dim=sizes["text_emb_dim"],
        frame_blocks=sizes["conv_layers"], vocab_size=sizes["text_vocab_size"],
    )  # fmt: skip
    settings = replace(official, network=network)
    model = TokenToMel(settings)
    model.load_state_dict(official_flow_state(under(tensors, "weights."), settings))
    return model.eval()


@pytest.fixture(scope="module", params=FILES)
def recorded(request: pytest.FixtureRequest) -> Recorded:
    """A network with its weights, and the recorded tensors and settings."""
    tensors, meta = read(request.param)
    return recorded_model(tensors, meta["config"]), tensors, meta


def cases(meta: dict[str, Any], kind: str) -> list[str]:
    """Prefixes of the recorded cases of one kind ("est." or "infer."); continuations left out."""
    found = [case for case in meta["cases"] if case.startswith(kind)]
    return [case for case in found if not case.endswith(".cont.")]


def recorded_voice(model: TokenToMel, got: Tensors) -> Voice:
    """Prompt and speaker of a case; where it has a second speaker vector, both in one."""
    speaker = got.get("spk_normed", got["embedding"])[0, : model.config.network.speaker_dim]
    return Voice(
        "recorded", "", Prompt(), speech_tokens=tuple(got["prompt_token"][0].tolist()),
        mel=got["prompt_feat"][0], speaker=speaker,
    )  # fmt: skip


@torch.no_grad()
def test_single_forward_passes(recorded: Recorded) -> None:
    model, tensors, meta = recorded
    network = model.config.network
    assert cases(meta, "est.")
    for case in cases(meta, "est."):
        got, settings = under(tensors, case), meta["cases"][case]
        x, rows = got["x"], got["padding_mask"]
        speaker = got["spk"][:, : network.speaker_dim]
        features, coarse = model.estimator.token_features(got["text"], speaker, x.shape[1])
        visible = None
        if settings["is_causal"]:
            pattern = settings["block_pattern"] or DEFAULT_BLOCKS
            sizes = [upstream_block_frames(tokens) for tokens in pattern]
            visible = look_ahead_ends(sizes, x.shape[1], upstream=True)
            # Keys that are padding are hidden as well.
            visible = torch.minimum(visible[None], rows.sum(-1, keepdim=True))
            assert torch.equal(visible[0], got["mask_row_len"].long()), case
        out = model.estimator(
            x, got["cond"], features, coarse, got["time"].expand(len(x)), speaker, visible, rows
        )
        worst = (out - got["out"]).abs().max().item()
        assert worst < TOLERANCE, f"{case}: {worst}"


def test_whole_sentences_as_the_reference_speaks_them(
    recorded: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both mask modes, noise and mel of every step, and prompts that end within a token."""
    model, tensors, meta = recorded
    assert cases(meta, "infer.")
    for case in cases(meta, "infer."):
        got, settings = under(tensors, case), meta["cases"][case]
        noise = got["noise"][0]
        monkeypatch.setattr(flow, "draw_noise", lambda *_, noise=noise: noise)
        options = FlowOptions(
            steps=settings["n_timesteps"], guidance=meta["config"]["inference_cfg_rate"],
            blocks=tuple(settings["block_pattern"] or DEFAULT_BLOCKS) * settings["is_causal"],
            upstream_compat=True,
        )  # fmt: skip
        voice, target = recorded_voice(model, got), got["out"][0].T
        times = torch.tensor([time for time, _ in model.grid(options.steps)])
        torch.testing.assert_close(times, got["times"], atol=1e-6, rtol=0)
        frames = model.config.frames(len(voice.speech_tokens) + got["token"].shape[1], True)
        assert frames == settings["feat_len"] == len(noise), case
        prompt = FlowPrompt.of(model, voice, options)
        seen = prompt.condition(0, frames)[:1]
        torch.testing.assert_close(seen, got["condition"], atol=1e-6, rtol=0)

        mel = model.sample(got["token"][0], voice, options)
        worst = (mel - target).abs().max().item()
        cosine = torch.cosine_similarity(mel.double().flatten(), target.double().flatten(), 0)
        assert mel.shape == target.shape, case
        assert worst < TOLERANCE, f"{case}: {worst}"
        assert cosine >= 0.999999, f"{case}: {cosine}"


def test_a_longer_run_holds_on_to_an_earlier_one(recorded: Recorded) -> None:
    """The second calls: frames before override_len enter each step as they did before."""
    model, tensors, meta = recorded
    bins = model.config.network.n_mels
    for case in [case for case in meta["cases"] if case.endswith(".cont.")]:
        first, again = case.removesuffix("cont."), under(tensors, case)
        got, settings = under(tensors, first), meta["cases"][first]
        options = FlowOptions(
            steps=settings["n_timesteps"], guidance=meta["config"]["inference_cfg_rate"],
            upstream_compat=True,
        )  # fmt: skip
        prompt = FlowPrompt.of(model, recorded_voice(model, got), options)
        sizes = [upstream_block_frames(tokens) for tokens in settings["block_pattern"]]
        hold = meta["cases"][case]["override_len"]
        hold = hold if isinstance(hold, int) else bins  # an absent one is taken for the mel bins
        held = [got[f"cache_in.step{k + 1}.x"][0, :hold] for k in range(options.steps)]
        ids = [*prompt.tokens, *again["token"][0].tolist()]
        with torch.inference_mode():
            mel, entered = model.speak(prompt, options, ids, again["noise"][0], sizes, held)
        mel = mel[len(prompt.mel) :]
        assert mel.shape == again["out"][0].T.shape, case
        last = again[f"cache_out.step{options.steps}.x"][0]
        for ours, theirs in ((mel, again["out"][0].T), (entered[-1], last)):
            worst = (ours - theirs).abs().max().item()
            assert worst < TOLERANCE, f"{case}: {worst}"


def test_each_step_has_the_recorded_velocities(recorded: Recorded) -> None:
    model, tensors, meta = recorded
    for case in cases(meta, "infer."):
        got, settings = under(tensors, case), meta["cases"][case]
        options = FlowOptions(steps=settings["n_timesteps"], upstream_compat=True)
        prompt = FlowPrompt.of(model, recorded_voice(model, got), options)
        frames = settings["feat_len"]
        visible = None
        if settings["is_causal"]:
            sizes = map(upstream_block_frames, settings["block_pattern"])
            visible = look_ahead_ends([*sizes], frames, upstream=True)[None]
        with torch.inference_mode():
            ids = [*prompt.tokens, *got["token"][0].tolist()]
            features, coarse = model.token_features(prompt, ids, frames)
            guide = model.estimator.guide(
                prompt.condition(0, frames), features, coarse, prompt.modulations, visible
            )
            steps = [key.split(".")[0] for key in got if key.endswith("v_cond")]
            assert steps, case
            for step in steps:
                index = int(step.removeprefix("step")) - 1
                out = model.estimator.velocity(got[f"{step}.x"], guide, index)
                for row, name in enumerate(("v_cond", "v_uncond")):
                    worst = (out[row] - got[f"{step}.{name}"][0]).abs().max().item()
                    assert worst < TOLERANCE, f"{case}{step} {name}: {worst}"


def test_the_default_counts_frames_exactly_and_keeps_the_prompt_to_itself(
    recorded: Recorded,
) -> None:
    model, tensors, meta = recorded
    config = model.config
    for case in cases(meta, "infer."):
        got = under(tensors, case)
        voice, tokens = recorded_voice(model, got), got["token"][0]
        prompt = FlowPrompt.of(model, voice, FlowOptions(steps=1))
        assert len(prompt.mel) == config.frames(len(prompt.tokens)) <= len(voice.mel)
        mel = model.sample(tokens, voice, FlowOptions(steps=1))
        whole = config.frames(len(prompt.tokens) + len(tokens))
        assert len(mel) == whole - len(prompt.mel), case


@pytest.mark.parametrize("tokens", [1, 28, 29, 57, 58, 113, 201, 300])
def test_frames_of_the_released_model(tokens: int) -> None:
    config = FlowConfig.official()
    assert config.frames(tokens) == 2 * tokens
    assert config.frames(tokens, upstream=True) == 2 * tokens - (tokens in (29, 57, 58, 113, 201))


def test_block_masks() -> None:
    tensors, meta = read("dit_masks.safetensors")
    assert meta["block_lists"]
    for case, sizes in meta["block_lists"].items():
        rows = tensors[f"{case}.row_len"].long()
        ends = look_ahead_ends(sizes, len(rows), upstream=True)
        assert torch.equal(ends, rows), case
        if f"{case}.dense" in tensors:
            dense = torch.arange(len(rows)) < ends[:, None]
            assert torch.equal(dense, tensors[f"{case}.dense"].bool()), case
    counts = tensors["token_size_to_mel_size.in"].tolist()
    frames = [upstream_block_frames(count) for count in counts]
    assert frames == tensors["token_size_to_mel_size.out"].tolist()


def test_names_and_shapes_of_the_released_network() -> None:
    recorded = read_json("shapes_full.json")
    shapes = {key: torch.empty(shape, device="meta") for key, shape in recorded["flow"].items()}
    config = official_flow_config(recorded["configs"]["flow"])
    assert config == FlowConfig.official()
    state = official_flow_state(shapes)
    with torch.device("meta"):
        model = TokenToMel(config)
    assert {key: value.shape for key, value in state.items()} == {
        key: value.shape for key, value in model.state_dict().items()
    }
    count = sum(value.numel() for value in model.parameters())
    assert count == recorded["flow_params"]
