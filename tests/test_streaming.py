"""Streams: text in pieces, seams, and an end at any moment."""

import copy
import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from glmtts.audio import Audio, log_mel
from glmtts.errors import BadText, Cancelled
from glmtts.flow import FlowOptions, TokenToMel
from glmtts.options import Pace, SpeakOptions
from glmtts.sampling import Sampling
from glmtts.synthesizer import Synthesizer
from glmtts.text.phonemes import CTC_CLASS
from glmtts.text.pieces import SentenceFeed, whole_sentences
from glmtts.wanted import until
from tests import tiny

QUICK = SpeakOptions(sampling=Sampling(seed=1, retries=0), flow=FlowOptions(steps=2))


@pytest.fixture(scope="module")
def synth(tmp_path_factory: pytest.TempPathFactory) -> Synthesizer:
    folder = tiny.build(tmp_path_factory.mktemp("tiny"))
    return Synthesizer.load(folder, device="cpu", voices=folder / "stored")


def letters(text: str) -> Iterator[str]:
    yield from text


# ----- where a text in pieces may be cut ----------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("今天天气很好。我们去公园吧！", ["今天天气很好。", "我们去公园吧！"]),
        ("他说：“我不想去了。”然后就走了。", ["他说：“我不想去了。”", "然后就走了。"]),
        (
            "The value is 3.14 today, Mr. Smith said. He was right, wasn't he? Yes he was indeed.",
            ["The value is 3.14 today, Mr. Smith said.", " He was right, wasn't he?",
             " Yes he was indeed."],
        ),
        ("好。我们现在就出发去北京吧。", ["好。我们现在就出发去北京吧。"]),  # too short alone
        ("It costs approx. five pounds or so.", ["It costs approx. five pounds or so."]),
        ("用量如下[yong4 liang4 ru2 xia4]。先吃这个药吧", ["用量如下[yong4 liang4 ru2 xia4]。",
                                                "先吃这个药吧"]),
        ("<speak>今天天气好。明天好。</speak>", ["<speak>今天天气好。明天好。</speak>"]),
    ],
)  # fmt: skip
def test_letters_come_out_as_sentences(text: str, expected: list[str]) -> None:
    assert list(whole_sentences(letters(text))) == expected
    assert "".join(whole_sentences([text])) == text


def test_a_blank_line_lets_go_of_what_is_held() -> None:
    feed = SentenceFeed()
    assert feed.push("你好") == ""
    assert feed.held == "你好"
    assert feed.flush() == "你好"
    assert feed.held == ""
    assert list(whole_sentences(["好的\n\n", "再见"])) == ["好的\n\n", "再见"]


def test_text_without_any_end_is_cut_in_time() -> None:
    parts = list(whole_sentences(letters("word " * 1_000)))
    assert len(parts) >= 2
    assert "".join(parts) == "word " * 1_000
    assert all(part.endswith("word ") for part in parts)


# ----- speaking it --------------------------------------------------------------------------------


def test_a_text_in_pieces_sounds_like_its_sentences(synth: Synthesizer) -> None:
    text = "你好世界你好世界。你好你好世界，世界你好！"
    voice = synth.voice("mei")
    whole = synth.speak(text, voice, QUICK)
    assert torch.equal(synth.speak(letters(text), voice, QUICK).samples, whole.samples)
    assert torch.equal(synth.speak([text[:5], text[5:]], None, QUICK).samples, whole.samples)


def test_sound_comes_while_the_text_is_still_being_written(synth: Synthesizer) -> None:
    more, heard = threading.Event(), threading.Event()

    def writing() -> Iterator[str]:
        yield "你好世界你好世界。你"
        assert more.wait(20)
        yield "好世界你好世界。"

    stream = synth.stream(writing(), options=QUICK)
    assert next(stream).seconds > 0  # the writer has not gone on yet
    heard.set()
    more.set()
    assert len(list(stream)) == 1


def test_nothing_speakable_in_any_piece_is_refused(synth: Synthesizer) -> None:
    with pytest.raises(BadText, match="can be spoken"):
        synth.speak(["。", "🙂\n\n", ""], options=QUICK)
    assert synth.speak(["🙂\n\n", "你好世界"], options=QUICK).seconds > 0
    with pytest.raises(BadText, match="zhang9"):
        synth.speak(["长[zhang9]\n\n"], options=QUICK)


def test_closing_does_not_wait_for_who_writes_the_text(synth: Synthesizer) -> None:
    never = threading.Event()

    def writing() -> Iterator[str]:
        yield "你好世界你好世界。你"
        never.wait(30)

    stream = synth.stream(writing(), options=QUICK)
    next(stream)
    started = time.monotonic()
    stream.close()  # pyright: ignore[reportAttributeAccessIssue]
    assert time.monotonic() - started < 10.0  # the writer waits for thirty
    never.set()


def test_work_nobody_wants_stops_in_the_middle_of_a_block(synth: Synthesizer) -> None:
    wanted = [True]
    velocity = synth.flow.velocity

    def counted(*args: object, **options: object) -> torch.Tensor:
        steps.append(1)
        wanted[0] = len(steps) < 3
        return velocity(*args, **options)  # pyright: ignore

    steps: list[int] = []
    options = replace(QUICK, flow=FlowOptions(steps=50))
    before = threading.active_count()
    synth.flow.velocity = counted  # type: ignore[method-assign]
    try:
        with until(lambda: wanted[0]), pytest.raises(Cancelled):
            synth.speak("你好世界", options=options)
    finally:
        del synth.flow.velocity  # type: ignore[attr-defined]
    assert len(steps) == 3
    assert threading.active_count() <= before


# ----- paces --------------------------------------------------------------------------------------


def test_a_quick_start_speaks_the_first_sentence_in_blocks_alone(synth: Synthesizer) -> None:
    text = "你好世界你好世界你好世界。你好你好世界，世界你好！"
    options = replace(QUICK, pace=Pace.quick_start(4, 8))
    pieces = list(synth.pieces(text, options=options))
    first = [piece for piece in pieces if piece.block.sentence is pieces[0].block.sentence]
    assert len(first) > 1
    assert len(pieces) == len(first) + 1
    assert [piece.block.last for piece in pieces[-2:]] == [True, True]
    assert len(pieces[-1].block.utterance) * 960 == len(pieces[-1].audio.samples)


def test_the_first_block_comes_with_what_the_flow_must_know_behind_it() -> None:
    blocks = [len(block) for block, _ in Pace((4, 8)).cut(iter(range(30)), ahead=3)]
    assert blocks == [7, 8, 8, 7]
    assert [len(block) for block, _ in Pace().cut(iter(range(30)), ahead=3)] == [30]


def test_seams_are_no_rougher_than_the_rest_and_nothing_is_lost(synth: Synthesizer) -> None:
    """Streamed in blocks against the same block attention at once: equal, up to rounding."""
    voice, spec = synth.voice("mei"), synth.manifest.audio
    tokens = torch.randint(
        0, tiny.CODES, (90,), generator=torch.Generator().manual_seed(3)
    ).tolist()
    options = FlowOptions(steps=2, blocks=(6, 10, 20))
    whole = synth.vocoder.decode(synth.flow.sample(tokens, voice, options))
    mel, wave = synth.flow.stream(voice, options), synth.vocoder.stream()
    parts, seams = [], []
    for start in range(0, 90, 7):
        last = start + 7 >= 90
        frames = mel.push(tokens[start : start + 7], last=last)
        parts.append(wave.push(frames, last=last))
        seams.append(sum(map(len, parts)) // spec.hop_length)
    streamed = torch.cat(parts)
    assert streamed.shape == whole.shape
    distance = (log_mel(streamed, spec) - log_mel(whole, spec)).abs().mean(-1)
    at_seams = torch.stack([distance[max(0, s - 2) : s + 2].mean() for s in seams[:-1] if s])
    assert float(at_seams.mean()) <= float(distance.mean()) + 1e-3
    end = spec.sample_rate * 3 // 10
    assert torch.allclose(streamed[-end:], whole[-end:], atol=1e-3)


def test_a_stream_joined_is_one_audio(synth: Synthesizer) -> None:
    parts = list(synth.stream("你好世界。", options=replace(QUICK, pace=Pace.growing(4))))
    assert Audio.concat(parts).finish_reason == parts[-1].finish_reason


def test_sound_does_not_depend_on_the_number_of_threads() -> None:
    synthesizer = Synthesizer.load(device="cpu")
    voice = synthesizer.default_voice("你好")
    tokens = [(37 * i) % 4096 for i in range(60)]
    before = torch.get_num_threads()
    try:
        heard: list[torch.Tensor] = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            mel = synthesizer.flow.sample(tokens, voice, synthesizer.flow_options)
            heard.append(synthesizer.vocoder.decode(mel))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(heard[0], heard[1])


# ----- a flow that is told the phonemes -----------------------------------------------------------


@pytest.fixture(scope="module")
def listener(tmp_path_factory: pytest.TempPathFactory) -> Synthesizer:
    folder = tiny.build(tmp_path_factory.mktemp("listener"))
    synth = Synthesizer.load(folder, device="cpu", voices=folder / "stored")
    torch.manual_seed(5)
    network = replace(tiny.FLOW.network, phonemes=len(CTC_CLASS))
    synth.flow = TokenToMel(replace(tiny.FLOW, network=network)).eval()
    for parameter in synth.flow.parameters():  # no weight of a trained flow is zero
        torch.nn.init.normal_(parameter, std=0.2)
    synth.proofreader = tiny.proofreader(synth)
    return synth


@pytest.mark.parametrize("pace", [Pace(), Pace.growing(5, 9)])
def test_the_flow_is_told_what_each_token_says(listener: Synthesizer, pace: Pace) -> None:
    options = replace(QUICK, pace=pace)
    pieces = list(listener.pieces("你好世界你好世界。", listener.voice("mei"), options))
    blocks = [piece.block for piece in pieces]
    told = [token for block in blocks for token in block.told]
    assert [token % tiny.CODES for token in told] == list(blocks[-1].utterance)
    phonemes = blocks[0].sentence.phonemes
    assert {token // tiny.CODES for token in told} <= {CTC_CLASS[p] for p in phonemes}
    if not pace.blocks:
        assert told == listener.telling(blocks[-1].utterance, phonemes)
        opening = listener.flow.open(listener.voice("mei"), QUICK.flow)
        deaf = listener.flow.sample(blocks[-1].utterance, listener.voice("mei"), QUICK.flow)
        mel = listener.flow.sample(told, listener.voice("mei"), QUICK.flow)
        assert not torch.allclose(mel, deaf, atol=0.1)
        spoken = opening.stream().push(told, last=True)
        torch.testing.assert_close(spoken, mel, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("pace", [Pace(), Pace.growing(5, 9)])
def test_a_laugh_starts_from_noise_of_its_own(
    listener: Synthesizer, pace: Pace, monkeypatch: pytest.MonkeyPatch
) -> None:
    listener.manifest = replace(listener.manifest, flow_temperature=0.1)
    listener.lm.config = replace(listener.lm.config, styles=("laughter",))
    options = SpeakOptions(sampling=QUICK.sampling, pace=pace)
    laughing = "你好[laughter]世界你好世界。"
    voice = listener.voice("mei")
    calm = listener.speak(laughing, voice, options).samples
    listener.manifest = replace(listener.manifest, laugh_temperature=1.0)
    blocks = [piece.block for piece in listener.pieces(laughing, voice, options)]
    known = blocks[0].sentence
    flags = [flag for block in blocks for flag in block.laughing]
    said = blocks[-1].utterance, known.phonemes, listener.reader().read(known).laughs
    assert len(flags) == len(blocks[-1].utterance)
    if not pace.blocks:
        assert flags == listener.laughing(*said)
    plain = listener.speak("你好世界。", voice, options).samples
    monkeypatch.setattr(listener, "laughing", lambda tokens, *_, **__: [True] * len(tokens))
    loud = listener.speak(laughing, voice, options).samples
    assert len(loud) == len(calm)
    assert (loud - calm).abs().max() > 1e-3
    monkeypatch.undo()
    assert torch.equal(listener.speak("你好世界。", voice, options).samples, plain)
    assert all(not block.laughing for piece in listener.pieces("你好。", voice, options)
               for block in [piece.block])  # fmt: skip


def test_without_an_ear_or_a_reader_tokens_stay_as_they_are(
    synth: Synthesizer, listener: Synthesizer
) -> None:
    phonemes = ["<|N|>", "<|I3|>"]
    assert synth.telling([3, 4, 5], phonemes) == [3, 4, 5]
    reader, listener.proofreader = listener.proofreader, None
    assert listener.telling([3, 4, 5], phonemes) == [3, 4, 5]
    listener.proofreader = reader
    assert listener.telling([3, 4, 5], phonemes) != [3, 4, 5]
    assert listener.telling([3], phonemes) == [3]  # too few to say it


def test_a_sentence_in_a_style_is_drawn_more_often(synth: Synthesizer) -> None:
    speaker = copy.copy(synth)
    speaker.manifest = replace(synth.manifest, candidates=2, styled_candidates=5)
    assert speaker.sampling(Sampling()).candidates == 2
    assert speaker.sampling(Sampling(), "sad").candidates == 5
    assert speaker.sampling(Sampling(candidates=1), "sad").candidates == 1
    speaker.manifest = replace(synth.manifest, candidates=2)
    assert speaker.sampling(Sampling(), "sad").candidates == 2


def test_the_flow_speaks_as_its_model_is_tuned(synth: Synthesizer) -> None:
    m = synth.manifest
    assert synth.flow_options == FlowOptions(m.flow_steps, m.flow_guidance, 1.0)
    quiet = copy.copy(synth)
    quiet.manifest = replace(m, flow_steps=2, flow_temperature=0.25)
    assert quiet.flow_options == FlowOptions(2, m.flow_guidance, 0.25)
    sampling = SpeakOptions(sampling=QUICK.sampling)
    spoken = quiet.speak("你好世界。", options=sampling).samples
    asked = synth.speak("你好世界。", options=replace(sampling, flow=quiet.flow_options)).samples
    assert torch.equal(spoken, asked)
    assert not torch.equal(spoken, synth.speak("你好世界。", options=sampling).samples)
