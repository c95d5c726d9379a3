"""Judges by name, and what is said when one cannot be made."""

import pickle
import sys
import types
from importlib import metadata
from pathlib import Path

import pytest

from glmtts.errors import BadInput, MissingExtra, MissingPackage, MissingWeights
from glmtts.judges import needs
from glmtts.judges.base import Sample
from glmtts.judges.ears import PARAFORMER, WHISPER_LARGE, Paraformer
from glmtts.judges.emotion import LABELS, Emotion2Vec, StyleHead
from glmtts.judges.registry import SLOTS, make, wanted
from tests.tiny import buzz


def test_names_are_read() -> None:
    assert str(wanted("sim")) == "sim=dvector"
    assert str(wanted("cer=official:/models")) == "cer=official:/models"
    assert pickle.loads(pickle.dumps(wanted("mos"))) == wanted("mos")
    assert make("pace").name == "pace"
    assert make("mos=tests.judging:Letters").name == "letters"


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("beauty", "Known: cer"),
        ("cer=nobody", "Known: whisper-base"),
        ("mos=distillmos:/x", "takes no argument"),
        ("mos=tests.judging:Nobody", "Cannot import"),
        ("mos=tests.judging:sample", "sample"),
        ("emotion=head", "StyleHead.fit"),
    ],
)
def test_names_that_are_none_are_refused(asked: str, message: str) -> None:
    with pytest.raises((BadInput, TypeError), match=message):
        make(asked)


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MissingExtra, match=r"glmtts\[eval\]"):
        needs.needed("no_such_module", "This judge")
    monkeypatch.setitem(sys.modules, "distillmos", None)
    with pytest.raises(MissingPackage, match=r"pip install --no-deps distillmos==0\.9\.1"):
        make("mos")
    error = pickle.loads(pickle.dumps(MissingPackage("It", ["a==1"])))
    assert "pip install --no-deps a==1" in str(error)


def test_weights_that_are_not_here_are_told_how_to_get(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    with pytest.raises(MissingWeights, match="modelscope download iic/speech_seaco"):
        PARAFORMER.found()
    with pytest.raises(MissingWeights, match="cer=official:FOLDER"):
        WHISPER_LARGE.found(tmp_path / "none")
    (tmp_path / "model.pt").touch()
    assert PARAFORMER.found(tmp_path) == tmp_path / "model.pt"


@pytest.fixture
def funasr(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A funasr that answers, and weights for it."""

    class AutoModel:
        def __init__(self, **options: object) -> None:
            assert options["model"] == str(tmp_path)

        def generate(self, *args: object, **options: object) -> list[dict[str, object]]:
            if "granularity" in options:
                return [{"scores": [0.05] * 3 + [0.6] + [0.05] * 5}]
            return [{"text": "今天天氣很好"}]

    module = types.ModuleType("funasr")
    module.AutoModel = AutoModel  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "funasr", module)
    version = metadata.version
    monkeypatch.setattr(metadata, "version", lambda n: "1" if n == "funasr" else version(n))
    (tmp_path / "model.pt").touch()
    return tmp_path


def test_the_official_judges_of_mandarin_and_emotion_run_through_funasr(funasr: Path) -> None:
    assert Paraformer(funasr).hear(buzz(1.0), "zh") == "今天天气很好"
    with pytest.raises(BadInput, match="hears Mandarin"):
        Paraformer(funasr).hear(buzz(1.0), "en")
    chances = Emotion2Vec(funasr)(Sample(buzz(1.0), "x", "en"))
    assert max(chances, key=lambda style: chances[style]) == "happy"
    assert tuple(chances) == LABELS


def test_a_style_classifier_of_your_own_is_learnt_saved_and_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import numpy as np

    def told(audio: object) -> np.ndarray:
        return np.array([audio.seconds, 1.0], np.float32)  # type: ignore[attr-defined]

    monkeypatch.setattr("glmtts.judges.emotion.features", told)
    clips = [buzz(seconds) for seconds in (0.5, 0.6, 0.7, 1.5, 1.6, 1.7)]
    head = StyleHead.fit(clips, ["short"] * 3 + ["long"] * 3, "six buzzes")
    head.save(tmp_path / "head.npz")
    judge = make(f"emotion=head:{tmp_path / 'head.npz'}")
    from tests.judging import sample

    short, long, unknown = judge(
        [sample("x", 0.55, style="short"), sample("x", 1.65, style="long"), sample("x", style="y")]
    )
    assert short.value > 0.8  # type: ignore[union-attr]
    assert long.detail["right"] is True  # type: ignore[union-attr]
    assert "does not know the style 'y'" in unknown.reason  # type: ignore[union-attr]


def test_every_slot_has_a_default() -> None:
    assert all(SLOTS.values())
