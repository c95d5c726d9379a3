"""The seven public names, and nothing else, are promised."""

import inspect
from pathlib import Path

import pytest

import glmtts


def test_there_are_seven_names() -> None:
    assert sorted(glmtts.__all__) == [
        "Audio", "GlmTtsError", "Sampling", "SpeakOptions", "Synthesizer", "Voice",
        "available_models",
    ]  # fmt: skip


@pytest.mark.parametrize("name", glmtts.__all__)
def test_each_name_is_there_and_explained(name: str) -> None:
    value = getattr(glmtts, name)
    assert value.__name__ == name
    assert value.__doc__
    assert name in dir(glmtts)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="Speaker"):
        glmtts.Speaker  # noqa: B018


def test_the_python_surface_stays_as_it_is() -> None:
    def parameters(call: object) -> list[str]:
        return [name for name in inspect.signature(call).parameters if name not in ("cls", "self")]

    synthesizer = glmtts.Synthesizer
    assert parameters(synthesizer.load)[:3] == ["name_or_path", "device", "dtype"]
    assert inspect.signature(synthesizer.load).parameters["name_or_path"].default == "glmtts-nano"
    assert parameters(synthesizer.voice) == ["name_or_audio", "transcript"]
    assert parameters(synthesizer.speak) == ["text", "voice", "options"]
    assert parameters(synthesizer.stream) == ["text", "voice", "options"]
    assert parameters(glmtts.Audio.save)[0] == "path"
    assert {"samples", "sample_rate", "finish_reason"} <= set(parameters(glmtts.Audio))


def test_the_version_is_the_package_version() -> None:
    project = (Path(__file__).parent.parent / "pyproject.toml").read_text(encoding="utf-8")
    assert f'\nversion = "{glmtts.__version__}"\n' in project


def test_types_are_shipped() -> None:
    assert (Path(glmtts.__file__).parent / "py.typed").is_file()


def test_available_models_holds_the_default() -> None:
    assert "glmtts-nano" in glmtts.available_models()
