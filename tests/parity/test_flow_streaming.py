"""Streaming with the official network against streaming.safetensors.

The reference runs flow and vocoder over everything at each chunk and joins the waves. Its vocoder
is here the toy one that the file describes, and its way to join them stands in this test; the
flow's part is the package's: what a chunk masks, what is held from run to run, the mel of each run.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import pytest
import torch

import glmtts.flow as flow
from glmtts.flow import FlowOptions, FlowPrompt, TokenToMel
from glmtts.nn.masks import upstream_block_frames
from glmtts.voice import Prompt, Voice
from tests.parity.goldens import Tensors, needs_goldens, read, under
from tests.parity.test_dit import recorded_model

pytestmark = needs_goldens
MEL, WAVE = 1e-4, 2e-5


class Recorded(NamedTuple):
    """The file, and the network it was made with."""

    model: TokenToMel
    tensors: Tensors
    meta: dict[str, Any]
    guidance: float

    def voice(self, case: str) -> Voice:
        got = under(self.tensors, f"{case}.")
        return Voice(
            case, "", Prompt(), speech_tokens=tuple(got["prompt_token"][0].tolist()),
            mel=got["prompt_feat"][0], speaker=got["embedding"][0],
        )  # fmt: skip


@pytest.fixture(scope="module")
def recorded() -> Recorded:
    weights, settings = read("dit_main.safetensors")
    tensors, meta = read("streaming.safetensors")
    model = recorded_model(weights, settings["config"])
    return Recorded(model, tensors, meta, settings["config"]["inference_cfg_rate"])


def chunks(count: int, sizes: Sequence[int]) -> list[int]:
    """How many tokens each chunk has: the sizes in turn, the last one for ever."""
    found: list[int] = []
    while count > 0:
        found.append(min(count, sizes[min(len(found), len(sizes) - 1)]))
        count -= found[-1]
    return found


def toy_wave(mel: torch.Tensor, hop: int) -> torch.Tensor:
    """(F, M) -> (F * hop,): the vocoder that the file's metadata describes."""
    ramp = torch.arange(hop) / hop
    return (0.1 * (mel.mean(1)[:, None] * (1 - ramp) + mel[:, :1] * ramp)).flatten()


def joined(waves: Sequence[torch.Tensor], case: dict[str, Any], rate: float) -> list[torch.Tensor]:
    """Cut and cross-fade the waves of all runs as the reference does."""
    pieces, at, fading = list[torch.Tensor](), 0, torch.zeros(0)
    for index, whole in enumerate(waves):
        looks = case["look_future_sizes"]
        ahead_s = looks[min(index, len(looks) - 1)] / rate
        overlap = int(case["sample_rate"] * (ahead_s + case["fade_sec"]))
        ahead = int(case["sample_rate"] * ahead_s)
        wave = whole[at:].clone()
        if index:
            both = min(len(fading), len(wave))
            up, down = (
                torch.linspace(*ends, both, dtype=torch.float64) for ends in ((0, 1), (1, 0))
            )
            wave[:both] = fading[:both] * down + wave[:both] * up
        final = index == len(waves) - 1
        pieces.append(wave if final else wave[: max(0, len(wave) - overlap)])
        at += len(pieces[-1])
        fading = wave[-overlap:-ahead] if ahead else wave[-overlap:]
    return pieces


def changes(mels: Sequence[torch.Tensor], case: dict[str, Any], rate: float) -> list[float]:
    """By how many percent each run changes the frames that the one before faded out with."""
    found: list[float] = []
    per_s = case["sample_rate"] / case["hop"]
    fade = int(case["fade_sec"] * per_s)
    for index, (early, late) in enumerate(pairwise(mels)):
        looks = case["look_future_sizes"]
        ahead = int(looks[min(index, len(looks) - 1)] / rate * per_s)
        early = early[: len(early) - ahead] if len(early) > ahead else early
        late = late[: len(early)]
        if len(late) == len(early) >= fade:
            change = (early[-fade:] - late[-fade:]).abs().sum() / early[-fade:].abs().sum()
            found.append(100.0 * change.item())
    return found


def test_tokens_are_cut_into_the_recorded_chunks(recorded: Recorded) -> None:
    for key, expected in recorded.meta["chunker"].items():
        count, sizes = key.split("|")
        assert chunks(int(count), [int(size) for size in sizes.strip("[]").split(",")]) == expected


def test_every_run_gives_the_recorded_mel_and_every_piece_the_recorded_wave(
    recorded: Recorded,
) -> None:
    """Both the prompt lengths that the reference takes by mistake and those it intends."""
    model, config = recorded.model, recorded.model.config
    for name, case in recorded.meta["cases"].items():
        got = under(recorded.tensors, f"{name}.")
        options = FlowOptions(
            steps=case.get("n_timesteps", 10), guidance=recorded.guidance, upstream_compat=True
        )
        prompt = FlowPrompt.of(model, recorded.voice(name), options)
        if "calls" not in case:
            continue
        intended = case["prompt_lengths"] == "intended"
        tokens, mels, held = got["tokens"].tolist(), list[torch.Tensor](), list[torch.Tensor]()
        counts = chunks(len(tokens), case["block_sizes"])
        assert counts == case["chunk_token_counts"], name
        for index, call in enumerate(case["calls"]):
            assert call["n_tokens"] == sum(counts[: index + 1]), name
            pattern = [len(prompt.tokens) if intended else 1, *case["block_sizes"]]
            assert pattern == call["block_pattern"], name
            sizes = [upstream_block_frames(size) for size in pattern]
            ids = [*prompt.tokens, *tokens[: call["n_tokens"]]]
            noise = got[f"call{index}.noise"][0]
            assert len(noise) == config.frames(len(ids), upstream=True), name
            with torch.inference_mode():
                mel, entered = model.speak(prompt, options, ids, noise, sizes, held)
            mel = mel[len(prompt.mel) :]
            expected = got[f"call{index}.mel"][0].T
            assert mel.shape == expected.shape, f"{name}, run {index}"
            worst = (mel - expected).abs().max().item()
            assert worst < MEL, f"{name}, run {index}: {worst}"

            mels.append(mel)
            looks = case["look_future_sizes"]
            ahead_s = looks[min(index, len(looks) - 1)] / config.token_rate
            kept_s = len(mel) * case["hop"] / case["sample_rate"] - ahead_s
            kept = int(kept_s * case["sample_rate"] / case["hop"])
            hold = (len(prompt.mel) if intended else 1) + kept + 1
            assert hold == case["override_len_after"][index], name
            held = [x[:hold] for x in entered]
        pieces = joined([toy_wave(mel, case["hop"]) for mel in mels], case, config.token_rate)
        assert [len(piece) for piece in pieces] == case["piece_lens"], name
        for index, piece in enumerate(pieces):
            worst = (piece - got[f"piece{index}"]).abs().max().item() if len(piece) else 0.0
            assert worst < WAVE, f"{name}, piece {index}: {worst}"
        seconds = [len(piece) / case["sample_rate"] for piece in pieces]
        assert seconds == pytest.approx(got["sec_list"].tolist()), name
        percent = changes(mels, case, config.token_rate)
        assert percent == pytest.approx(got["diff_list"].tolist(), rel=1e-3), name


def test_a_stream_can_do_as_the_reference_does(
    recorded: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frames of each piece are those of the recorded run, where half a block is held back."""
    model, checked = recorded.model, 0
    for name, case in recorded.meta["cases"].items():
        if "calls" not in case or case["prompt_lengths"] == "intended":
            continue
        sizes, looks = case["block_sizes"], case["look_future_sizes"]
        if [size // 2 for size in sizes] != looks or case["n_timesteps"] != 10:
            continue
        got, runs = under(recorded.tensors, f"{name}."), range(len(case["calls"]))
        noises = iter([got[f"call{index}.noise"][0] for index in runs])
        monkeypatch.setattr(flow, "draw_noise", lambda *_, noises=noises: next(noises))
        opening = model.open(recorded.voice(name), FlowOptions(
            guidance=recorded.guidance, blocks=tuple(sizes), upstream_compat=True
        ))  # fmt: skip
        stream, tokens = opening.stream(), got["tokens"].tolist()
        pieces = [stream.push([token], last=False) for token in tokens]
        spoken = torch.cat([*pieces, stream.push([], last=True)])
        at = 0
        for index in runs:
            mel = got[f"call{index}.mel"][0].T
            ahead = 0 if index == runs[-1] else looks[min(index, len(looks) - 1)]
            end = max(at, len(mel) - model.config.frames(ahead))
            worst = (spoken[at:end] - mel[at:end]).abs().max().item() if end > at else 0.0
            assert worst < MEL, f"{name}, run {index}: {worst}"
            at = end
        assert len(spoken) == at == sum(case["piece_lens"]) // case["hop"], name
        checked += 1
    assert checked


def test_without_streaming_the_reference_speaks_everything_at_once(
    recorded: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    got = under(recorded.tensors, "nonstream.")
    monkeypatch.setattr(flow, "draw_noise", lambda *_: got["noise"][0])
    options = FlowOptions(guidance=recorded.guidance, upstream_compat=True)
    mel = recorded.model.sample(got["tokens"], recorded.voice("nonstream"), options)
    assert (mel - got["mel"][0].T).abs().max() < MEL
    hop = got["wav"].shape[-1] // len(mel)
    assert (toy_wave(mel, hop) - got["wav"][0]).abs().max() < WAVE
