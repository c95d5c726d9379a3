import io
import tarfile
from pathlib import Path

import pytest
import torch

from glmtts.audio import Audio
from glmtts.data import manifest
from glmtts.data.manifest import Utterance
from glmtts.errors import BadInput

TEXTS = [f"第{number}句话，说的是不同的事情 number {number}." for number in range(4_000)]


def test_about_five_percent_of_texts_are_held_out():
    assert 0.04 < sum(map(manifest.held_out_text, TEXTS)) / len(TEXTS) < 0.06


def test_the_rule_does_not_move():
    # A change here would let held-out clips into later trainings.
    held = [number for number in range(200) if manifest.held_out_text(f"Sentence {number}.")]
    assert held == [31, 86, 111, 153, 155]


def test_near_copies_of_a_text_fall_on_the_same_side():
    held = next(text for text in TEXTS if manifest.held_out_text(text))
    for copy in (held.upper(), held.replace("，", " "), f"“{held}”!", held.replace(" ", "")):
        assert manifest.held_out_text(copy)


@pytest.mark.parametrize(
    ("speaker", "held"),
    [
        ("zm_yunxia|zm_yunxi", True),
        ("zm_yunxi|zm_yunxia", False),  # its prosody only
        ("am_fenrir*0.5+im_nicola*0.5|zm_yunxi", True),
        ("af_nova*0.5+af_sky*0.5|af_sky", True),
        ("af_nova", True),
        ("af_heart|af_nova", False),
        ("af_novara|af_sky", False),
    ],
)
def test_a_timbre_is_held_out_wherever_it_occurs(speaker: str, held: bool):
    assert manifest.held_out_speaker(speaker) is held
    text = next(text for text in TEXTS if not manifest.held_out_text(text))
    assert manifest.split_of(text, speaker) == ("valid_speaker" if held else "train")


def test_held_out_voices_cover_both_genders():
    genders = [name[1] for name in manifest.HELD_OUT_TIMBRES]
    assert genders.count("f") >= 2
    assert genders.count("m") >= 2


def test_splits_share_neither_texts_nor_timbres():
    speakers = ["af_heart|af_sky", "zf_xiaoyi|zf_xiaoyi", "jm_kumo|zm_yunxi", "bf_alice|bf_emma"]
    clips = [(text, speaker) for text in TEXTS[:300] for speaker in speakers]
    parts: dict[str, list[tuple[str, str]]] = {"train": [], "valid_text": [], "valid_speaker": []}
    for clip in clips:
        parts[manifest.split_of(*clip)].append(clip)
    assert all(parts.values())
    trained_texts, trained_speakers = (set(column) for column in zip(*parts["train"], strict=True))
    assert trained_texts.isdisjoint(text for text, _ in parts["valid_text"])
    assert trained_speakers.isdisjoint(speaker for _, speaker in parts["valid_speaker"])


def clip(**changes: object) -> Utterance:
    values = {
        "file": "000001.wav", "lang": "zh", "speaker": "a|b", "text": "你好。", "seconds": 0.1,
        "shard": "clips-00.tar", "pinyin": ("ni3", "hao3"), "phonemes": "ni↓xau↓.",
    }  # fmt: skip
    return Utterance(**{**values, **changes})  # type: ignore[arg-type]


def test_a_manifest_reads_back_as_written(tmp_path: Path):
    clips = [clip(), clip(file="b.opus", shard=None, pinyin=None, lang="en", speed=1.1)]
    manifest.write_manifest(tmp_path / "m.jsonl", clips)
    assert manifest.read_manifest(tmp_path / "m.jsonl") == clips
    assert clips[1].id == "b"


def test_a_line_cut_by_a_kill_is_dropped_and_a_broken_one_refused(tmp_path: Path):
    path = tmp_path / "m.jsonl"
    line = manifest.to_line(clip())
    path.write_text(line + line[: len(line) // 2], encoding="utf-8")
    assert manifest.read_manifest(path) == [clip()]
    path.write_text('{"file": "a"}\n' + line, encoding="utf-8")
    with pytest.raises(BadInput, match="line 1"):
        manifest.read_manifest(path)


def test_a_missing_manifest_says_how_to_make_one(tmp_path: Path):
    with pytest.raises(BadInput, match="glmtts data speak"):
        manifest.read_manifest(tmp_path / "none.jsonl")


def test_clips_are_read_from_archives_and_loose_files(tmp_path: Path):
    sound = Audio(torch.linspace(-0.5, 0.5, 2_400), 24_000)
    sound.save(tmp_path / "loose.wav")
    buffer = io.BytesIO()
    sound.save(buffer, "flac")
    with tarfile.open(tmp_path / "clips-00.tar", "w") as archive:
        entry = tarfile.TarInfo("packed.flac")
        entry.size = len(buffer.getvalue())
        archive.addfile(entry, io.BytesIO(buffer.getvalue()))
    clips = [clip(file="packed.flac"), clip(file="loose.wav", shard=None)]
    found = list(manifest.read_clips(tmp_path, clips))
    assert [one for one, _ in found] == clips
    for _, audio in found:
        torch.testing.assert_close(audio.samples, sound.samples, atol=1e-4, rtol=0)
    with pytest.raises(BadInput, match="missing"):
        list(manifest.read_clips(tmp_path, [clip(file="absent.flac")]))
