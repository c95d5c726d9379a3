"""Each step of data preparation on its own, on speech of the bundled voices."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from glmtts import Audio, checkpoint, hub
from glmtts.cloning import trimmed
from glmtts.data import decode, pauses, plugins
from glmtts.data.agreement import error_rate, keys, phonemes_of, sounds, split, units_of
from glmtts.data.cut import MIXED, consistency, cut, taken
from glmtts.data.diarize import labels
from glmtts.data.ear import Ear
from glmtts.data.quality import (
    Limits,
    Quality,
    bandwidth,
    fault,
    levelled,
    loudness,
    measure,
    noisy,
    snr,
)
from glmtts.data.raw import recordings
from glmtts.errors import BadAudio, BadInput
from glmtts.speaker import SpeakerEncoder
from glmtts.text.units import Unit
from tests import recordings as made


@pytest.fixture(scope="module")
def speaker() -> SpeakerEncoder:
    return checkpoint.load(SpeakerEncoder, hub.resolve("glmtts-nano") / "speaker")


@pytest.fixture(scope="module")
def ear() -> Ear:
    return Ear()


# ----- finding recordings -------------------------------------------------------------------------


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")


def test_transcripts_are_found_beside_their_recordings_and_in_tables(tmp_path: Path) -> None:
    touch(
        tmp_path, "a/one.wav", "b/two.FLAC", "wavs/LJ1.wav", "three.mp3", ".hidden/x.wav", "x.pdf"
    )
    (tmp_path / "a" / "one.txt").write_text("First\nline.")
    (tmp_path / "b" / "metadata.csv").write_text(
        'path,sentence,client_id,locale\ntwo.FLAC,"Yes, two.",bob,en-US\n'
    )
    (tmp_path / "metadata.csv").write_text('LJ1|He said "no|He said "no\n')
    found = {r.file: r for r in recordings(tmp_path)}
    assert sorted(found) == ["a/one.wav", "b/two.FLAC", "three.mp3", "wavs/LJ1.wav"]
    assert found["a/one.wav"].transcript == "First line."
    two = found["b/two.FLAC"]
    assert (two.transcript, two.speaker, two.language) == ("Yes, two.", "bob", "en")
    assert found["wavs/LJ1.wav"].transcript == 'He said "no'
    assert found["three.mp3"].transcript == ""
    assert len({r.key for r in found.values()}) == 4


def test_a_folder_without_sound_or_a_table_without_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="not a folder"):
        recordings(tmp_path / "none")
    with pytest.raises(BadInput, match="No recordings"):
        recordings(tmp_path)
    touch(tmp_path, "a.wav")
    (tmp_path / "metadata.jsonl").write_text('{"text": "hello"}\n')
    with pytest.raises(BadInput, match="line 1: no file is named"):
        recordings(tmp_path)


# ----- decoding -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("suffix", "rate"), [("mp3", 44_100), ("flac", 44_100), ("opus", 48_000)])
def test_stereo_of_any_rate_becomes_mono_of_the_model(
    tmp_path: Path, suffix: str, rate: int
) -> None:
    sound = made.clip("anna")[0]
    wide = sound.resampled(rate).samples.numpy()
    path = tmp_path / f"a.{suffix}"
    kind = {"mp3": ("MP3", None), "flac": ("FLAC", None), "opus": ("OGG", "OPUS")}[suffix]
    soundfile.write(path, np.stack([wide, wide], 1), rate, format=kind[0], subtype=kind[1])
    assert decode.probe(path).sample_rate == rate
    assert decode.probe(path).channels == 2
    (only,) = decode.stretches(path, 24_000)
    assert only.audio.seconds == pytest.approx(sound.seconds, abs=0.06)
    same = np.corrcoef(only.audio.samples[: len(sound.samples)].numpy(), sound.samples.numpy())
    assert same[0, 1] > (0.9 if suffix == "flac" else 0.3)  # lossy ones delay a little


def test_what_libsndfile_does_not_know_is_read_all_the_same(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    sound = made.clip("tom")[0]
    path = tmp_path / "a.m4a"
    pcm = (sound.samples.clamp(-1, 1).numpy() * 32767).astype(np.int16)[None]
    with av.open(str(path), "w") as file:
        stream = file.add_stream("aac", rate=24_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(pcm, format="s16", layout="mono")
        frame.rate = 24_000
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            file.mux(packet)
    assert decode.probe(path).sample_rate == 24_000
    (only,) = decode.stretches(path, 24_000)
    assert only.audio.seconds == pytest.approx(sound.seconds, abs=0.15)
    assert float(only.audio.samples.std()) == pytest.approx(float(sound.samples.std()), rel=0.1)


def test_long_recordings_come_in_stretches_that_end_in_silence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decode, "STRETCH_SECONDS", 5.0)
    monkeypatch.setattr(decode, "SEARCH_SECONDS", 3.0)
    monkeypatch.setattr(decode, "BLOCK", 10_000)
    voice, pause = made.clip("anna")[0], made.silence(1.0)
    whole = Audio.concat([part for _ in range(5) for part in (voice, pause)])
    whole.save(tmp_path / "a.wav")
    parts = list(decode.stretches(tmp_path / "a.wav", 24_000))
    assert len(parts) > 2
    joined = torch.cat([part.audio.samples for part in parts])
    assert torch.allclose(joined, Audio.load(tmp_path / "a.wav").samples)
    assert all(len(part.audio.samples) <= 8.5 * 24_000 for part in parts)
    for before, after in pairwise(parts):
        assert before.start + before.audio.seconds == pytest.approx(after.start)
        assert float(before.audio.samples[-2_400:].abs().max()) < 0.02


@pytest.mark.parametrize("content", [b"", b"nonsense" * 500, None])
def test_a_damaged_file_is_an_error_that_names_it(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "broken.flac"
    made.clip("anna")[0].save(path)
    data = path.read_bytes()
    path.write_bytes(content if content is not None else data[: len(data) // 2])
    with pytest.raises(BadAudio, match=r"broken\.flac"):
        list(decode.stretches(path, 24_000))


# ----- cutting ------------------------------------------------------------------------------------


def test_clips_are_cut_at_pauses_and_lose_no_speech() -> None:
    voice = made.clip("anna")[0]
    sound = Audio.concat([part for _ in range(4) for part in (voice, made.silence(1.5))])
    spans = cut(sound, 20.0)
    assert len(spans) == 4
    for number, span in enumerate(spans):
        assert number * (voice.seconds + 1.5) <= span.start
        assert span.end <= number * (voice.seconds + 1.5) + voice.seconds + 0.05
        assert span.seconds > 0.85 * voice.seconds
        assert taken(sound, span, margin=True).seconds == pytest.approx(
            span.seconds + 0.23, abs=0.1
        )


def test_speech_without_a_pause_is_cut_all_the_same() -> None:
    voice = made.clip("tom")[0]
    sound = Audio.concat([voice] * 4)
    spans = cut(sound, 6.0)
    assert max(taken(sound, span, margin=True).seconds for span in spans) <= 6.0
    assert sum(span.seconds for span in spans) > 0.8 * sound.seconds
    assert [span.start for span in spans] == sorted(span.start for span in spans)


def test_a_clip_ends_where_someone_else_begins(speaker: SpeakerEncoder) -> None:
    anna, tom = (trimmed(made.clip(name)[0]) for name in ("anna", "tom"))
    sound = Audio.concat([anna, tom])
    assert len(cut(sound, 20.0)) < len(cut(sound, 20.0, speaker.embed))
    border = anna.seconds
    for span in cut(sound, 20.0, speaker.embed):
        assert span.end <= border + 0.05 or span.start >= border
    assert len(cut(sound, 20.0, speaker.embed, whole=True)) == 1


def test_two_people_in_one_clip_are_heard(speaker: SpeakerEncoder) -> None:
    anna, tom = made.clip("anna")[0], made.clip("tom")[0]
    assert consistency(anna, speaker.embed) > MIXED
    assert consistency(Audio.concat([anna, tom]), speaker.embed) < MIXED


# ----- speakers -----------------------------------------------------------------------------------


def test_clips_of_one_voice_get_one_label_and_the_longest_speaker_is_first(
    speaker: SpeakerEncoder,
) -> None:
    parts: list[tuple[str, Audio]] = []
    for name in ("tom", "anna"):
        sound = made.clip(name)[0]
        half = len(sound.samples) // 2
        parts += [(name, Audio(sound.samples[:half], 24_000)), (name, sound)]
    parts.append(("anna", made.noisy(made.clip("anna")[0], 25.0)))
    vectors = [speaker.embed(sound).tolist() for _, sound in parts]
    found = labels(vectors, [sound.seconds for _, sound in parts])
    assert found == [1, 1, 0, 0, 0]
    assert labels([], []) == []
    assert labels(vectors[:1], [1.0]) == [0]


# ----- quality ------------------------------------------------------------------------------------


def test_each_defect_is_named() -> None:
    good, limits = made.clip("anna")[0], Limits()

    def found(audio: Audio, rate: int = 24_000) -> str:
        return fault(measure(audio, rate), audio.seconds, limits)

    assert found(good) == ""
    assert found(made.noisy(good, 10.0)) == "noise or music"
    assert found(made.with_music(good, 6.0)) == "noise or music"
    assert found(made.clipped(good)) == "clipped"
    assert found(made.telephone(good)) == "narrow band"
    assert found(good, 8_000) == "narrow band"
    assert found(Audio(good.samples[:12_000], 24_000)) == "too short"


def test_a_suspicious_snr_is_forgiven_where_the_clip_sounds_clean() -> None:
    limits = Limits()
    suspicious, sure = Quality(15.0, 0.0, 8_000.0), Quality(11.0, 0.0, 8_000.0)
    assert fault(suspicious, 3.0, limits) == "noise or music"
    assert fault(suspicious, 3.0, limits, judged=True) == ""
    assert fault(sure, 3.0, limits, judged=True) == "noise or music"
    music = made.with_music(made.clip("anna")[0], 14.0)
    assert snr(music) < limits.snr_db
    assert noisy(music, 3.5, limits)
    assert not noisy(music, 4.2, limits)
    assert not noisy(made.clip("anna")[0], 3.5, limits)


def test_snr_and_bandwidth_are_what_was_put_in() -> None:
    good = made.clip("tom")[0]
    quiet = made.noisy(good, 24.0)
    assert snr(quiet) == pytest.approx(24.0, abs=3.0)
    assert snr(made.noisy(good, 12.0)) == pytest.approx(12.0, abs=3.0)
    assert bandwidth(good.resampled(16_000).resampled(24_000)) == pytest.approx(7_800, abs=400)
    assert bandwidth(made.telephone(good)) == pytest.approx(3_900, abs=300)


def test_loudness_is_set_without_clipping() -> None:
    good = made.clip("anna")[0]
    for gain in (0.05, 1.0):
        level = levelled(Audio(good.samples * gain, 24_000), -24.0)
        assert loudness(level) == pytest.approx(-24.0, abs=0.2)
    assert float(levelled(good, -3.0).samples.abs().max()) <= 0.951
    assert not levelled(made.silence(1.0), -24.0).samples.any()
    short = Audio(good.samples[4_800:9_600], 24_000)
    assert np.isfinite(loudness(short))


# ----- what is said -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["anna", "tom", "mei", "lin"])
def test_the_ear_confirms_a_true_transcript_and_no_other(ear: Ear, name: str) -> None:
    audio, text = made.clip(name)
    heard = ear.hear(audio)
    phonemes = phonemes_of(units_of(text))
    assert error_rate(sounds(phonemes), sounds(heard.phonemes())) < 0.3
    cut_off = phonemes[: len(phonemes) * 2 // 3]
    assert error_rate(sounds(cut_off), sounds(heard.phonemes())) > 0.35
    other = phonemes_of(units_of(made.clip("emma" if name == "lin" else "lin")[1]))
    assert error_rate(sounds(other), sounds(heard.phonemes())) > 0.6
    assert heard.misread(phonemes) < 2.0
    assert heard.misread(other) > 3 * heard.misread(phonemes)
    alignment = heard.align(phonemes)
    assert alignment[0] == 0
    assert alignment[-1] == len(phonemes) - 1
    assert (np.diff(alignment) >= 0).all()


def test_homophones_and_written_numbers_are_no_errors() -> None:
    assert keys(units_of("他有20个。")) == keys(units_of("她有二十个"))
    assert keys(units_of("Seas, 5 trees!")) == keys(units_of("sees five trees"))
    assert error_rate(["a", "b"], ["a"]) == 0.5
    assert error_rate([], ["a"]) == 1.0


def test_a_long_transcript_is_divided_among_clips() -> None:
    text = units_of("One two three, four five six. Seven eight nine ten.")
    heard = [units_of("one two tree"), units_of("four five six seven"), units_of("nine ten")]
    parts = split(text, heard)
    assert [pauses.spelled(part) for part in parts] == [
        "One two three,", "four five six. Seven eight", "nine ten.",
    ]  # fmt: skip
    assert [unit for part in parts for unit in part] == text
    assert split(text, [[], heard[0]]) == [[], text]


def test_a_comma_is_written_where_the_speaker_paused(ear: Ear) -> None:
    audio, text = made.clip("tom")
    units = [unit for unit in units_of(text) if unit.phonemes]
    alignment = ear.hear(audio).align(phonemes_of(units))
    sizes = np.cumsum([len(unit.phonemes) for unit in units])
    middle = len(units) // 2
    at = int(np.flatnonzero(alignment >= sizes[middle - 1])[0]) * 960
    parts = (audio.samples[:at], torch.zeros(12_000), audio.samples[at:])
    spoken = Audio(torch.cat(parts), 24_000)
    found = pauses.gaps(spoken, units, ear.hear(spoken).align(phonemes_of(units)))
    assert len(found) == len(units) - 1
    assert int(np.argmax(found)) == middle - 1
    assert max(found) > 0.4
    fixed = pauses.repaired(units, found, 0.4, remove=False)  # tom himself pauses for 0.32
    assert fixed[middle] == Unit(",")
    assert [unit for unit in fixed if unit.phonemes] == units


def test_commas_of_a_recogniser_go_where_nobody_paused() -> None:
    units = units_of("one, two, three.")
    assert pauses.repaired(units, [0.0, 0.5], 0.3, remove=True) == units_of("one two, three.")
    assert pauses.repaired(units, [0.0, 0.5], 0.3, remove=False) == units
    assert pauses.repaired(units, [], 0.3, remove=True) == units
    assert (
        pauses.repaired(units_of("我好你好"), [0.0, 0.5, 0.1], 0.3, remove=True)[2].surface == "，"
    )
    assert pauses.spelled(units_of("Yes, I'm OK, world.")) == "Yes, I'm OK, world."
    assert pauses.spelled(units_of("你好 big world，我好。")) == "你好big world，我好。"


def test_the_pause_threshold_follows_the_speaker() -> None:
    quick, slow = [0.0] * 40 + [0.08, 0.1], [0.0, 0.1, 0.2, 0.15] * 10
    assert pauses.LEAST <= pauses.threshold(quick) < pauses.threshold(slow) <= pauses.MOST
    assert pauses.threshold([]) == pauses.MOST


# ----- engines of others --------------------------------------------------------------------------


def test_a_missing_engine_names_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(plugins, "import_module", absent)
    with pytest.raises(plugins.MissingPackage, match="pip install pyrnnoise"):
        plugins.cleaner("denoise", "rnnoise")
    with pytest.raises(plugins.MissingPackage, match="pip install demucs"):
        plugins.cleaner("separate", "demucs")
    with pytest.raises(BadInput, match="Known: rnnoise, noisereduce"):
        plugins.cleaner("denoise", "magic")
    assert plugins.cleaner("denoise", "") is None
