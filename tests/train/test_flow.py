"""Flow training: batches are pure functions of the step, and a resumed run equals a whole one."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from glmtts import checkpoint
from glmtts.data.flow_batches import FlowBatches
from glmtts.data.shards import Clip, Corpus, dequantise_mel, quantise_mel, write_shard
from glmtts.errors import BadInput
from glmtts.flow import FlowConfig, TokenToMel
from glmtts.nn.dit import DiTConfig, told
from glmtts.text.phonemes import CTC_CLASS
from glmtts.text.styles import STYLES
from glmtts.train import flow
from glmtts.train.common import Run

MODEL = FlowConfig(
    network=DiTConfig(
        n_mels=8, vocab_size=16, dim=16, layers=1, heads=2, ff_dim=16, speaker_dim=4, token_dim=8,
        token_blocks=1, frame_blocks=1, conv_kernel=3, conv_groups=2,
    )
)  # fmt: skip

TABLE = torch.randn(16, 8, generator=torch.Generator().manual_seed(0)) * 2.0 - 5.0


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """Twelve clips of three speakers whose mel is a function of the token."""
    rng = np.random.default_rng(0)
    clips: list[Clip] = []
    arrays: dict[str, list[np.ndarray]] = {"tokens": [], "mel": [], "speaker": []}
    for number in range(12):
        tokens = rng.integers(0, 16, 5 + 2 * number)
        clips.append(Clip(str(number), "zh", f"s{number % 3}", "", (), len(tokens) / 25))
        mel = quantise_mel(TABLE[torch.from_numpy(tokens)].repeat_interleave(2, 0))
        arrays["tokens"].append(tokens)
        mel = np.asfortranarray(mel[: len(mel) - number % 2])  # as a transposed spectrogram lies
        arrays["mel"].append(mel)
        vector = np.eye(4)[number % 3]
        arrays["speaker"].append(vector)
    folder = tmp_path / "shards"
    write_shard(folder, 0, clips, arrays)
    return folder


def batches(shards: Path, **more: float) -> FlowBatches:
    return FlowBatches(Corpus(shards), frames_per_batch=160, max_frames=40, **more)  # type: ignore[arg-type]


def test_a_batch_is_a_function_of_seed_rank_and_step(shards: Path) -> None:
    one, again = batches(shards, seed=3, rank=1), batches(shards, seed=3, rank=1)
    for step in (0, 7):
        assert torch.equal(one(step).tokens, again(step).tokens)
        assert torch.equal(one(step).mel, again(step).mel)
    others = [batches(shards, seed=3, rank=1)(8), batches(shards, seed=3)(7), batches(shards)(7)]
    for other in others:
        same = other.mel.shape == one(7).mel.shape and torch.equal(other.mel, one(7).mel)
        assert not same


@pytest.mark.parametrize("joined", [0.0, 1.0])
def test_rows_hold_whole_tokens_with_their_frames(shards: Path, joined: float) -> None:
    corpus = Corpus(shards)
    shapes: set[tuple[int, ...]] = set()
    for step in range(40):
        batch = FlowBatches(corpus, frames_per_batch=160, max_frames=40, joined=joined)(step)
        shapes.add(tuple(batch.mel.shape))
        assert batch.mel.shape[:2].numel() <= 160
        assert batch.mel.shape[1] == 2 * batch.tokens.shape[1]
        assert bool((batch.joint > 0).all()) == bool(joined)
        assert torch.equal(batch.joint % 2, torch.zeros_like(batch.joint))
        assert bool((batch.joint < batch.frames).all())
        for row, frames in enumerate(batch.frames.tolist()):
            tokens = batch.tokens[row, : frames // 2]
            pairs = batch.mel[row, :frames].unflatten(0, (-1, 2))
            torch.testing.assert_close(pairs[:, 0], pairs[:, 1])
            torch.testing.assert_close(pairs[:, 0], TABLE[tokens], atol=0.03, rtol=0)
            assert not batch.mel[row, frames:].any()
    assert len(shapes) <= 3


def test_prompts_are_neutral_where_the_speaker_has_a_neutral_clip(tmp_path: Path) -> None:
    # Whose clip it is, and in which manner, can be read from its token.
    manners = [("a", ()), ("a", (("[sad]", ()),)), ("a", (("[angry]", ()),)),
               ("b", (("[happy]", ()),)), ("b", (("[sad]", ()),))]  # fmt: skip
    clips, arrays = list[Clip](), {"tokens": [], "mel": [], "speaker": []}
    for number, (speaker, units) in enumerate(manners):
        clips.append(Clip(str(number), "zh", speaker, "", units, 0.4))
        arrays["tokens"].append(np.full(10, number))
        arrays["mel"].append(quantise_mel(torch.zeros(20, 8)))
        arrays["speaker"].append(np.eye(4)[0])
    write_shard(tmp_path / "shards", 0, clips, arrays)
    made = batches(tmp_path / "shards", joined=1.0)
    pairs = set[tuple[int, int]]()
    for step in range(40):
        batch = made(step)
        for row, joint in enumerate(batch.joint.tolist()):
            pairs.add((int(batch.tokens[row, joint // 2]), int(batch.tokens[row, 0])))
    assert {prompt for clip, prompt in pairs if clip in (1, 2)} == {0}
    assert {prompt for clip, prompt in pairs if clip == 0} == {1, 2}
    assert {prompt for clip, prompt in pairs if clip in (3, 4)} == {3, 4}


def test_shards_that_cannot_be_used_are_refused(tmp_path: Path, shards: Path) -> None:
    with pytest.raises(BadInput, match="cannot hold a row"):
        FlowBatches(Corpus(shards), frames_per_batch=20, max_frames=40)
    clip = Clip("odd", "zh", "s", "", (), 1.0)
    arrays = {"tokens": [np.zeros(20)], "mel": [np.zeros((20, 8))], "speaker": [np.zeros(4)]}
    write_shard(tmp_path / "odd", 0, [clip], arrays)
    with pytest.raises(BadInput, match="Clip odd has 20 tokens but 20 mel frames"):
        FlowBatches(Corpus(tmp_path / "odd"), frames_per_batch=160, max_frames=40)


def config(shards: Path, out: Path, **more: object) -> flow.Config:
    base = flow.Config(
        data=str(shards), out=out, model=MODEL, steps=6, frames_per_batch=80, max_frames=40,
        lr=1e-2, warmup=2, log_every=1, save_every=2, valid_every=3, valid_clips=1, device="cpu",
        amp=False,
    )  # fmt: skip
    return replace(base, **more)  # type: ignore[arg-type]


def test_a_run_stopped_in_the_middle_ends_like_an_uninterrupted_one(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow.main(config(shards, tmp_path / "whole", valid=str(shards)))

    steps = Run.steps

    def interrupted(self: Run, start: int, total: int):
        for step in steps(self, start, total):
            self.stopping = step == 2  # as SIGTERM does
            yield step

    with monkeypatch.context() as patch:
        patch.setattr(Run, "steps", interrupted)
        flow.main(config(shards, tmp_path / "parts"))
    assert (tmp_path / "parts" / "step_000003").is_dir()
    flow.main(config(shards, tmp_path / "parts"))

    whole, parts = (
        torch.load(tmp_path / name / "step_000006" / "train_state.pt", weights_only=True)
        for name in ("whole", "parts")
    )
    for part in ("model", "ema"):
        for key, value in whole[part].items():
            assert torch.equal(value, parts[part][key]), key


def test_a_run_leaves_a_component_and_its_curves(shards: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    flow.main(config(shards, out, valid=str(shards), steps=3))
    model = checkpoint.load(TokenToMel, out / "step_000003")
    assert model.config == MODEL
    metrics = (out / "metrics.jsonl").read_text()
    for key in ("flow", "coarse", "grad_norm", "valid_flow", "mel_l1"):
        assert f'"{key}"' in metrics
    flow.main(config(shards, tmp_path / "more", init=out / "step_000003", steps=1))
    with pytest.raises(BadInput, match="hold max_frames"):
        config(shards, out, frames_per_batch=10)


def test_a_grown_flow_speaks_as_before_and_all_of_it_learns(shards: Path) -> None:
    torch.manual_seed(0)
    model = TokenToMel(MODEL)
    for parameter in model.parameters():  # no weight of a trained flow is zero
        torch.nn.init.normal_(parameter, std=0.3)
    deeper = flow.grown(model, 2)
    assert deeper.config.network.layers == MODEL.network.layers + 2
    batch = batches(shards)(0)

    def losses(of: TokenToMel) -> torch.Tensor:
        torch.manual_seed(1)
        return of(batch).total

    torch.testing.assert_close(losses(deeper), losses(model))
    losses(deeper).backward()
    new = deeper.estimator.transformer_blocks[-1].ff.ff[2].weight  # type: ignore[union-attr,index]
    assert new.grad is not None
    assert bool(new.grad.abs().sum() > 0)


SPOKEN = ("<|N|>", "<|I3|>", "<|H|>", "<|AO3|>")


@pytest.fixture
def aligned(tmp_path: Path) -> Path:
    """Clips whose tokens say nothing: what the mel is, the phonemes alone tell."""
    rng = np.random.default_rng(0)
    clips: list[Clip] = []
    arrays: dict[str, list[np.ndarray]] = {"tokens": [], "alignment": [], "mel": [], "speaker": []}
    for number in range(12):
        owners = np.sort(rng.integers(0, 4, 20))
        units = (("你", SPOKEN[:2]), ("好", SPOKEN[2:]))
        clips.append(Clip(str(number), "zh", f"s{number % 3}", "你好", units, 0.8))
        arrays["tokens"].append(rng.integers(0, 16, 20))
        arrays["alignment"].append(np.where(np.arange(20) == 0, -1, owners))
        rows = torch.from_numpy(owners).repeat_interleave(2, 0)
        arrays["mel"].append(quantise_mel(TABLE[rows]))
        arrays["speaker"].append(np.eye(4)[number % 3])
    write_shard(tmp_path / "aligned", 0, clips, arrays)
    return tmp_path / "aligned"


def test_a_share_of_the_clips_tells_its_phonemes(aligned: Path, shards: Path) -> None:
    plain = batches(aligned)
    whole = batches(aligned, vocabulary=16, told=1.0)
    some = batches(aligned, vocabulary=16, told=0.5, told_prompts=0.5)
    classes = torch.tensor([0, *(CTC_CLASS[phoneme] for phoneme in SPOKEN)])
    told_rows = rows = 0
    for step in range(30):
        assert int(plain(step).tokens.max()) < 16
        batch = whole(step)
        for row, frames in enumerate(batch.frames.tolist()):
            own = batch.tokens[row, int(batch.joint[row]) // 2 : frames // 2]
            assert bool(torch.isin(own // 16, classes).all())
            assert int((own // 16 == 0).sum()) <= 1  # the token nobody placed
            assert not bool((batch.tokens[row, : int(batch.joint[row]) // 2] >= 16).any())
        known = (some(step).tokens >= 16).sum(1)
        told_rows, rows = told_rows + int((known > 0).sum()), rows + len(known)
    assert 0.3 < told_rows / rows < 0.9
    with pytest.raises(BadInput, match="hold no alignment"):
        batches(shards, vocabulary=16, told=0.5)


def test_a_flow_learns_to_listen(aligned: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    deaf = TokenToMel(MODEL)
    corpus = Corpus(aligned)
    heard = flow.listening(deaf, corpus)
    assert heard.config.network.phonemes == len(CTC_CLASS)
    branch = heard.estimator.text_emb_layer
    said = [
        int(token) for clip in range(12)
        for token, owner in zip(corpus.array("tokens", clip), corpus.array("alignment", clip),
                                strict=True) if owner == 1
    ]  # fmt: skip
    everything = torch.cat([torch.from_numpy(corpus.array("tokens", clip)) for clip in range(12)])
    mean = branch.text_embed(torch.tensor(said)).mean(0)
    usual = branch.text_embed(everything.long()).mean(0)
    number = torch.tensor(CTC_CLASS[SPOKEN[1]])
    torch.testing.assert_close(branch.phoneme_embed(number), mean - usual)
    assert not branch.phoneme_embed.weight[0].any()
    assert not branch.phoneme_embed.weight[CTC_CLASS["<|Q|>"]].any()  # nobody said it
    with pytest.raises(BadInput, match="not in this model's vocabulary"):
        deaf.checked_ids([16])
    assert heard.checked_ids([told(3, 2, heard.config.network)]) == [35]
    assert told(3, 2, deaf.config.network) == 3

    checkpoint.save(deaf, tmp_path / "deaf")
    out = tmp_path / "run"
    more = {"init": tmp_path / "deaf", "told": 1.0, "steps": 40, "coarse_steps": 40, "lr": 3e-2}
    flow.main(config(aligned, out, valid=str(aligned), valid_every=40, **more))
    taught = checkpoint.load(TokenToMel, out / "step_000040")
    batch = batches(aligned, vocabulary=16, told=1.0, joined=0.0)(3)
    rough = {
        name: taught(replace(batch, tokens=tokens), coarse_only=True).total.item()
        for name, tokens in (("told", batch.tokens), ("bare", batch.tokens % 16))
    }
    assert rough["told"] < 0.7 * rough["bare"]
    with pytest.raises(BadInput, match="told is a share"):
        config(aligned, out, told=1.5)


def test_a_flow_hears_the_style_that_it_is_told(aligned: Path, tmp_path: Path) -> None:
    corpus = Corpus(aligned)
    arrays = {
        name: [np.array(corpus.array(name, clip)) for clip in range(len(corpus))]
        for name in ("tokens", "alignment", "mel", "speaker")
    }
    # The same tokens sound otherwise in every second clip, and nothing but its tag tells which.
    clips = list(corpus.clips)
    for clip in range(0, len(clips), 2):
        clips[clip] = replace(clips[clip], units=(("[sad]", ()), *clips[clip].units))
        arrays["mel"][clip] = quantise_mel(dequantise_mel(arrays["mel"][clip]) - 2.0)
    write_shard(tmp_path / "styled", 0, clips, arrays)
    torch.manual_seed(0)
    checkpoint.save(flow.listening(TokenToMel(MODEL), corpus), tmp_path / "deaf")
    more = {"init": tmp_path / "deaf", "told": 1.0, "styled": True, "lr": 3e-2}
    more |= {"steps": 120, "coarse_steps": 120, "joined": 0.0}
    flow.main(config(tmp_path / "styled", tmp_path / "run", **more))
    taught = checkpoint.load(TokenToMel, tmp_path / "run" / "step_000120")
    network = taught.config.network
    assert network.styles == len(STYLES)
    assert told(3, 2, network, 2) == 3 + 16 * (2 + (1 + network.phonemes) * 2)
    assert taught.checked_ids([told(15, network.phonemes, network, network.styles)])
    with pytest.raises(BadInput, match="not in this model's vocabulary"):
        taught.checked_ids([told(15, network.phonemes, network, network.styles) + 1])
    batch = batches(
        tmp_path / "styled", vocabulary=16, told=1.0, joined=0.0, phonemes=network.phonemes
    )(3)
    known = 16 * (1 + network.phonemes)
    classes = batch.tokens // known
    assert set(classes.unique().tolist()) == {0, STYLES.index("sad") + 1}
    rough = {
        name: taught(replace(batch, tokens=tokens), coarse_only=True).total.item()
        for name, tokens in (("styled", batch.tokens), ("plain", batch.tokens % known))
    }
    assert rough["styled"] < 0.7 * rough["plain"]
    # The style alone learns: what is said without one stays as it was.
    more |= {"learn": "style_embed", "steps": 4, "coarse_steps": 0, "valid": ""}
    flow.main(config(tmp_path / "styled", tmp_path / "style", **more))
    style = checkpoint.load(TokenToMel, tmp_path / "style" / "step_000004").state_dict()
    for name, value in checkpoint.load(TokenToMel, tmp_path / "deaf").state_dict().items():
        assert torch.equal(style[name], value)
    assert bool(style["estimator.text_emb_layer.style_embed.weight"].any())
    with pytest.raises(BadInput, match="No parameter has 'nothing'"):
        flow.main(config(tmp_path / "styled", tmp_path / "none", learn="nothing"))
    with pytest.raises(BadInput, match="styled needs told"):
        config(aligned, tmp_path, styled=True)
