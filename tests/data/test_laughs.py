"""Laughs are made of a clip's own voice, put where people laugh, and written into its text."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from glmtts.audio import Audio
from glmtts.data.encode import encode_audio, encode_tokens
from glmtts.data.laughing import Laughed, Laughing, add_laughs, pauses, with_laugh
from glmtts.data.laughs import draw, laugh, timbre
from glmtts.data.manifest import Utterance, read_clips, read_manifest, split_of
from glmtts.data.pitch import track_pitch
from glmtts.data.shards import Corpus
from glmtts.data.teacher_units import corpus_units
from glmtts.errors import BadInput
from glmtts.speaker import SpeakerConfig, SpeakerEncoder
from glmtts.speech_tokenizer import SpeechTokenizer, TokenizerHeads, TokenizerHeadsConfig
from tests import tiny

RATE = 24_000


def speech(seconds: float = 1.5, pitch: float = 130.0) -> np.ndarray:
    return tiny.buzz(seconds, pitch).samples.numpy()


def paused() -> np.ndarray:
    """Two stretches of speech with 0.3 s between them, the middle at 1.65 s."""
    sound = tiny.buzz(3.3, 130.0).samples.numpy().copy()
    sound[round(1.5 * RATE) : round(1.8 * RATE)] = 0.0
    return sound


# ----- the laugh


@pytest.mark.parametrize("pitch", [110.0, 210.0])
def test_a_laugh_is_higher_than_the_speech_and_falls(pitch: float):
    voice = timbre(speech(pitch=pitch), RATE)
    assert voice.pitch_hz == pytest.approx(pitch, rel=0.03)
    rng = np.random.default_rng(3)
    shape = draw(rng)
    made = laugh(voice, shape, rng)
    curve = track_pitch(made, RATE, 240)
    voiced = curve[curve > 0]
    third = len(voiced) // 3
    assert 1.6 * pitch < np.median(voiced) < 3.0 * pitch
    assert np.median(voiced[-third:]) < np.median(voiced[:third])
    assert np.abs(made).max() == pytest.approx(np.abs(speech(pitch=pitch)).max(), rel=1e-3)


def test_a_laugh_has_its_bursts():
    rng = np.random.default_rng(1)
    shape = draw(rng)
    made = laugh(timbre(speech(), RATE), shape, rng)
    voiced = track_pitch(made, RATE, 120) > 0
    assert int((np.diff(voiced.astype(int)) == 1).sum()) == pytest.approx(shape.bursts, abs=1)
    assert len(made) / RATE == pytest.approx(
        sum(1 + shape.slowing * i for i in range(shape.bursts)) / shape.rate + shape.tail_s, rel=0.1
    )


def test_one_seed_is_one_laugh():
    voice = timbre(speech(), RATE)
    one, same, other = (
        laugh(voice, draw(rng), rng) for rng in (np.random.default_rng(s) for s in (1, 1, 2))
    )
    assert np.array_equal(one, same)
    assert len(one) != len(other) or not np.array_equal(one, other)


def test_a_whisper_gives_no_laugh():
    noise = 0.1 * np.random.default_rng(0).standard_normal(RATE)
    with pytest.raises(BadInput, match="voiced"):
        timbre(noise, RATE)
    assert Laughing(lambda audio: 1.0)("Hush.", noise, RATE, np.random.default_rng(0)) is None


# ----- its place


def clips(text: str, samples: np.ndarray, count: int = 25) -> list[Laughed]:
    put = Laughing(lambda audio: 1.0)
    made = [put(text, samples, RATE, np.random.default_rng(seed)) for seed in range(count)]
    return [clip for clip in made if clip is not None]


def test_laughs_stand_before_after_between_and_alone():
    made = clips("Wait, what?", paused())
    assert {clip.text for clip in made} == {
        "[laughter] Wait, what?", "Wait, what? [laughter]", "Wait, [laughter] what?", "[laughter]",
    }  # fmt: skip
    words = paused()
    for clip in made:
        start, end = (round(second * RATE) for second in clip.laugh)
        rest = np.concatenate([clip.samples[:start], clip.samples[end:]])
        assert np.abs(clip.samples[start:end]).max() > 0.1
        if clip.text != "[laughter]":  # nothing of the speech is lost
            assert np.abs(rest).sum() == pytest.approx(np.abs(words).sum(), rel=1e-3)
        if clip.text.startswith("Wait, ["):
            assert 1.6 < clip.laugh[0] < 1.9
        elif clip.text.startswith("["):
            assert clip.laugh[0] == pytest.approx(0.08)
        else:
            assert clip.laugh[0] > 3.3


def test_a_pause_is_used_only_where_it_is_known_which_mark_it_is():
    assert pauses("等等，什么？", paused(), RATE) == [
        (3, pytest.approx(1.65 * RATE, abs=RATE / 20))
    ]
    assert pauses("等等，什么，谁？", paused(), RATE) == []
    assert pauses("等等什么？", paused(), RATE) == []
    assert {clip.text for clip in clips("等等，什么？", paused())} >= {"等等，[laughter]什么？"}


def test_only_laughs_that_are_heard_are_kept():
    heard = iter([0.1, 0.2, 0.9, 0.9])
    put = Laughing(lambda audio: next(heard))
    assert put("Yes.", speech(), RATE, np.random.default_rng(0)) is not None
    assert not list(heard)  # the third laugh, and the clip with it
    assert Laughing(lambda audio: 0.2)("Yes.", speech(), RATE, np.random.default_rng(0)) is None


# ----- text and shards


def test_the_tag_is_a_unit_in_its_place_and_moves_nothing_else():
    english = {"lang": "en", "phonemes": "wˈAt, wˈʌt?"}
    plain = corpus_units({**english, "text": "Wait, what?"})
    for text, place in (
        ("[laughter] Wait, what?", 0), ("Wait, [laughter] what?", 2), ("Wait, what? [laughter]", 4),
        ("Wait[laughter], what?", 1),
    ):  # fmt: skip
        units = corpus_units({**english, "text": text})
        assert [unit.surface for unit in units].index("[laughter]") == place
        assert [unit for unit in units if unit.surface != "[laughter]"] == plain
    mandarin = {"lang": "zh", "phonemes": "", "pinyin": ("hao3", "ma5")}
    units = corpus_units({**mandarin, "text": "好，[laughter]吗？[laughter]"})
    assert [unit.surface for unit in units] == ["好", "，", "[laughter]", "吗", "？", "[laughter]"]
    alone = corpus_units({"lang": "zh", "text": "[laughter]", "pinyin": (), "phonemes": ""})
    assert [unit.surface for unit in alone] == ["[laughter]"]
    alone = corpus_units({"lang": "en", "text": "[laughter]", "pinyin": None, "phonemes": ""})
    assert [unit.surface for unit in alone] == ["[laughter]"]


def test_a_laugh_changes_no_split():
    for number in range(60):
        text = f"sentence {number}, it is"
        assert split_of(f"[laughter] {text}", "a|b") == split_of(text, "a|b")
    assert split_of("[laughter]", "a|b") == "train"


def corpus(folder: Path, count: int = 4) -> Path:
    folder.mkdir()
    lines: list[str] = []
    for number in range(count):
        tiny.buzz(1.4, 120.0 + 20 * number).save(folder / f"{number}.wav")
        lines.append(json.dumps({
            "file": f"{number}.wav", "lang": "zh", "speaker": "a|b", "text": "你好。",
            "pinyin": ["ni3", "hao3"], "seconds": 1.4, "style": "sad" if number == 3 else "",
        }))  # fmt: skip
    (folder / "manifest.jsonl").write_text("\n".join(lines) + "\n")
    return folder / "manifest.jsonl"


def test_clips_of_a_manifest_get_laughs_and_an_interrupted_run_goes_on(tmp_path: Path):
    source = corpus(tmp_path / "speech")
    assert add_laughs(source, tmp_path / "whole", lambda audio: 1.0, share=1.0, seed=5) == 3
    made = read_manifest(tmp_path / "whole" / "manifest.jsonl")
    assert ["[laughter]" in clip.text for clip in made] == [True, True, True, False]

    def stopped(audio: Audio) -> float:
        if (tmp_path / "again" / "clips" / "000001.flac").exists():
            raise KeyboardInterrupt
        return 1.0

    with pytest.raises(KeyboardInterrupt):
        add_laughs(source, tmp_path / "again", stopped, share=1.0, seed=5)
    with (tmp_path / "again" / "journal.jsonl").open("a") as journal:
        journal.write('{"file": "clips/0000')  # as a kill in the middle of a line leaves it
    assert add_laughs(source, tmp_path / "again", lambda audio: 1.0, share=1.0, seed=5) == 3
    assert read_manifest(tmp_path / "again" / "manifest.jsonl") == made
    one, two = (
        [sound.samples for _, sound in read_clips(tmp_path / name, made)]
        for name in ("whole", "again")
    )
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    assert add_laughs(source, tmp_path / "none", lambda audio: 0.0, share=1.0, seed=5) == 0


def test_tokens_of_a_laugh_say_no_phoneme(tmp_path: Path):
    add_laughs(corpus(tmp_path / "speech"), tmp_path / "l", lambda audio: 1.0, share=1.0, seed=0)
    encode_audio(tmp_path / "l" / "manifest.jsonl", tmp_path / "audio", workers=1)
    torch.manual_seed(0)
    tokenizer = SpeechTokenizer(tiny.TOKENIZER).eval()
    heads = TokenizerHeads(TokenizerHeadsConfig(code_dim=8, dim=16, layers=1))
    speaker = SpeakerEncoder(SpeakerConfig(hidden=32))
    sounds = Corpus(tmp_path / "audio" / "train")
    for speed, folder in ((1.0, "tokens"), (1.25, "quick")):
        encode_tokens(
            tmp_path / "audio/train", tmp_path / folder, tokenizer, heads, speaker, speed=speed
        )
        made = Corpus(tmp_path / folder)
        for index, clip in enumerate(made):
            alignment = made.array("alignment", index)
            (old,) = (i for i, other in enumerate(sounds) if other.id == clip.id)
            laughs = sounds.array("laugh", old) / speed
            inside = np.zeros(len(alignment), bool)
            if len(laughs):
                inside[round(laughs[0]) : round(laughs[1])] = True
            assert (alignment[inside] == -1).all()
            if any(phonemes for _, phonemes in clip.units):
                assert (alignment[~inside] >= 0).all()


def test_a_clip_that_is_nothing_but_a_laugh_says_no_words():
    record = Utterance("a.flac", "zh", "a|b", "你好。", 1.0, pinyin=("ni3", "hao3"), phonemes="x")
    clip = Laughed("[laughter]", np.zeros(RATE, np.float32), (0.1, 0.9))
    made = with_laugh(record, clip, 1.0)
    assert (made.text, made.pinyin, made.phonemes, made.laugh) == ("[laughter]", (), "", (0.1, 0.9))


# ----- with YAMNet: pytest -m slow (extra eval, and the packages of glmtts.judges.needs) ----------


@pytest.mark.slow
def test_half_of_the_laughs_of_nanos_voices_are_heard_as_laughs():
    from glmtts import Sampling, SpeakOptions, Synthesizer
    from glmtts.commands.data import laughter_judge

    synthesizer, heard = Synthesizer.load(device="cpu"), laughter_judge()
    found: list[float] = []
    for name in ("mei", "bo", "lin"):
        options = SpeakOptions(sampling=Sampling(seed=1))
        spoken = synthesizer.speak("今天下午我们去爬山吧。", synthesizer.voice(name), options)
        assert heard(spoken) < 0.1
        voice = timbre(spoken.samples.numpy(), RATE)
        for seed in range(8):
            rng = np.random.default_rng(seed)
            found.append(heard(Audio(torch.from_numpy(laugh(voice, draw(rng), rng)), RATE)))
    print(f"\nlaughs heard: {sum(p >= 0.1 for p in found)} of {len(found)}")
    assert sum(p >= 0.1 for p in found) >= len(found) / 2
