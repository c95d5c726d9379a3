import io
import re
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from glmtts.audio import Audio, AudioSpec, log_mel
from glmtts.cloning import (
    BEST_SECONDS,
    SPEECH_DBFS,
    VoiceEncoder,
    best_stretch,
    clipped,
    language_of,
    prepared,
    trimmed,
)
from glmtts.errors import BadAudio, BadText, GlmTtsError
from glmtts.vad import (
    VadOptions,
    frame_levels,
    samples_where,
    spans_of,
    speech_mask,
    widened,
)
from glmtts.voice import Turn, Voice

RATE = 24_000
SPEC = AudioSpec()


def babble(seconds: float, rate: int = RATE, level: float = 0.2, seed: int = 0) -> Tensor:
    """Syllables of a buzzing voice, 4 a second, with short dips between them."""
    time_s = np.arange(round(seconds * rate)) / rate
    pitch = 120 + 20 * np.sin(2 * np.pi * 0.7 * time_s + seed)
    phase = 2 * np.pi * np.cumsum(pitch) / rate
    voice = sum(np.sin(k * phase) / k for k in range(1, 12))
    envelope = 0.05 + 0.95 * np.abs(np.sin(np.pi * 4 * time_s))
    voice = voice * envelope
    return torch.from_numpy((level * voice / np.abs(voice).max()).astype(np.float32))


def quiet(seconds: float, rate: int = RATE, level: float = 0.0, seed: int = 0) -> Tensor:
    noise = np.random.default_rng(seed).standard_normal(round(seconds * rate)) * level
    return torch.from_numpy(noise.astype(np.float32))


def clip(*parts: Tensor, rate: int = RATE) -> Audio:
    return Audio(torch.cat(parts), rate)


def rms_db(samples: Tensor) -> float:
    return 10 * float(torch.log10(samples.double().square().mean()))


class CountingTokenizer:
    """One token for each `samples_per_token`, numbered."""

    def encode(self, audio: Audio) -> list[int]:
        assert audio.sample_rate == SPEC.sample_rate
        return list(range(len(audio.samples) // SPEC.samples_per_token))


class MeanSpeaker:
    def embed(self, audio: Audio) -> Tensor:
        vector = torch.stack([audio.samples.abs().mean(), audio.samples.std()])
        return vector / vector.norm()


@pytest.fixture
def encoder() -> VoiceEncoder:
    return VoiceEncoder(CountingTokenizer(), MeanSpeaker(), lambda t: [ord(c) for c in t], SPEC)


# --- where somebody speaks -----------------------------------------------------------------------


@pytest.mark.parametrize("noise", [0.0, 0.0001, 0.003, 0.02])
@pytest.mark.parametrize("gain", [0.1, 1.0, 4.0])
def test_speech_is_found_over_any_noise_floor_and_gain(noise: float, gain: float) -> None:
    sound = clip(quiet(1.0), babble(2.0), quiet(1.5)).samples + quiet(4.5, level=noise)
    spans = spans_of(speech_mask(Audio(sound * gain, RATE)))
    assert len(spans) == 1
    first, last = spans[0]
    assert first / 100 == pytest.approx(1.0, abs=0.06)
    assert last / 100 == pytest.approx(3.0, abs=0.06)


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 44_100, 48_000])
def test_the_mask_is_in_hundredths_of_a_second_at_every_rate(rate: int) -> None:
    sound = clip(quiet(0.5, rate), babble(1.0, rate), quiet(0.5, rate), rate=rate)
    (first, last), *rest = spans_of(speech_mask(sound))
    assert not rest
    assert (first / 100, last / 100) == pytest.approx((0.5, 1.5), abs=0.06)


def test_a_click_is_not_speech_and_a_short_pause_is() -> None:
    click = torch.full((240,), 0.9)
    sound = clip(
        quiet(1, level=1e-3), click, quiet(1, level=1e-3),
        babble(1), quiet(0.12, level=1e-3), babble(1), quiet(1, level=1e-3),
    )  # fmt: skip
    spans = spans_of(speech_mask(sound))
    assert len(spans) == 1
    assert spans[0][0] / 100 == pytest.approx(2.01, abs=0.06)


def test_long_pauses_split_speech() -> None:
    sound = clip(babble(1), quiet(0.5), babble(1))
    assert len(spans_of(speech_mask(sound))) == 2
    assert len(spans_of(speech_mask(sound, VadOptions(max_gap=0.6)))) == 1


def test_a_constant_offset_is_not_sound() -> None:
    sound = clip(quiet(0.5), babble(1), quiet(0.5))
    shifted = replace(sound, samples=sound.samples + 0.4)
    assert (speech_mask(shifted) == speech_mask(sound)).mean() > 0.97
    assert not speech_mask(Audio(torch.full((RATE,), 0.5), RATE)).any()


def test_a_second_of_speech_in_ten_minutes_is_found() -> None:
    sound = clip(quiet(300, 8_000, 1e-3), babble(1, 8_000), quiet(299, 8_000, 1e-3), rate=8_000)
    started = time.perf_counter()
    ((first, last),) = spans_of(speech_mask(sound))
    assert time.perf_counter() - started < 20.0
    assert (first / 100, last / 100) == pytest.approx((300, 301), abs=0.06)


def test_sounds_shorter_than_a_frame_have_empty_masks() -> None:
    for count in (0, 1, 239):
        assert len(speech_mask(Audio(torch.zeros(count), RATE))) == 0
    assert len(frame_levels(Audio(torch.zeros(240), RATE))) == 1


def test_masks_widen_and_select() -> None:
    mask = np.array([0, 0, 0, 1, 0, 0, 0, 1], bool)
    assert widened(mask, 0.01, 0.02).tolist() == [False, False, *[True] * 6]
    sound = Audio(torch.arange(80.0), 1_000)
    assert samples_where(sound, mask).tolist() == [*range(30, 40), *range(70, 80)]


# --- cleaning a recording ------------------------------------------------------------------------


def test_silence_at_the_ends_is_cut_to_the_margins_of_the_corpus() -> None:
    out = trimmed(clip(quiet(1.5, level=1e-4), babble(2), quiet(3, level=1e-4)))
    assert out.seconds == pytest.approx(0.08 + 2.0 + 0.15, abs=0.08)


@pytest.mark.parametrize("level", [0.02, 0.2, 0.9])
@pytest.mark.parametrize("offset", [0.0, 0.05])
def test_speech_gets_the_training_loudness_without_offset(level: float, offset: float) -> None:
    sound = clip(quiet(0.5), babble(3, level=level), quiet(0.5))
    out = prepared(replace(sound, samples=sound.samples + offset), SPEC)
    speech = torch.from_numpy(samples_where(out, speech_mask(out)))
    assert rms_db(speech) == pytest.approx(SPEECH_DBFS, abs=0.5)
    assert abs(float(speech.mean())) < 2e-3


def test_a_lone_peak_is_not_raised_over_full_scale() -> None:
    sound = clip(quiet(0.3), babble(2, level=0.01), quiet(0.3))
    sound.samples[RATE] = 0.5
    assert float(prepared(sound, SPEC).samples.abs().max()) <= 0.951


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 24_000, 44_100, 48_000])
def test_every_rate_becomes_whole_tokens_at_the_rate_of_the_model(rate: int) -> None:
    out = prepared(clip(quiet(0.3, rate), babble(2.013, rate), quiet(0.3, rate), rate=rate), SPEC)
    assert out.sample_rate == 24_000
    assert len(out.samples) % SPEC.samples_per_token == 0
    assert out.seconds == pytest.approx(2.24, abs=0.1)
    assert torch.isfinite(out.samples).all()


def test_the_recording_itself_is_not_changed() -> None:
    sound = clip(quiet(0.5), babble(2), quiet(0.5))
    before = sound.samples.clone()
    prepared(sound, SPEC)
    assert torch.equal(sound.samples, before)


# --- refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("audio", "says"),
    [
        (clip(torch.zeros(0)), "empty"),
        (clip(torch.zeros(3 * RATE)), "silent"),
        (clip(quiet(3, level=2e-4)), "silent"),
        (clip(torch.full((3 * RATE,), 0.7)), "silent"),
        (clip(torch.full((3 * RATE,), float("nan"))), "not numbers"),
        (clip(babble(2), torch.tensor([float("inf")])), "not numbers"),
        (clip(babble(0.2)), r"0\.[12]\d s of speech"),
        (clip(quiet(4, level=1e-4), babble(0.6), quiet(4, level=1e-4)), r"0\.[56]\d s of speech"),
        (clip(babble(31)), r"31\.0 s long, at most 30 s.*best 10 s"),
        (clip((babble(3) * 20).clamp(-1, 1)), "clipped"),
        (clip((babble(3, level=1.0) * 3).clamp(-0.9999, 0.9999)), "clipped"),
    ],
)
def test_unfit_recordings_are_refused_with_the_reason(
    encoder: VoiceEncoder, audio: Audio, says: str
) -> None:
    with pytest.raises(BadAudio, match=says):
        encoder(audio, "hello")


def test_a_clipping_sine_is_refused_and_a_loud_one_is_not() -> None:
    wave = torch.sin(2 * torch.pi * 220 * torch.arange(3 * RATE) / RATE)
    assert float(clipped(Audio(wave * 0.98, RATE)).mean()) == 0.0
    assert float(clipped(Audio((wave * 1.5).clamp(-1, 1), RATE)).mean()) > 0.3
    with pytest.raises(BadAudio, match="lower level"):
        prepared(Audio((wave * 1.5).clamp(-1, 1), RATE), SPEC)


def test_long_silence_around_a_short_sentence_is_no_long_recording(encoder: VoiceEncoder) -> None:
    sound = clip(quiet(20, level=1e-4), babble(3), quiet(20, level=1e-4))
    assert encoder(sound, "hi").mel.shape[0] / SPEC.frames_per_second == pytest.approx(3.2, abs=0.1)


@pytest.mark.parametrize("content", [b"", b"hello, I am a text file\n" * 50, b"RIFF\x00\x00"])
def test_files_that_are_no_sound_are_refused(content: bytes, tmp_path) -> None:
    path = tmp_path / "clip.wav"
    path.write_bytes(content)
    with pytest.raises(BadAudio, match=re.escape("clip.wav")):
        Audio.load(path)
    with pytest.raises(BadAudio):
        Audio.load(io.BytesIO(content))


# --- recordings that are too long ----------------------------------------------------------------


def test_the_best_stretch_holds_the_most_speech_between_pauses() -> None:
    sound = clip(
        babble(2), quiet(3, level=1e-4), babble(4), quiet(0.4, level=1e-4), babble(4),
        quiet(6, level=1e-4), babble(3), quiet(20, level=1e-4),
    )  # fmt: skip
    best = best_stretch(sound, 10)
    assert best.seconds == pytest.approx(8.4 + 0.23, abs=0.1)
    assert speech_mask(best).sum() / 100 == pytest.approx(8.0, abs=0.15)


def test_the_best_stretch_avoids_clipping() -> None:
    loud = (babble(9) * 20).clamp(-1, 1)
    sound = clip(loud, quiet(1), babble(7, level=0.5), quiet(30))
    assert not clipped(best_stretch(sound, 10)).any()


def test_speech_without_a_pause_is_cut_at_the_limit() -> None:
    best = best_stretch(clip(babble(40)), 10)
    assert 9.5 < best.seconds <= 10.0


def test_ten_minutes_are_refused_or_cut_quickly(encoder: VoiceEncoder) -> None:
    minute = torch.cat([babble(25, 16_000), quiet(5, 16_000, 1e-4)] * 2)
    sound = clip(*[minute] * 10, rate=16_000)
    started = time.perf_counter()
    with pytest.raises(BadAudio, match=r"595\.\d s long"):
        encoder(sound)
    voice = encoder(sound, trim_long=True)
    assert time.perf_counter() - started < 30.0
    assert 9.0 < voice.mel.shape[0] / SPEC.frames_per_second <= BEST_SECONDS


def test_a_transcript_of_more_than_the_best_stretch_is_refused(encoder: VoiceEncoder) -> None:
    with pytest.raises(BadAudio, match="transcript says more"):
        encoder(clip(babble(35)), "all of it", trim_long=True)
    assert encoder(clip(babble(5)), "all of it", trim_long=True).transcript == "all of it"


# --- a voice -------------------------------------------------------------------------------------


def test_a_voice_holds_what_every_stage_needs(encoder: VoiceEncoder, tmp_path) -> None:
    sound = clip(quiet(0.5), babble(3.017), quiet(0.5))
    voice = encoder(sound, " 你好 ", name="小美", gender="female")
    assert (voice.name, voice.transcript, voice.language) == ("小美", "你好", "zh")
    assert voice.gender == "female"
    assert voice.mel.shape == (len(voice.speech_tokens) * SPEC.frames_per_token, SPEC.n_mels)
    assert voice.prompt.own == 1
    assert voice.prompt.turns == (Turn((ord("你"), ord("好")), voice.speech_tokens),)
    reference = prepared(sound, SPEC)
    assert torch.equal(voice.mel, log_mel(reference.samples, SPEC))
    assert torch.equal(voice.speaker, MeanSpeaker().embed(reference))
    voice.save(tmp_path / "v.safetensors")
    assert Voice.load(tmp_path / "v.safetensors").prompt == voice.prompt


@pytest.mark.parametrize("transcript", [None, "", "  \n"])
def test_without_a_transcript_only_the_flow_knows_the_voice(
    encoder: VoiceEncoder, transcript: str | None
) -> None:
    voice = encoder(clip(babble(2)), transcript, language="en")
    assert voice.prompt.turns == ()
    assert voice.prompt.own == 0
    assert voice.transcript == ""
    assert voice.language == "en"
    assert len(voice.speech_tokens) > 40


def test_a_transcript_of_nothing_speakable_is_refused(encoder: VoiceEncoder) -> None:
    mute = replace(encoder, text_ids=lambda _: [])
    with pytest.raises(BadText, match="nothing that can be spoken"):
        mute(clip(babble(2)), "…")


def test_loudness_rate_and_channels_do_not_change_the_voice(
    encoder: VoiceEncoder, tmp_path
) -> None:
    import soundfile

    sound = clip(quiet(0.5), babble(3), quiet(0.5))
    wide = sound.resampled(44_100).samples.numpy() * 0.3
    soundfile.write(tmp_path / "stereo.wav", np.stack([wide, wide], axis=1), 44_100)
    ours, theirs = encoder(sound), encoder(Audio.load(tmp_path / "stereo.wav"))
    assert len(ours.speech_tokens) == len(theirs.speech_tokens)
    # The first and last frames lie in digital silence here and in dither there.
    close = (ours.mel - theirs.mel)[10:-10, :40].abs()
    assert float(close.median()) < 0.1


def test_a_tokenizer_that_gives_one_token_less_or_more_still_fits(encoder: VoiceEncoder) -> None:
    class OffByOne(CountingTokenizer):
        def __init__(self, change: int) -> None:
            self.change = change

        def encode(self, audio: Audio) -> list[int]:
            count = len(super().encode(audio))
            return list(range(count + self.change))

    for change in (-1, 1):
        voice = replace(encoder, speech_tokenizer=OffByOne(change))(clip(babble(2)))
        assert voice.mel.shape[0] == len(voice.speech_tokens) * SPEC.frames_per_token


def test_every_refusal_is_an_error_of_the_package(encoder: VoiceEncoder) -> None:
    with pytest.raises(GlmTtsError):
        encoder(clip(torch.zeros(10)))


def test_languages_are_told_by_their_letters() -> None:
    assert [language_of(t) for t in ("你好 OK", "hello", "123", "")] == ["zh", "en", "", ""]
