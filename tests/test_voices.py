from dataclasses import replace
from pathlib import Path

import pytest
import torch

from glmtts.errors import BadInput, CheckpointError, GlmTtsError, UnknownVoice
from glmtts.voice import Prompt, Turn, Voice
from glmtts.voices import VoiceLibrary, checked_name, default_folder

ALBA = Voice(
    name="alba",
    transcript="Good morning.",
    prompt=Prompt((Turn((1, 2), (3, 4, 5)),), own=1),
    speech_tokens=(3, 4, 5),
    mel=torch.zeros(6, 80),
    speaker=torch.nn.functional.normalize(torch.ones(4), dim=0),
    language="en",
    gender="female",
)


@pytest.fixture
def library(tmp_path: Path) -> VoiceLibrary:
    (tmp_path / "model").mkdir()
    for name in ("alba", "wei"):
        replace(ALBA, name=name).save(tmp_path / "model" / f"{name}.safetensors")
    return VoiceLibrary(tmp_path / "model", tmp_path / "mine")


def test_bundled_and_stored_voices_are_listed_and_read(library: VoiceLibrary) -> None:
    assert library.names() == ["alba", "wei"]
    library.add(replace(ALBA, name="小美"))
    assert library.names() == ["小美", "alba", "wei"]
    assert library.get("小美").prompt == ALBA.prompt
    assert library.get("wei").name == "wei"


def test_a_clip_that_breaks_off_is_followed_by_silence() -> None:
    prompt = ALBA.prompt  # 3, 4, 5
    (turn,) = prompt.rested([9, 4], 2).turns
    assert turn == Turn((1, 2), (3, 4, 5, 4, 4))  # with the silence that the clip has
    (turn,) = prompt.rested([9], 2).turns
    assert turn.speech_tokens == (3, 4, 5, 9, 9)
    (turn,) = prompt.rested([5], 2).turns
    assert turn.speech_tokens == (3, 4, 5, 5)
    assert prompt.rested([4, 5], 2) == prompt  # it rests
    assert prompt.rested([3, 4, 5], 3) == prompt  # all of it does
    assert prompt.rested([], 2) == prompt  # what silence is, is not known
    said = prompt.extended([7], [8])
    assert said.rested([9], 1).turns == (Turn((1, 2), (3, 4, 5, 9)), Turn((7,), (8,)))
    strange = Prompt(prompt.turns)  # no clip of a voice
    assert strange.rested([9], 2) == strange
    assert Prompt().rested([9], 2) == Prompt()


def test_describing_tells_what_a_listing_needs(library: VoiceLibrary) -> None:
    library.add(replace(ALBA, name="mine", language="zh", gender="male", transcript="早"))
    first, second, _ = library.describe()
    assert first == {
        "name": "mine", "language": "zh", "gender": "male", "transcript": "早",
        "seconds": 0.12, "bundled": False, "adapter": False, "problem": "",
    }  # fmt: skip
    assert (second["name"], second["bundled"]) == ("alba", True)


def test_an_unknown_voice_names_those_there_are_and_how_to_add_one(library: VoiceLibrary) -> None:
    with pytest.raises(UnknownVoice, match=r"'albq'.*mean 'alba'.*alba, wei.*glmtts voice add"):
        library.get("albq")
    with pytest.raises(UnknownVoice, match="Known voices: none"):
        VoiceLibrary(None, library.stored).get("alba")


@pytest.mark.parametrize("name", ["../model/alba", "/etc/passwd", "", ".", "model/../alba", "a\0b"])
def test_paths_are_no_names(library: VoiceLibrary, name: str) -> None:
    with pytest.raises(UnknownVoice):
        library.get(name)
    with pytest.raises(UnknownVoice):
        library.remove(name)
    with pytest.raises(BadInput):
        library.add(replace(ALBA, name=name))
    assert not library.stored.exists()


def test_existing_names_are_refused_unless_overwritten(library: VoiceLibrary) -> None:
    path = library.add(replace(ALBA, name="mine"))
    with pytest.raises(BadInput, match=r"exists.*overwrite"):
        library.add(replace(ALBA, name="mine", gender="male"))
    assert library.get("mine").gender == "female"
    assert library.add(replace(ALBA, name="mine", gender="male"), overwrite=True) == path
    assert library.get("mine").gender == "male"
    assert [p.name for p in library.stored.iterdir()] == ["mine.safetensors"]


def test_names_that_differ_in_case_only_are_one(library: VoiceLibrary) -> None:
    library.add(replace(ALBA, name="mine"))
    with pytest.raises(BadInput, match="'mine' exists"):
        library.add(replace(ALBA, name="Mine"))
    library.add(replace(ALBA, name="Mine"), overwrite=True)
    assert library.names() == ["Mine", "alba", "wei"]
    with pytest.raises(BadInput, match="voice of the model"):
        library.add(replace(ALBA, name="ALBA"))


def test_bundled_voices_stay(library: VoiceLibrary) -> None:
    with pytest.raises(BadInput, match="cannot be removed"):
        library.remove("alba")
    with pytest.raises(BadInput, match="voice of the model"):
        library.add(ALBA, overwrite=True)
    assert library.names() == ["alba", "wei"]


def test_a_removed_voice_is_gone(library: VoiceLibrary) -> None:
    library.add(replace(ALBA, name="mine"))
    library.remove("mine")
    assert "mine" not in library.names()
    with pytest.raises(UnknownVoice):
        library.remove("mine")


def test_a_stored_voice_hides_a_bundled_one_that_came_later(library: VoiceLibrary) -> None:
    library.add(replace(ALBA, name="new", gender="male"))
    assert library.bundled is not None
    replace(ALBA, name="new").save(library.bundled / "new.safetensors")
    assert library.names().count("new") == 1
    assert library.get("new").gender == "male"
    library.remove("new")
    assert library.get("new").gender == "female"


def test_foreign_and_damaged_files_do_not_break_the_library(library: VoiceLibrary) -> None:
    library.stored.mkdir()
    (library.stored / "notes.txt").write_text("x")
    (library.stored / "._mine.safetensors").write_bytes(b"x")
    (library.stored / "broken.safetensors").write_bytes(b"not a voice")
    assert library.names() == ["broken", "alba", "wei"]
    problems = {v["name"]: v["problem"] for v in library.describe()}
    assert "not a voice file" in problems["broken"]
    assert problems["alba"] == ""
    with pytest.raises(CheckpointError):
        library.get("broken")
    library.remove("broken")
    assert library.names() == ["alba", "wei"]


def test_a_folder_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    library = VoiceLibrary(None, tmp_path / "file" / "voices")
    with pytest.raises(GlmTtsError, match="Cannot store"):
        library.add(ALBA)


def test_names_of_any_script_are_kept_in_composed_form(library: VoiceLibrary) -> None:
    library.add(replace(ALBA, name="Zoe\u0308"))
    assert library.names()[0] == "Zo\u00eb"
    assert library.get("Zoe\u0308").name == "Zo\u00eb"


@pytest.mark.parametrize("name", ["a", "小美", "news_reader-2", "x" * 64, "字" * 64, "_a", "हिन्दी"])
def test_good_names(name: str) -> None:
    assert checked_name(name) == name


@pytest.mark.parametrize(
    "name",
    ["", "x" * 65, "a b", "a/b", "a\\b", ".a", "a.b", "-v", "a\n", "a:b", "😀", "NUL", "com1"],
)
def test_bad_names(name: str) -> None:
    with pytest.raises(BadInput, match="cannot name a voice"):
        checked_name(name)


def test_the_users_folder_is_absolute() -> None:
    assert default_folder().is_absolute()
    assert default_folder().parts[-2:] == ("glmtts", "voices")


def test_half_a_surrogate_pair_is_no_name() -> None:
    with pytest.raises(BadInput):
        checked_name("\ud800")
