"""Text to waveform, hop by hop, on a tiny random model: read this after synthesizer.py."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from glmtts.audio import Audio
from glmtts.errors import BadAudio, BadInput, BadText, CheckpointError, UnknownVoice
from glmtts.flow import FlowOptions
from glmtts.options import Pace, SpeakOptions
from glmtts.sampling import Sampling
from glmtts.synthesizer import REST_TOKENS, Synthesizer, stretched
from glmtts.text_reader import TextReader
from glmtts.voice import Prompt, Turn
from tests import tiny

QUICK = SpeakOptions(sampling=Sampling(seed=1, retries=0), flow=FlowOptions(steps=2))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.build(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def synth(folder: Path) -> Synthesizer:
    return Synthesizer.load(folder, device="cpu", voices=folder / "stored")


def test_every_hop_has_the_shape_and_rate_of_the_spec(synth: Synthesizer) -> None:
    spec, voice = synth.manifest.audio, synth.voice("mei")
    (sentence,) = synth.sentences("你好，世界。")
    assert sentence == "你好，世界。"
    ids = TextReader(synth.text_tokenizer, phonemes=True).ids(sentence)
    assert len(ids) == 10  # N I3 H AO3 ， SH III4 J IE4 。
    tokens, reason = synth.lm.generate_checked(ids, voice.prompt, QUICK.sampling)
    assert reason in ("stop", "length", "repetition", "silence")
    mel = synth.flow.sample(tokens, voice, QUICK.flow)
    assert mel.shape == (len(tokens) * spec.frames_per_token, spec.n_mels)
    wave = synth.vocoder.decode(mel)
    assert wave.shape == (len(tokens) * spec.samples_per_token,)
    assert spec.samples_per_token == 960
    assert torch.isfinite(wave).all()


def test_speak_is_stream_joined(synth: Synthesizer) -> None:
    text = "你好，世界你好世界。你好你好世界，世界！"
    pieces = list(synth.stream(text, options=QUICK))
    assert len(pieces) == len(synth.sentences(text)) == 2
    whole = synth.speak(text, options=QUICK)
    assert torch.equal(whole.samples, torch.cat([piece.samples for piece in pieces]))
    assert whole.finish_reason is not None


def test_the_same_seed_says_the_same_and_another_does_not(synth: Synthesizer) -> None:
    first, again = synth.speak("你好世界", options=QUICK), synth.speak("你好世界", options=QUICK)
    assert torch.equal(first.samples, again.samples)
    other = replace(QUICK, sampling=replace(QUICK.sampling, seed=2))
    assert not torch.equal(first.samples, synth.speak("你好世界", options=other).samples)


def test_a_growing_pace_gives_sound_early_and_no_more_than_the_budget(synth: Synthesizer) -> None:
    options = replace(QUICK, pace=Pace.growing(4, 8))
    pieces = list(synth.stream("你好世界你好世界你好世界你好世界", options=options))
    assert len(pieces) > 1
    assert pieces[0].finish_reason is None
    assert pieces[-1].finish_reason is not None
    ids = len(TextReader(synth.text_tokenizer, phonemes=True).ids("你好世界" * 4 + "。"))
    longest = max(25, 3 * ids) * 960 / 24_000
    assert sum(piece.seconds for piece in pieces) <= longest


def test_cutting_tokens_into_blocks_loses_none() -> None:
    blocks = list(Pace.growing(2, 3).cut(range(9)))
    assert blocks == [([0, 1], False), ([2, 3, 4], False), ([5, 6, 7], False), ([8], True)]
    assert list(Pace.whole_sentence().cut(range(3))) == [([0, 1, 2], True)]


def test_speed_changes_the_length_alone(synth: Synthesizer) -> None:
    normal = synth.speak("你好世界", options=QUICK)
    fast = synth.speak("你好世界", options=replace(QUICK, speed=2.0))
    assert fast.seconds == pytest.approx(normal.seconds / 2, abs=0.03)
    mel = torch.arange(10.0)[:, None].expand(10, 3)
    assert torch.equal(stretched(mel, 1.0), mel)
    with pytest.raises(BadInput, match=r"0\.25 to 4"):
        SpeakOptions(speed=0.0)


def test_closing_the_iterator_stops_the_work(synth: Synthesizer) -> None:
    stream = synth.stream("你好。世界你好世界。" * 20, options=QUICK)
    assert isinstance(stream, Iterator)
    next(stream)
    stream.close()  # pyright: ignore[reportAttributeAccessIssue]
    assert next(stream, None) is None


@pytest.mark.parametrize("text", ["", "   \n", "🙂🙂", "。。。！？", "\x00\x07"])
def test_what_cannot_be_spoken_is_refused(synth: Synthesizer, text: str) -> None:
    with pytest.raises(BadText, match="can be spoken"):
        synth.speak(text, options=QUICK)


def test_a_sentence_that_no_dictionary_reads_does_not_stop_the_others(
    synth: Synthesizer, caplog: pytest.LogCaptureFixture
) -> None:
    unread = "兙㐂兙㐂兙㐂。"  # characters without a reading
    with pytest.raises(BadText):
        synth.speak(unread, options=QUICK)
    text = "你好世界你好世界。" + unread
    assert len(synth.sentences(text)) == 2
    assert len(list(synth.stream(text, options=QUICK))) == 1
    assert "cannot be read" in caplog.text


@pytest.mark.parametrize("text", ["啊", "a", "7", "31415926", "你好 hello 世界 world", "NASA🙂好"])
def test_odd_texts_are_spoken_within_their_budget(synth: Synthesizer, text: str) -> None:
    audio = synth.speak(text, options=QUICK)
    assert 0 < audio.seconds <= 10


def test_a_voice_is_a_name_a_file_or_a_sound(synth: Synthesizer, tmp_path: Path) -> None:
    assert synth.voice("mei").transcript == "你好。"
    path = tmp_path / "clip.wav"
    tiny.buzz(3.0).save(path)
    cloned = synth.voice(path, "你好世界。")
    assert cloned.prompt.own == 1
    assert len(cloned.speech_tokens) * 2 == len(cloned.mel)
    assert synth.voice(str(path)).prompt == Prompt()
    assert synth.voice(tiny.buzz(2.0)).speaker.norm() == pytest.approx(1.0, abs=1e-4)
    with pytest.raises(UnknownVoice, match="mei"):
        synth.voice("nobody")
    with pytest.raises(BadAudio, match=r"nothing\.wav"):
        synth.voice(tmp_path / "nothing.wav")


def test_the_default_voice_speaks_the_language_of_the_text(synth: Synthesizer) -> None:
    assert synth.default_voice("你好 hello").name == "mei"
    assert synth.default_voice("hello").name == "tom"


def test_numbers_alone_are_read_in_the_language_of_the_voice(synth: Synthesizer) -> None:
    for voice, read in (("tom", "three, six, nine."), ("mei", "三，六，九。")):
        assert synth.sentences("3, 6, 9.", voice=synth.voice(voice)) == [read]
    assert synth.sentences("3, 6, 9.") == ["三，六，九。"]
    assert synth.default_voice("3, 6, 9.").name == "mei"
    assert synth.default_voice("2 + 2 = 4.").name == "tom"  # read as English, always
    assert synth.default_voice("...").name == "tom"
    assert synth.sentences("Wait 5", voice=synth.voice("mei")) == ["Wait five"]
    for voice, text in (("tom", "3, 6.\n\n"), (None, "Three, six.\n\n")):
        pieces = synth.pieces(iter([text, "9."]), voice and synth.voice(voice), QUICK)
        spoken = [piece.block.sentence.text for piece in pieces if piece.block.last]
        assert [line.lower() for line in spoken] == ["three, six.", "nine."]


def test_a_long_or_foreign_clip_is_kept_from_the_language_model(folder: Path) -> None:
    synth = Synthesizer.load(folder, device="cpu", voices=folder / "stored")
    mei = synth.voice("mei")
    synth.manifest = replace(synth.manifest, foreign_prompts=False)
    assert synth.audible(mei.prompt, mei, "你好") == mei.prompt
    assert synth.audible(mei.prompt, mei, "hello") == Prompt()
    long = Prompt((Turn((1,), (1,) * 101),), own=1)
    assert synth.audible(long, mei, "你好") == Prompt()
    synth.lm.config = replace(synth.lm.config, silence_ids=(30, 31))
    short = Prompt((Turn((1,), (1, 31, 2)),), own=1)
    rested = Prompt((Turn((1,), (1, 31, 2, *[31] * REST_TOKENS)),), own=1)
    assert synth.audible(short, mei, "你好") == rested


def test_a_clip_that_would_lead_a_long_sentence_too_far_is_kept_back(folder: Path) -> None:
    synth = Synthesizer.load(folder, device="cpu", voices=folder / "stored")
    mei, clip = synth.voice("mei"), Prompt((Turn((1,) * 10, (1,) * 40),), own=1)
    assert synth.audible(clip, mei, "你好", ids=1_000) == clip  # this model knows no limit
    synth.manifest = replace(synth.manifest, sequence_length=150)
    assert synth.audible(clip, mei, "你好", ids=20) == clip  # 10 + 40 + 20 + 4 x 20
    assert synth.audible(clip, mei, "你好", ids=21) == Prompt()
    heard: list[Prompt] = []
    generate = synth.lm.generate

    def listening(text_ids: list[int], prompt: Prompt, *args: Any, **more: Any) -> Any:
        heard.append(prompt)
        return generate(text_ids, prompt, *args, **more)

    synth.lm.generate = listening  # type: ignore[method-assign, assignment]
    with_clip = replace(mei, prompt=clip)
    for text in ("你好。", "你好你好你好你好你好世界世界世界世界世界。"):
        synth.speak(text, with_clip, SpeakOptions(sampling=Sampling(retries=0, candidates=1)))
    assert heard == [clip, Prompt()]


def test_a_sentence_that_reads_badly_after_a_clip_is_said_without_it(folder: Path) -> None:
    synth = Synthesizer.load(folder, device="cpu", voices=folder / "stored")
    mei, tried = synth.voice("mei"), list[Prompt]()

    class Reader:
        def judge(self, *_: Any) -> "Reader":
            return self

        def misread(self, tokens: list[int]) -> float:
            return 5.0 if tokens[0] == 1 else 0.1

        def classes(self, tokens: list[int], *_: Any, **__: Any) -> list[int]:
            return [0] * len(tokens)

    def speaking(ids: list[int], prompt: Prompt, *_: Any, **__: Any) -> tuple[list[int], str]:
        tried.append(prompt)
        return (after_clip if prompt.turns else [2]) * 8, "stop"

    synth.proofreader = Reader()  # type: ignore[assignment]
    synth.lm.generate_checked = speaking  # type: ignore[method-assign, assignment]
    after_clip = list[int]()
    for first, said, prompts in (
        (1, [2] * 8, [mei.prompt, Prompt()]),
        (3, [3] * 8, [mei.prompt]),
    ):
        tried.clear()
        after_clip[:] = [first]
        (piece,) = synth.pieces("你好。", mei)
        assert list(piece.block.utterance) == said
        assert tried == prompts


def test_a_clip_may_be_kept_from_a_language_model_that_is_to_speak_in_a_style(folder: Path) -> None:
    synth = Synthesizer.load(folder, device="cpu", voices=folder / "stored")
    mei = synth.voice("mei")
    synth.manifest = replace(synth.manifest, tagged_prompts=False)
    assert synth.audible(mei.prompt, mei, "你好[laughter]") == mei.prompt  # it cannot laugh anyway
    synth.lm.config = replace(synth.lm.config, styles=("laughter",))
    assert synth.audible(mei.prompt, mei, "你好[laughter]") == Prompt()
    assert synth.audible(mei.prompt, mei, "你好", "sad") == mei.prompt  # it has not learnt that
    synth.lm.config = replace(synth.lm.config, styles=("laughter", "sad"))
    assert synth.audible(mei.prompt, mei, "你好", "sad") == Prompt()
    assert synth.audible(mei.prompt, mei, "你好") == mei.prompt


def test_a_component_can_be_replaced_and_a_damaged_folder_is_named(
    folder: Path, tmp_path: Path
) -> None:
    other = Synthesizer.load(folder, device="cpu", components={"lm": folder / "lm"})
    assert other.sample_rate == 24_000
    with pytest.raises(CheckpointError, match=r"config\.json"):
        Synthesizer.load(folder, device="cpu", components={"vocoder": tmp_path})
    with pytest.raises(BadInput, match="float64"):
        Synthesizer.load(folder, device="cpu", dtype="float64")
    with pytest.raises(BadInput, match="warp"):
        Synthesizer.load(folder, device="warp")


def test_a_saved_wav_is_what_was_spoken(synth: Synthesizer, tmp_path: Path) -> None:
    audio = synth.speak("你好", options=QUICK)
    audio.save(tmp_path / "out.wav")
    again = Audio.load(tmp_path / "out.wav")
    assert again.sample_rate == 24_000
    assert torch.allclose(again.samples, audio.samples.clamp(-1, 1), atol=2e-4)


# ----- what the text itself asks for --------------------------------------------------------------


def test_a_break_is_silence_of_its_length(synth: Synthesizer) -> None:
    text = '<speak>你好<break time="300ms"/>世界</speak>'
    first, second = synth.stream(text, options=QUICK)
    assert not first.samples[-7_200:].any()
    assert first.samples[:-7_200].any()
    assert first.finish_reason is not None
    assert second.samples[-7_200:].any()
    pause, *spoken = synth.stream(f'<break time="1s"/>{text}', options=QUICK)
    assert (pause.seconds, pause.finish_reason, len(spoken)) == (1.0, "stop", 2)
    assert synth.sentences(text) == ["你好", "世界"]


def test_silence_stands_ahead_of_sentences_that_nobody_waits_for(folder: Path) -> None:
    synth = Synthesizer.load(folder, device="cpu", voices=folder / "stored")
    text, blocks = "你好，世界真大。再见了，我的朋友。", replace(QUICK, pace=Pace.quick_start(4, 8))
    plain = [list(synth.pieces(text, options=options)) for options in (QUICK, blocks)]
    synth.manifest = replace(synth.manifest, lead_s=0.1)
    ahead = [list(synth.pieces(text, options=options)) for options in (QUICK, blocks)]
    for before, after, leads in zip(plain, ahead, ([2_400, 2_400], [0, 2_400]), strict=True):
        assert len(before) == len(after)
        wanted = iter(leads)
        first = True
        for old, new in zip(before, after, strict=True):
            lead = next(wanted) if first else 0
            first = old.block.last
            assert new.lead_s == pytest.approx(lead / 24_000)
            assert not new.audio.samples[:lead].any()
            assert torch.equal(new.audio.samples[lead:], old.audio.samples)


def test_a_short_text_has_silence_around_it_unless_somebody_waits(folder: Path) -> None:
    synth = Synthesizer.load(folder, device="cpu", voices=folder / "stored")
    plain = synth.speak("你好。", options=QUICK)
    least = 2 * len(plain.samples) + 101
    synth.manifest = replace(synth.manifest, least_s=least / synth.sample_rate)
    (piece,) = synth.pieces("你好。", options=QUICK)
    ahead = round(piece.lead_s * synth.sample_rate)
    assert (ahead, len(piece.audio.samples)) == ((len(plain.samples) + 101) // 3, least)
    spoken = piece.audio.samples[ahead : ahead + len(plain.samples)]
    assert torch.equal(spoken, plain.samples)
    assert not piece.audio.samples[ahead + len(plain.samples) :].any()
    streamed = synth.speak("你好。", options=replace(QUICK, pace=Pace.growing(4, 8)))
    assert len(streamed.samples) < least
    synth.manifest = replace(synth.manifest, least_s=0.0)
    for text in ("你好，世界真大。再见了，我的朋友。", ["你好。"]):  # two; perhaps more
        kept = synth.speak(text, options=QUICK)
        synth.manifest = replace(synth.manifest, least_s=60.0)
        assert torch.equal(synth.speak(text, options=QUICK).samples, kept.samples)
        synth.manifest = replace(synth.manifest, least_s=0.0)


def test_readings_and_lexicons_reach_the_language_model(
    synth: Synthesizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoken: list[str] = []
    generate = synth.lm.generate_checked

    def listening(text_ids: list[int], *rest: object, **options: object) -> object:
        spoken.append(synth.text_tokenizer.decode(text_ids))
        return generate(text_ids, *rest, **options)

    monkeypatch.setattr(synth.lm, "generate_checked", listening)
    words = tmp_path / "words.tsv"
    words.write_text("行\thang2\n", encoding="utf-8")
    synth.speak("长[chang2]行。", options=replace(QUICK, lexicon=words))
    synth.speak("你长[chang2]。", options=replace(QUICK, phonemes="off"))
    assert spoken == ["<|CH|><|ANG2|><|H|><|ANG2|>。", "你<|CH|><|ANG2|>。"]
    with pytest.raises(BadText, match="chang2"):
        synth.speak("长[chang9]", options=QUICK)
    with pytest.raises(BadInput, match="Cannot read the lexicon"):
        synth.speak("好", options=replace(QUICK, lexicon=tmp_path / "none.tsv"))


def test_a_style_is_obeyed_by_models_that_learnt_it(
    synth: Synthesizer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(BadInput, match="No style 'merry'"):
        SpeakOptions(style="merry")
    with pytest.raises(BadInput, match="it knows none"):
        synth.speak("你好", options=SpeakOptions(style="happy"))
    plain = synth.reader().read(synth.frontend("你好")[0]).ids
    assert synth.reader().read(synth.frontend("[happy]你好")[0]).ids == plain
    assert "does not know [happy]; it is left out" in caplog.text

    monkeypatch.setattr(synth.lm, "config", replace(synth.lm.config, styles=("happy",)))
    styled = synth.reader().read(synth.frontend("[happy]你好")[0]).ids
    assert styled[-len(plain) :] == plain
    assert synth.text_tokenizer.decode(styled[: -len(plain)]) == "[happy]"
    seed = Sampling(seed=3)
    tagged = synth.speak("[happy]你好", options=SpeakOptions(sampling=seed))
    asked = synth.speak("你好", options=SpeakOptions(sampling=seed, style="happy"))
    assert torch.equal(tagged.samples, asked.samples)
