import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from glmtts import checkpoint
from glmtts.data.lm_batches import LMBatches, TextMix, silence_tokens, spoken_text
from glmtts.data.shards import Clip, Corpus, write_shard
from glmtts.errors import BadInput
from glmtts.lm import LMBatch, LMConfig, TextToSpeechTokens
from glmtts.text.phonemes import pinyin_to_tokens
from glmtts.text.tokenizer import TextTokenizer, build_nano_tokenizer
from glmtts.train import lm as stage
from glmtts.train.common import Run
from glmtts.voice import Prompt

SYLLABLES = {"你": "ni3", "好": "hao3", "世": "shi4", "界": "jie4", "我": "wo3"}
PHONEMES = sorted({p for syllable in SYLLABLES.values() for p in pinyin_to_tokens(syllable)})
SILENCE = len(PHONEMES)
SPEECH = SILENCE + 1


def spoken_by(phoneme: str) -> int:
    return PHONEMES.index(phoneme)


def write_clips(folder: Path, count: int) -> None:
    """Clips that say each phoneme with its own token two to four times, and end in silence."""
    rng = np.random.default_rng(0)
    clips: list[Clip] = []
    arrays: dict[str, list[np.ndarray]] = {"tokens": [], "alignment": []}
    for number in range(count):
        surface = rng.choice(list(SYLLABLES), size=int(rng.integers(2, 5)))
        units = [(str(s), pinyin_to_tokens(SYLLABLES[s])) for s in surface] + [("。", ())]
        phonemes = [p for _, ps in units for p in ps]
        alignment = np.repeat(np.arange(len(phonemes)), rng.integers(2, 5, len(phonemes)))
        tokens = np.array([*(spoken_by(phonemes[i]) for i in alignment), SILENCE])
        alignment = np.append(alignment, -1)
        clips.append(
            Clip(f"c{number}", "zh", f"s{number % 3}", "".join(surface), tuple(units), 1.0)
        )
        arrays["tokens"].append(tokens)
        arrays["alignment"].append(alignment)
    write_shard(folder, 0, clips, arrays)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lm")
    write_clips(folder / "shards", 60)
    build_nano_tokenizer(["你好世界我"], folder / "tokenizer", speech_count=SPEECH, merges=0)
    return folder


def test_silent_tokens_are_those_of_quiet_frames(tmp_path: Path) -> None:
    tokens = np.array([1, 1, 2, 3, 3] * 20)
    loud = np.repeat(
        np.where(tokens == 3, 40, 200), 2
    )  # of 255; token 3 is quiet, 2 is now and then
    loud[4:8] = 40
    mel = np.repeat(loud[:, None], 80, 1).astype(np.uint8)
    clip = Clip("c", "zh", "s", "你", (("你", ()),), 4.0)
    write_shard(tmp_path, 0, [clip], {"tokens": [tokens], "mel": [mel]})
    corpus = Corpus(tmp_path)
    assert corpus.holds("mel")
    assert not corpus.holds("audio")
    assert silence_tokens(corpus) == (3,)


def config(home: Path, out: Path, **more: object) -> stage.Config:
    model = LMConfig(
        speech_start=0, end_id=0, begin_audio_id=0, pad_id=0, hidden_size=16, layers=2, heads=2,
        kv_heads=1, head_dim=8, ffn_size=32, align_layer=1, align_head=0,
    )  # fmt: skip
    settings = {
        "data": str(home / "shards"), "valid": str(home / "shards"),
        "tokenizer": home / "tokenizer", "out": out, "model": model, "steps": 6, "rows": 3,
        "row_length": 96, "warmup": 2, "lr": 3e-3, "log_every": 1, "save_every": 0,
        "valid_every": 0, "valid_batches": 1, "device": "cpu", "amp": False,
    }  # fmt: skip
    return stage.Config(**{**settings, **more})


def batches(home: Path, **more: object) -> LMBatches:
    tokenizer = TextTokenizer.load(home / "tokenizer")
    model = stage.with_ids(config(home, home).model, tokenizer)
    settings = {"rows": 3, "row_length": 96, **more}
    return LMBatches(Corpus(home / "shards"), tokenizer, model, **settings)


def documents(batch: LMBatch, model: LMConfig) -> list[dict[str, list[int]]]:
    """Take a batch apart again."""
    out = []
    for row in range(len(batch.ids)):
        for number in range(int(batch.documents[row].max()) + 1):
            where = (batch.documents[row] == number).nonzero()[:, 0]
            ids = batch.ids[row, where].tolist()
            boa = ids.index(model.begin_audio_id)
            align = batch.align[row, where]
            out.append(
                {
                    "text": ids[:boa],
                    "speech": [i - model.speech_start for i in ids[boa + 1 :]],
                    "positions": batch.positions[row, where].tolist(),
                    "labels": batch.labels[row, where].tolist(),
                    "align": torch.where(align >= 0, align - where[0], -1).tolist(),
                }
            )
    return out


def test_the_text_a_token_speaks():
    phonemes = np.array([-1, 0, 1, -1, 2, 2, 5])
    alignment = np.array([-1, 0, 1, 1, 2, 3, 4, 5, 9])
    # Phonemes 3 and 4 have no id of their own (their unit is written out): the id before them.
    assert spoken_text(phonemes, alignment).tolist() == [-1, 1, 2, 2, 5, 5, 5, 6, 6]
    assert spoken_text(np.array([-1, -1]), np.array([0, 1])).tolist() == [-1, -1]


def test_documents_are_whole_clips_with_same_speaker_prompts(home: Path):
    source = batches(home, text=TextMix(phonemes=1.0), second_prompt_share=0.5)
    corpus = source.corpus
    known = {tuple(corpus.array("tokens", i).tolist()): i for i in range(len(corpus))}
    prompted = 0
    for step in range(source.steps_per_epoch):
        batch = source.batch(step)
        assert batch.ids.shape == (3, 96)
        for one in documents(batch, source.model):
            speech, labels = one["speech"], one["labels"]
            begin = len(one["text"])
            assert one["positions"] == list(range(begin + 1 + len(speech)))
            assert labels[:begin] == [-1] * begin
            assert labels[begin:] == [*speech, source.model.speech_count]
            pieces, clips = list(speech), []
            while pieces:  # cut the speech into the clips it is made of
                size = pieces.index(SILENCE) + 1
                clips.append(known[tuple(pieces[:size])])
                pieces = pieces[size:]
            assert len({corpus.clips[c].speaker for c in clips}) == 1
            assert len(set(clips)) == len(clips)
            prompted += len(clips) > 1
            text = [
                i
                for c in clips
                for i in source.tokenizer.encode_units(
                    corpus.clips[c].units, [True] * len(corpus.clips[c].units)
                )[0]
            ]
            assert one["text"] == text
            for label, target in zip(labels, one["align"], strict=True):
                if target >= 0:  # the fixture's token is a function of its phoneme
                    assert label == spoken_by(source.tokenizer.decode([text[target]]))
            assert sum(target >= 0 for target in one["align"]) == len(speech) - len(clips)
    assert prompted > 5


def test_an_epoch_holds_almost_every_clip_once_with_little_padding(home: Path):
    source = batches(home, prompt_share=0.0, rows=2)
    all_batches = [source.batch(step) for step in range(source.steps_per_epoch)]
    spoken = [tuple(d["speech"]) for b in all_batches for d in documents(b, source.model)]
    assert len(spoken) >= 0.7 * len(source.corpus)
    assert len(set(spoken)) >= 0.95 * len(spoken)
    used = sum(b.tokens for b in all_batches) / sum(b.ids.numel() for b in all_batches)
    assert used > 0.8


def test_a_batch_depends_on_seed_rank_and_step_alone(home: Path):
    source = batches(home, seed=1)
    late = source.steps_per_epoch * 2 + 1
    expected = [source.batch(step) for step in (0, 1, late)]
    again = batches(home, seed=1)
    for step, batch in zip((late, 1, 0), reversed(expected), strict=True):
        assert torch.equal(again.batch(step).ids, batch.ids)
    stream = again.stream(1)
    assert torch.equal(next(stream).ids, expected[1].ids)
    assert torch.equal(next(stream).ids, source.batch(2).ids)
    stream.close()
    assert not torch.equal(expected[0].ids, batches(home, seed=2).batch(0).ids)


def test_ranks_share_the_rows_of_a_step(home: Path):
    both = batches(home, rows=4).batch(0).ids
    parts = [batches(home, rows=2, rank=r, world=2).batch(0).ids for r in range(2)]
    assert torch.equal(torch.cat(parts), both)


def test_texts_are_mixed_as_asked():
    clip = Clip("c", "zh", "s", "", (("好", ("a",)),) * 200, 1.0)
    rng = np.random.default_rng(0)
    shares = [np.mean(TextMix(0.5, 0.25, 0.4).choose(clip, rng)) for _ in range(400)]
    assert np.mean(np.equal(shares, 1.0)) == pytest.approx(0.5, abs=0.08)
    assert np.mean(np.equal(shares, 0.0)) == pytest.approx(0.25, abs=0.08)
    hybrid = [s for s in shares if 0.0 < s < 1.0]
    assert max(hybrid) < 0.55
    assert np.mean(hybrid) == pytest.approx(0.2, abs=0.04)


def test_the_papers_mix_leaves_polyphones_as_text():
    units = (("天", ("a",)), ("行", ("b",)), ("鼋", ("c",)), ("go", ("d",))) * 50
    clip = Clip("c", "zh", "s", "", units, 1.0)
    rng = np.random.default_rng(0)
    chosen = np.array([TextMix(0.0, 0.8, 0.5, True).choose(clip, rng) for _ in range(400)])
    assert np.mean(chosen.any(1)) == pytest.approx(0.2, abs=0.06)
    assert not chosen[:, 1::4].any()
    assert not chosen[:, 2::4].any()
    assert chosen[:, 0::4].any()
    assert chosen[:, 3::4].any()


def test_shards_of_another_tokenizer_or_too_few_are_refused(home: Path):
    source = batches(home)
    with pytest.raises(BadInput, match="speech token"):
        LMBatches(
            source.corpus, source.tokenizer, replace(source.model, speech_count=3),
            rows=1, row_length=64,
        )  # fmt: skip
    with pytest.raises(BadInput, match="a batch needs 500"):
        batches(home, rows=500)


def test_a_run_stopped_and_resumed_equals_an_uninterrupted_one(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    stage.main(config(home, tmp_path / "whole"))
    steps = Run.steps

    def killed(self: Run, start: int, total: int):
        for step in steps(self, start, total):
            self.stopping = step == 2
            yield step
            if self.stopping:
                return

    monkeypatch.setattr(Run, "steps", killed)
    stage.main(config(home, tmp_path / "cut"))
    assert (tmp_path / "cut" / "step_000003").is_dir()
    assert not (tmp_path / "cut" / "lm").exists()
    monkeypatch.setattr(Run, "steps", steps)
    stage.main(config(home, tmp_path / "cut"))
    one, two = (
        checkpoint.load(TextToSpeechTokens, tmp_path / name / "lm").state_dict()
        for name in ("whole", "cut")
    )
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_training_learns_and_leaves_a_component_that_speaks(home: Path, tmp_path: Path):
    stage.main(config(home, tmp_path, steps=40, align_weight=1.0, ema=0.5))
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    first, last = (json.loads(lines[i]) for i in (0, -2))
    assert last["nll"] < first["nll"] - 0.5
    assert last["align"] < first["align"]
    assert '"valid_nll"' in lines[-1]
    model = checkpoint.load(TextToSpeechTokens, tmp_path / "lm")
    tokenizer = TextTokenizer.load(home / "tokenizer")
    assert model.config == stage.with_ids(model.config, tokenizer)
    generation = model.generate(tokenizer.encode("你好"), Prompt())
    assert all(0 <= token < SPEECH for token in generation)
    stage.main(config(home, tmp_path / "more", init=tmp_path / "lm", steps=1))
    assert (tmp_path / "more" / "lm" / "model.safetensors").is_file()


def test_settings_that_contradict_are_refused(home: Path):
    with pytest.raises(BadInput, match="go together"):
        config(home, home, model=replace(stage.nano(), align_head=None))


def test_fragments_are_a_few_words_with_their_own_speech(home: Path) -> None:
    corpus, tokenizer = Corpus(home / "shards"), TextTokenizer.load(home / "tokenizer")
    sizes = stage.with_ids(config(home, home).model, tokenizer)
    batches = LMBatches(
        corpus, tokenizer, sizes, rows=2, row_length=48,
        text=TextMix(phonemes=1.0, surface=0.0), fragment_share=1.0,
    )  # fmt: skip
    shorter = 0
    for index in range(len(corpus)):
        piece = batches._spoken(0, index)
        whole = corpus.array("tokens", index)
        shorter += len(piece.speech) < len(whole)
        named = [tokenizer.decode([int(i)]) for i in piece.text]
        assert named[-1] == "。"
        said = [spoken_by(p) for p in named[:-1]]
        heard = [int(t) for t in piece.speech if t != SILENCE]
        once = [t for t, before in zip(heard, [None, *heard], strict=False) if t != before]
        # every phoneme of the text in order; the clip's first token may come before them
        assert once[-len(said) :] == [
            t for t, before in zip(said, [None, *said], strict=False) if t != before
        ] or len(set(said)) < len(said)
        assert len(piece.spoken) == len(piece.speech)
    assert shorter > len(corpus) // 5


def test_smoothing_rewards_neighbours_only(home: Path) -> None:
    tokenizer = TextTokenizer.load(home / "tokenizer")
    sizes = stage.with_ids(config(home, home).model, tokenizer)
    torch.manual_seed(0)
    model = TextToSpeechTokens(sizes).eval()
    batch = LMBatches(Corpus(home / "shards"), tokenizer, sizes, rows=2, row_length=48).batch(0)
    near = torch.arange(sizes.speech_count)[:, None].repeat(1, 3)  # everyone's own neighbour
    with torch.no_grad():
        plain = model.loss(batch)
        own = model.loss(batch, label_smoothing=0.5, near=near)
        spread = model.loss(batch, label_smoothing=0.5)
    assert float(own["nll"]) == pytest.approx(float(plain["nll"]))
    assert float(spread["loss"]) != pytest.approx(float(plain["loss"]), abs=1e-6)
    # the end is never smoothed, so a token's own neighbourhood changes next to nothing
    assert float(own["loss"]) == pytest.approx(float(plain["loss"]), abs=0.2)


def test_nearest_codes_are_others() -> None:
    codes = torch.tensor([[0.0], [1.0], [3.0], [3.5]])
    assert stage.nearest_codes(codes, 2).tolist() == [[1, 2], [0, 2], [3, 1], [2, 1]]


def test_noise_replaces_speech_that_is_heard_not_what_is_predicted(home: Path) -> None:
    tokenizer = TextTokenizer.load(home / "tokenizer")
    sizes = stage.with_ids(config(home, home).model, tokenizer)
    batch = LMBatches(Corpus(home / "shards"), tokenizer, sizes, rows=3, row_length=48).batch(0)
    torch.manual_seed(0)
    noisy = stage.with_noise(batch, sizes, 0.5)
    assert stage.with_noise(batch, sizes, 0.0) is batch
    assert torch.equal(noisy.labels, batch.labels)
    changed = noisy.ids != batch.ids
    heard = (batch.ids >= sizes.speech_start) & (
        batch.ids < sizes.speech_start + sizes.speech_count
    )
    assert not changed[~heard].any()
    assert 0.2 < float(changed[heard].float().mean()) < 0.5
    assert (noisy.ids[heard] >= sizes.speech_start).all()


def test_embeddings_start_from_the_codebook(home: Path) -> None:
    tokenizer = TextTokenizer.load(home / "tokenizer")
    model = TextToSpeechTokens(stage.with_ids(config(home, home).model, tokenizer))
    before = model.model.embed_tokens.weight.detach().clone()
    codes = torch.randn(model.config.speech_count, 4)
    codes[1] = codes[0] + 0.01
    model.start_from(codes)
    after = model.model.embed_tokens.weight.detach()
    start = model.config.speech_start
    assert torch.equal(before[:start], after[:start])
    table = after[start : start + len(codes)]
    assert (table[0] - table[1]).norm() < 0.2 * (table[0] - table[2]).norm()
    assert float(table.std()) == pytest.approx(0.05, rel=0.3)


def write_styled_clips(folder: Path, count: int) -> None:
    write_clips(folder / "plain", count)
    plain = Corpus(folder / "plain")
    clips = [replace(c, units=(("[sad]", ()), *c.units)) for c in plain]
    arrays = {n: [plain.array(n, i) for i in range(count)] for n in ("tokens", "alignment")}
    write_shard(folder / "styled", 0, clips, arrays)


def test_a_model_knows_the_styles_of_its_clips(home: Path, tmp_path: Path):
    write_styled_clips(tmp_path, 60)
    data = str(tmp_path / "styled")
    stage.main(config(home, tmp_path / "run", data=data, valid="", steps=1, save_every=1))
    left = checkpoint.load(TextToSpeechTokens, tmp_path / "run" / "lm")
    assert left.config.styles == ("sad",)
    # Another training, on neutral clips, leaves it what it knows.
    init = tmp_path / "run" / "lm"
    stage.main(config(home, tmp_path / "more", init=init, valid="", steps=1, save_every=1))
    left = checkpoint.load(TextToSpeechTokens, tmp_path / "more" / "lm")
    assert left.config.styles == ("sad",)


def test_a_few_words_of_a_clip_keep_its_style(home: Path, tmp_path: Path):
    write_styled_clips(tmp_path, 60)
    tokenizer = TextTokenizer.load(home / "tokenizer")
    source = LMBatches(
        Corpus(tmp_path / "styled"), tokenizer, stage.with_ids(config(home, home).model, tokenizer),
        rows=3, row_length=96, fragment_share=1.0, prompt_share=0.0,
    )  # fmt: skip
    for one in documents(source.batch(0), source.model):
        assert tokenizer.decode(one["text"]).startswith("[sad]")


def test_a_clip_with_a_laugh_is_never_cut_to_a_few_words(home: Path, tmp_path: Path):
    write_clips(tmp_path / "plain", 60)
    plain = Corpus(tmp_path / "plain")
    clips = [replace(c, units=(*c.units, ("[laughter]", ()))) for c in plain]
    arrays = {n: [plain.array(n, i) for i in range(60)] for n in ("tokens", "alignment")}
    write_shard(tmp_path / "laughing", 0, clips, arrays)
    tokenizer = TextTokenizer.load(home / "tokenizer")
    source = LMBatches(
        Corpus(tmp_path / "laughing"), tokenizer,
        stage.with_ids(config(home, home).model, tokenizer),
        rows=3, row_length=96, fragment_share=1.0, prompt_share=0.0,
    )  # fmt: skip
    whole = {tuple(plain.array("tokens", i)) for i in range(60)}
    for one in documents(source.batch(0), source.model):
        assert tokenizer.decode(one["text"]).endswith("[laughter]")
        assert tuple(one["speech"]) in whole
