"""Engines of other packages, played by modules with the same calls and no weights."""

import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
import yaml

from glmtts import Audio
from glmtts.data import plugins, scribes
from glmtts.data.clips import CutSettings, Cutting
from glmtts.data.cut import Span, Turn, by_speaker, cut
from glmtts.data.files import read_json, write_json
from glmtts.data.listening import Listening, ListenSettings
from glmtts.data.prepare import Settings, remember, resolved
from glmtts.data.quality import Limits
from glmtts.errors import BadInput, MissingExtra, MissingWeights
from tests import recordings as made


def install(monkeypatch: pytest.MonkeyPatch, name: str, **parts: Any) -> None:
    module = ModuleType(name)
    vars(module).update(parts)
    monkeypatch.setitem(sys.modules, name, module)


def leave_out(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    for name in names:
        monkeypatch.setitem(sys.modules, name, None)


# ----- who speaks when ----------------------------------------------------------------------------


class Pipeline:
    """pyannote.audio.Pipeline; `rows` are (start, end, speaker)."""

    rows: Sequence[tuple[float, float, str]] = ()
    output = "speaker_diarization"

    @classmethod
    def from_pretrained(
        cls,
        checkpoint: str,
        revision: str | None = None,
        hparams_file: str | None = None,
        subfolder: str | None = None,
        token: str | None = None,
        cache_dir: str | None = None,
    ) -> "Pipeline":
        assert checkpoint == "pyannote/speaker-diarization-community-1"
        return cls()

    def __call__(self, file: dict[str, Any], preload: bool = False, **kwargs: Any) -> Any:
        assert file["waveform"].ndim == 2
        assert file["sample_rate"] > 0

        def itertracks(yield_label: bool = False):
            for start, end, who in self.rows:
                part = SimpleNamespace(start=start, end=end)
                yield (part, "A", who) if yield_label else (part, "A")

        annotation = SimpleNamespace(itertracks=itertracks)
        return SimpleNamespace(speaker_diarization=annotation) if self.output else annotation


@pytest.mark.parametrize("output", ["speaker_diarization", ""])  # versions 4 and 3
def test_pyannote_tells_who_speaks_when(monkeypatch: pytest.MonkeyPatch, output: str) -> None:
    install(monkeypatch, "pyannote.audio", Pipeline=Pipeline)
    monkeypatch.setattr(Pipeline, "rows", [(0.0, 1.5, "A"), (1.4, 2.0, "B")])
    monkeypatch.setattr(Pipeline, "output", output)
    tell = plugins.diariser("pyannote")
    assert tell is not None
    assert tell(made.silence(2.0)) == [Turn(0.0, 1.5, "A"), Turn(1.4, 2.0, "B")]


def test_weights_behind_an_account_say_how_to_get_them(monkeypatch: pytest.MonkeyPatch) -> None:
    class Closed(Pipeline):
        @classmethod
        def from_pretrained(cls, checkpoint: str, **more: Any) -> "Pipeline":
            raise OSError("401 Client Error")

    install(monkeypatch, "pyannote.audio", Pipeline=Closed)
    with pytest.raises(MissingWeights, match=r"401 Client Error.*Accept their conditions.*hf auth"):
        plugins.diariser("pyannote")


def test_pieces_are_cut_where_speakers_change_and_without_what_two_say_at_once() -> None:
    parts = [Span(0.0, 4.0), Span(5.0, 9.0), Span(9.5, 10.0)]
    turns = [Turn(0.1, 2.0, "A"), Turn(2.0, 3.9, "B"), Turn(5.0, 7.0, "B"), Turn(6.0, 8.8, "A")]
    found = by_speaker(parts, turns)
    assert [who for _, who in found] == ["A", "B", "B", "A", ""]
    # The silence that clips keep around them (0.08 s before, 0.15 s behind) would be the other.
    ends = [(round(span.start, 2), round(span.end, 2)) for span, _ in found]
    assert ends == [(0.0, 1.85), (2.08, 4.0), (5.0, 5.85), (7.08, 9.0), (9.5, 10.0)]


def test_a_change_of_speakers_without_a_pause_ends_a_clip(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    install(monkeypatch, "pyannote.audio", Pipeline=Pipeline)
    anna, tom = made.clip("anna")[0], made.clip("tom")[0]
    joint = Audio.concat([anna, tom])
    rows = [(0.0, anna.seconds, "A"), (anna.seconds, joint.seconds, "B")]
    monkeypatch.setattr(Pipeline, "rows", rows)
    joint.save(tmp_path / "talk.wav")
    settings = CutSettings(diarize="pyannote", limits=Limits(mos=0.0))
    item = {"file": "talk.wav", "key": "talk", "transcript": "", "speaker": "", "language": ""}
    Cutting(tmp_path, tmp_path / "out", settings)(item)
    clips = read_json(tmp_path / "out" / "work" / "cut" / "talk.json")["clips"]
    assert [clip["drop"] for clip in clips] == [""] * len(clips)
    borders = [clip["start"] + clip["seconds"] for clip in clips]
    assert any(abs(border - anna.seconds) < 0.5 for border in borders)
    assert not any(
        clip["start"] < anna.seconds - 0.2 and border > anna.seconds + 0.2
        for clip, border in zip(clips, borders, strict=True)
    )


def test_one_clip_for_one_transcript_unless_several_speak() -> None:
    anna = made.clip("anna")[0]
    alone = cut(anna, 20.0, whole=True, turns=[Turn(0.0, anna.seconds, "A")])
    middle = anna.seconds / 2
    two = [Turn(0.0, middle, "A"), Turn(middle, anna.seconds, "B")]
    assert len(alone) == 1
    assert len(cut(anna, 20.0, whole=True, turns=two)) > 1


# ----- separation ---------------------------------------------------------------------------------


def roformer(monkeypatch: pytest.MonkeyPatch, folder: Path) -> list[tuple[int, ...]]:
    """mel_band_roformer whose vocals are half of the mixture; returns the shapes it was given."""
    (folder / "config.yaml").write_text(
        "audio: {sample_rate: 44100}\nmodel: {windows: !!python/tuple [1, 2]}\n"
    )
    torch.save({}, folder / "model.ckpt")
    shapes: list[tuple[int, ...]] = []

    class Loader(yaml.SafeLoader):
        pass

    Loader.add_constructor(
        "tag:yaml.org,2002:python/tuple", lambda loader, node: loader.construct_sequence(node)
    )

    class ConfigDict(dict):
        def __getattr__(self, name: str) -> Any:
            return ConfigDict(self[name]) if isinstance(self[name], dict) else self[name]

    def demix_track(config: Any, model: Any, mix: Any, device: str, first_chunk_time: Any = None):
        print("Estimated time remaining: 0.00 seconds")
        assert config.model.windows == [1, 2]
        shapes.append(tuple(mix.shape))
        return {"vocals": 0.5 * mix.numpy()}, 1.0

    install(
        monkeypatch, "mel_band_roformer", DEFAULT_MODEL="kim", demix_track=demix_track,
        ensure_model_assets=lambda model, models_dir=None, *, download_missing=True: (
            folder / "model.ckpt", folder / "config.yaml",
        ),
        get_model_from_config=lambda model_type, config: torch.nn.Identity(),
    )  # fmt: skip
    install(monkeypatch, "mel_band_roformer.inference", SafeLoaderWithTuple=Loader)
    install(monkeypatch, "ml_collections", ConfigDict=ConfigDict)
    return shapes


def test_roformer_gives_the_vocals_at_the_rate_of_the_recording(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shapes = roformer(monkeypatch, tmp_path)
    anna = made.clip("anna")[0]
    clean = plugins.cleaner("separate", "roformer")
    assert clean is not None
    out = clean(anna)
    assert (out.sample_rate, shapes[0][0]) == (anna.sample_rate, 2)
    assert shapes[0][1] == pytest.approx(anna.seconds * 44_100, abs=2)
    size = min(len(out.samples), len(anna.samples))
    torch.testing.assert_close(
        out.samples[1_000 : size - 1_000], 0.5 * anna.samples[1_000 : size - 1_000],
        atol=2e-2, rtol=0.0,
    )  # fmt: skip
    assert capsys.readouterr().out == ""


def test_weights_that_cannot_be_fetched_are_no_surprise(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    roformer(monkeypatch, tmp_path)

    def offline(model: str) -> None:
        raise RuntimeError("Failed to download checkpoint")

    monkeypatch.setattr(sys.modules["mel_band_roformer"], "ensure_model_assets", offline)
    with pytest.raises(MissingWeights, match=r"Failed to download.*MELBAND_ROFORMER_MODELS_PATH"):
        plugins.cleaner("separate", "roformer")


# ----- recognisers --------------------------------------------------------------------------------


class AutoModel:
    """funasr.AutoModel; `says` is what each model answers, by its name."""

    says: ClassVar[dict[str, str]] = {}
    made: ClassVar[list[dict[str, Any]]] = []

    def __init__(self, **kwargs: Any) -> None:
        self.name = kwargs["model"]
        self.made.append(kwargs)

    def generate(
        self, input: Any, input_len: Any = None, progress_callback: Any = None, **cfg: Any
    ) -> list[dict[str, Any]]:
        assert input.dtype == np.float32
        assert input.ndim == 1
        return [{"key": "rand_key", "text": self.says[self.name]}]


@pytest.fixture
def funasr(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    install(monkeypatch, "funasr", AutoModel=AutoModel)
    monkeypatch.setattr(scribes, "installed", lambda name: True)
    monkeypatch.setattr(AutoModel, "made", [])
    says = {scribes.PARAFORMER: "", scribes.SENSEVOICE: "<|nospeech|><|EMO_UNKNOWN|>"}
    monkeypatch.setattr(AutoModel, "says", says)
    return says


def test_funasr_writes_what_is_said(funasr: dict[str, str]) -> None:
    paraformer, sensevoice = scribes.scribe("paraformer"), scribes.scribe("sensevoice")
    assert AutoModel.made[0]["punc_model"] == "ct-punc"
    sound = made.silence(1.0)
    assert sensevoice.written(sound, "en") == ""
    assert sensevoice.languages(sound) == {}
    funasr[scribes.SENSEVOICE] = "<|en|><|NEUTRAL|><|Speech|><|withitn|>Good morning."
    funasr[scribes.PARAFORMER] = "早上好。"
    assert sensevoice.written(sound, "en") == "Good morning."
    assert sensevoice.languages(sound) == {"en": 1.0}
    assert paraformer.written(sound, "zh") == "早上好。"
    assert paraformer.written(sound, "en") == ""
    assert paraformer.languages(sound) == {"zh": 1.0}


def heard(tmp_path: Path, transcript: str, **settings: Any) -> dict[str, Any]:
    """What `Listening` says of a clip of anna."""
    clips = tmp_path / "clips"
    clips.mkdir(exist_ok=True)
    made.clip("anna")[0].save(clips / "anna.flac")
    item = {"name": "x", "clips": ["anna"], "transcript": transcript, "language": "", "of": 1}
    Listening(tmp_path, ListenSettings(**settings))(item)
    return read_json(tmp_path / "work" / "heard" / "x.json")["clips"]["anna"]


def test_one_recogniser_writes_and_a_second_confirms(
    funasr: dict[str, str], tmp_path: Path
) -> None:
    text = made.clip("anna")[1]
    funasr[scribes.SENSEVOICE] = f"<|en|><|NEUTRAL|><|Speech|><|withitn|>{text}"
    alone = heard(tmp_path, "", recognizer="sensevoice")
    assert (alone["drop"], alone["language"], alone["wer"]) == ("", "en", None)
    assert alone["text"]

    class Deaf:
        def written(self, audio: Audio, language: str) -> str:
            return "something else entirely"

        def languages(self, audio: Audio) -> dict[str, float]:
            return {"en": 1.0}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scribes, "SCRIBES", {**scribes.SCRIBES, "whisper": Deaf})
        found = heard(tmp_path, "", recognizer="sensevoice", second="whisper")
        assert found["drop"] == "recognisers disagree"
        assert found["wer"] > 0.5
        given = heard(tmp_path, text, recognizer="", second="whisper")
        assert given["drop"] == "transcript mismatch"
    agreed = heard(tmp_path, text, recognizer="", second="sensevoice")
    assert (agreed["drop"], agreed["wer"]) == ("", 0.0)
    funasr[scribes.SENSEVOICE] = "<|ja|><|NEUTRAL|><|Speech|><|withitn|>こんにちは"
    assert heard(tmp_path, "", recognizer="sensevoice")["drop"] == "language (ja)"


# ----- asking for what is not there ---------------------------------------------------------------


def test_what_is_missing_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    leave_out(monkeypatch, "pyannote.audio", "mel_band_roformer", "funasr")
    with pytest.raises(MissingExtra, match=r"glmtts\[diarize\]"):
        plugins.diariser("pyannote")
    with pytest.raises(MissingExtra, match=r"glmtts\[separate\]"):
        plugins.cleaner("separate", "roformer")
    for name in ("paraformer", "sensevoice"):
        with pytest.raises(MissingExtra, match=r"glmtts\[funasr\]"):
            scribes.scribe(name)
    with pytest.raises(BadInput, match="Known: pyannote"):
        plugins.diariser("magic")
    with pytest.raises(BadInput, match="Known: whisper, paraformer, sensevoice"):
        resolved(Settings(listen=ListenSettings(recognizer="magic")))
    assert plugins.diariser("") is None


def test_a_recogniser_does_not_confirm_itself(funasr: dict[str, str]) -> None:
    both = ListenSettings(recognizer="sensevoice", second="sensevoice")
    with pytest.raises(BadInput, match="cannot confirm what it wrote itself"):
        resolved(Settings(listen=both))


def test_folders_made_before_there_were_engines_go_on(tmp_path: Path) -> None:
    remember(tmp_path, Settings())
    path = tmp_path / "prepare.json"
    known = read_json(path)
    del known["cut"]["diarize"], known["listen"]["recognizer"], known["listen"]["second"]
    known["listen"]["whisper"] = True
    write_json(path, known)
    remember(tmp_path, Settings())
    with pytest.raises(BadInput, match=r"prepared with cut.diarize = '', now it is 'pyannote'"):
        remember(tmp_path, Settings(cut=CutSettings(diarize="pyannote")))
    known["listen"]["whisper"] = False
    write_json(path, known)
    with pytest.raises(BadInput, match=r"listen.recognizer = '', now it is 'whisper'"):
        remember(tmp_path, Settings())
