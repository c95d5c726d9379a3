r"""What is said in an evaluation: lists of seed-tts-eval, of CV3-Eval, and your own. See `Case`.

| list | a line is |
|---|---|
| seed-tts-eval | `utt\|prompt_text\|prompt_wav\|text` and perhaps `\|recording`; also `utt\|text` |
| CV3-Eval, emotion | folders STYLE/ with `text`, `prompt_text` and `prompt_wav.scp`: `utt value` |
| own, .jsonl | {"text": …} and any other field of `Case` |
| own, .txt | a text |
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from glmtts.errors import BadInput
from glmtts.text.readings import is_mandarin
from glmtts.text.styles import NEUTRAL, STYLES

SEED_LISTS = {"zh": "zh/meta.lst", "en": "en/meta.lst", "hard": "zh/hardcase.lst"}
"""Lists inside the folder `seedtts_testset`, by subset."""


@dataclass(frozen=True)
class Case:
    """One thing to be said.

    Attributes:
        id: Unlike any other; the sound is ID.wav.
        text: What should be said, perhaps with tags such as [laughter].
        language: "zh" or "en".
        prompt: Clip of the voice that is asked for, if one is.
        prompt_text: What the clip says.
        voice: Name of a voice of the model instead.
        reference: A recording of the same text.
        style: The manner that is asked for, such as "happy" or "laughter".
        subset: Figures are also told for each.
        laugh: From when to when there is a laugh, where that is known, in seconds.
    """

    id: str
    text: str
    language: str
    prompt: str = ""
    prompt_text: str = ""
    voice: str = ""
    reference: str = ""
    style: str = ""
    subset: str = ""
    laugh: tuple[float, float] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON, without what is empty."""
        return {key: value for key, value in asdict(self).items() if value}


def seed_tts(path: str | Path, subset: str = "") -> list[Case]:
    """Cases of seed-tts-eval.

    Args:
        path: A list, or the folder `seedtts_testset` with `subset`.
        subset: "zh", "en" or "hard"; of a list, only a name for its figures.

    Raises:
        BadInput: it cannot be read, or a line has another form.
    """
    path = Path(path)
    if path.is_dir():
        if subset not in SEED_LISTS:
            raise BadInput(f"{path} is a folder: choose --subset {', '.join(SEED_LISTS)}.")
        path = path / SEED_LISTS[subset]
    cases: list[Case] = []
    for number, line in _lines(path):
        parts = line.split("|")
        prompt = prompt_text = reference = ""
        if len(parts) == 5:
            utt, prompt_text, prompt, text, reference = parts
        elif len(parts) == 4:
            utt, prompt_text, prompt, text = parts
        elif len(parts) == 3:
            utt, text, prompt = parts
        elif len(parts) == 2:
            utt, text = parts
        else:
            raise BadInput(
                f"{path}, line {number}: expected utt|prompt_text|prompt_wav|text[|recording], "
                f"got {len(parts)} fields."
            )
        cases.append(
            Case(
                id=utt.removesuffix(".wav"),
                text=text,
                language="zh" if is_mandarin(text) else "en",
                prompt=_beside(path, prompt),
                prompt_text=prompt_text,
                reference=_beside(path, reference),
                subset=subset,
            )
        )
    # The list decides, as in seed-tts-eval: a text of Latin letters alone in a Mandarin list is
    # counted by character there.
    mandarin = sum(case.language == "zh" for case in cases) * 2 > len(cases)
    language = "zh" if mandarin else "en"
    return _checked([replace(case, language=language) for case in cases], path)


def cv3_emotion(folder: str | Path) -> list[Case]:
    """Cases of CV3-Eval's emotion set: a folder (`en`, `zh`) with one folder for each style.

    Raises:
        BadInput: it holds no such folders, or a list lacks an utterance.
    """
    folder = Path(folder)
    cases: list[Case] = []
    for texts in sorted(folder.glob("*/text")):
        style, where = texts.parent.name, texts.parent
        prompts = _keyed(where / "prompt_wav.scp")
        prompt_texts = _keyed(where / "prompt_text")
        for utt, text in _keyed(texts).items():
            if utt not in prompts:
                raise BadInput(f"{where / 'prompt_wav.scp'} has no {utt}, which {texts} has.")
            cases.append(
                Case(
                    id=f"{style}_{utt}",
                    text=text,
                    language="zh" if is_mandarin(text) else "en",
                    prompt=_rooted(where, prompts[utt]),
                    prompt_text=prompt_texts.get(utt, ""),
                    style=style,
                    subset=style,
                )
            )
    if not cases:
        raise BadInput(
            f"{folder} has no STYLE/text in it. Expected a folder such as "
            "CV3-Eval/data/emotion_zeroshot/en."
        )
    return _checked(cases, folder)


def own(path: str | Path) -> list[Case]:
    """Cases of a list of your own: .jsonl with fields of `Case`, or a text a line.

    Raises:
        BadInput: it cannot be read, or a line is no case.
    """
    path = Path(path)
    known = {field.name for field in fields(Case)}
    cases: list[Case] = []
    for number, line in _lines(path):
        if path.suffix not in (".jsonl", ".json"):
            cases.append(made(f"{number:04d}", line))
            continue
        try:
            row: dict[str, Any] = dict(json.loads(line))
            text = str(row.pop("text"))
        except (ValueError, TypeError, KeyError) as error:
            raise BadInput(
                f"{path}, line {number}: expected JSON with a text ({error})."
            ) from error
        if unknown := sorted(set(row) - known):
            raise BadInput(
                f"{path}, line {number}: unknown field {unknown[0]!r}. Known: {sorted(known)}."
            )
        for key in ("prompt", "reference"):
            if row.get(key):
                row[key] = _beside(path, str(row[key]))
        if row.get("laugh"):
            start, end = row["laugh"]
            row["laugh"] = (float(start), float(end))
        cases.append(made(str(row.pop("id", f"{number:04d}")), text, **row))
    return _checked(cases, path)


def in_every_style(cases: Sequence[Case]) -> list[Case]:
    """Each case neutrally and in every style; one that has a style already stays as it is."""
    return [
        replace(case, id=f"{case.id}-{style}", style=style, subset=style)
        if not case.style
        else replace(case, subset=case.style)
        for case in cases
        for style in ((NEUTRAL, *STYLES) if not case.style else (case.style,))
    ]


def builtin(task: str) -> list[Case]:
    """A short list of this package's own: enough for a first impression, too few for a claim."""
    return own(Path(__file__).parent.parent / "assets" / "eval" / f"{task}.jsonl")


def made(id: str, text: str, **more: Any) -> Case:
    """A case whose language is told from its text unless it is given."""
    language = more.pop("language", None) or ("zh" if is_mandarin(text) else "en")
    return Case(id, text, language, **more)


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines that hold something, with their numbers.

    Raises:
        BadInput: the file cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"Cannot read the list {path} ({error}).") from error
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            yield number, line.strip()


def _keyed(path: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for number, line in _lines(path):
        key, _, value = line.partition(" ")
        if not value:
            raise BadInput(f"{path}, line {number}: expected an utterance and its value.")
        found[key] = value.strip()
    return found


def _beside(path: Path, name: str) -> str:
    """A file named in a list, relative to the list."""
    return str(path.parent / name) if name else ""


def _rooted(folder: Path, name: str) -> str:
    """A file named from the root of CV3-Eval, seen from one of its folders."""
    for root in (folder, *folder.parents):
        if (root / name).is_file():
            return str(root / name)
    return str(folder / name)


def _checked(cases: Sequence[Case], path: Path) -> list[Case]:
    """The cases, if their names can name files.

    Raises:
        BadInput: there are none, two have one name, or a name is no file's.
    """
    if not cases:
        raise BadInput(f"{path} holds no cases.")
    seen: set[str] = set()
    for case in cases:
        if case.id in seen:
            raise BadInput(f"{path} has two cases named {case.id!r}; the sounds would be one.")
        if not re.fullmatch(r"[^/\\\0]{1,200}", case.id) or case.id.startswith("."):
            raise BadInput(f"{path}: {case.id!r} cannot name a sound file.")
        seen.add(case.id)
    return list(cases)
