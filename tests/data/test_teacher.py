import json
import tarfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from glmtts.data import kokoro, kokoro_bf16, kokoro_weights, manifest, teacher, teacher_phonemes
from glmtts.data.teacher import Job
from glmtts.data.texts import Text
from glmtts.errors import BadInput
from glmtts.text.misaki import word_to_arpabet

TEXTS = [Text("zh" if i % 2 else "en", f"text {i}") for i in range(1_200)]


# ----- who says what


def test_a_job_depends_on_its_own_number_alone():
    assert teacher.plan(TEXTS[:50], 3) == teacher.plan(TEXTS, 3)[:50]
    assert teacher.plan(TEXTS[:50], 3) != teacher.plan(TEXTS[:50], 4)


def test_speakers_are_of_one_gender_and_prosody_is_native():
    for job in teacher.plan(TEXTS):
        timbre, prosody = job.speaker.split("|")
        assert prosody in teacher.PROSODIES[job.text.lang]
        names = manifest.timbres(job.speaker)
        assert names <= set(teacher.TIMBRES)
        assert {name[1] for name in names} == {prosody[1]}
        assert timbre.count("*0.5") in (0, 2)
        assert 0.85 <= job.speed <= 1.2


def test_held_out_voices_are_rare_and_the_rest_varied():
    jobs = teacher.plan(TEXTS)
    held = sum(manifest.held_out_speaker(job.speaker) for job in jobs) / len(jobs)
    assert 0.02 < held < 0.06
    assert not any(manifest.held_out_speaker(j.speaker) for j in teacher.plan(TEXTS, held_out=0.0))
    speakers = Counter(job.speaker for job in jobs)
    assert len(speakers) > 400
    native = sum(len(set(job.speaker.split("|"))) == 1 for job in jobs) / len(jobs)
    assert 0.2 < native < 0.35


# ----- phonemes


@pytest.mark.parametrize(
    ("phones", "symbols"),
    [
        (("HH", "AH0", "L", "OW1"), "həlˈO"),
        (("B", "ER1", "D"), "bˈɜɹd"),
        (("L", "EH1", "T", "ER0"), "lˈɛtəɹ"),
        (("CH", "OY1", "S", "AH2", "Z"), "ʧˈYsˌʌz"),
    ],
)
def test_arpabet_becomes_the_teachers_symbols_and_back(phones: tuple[str, ...], symbols: str):
    assert teacher_phonemes.arpabet_to_teacher(phones) == symbols
    assert word_to_arpabet(symbols) == list(phones)


@pytest.fixture
def simple_mandarin(monkeypatch: pytest.MonkeyPatch) -> None:
    """Syllables stand for themselves, words are pairs of Hanzi."""
    monkeypatch.setattr(
        teacher_phonemes,
        "_mandarin",
        lambda: (lambda s: f"[{s}]", lambda run: [run[i : i + 2] for i in range(0, len(run), 2)]),
    )


@pytest.mark.usefixtures("simple_mandarin")
def test_mixed_text_is_read_in_both_languages():
    spoken = teacher_phonemes.mandarin_phonemes("我去 Hello，好吗？", ("wo3", "qu4", "hao3", "ma5"))
    assert spoken == "[wo3][qu4] həlˈO, [hao3][ma5]?"


@pytest.mark.usefixtures("simple_mandarin")
@pytest.mark.parametrize("pinyin", [("wo3",), ("wo3", "qu4", "hao3")])
def test_pinyin_must_fit_the_hanzi(pinyin: tuple[str, ...]):
    with pytest.raises(BadInput, match="2 Hanzi, but"):
        teacher_phonemes.mandarin_phonemes("我去。", pinyin)


# ----- sound


def test_silence_is_trimmed_to_fixed_margins():
    rate = 24_000
    tone = 0.3 * np.sin(np.arange(rate) * 0.1).astype(np.float32)
    sound = np.concatenate([np.zeros(rate, np.float32), tone, np.zeros(rate, np.float32)])
    kept = teacher.trim(sound, rate)
    assert len(kept) == pytest.approx(rate * 1.23, abs=rate // 100)
    assert not kept[: int(0.08 * rate)].any()
    assert len(teacher.trim(np.zeros(rate, np.float32), rate)) == 0
    assert len(teacher.trim(tone, rate)) == rate


class Buzz:
    """Stands in for the teacher: a tone as long as its phonemes, with random noise."""

    def known(self, phonemes: str) -> str:
        return phonemes

    def speak(
        self, phonemes: str, speaker: str, speed: float, manner: object = None
    ) -> torch.Tensor:
        count = int(len(phonemes) * 2_400 / speed)
        return 0.5 * torch.sin(torch.arange(count) * 0.1) + 0.01 * torch.randn(count)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data set's folder, with processes that are functions and a teacher that buzzes."""

    class Worker:
        exitcode = 0

        def __init__(self, target: object, args: tuple[object, ...], daemon: bool) -> None:
            self.run = lambda: target(*args)  # type: ignore[operator]

        def start(self) -> None:
            self.run()

        def is_alive(self) -> bool:
            return False

        def terminate(self) -> None: ...

        def join(self) -> None: ...

    class Context:
        Process = Worker

        def Queue(self) -> object:
            from queue import Queue

            return Queue()

    class Model(Buzz):
        model = None

        def __init__(self, cache: str, fast: bool = True) -> None: ...

    monkeypatch.setattr(teacher, "get_context", lambda kind: Context())
    monkeypatch.setattr(teacher, "Kokoro", Model)
    monkeypatch.setattr(kokoro_bf16, "accelerate", lambda model, compiled: model)
    monkeypatch.setattr(teacher, "phonemes", lambda text, speaker: (text.text, None))
    return tmp_path / "speech"


def contents(folder: Path) -> list[tuple[manifest.Utterance, list[float]]]:
    clips = manifest.read_manifest(folder / "manifest.jsonl")
    return [(clip, audio.samples.tolist()) for clip, audio in manifest.read_clips(folder, clips)]


def test_speech_lands_in_archives_with_a_manifest(folder: Path):
    texts = [*TEXTS[:6], Text("en", "a" * 500)]
    count, hours = teacher.speak(texts, folder, folder.parent, processes=2)
    clips = manifest.read_manifest(folder / "manifest.jsonl")
    assert count == len(clips) == 6  # the seventh is too long for the teacher
    assert hours == pytest.approx(sum(clip.seconds for clip in clips) / 3600)
    assert [clip.text for clip in clips] == [text.text for text in texts[:6]]
    with tarfile.open(folder / "clips-00.tar") as archive:
        assert archive.getnames() == [clip.file for clip in clips]
    for clip, audio in manifest.read_clips(folder, clips):
        assert audio.sample_rate == 24_000
        assert audio.seconds == pytest.approx(clip.seconds, abs=0.01)


def test_an_interrupted_run_loses_and_repeats_nothing(folder: Path):
    texts = TEXTS[:8]
    teacher.speak(texts, folder, folder.parent, processes=2)
    whole = contents(folder)

    journal = folder / "journal-0.jsonl"  # as a kill in the middle of a line leaves it
    lines = journal.read_text(encoding="utf-8").splitlines(keepends=True)
    journal.write_text("".join(lines[:2]) + lines[2][:40], encoding="utf-8")
    (folder / "clips/0000/.000004.opus").write_bytes(b"half a clip")
    teacher.speak(texts, folder, folder.parent, processes=3)
    assert contents(folder) == whole
    indices = [
        json.loads(line)["index"]
        for path in folder.glob("journal-*.jsonl")
        for line in path.read_text(encoding="utf-8").splitlines()
    ]
    assert sorted(indices) == list(range(8))


def test_another_list_of_texts_is_refused(folder: Path):
    teacher.speak(TEXTS[:4], folder, folder.parent, processes=1)
    with pytest.raises(BadInput, match="other texts, styles or another seed"):
        teacher.speak(TEXTS[4:8], folder, folder.parent, processes=1)
    with pytest.raises(BadInput, match="other texts, styles or another seed"):
        teacher.speak(TEXTS[:4], folder, folder.parent, processes=1, seed=9)


def test_a_clip_does_not_depend_on_those_before_it(folder: Path):
    job = Job(7, Text("en", "hello there"), "af_heart|af_heart", 1.0, True)
    clips = []
    for name in ("one", "two"):
        torch.rand(len(clips) + 1)
        clips.append(teacher.make(job, Buzz(), folder / name, seed=0))  # type: ignore[arg-type]
    first, second = ((folder / clip.file).read_bytes() for clip in clips)
    assert first == second


# ----- weights of the teacher


@pytest.mark.parametrize(
    ("node", "path"),
    [
        ("/encoder/F0.1/conv1/Conv_quant", "predictor.F0.1.conv1"),
        ("/encoder/text_encoder/cnn.2/cnn.2.0/Conv_quant", "text_encoder.cnn.2.0"),
        ("/decoder/decoder/asr_res/asr_res.0/Conv_quant", "decoder.asr_res.0"),
        ("/encoder/shared/LSTM_quant", "predictor.shared"),
        (
            "/encoder/bert/encoder/albert_layer_groups.0/albert_layers.0/attention/query_3/MatMul",
            "bert.encoder.albert_layer_groups.0.albert_layers.0.attention.query",
        ),
        (
            "/decoder/decoder/generator/resblocks.4/adain2.1/fc/Gemm_MatMul_quant",
            "decoder.generator.resblocks.4.adain2.1.fc",
        ),
    ],
)
def test_nodes_name_their_modules(node: str, path: str):
    assert kokoro_weights.module_path(node) == path


def test_dequantisation_follows_its_axis():
    weight = np.array([[130, 126], [128, 120]], np.uint8)
    zero, scale = np.array([128, 120], np.uint8), np.array([0.5, 0.25], np.float32)
    np.testing.assert_array_equal(
        kokoro_weights.dequantise(weight, zero, scale, 1), [[1.0, 1.5], [0.0, 0.0]]
    )
    np.testing.assert_array_equal(
        kokoro_weights.dequantise(weight, np.uint8(128), np.float32(2.0), 0),
        [[4.0, -4.0], [0.0, -16.0]],
    )


def test_onnx_lstm_weights_run_in_torch():
    """One step by ONNX's formulas, gates (i, o, f, c), equals torch.nn.LSTM."""
    rng = np.random.default_rng(0)
    size, inputs = 3, 2
    w, r, b = (
        rng.standard_normal(shape).astype(np.float32)
        for shape in ((2, 4 * size, inputs), (2, 4 * size, size), (2, 8 * size))
    )
    lstm = torch.nn.LSTM(inputs, size, bidirectional=True)
    parameters = kokoro_weights.lstm_parameters(w, r, b)
    lstm.load_state_dict({key: torch.from_numpy(value) for key, value in parameters.items()})
    x = rng.standard_normal(inputs).astype(np.float32)
    expected = []
    for side in range(2):
        gates = w[side] @ x + b[side, : 4 * size] + b[side, 4 * size :]
        i, o, f, c = np.split(gates, 4)
        del f  # nothing to forget in the first step
        cell = np.tanh(c) / (1 + np.exp(-i))
        expected.append(np.tanh(cell) / (1 + np.exp(-o)))
    with torch.no_grad():
        out, _ = lstm(torch.from_numpy(x)[None])
    np.testing.assert_allclose(out[0].numpy(), np.concatenate(expected), atol=1e-6)


def test_bf16_convolution_is_close_to_the_original():
    torch.manual_seed(0)
    conv = torch.nn.Conv1d(8, 12, 5, stride=2, padding=4, dilation=2).requires_grad_(False)
    x = torch.randn(1, 8, 40)
    fast = kokoro_bf16._narrow(conv)(x)
    assert fast.dtype == torch.float32
    torch.testing.assert_close(fast, conv(x), atol=0.03, rtol=0.03)


def test_a_share_of_the_clips_is_spoken_in_a_style_and_labelled(folder: Path):
    plain = teacher.plan(TEXTS)
    styled = teacher.plan(TEXTS, styled=0.5)
    assert [replace(job, style="") for job in styled] == plain  # the rest is as it was
    named = [job.style for job in styled if job.style]
    assert set(named) == {"happy", "sad", "angry", "surprised"}
    assert 0.3 < len(named) / len(styled) < 0.7
    teacher.speak(TEXTS[:12], folder, folder.parent, processes=1, styled=0.5)
    clips = manifest.read_manifest(folder / "manifest.jsonl")
    assert [clip.style for clip in clips] == [job.style for job in styled[:12]]
    with pytest.raises(BadInput, match="other texts, styles"):
        teacher.speak(TEXTS[:12], folder, folder.parent, processes=1)


def everything(audio: object) -> float:
    """A judge to whom everything is a laugh."""
    return 1.0


def test_a_share_of_the_clips_gets_a_laugh_and_says_where(folder: Path):
    plain = teacher.plan(TEXTS, styled=0.5)
    laughing = teacher.plan(TEXTS, styled=0.5, laughing=0.3)
    assert [replace(job, laughs=False) for job in laughing] == plain  # the rest is as it was
    laughs = [job for job in laughing if job.laughs]
    assert {job.style for job in laughs} == {"", "happy"}
    assert 0.1 < len(laughs) / len(laughing) < 0.25
    with pytest.raises(BadInput, match="need a judge"):
        teacher.speak(TEXTS[:12], folder, folder.parent, laughing=0.3)

    for _ in range(2):  # the second time everything is there already
        teacher.speak(
            TEXTS[:12], folder, folder.parent, processes=1, laughing=0.3, judge=lambda: everything
        )
    clips = manifest.read_manifest(folder / "manifest.jsonl")
    jobs = teacher.plan(TEXTS[:12], laughing=0.3)
    assert [clip.laugh is not None for clip in clips] == [job.laughs for job in jobs]
    assert ["[laughter]" in clip.text for clip in clips] == [job.laughs for job in jobs]
    with pytest.raises(BadInput, match="other texts, styles or another seed"):
        teacher.speak(TEXTS[:12], folder, folder.parent, processes=1)


def test_the_silence_around_slow_speech_is_not_stretched():
    frames = torch.tensor([18.0, 2.0, 3.0, 2.5, 16.0])
    logits = torch.logit(frames / 50)[None, :, None].expand(-1, -1, 50)
    slow = kokoro.steady_ends(logits, 0.72).sigmoid().sum(-1)[0] / 0.72
    torch.testing.assert_close(slow[[0, -1]], frames[[0, -1]])
    torch.testing.assert_close(slow[1:-1], frames[1:-1] / 0.72)
    assert kokoro.steady_ends(logits, 1.2) is logits
