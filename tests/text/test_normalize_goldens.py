"""The recorded outputs of the official front end: textfrontend.jsonl.

Where they are not marked wrong ours must be the same reading, where they are, the suggested one.
Marks, capitals and hyphens are no reading, nor is a traditional character another than its
simplified form (the official front end converts them, ours keeps what was written).
"""

from collections.abc import Callable
from typing import Any

from glmtts.errors import BadText
from glmtts.text.normalize import Normalizer, normalise
from tests.parity.goldens import FOLDER, needs_goldens, read_json
from tests.text.reading import reading

pytestmark = needs_goldens

Case = dict[str, Any]
CASES: list[Case] = read_json("textfrontend.jsonl") if FOLDER.is_dir() else []

OTHERWISE = {
    "sin30°=0.5。": "sin is read sine, as the function is called",
    "0": "a number alone is read in Mandarin unless the caller says otherwise",
    "½": "a number alone is read in Mandarin unless the caller says otherwise",
    "Visit https://www.openai.com/blog for details.": "nobody says https colon slash slash",
    "'": "a quote alone is refused: there is nothing to speak",
    "Check out github.com/zai-org/GLM-TTS.": "the hyphens of an address are named",
    'The TV is 55" wide.': "TV stays TV",
}
"""Where ours is another on purpose, with the reason."""


def spoken(text: str) -> str:
    try:
        return normalise(text)
    except BadText:
        return ""


def compared(cases: list[Case], expected: Callable[[Case], str]) -> list[str]:
    """Cases with another reading; the share of them is asserted below."""
    return [
        f"{case['text']!r} is read {spoken(case['text'])!r}, not {expected(case)!r}"
        for case in cases
        if reading(spoken(case["text"])) != reading(expected(case))
    ]


def test_where_the_official_front_end_is_right_ours_reads_the_same() -> None:
    cases = [case for case in CASES if not case["official_is_wrong"]]
    different = compared(cases, lambda case: case["normalized"])
    assert len(different) <= 0.03 * len(cases), "\n".join(different)
    unexplained = [line for line in different if not line.startswith(tuple(map(repr, OTHERWISE)))]
    assert len(unexplained) <= 0.02 * len(cases), "\n".join(unexplained)


def test_where_it_is_wrong_ours_is_right() -> None:
    cases = [case for case in CASES if (case["official_is_wrong"] or {}).get("suggested")]
    different = compared(cases, lambda case: case["official_is_wrong"]["suggested"])
    assert len(different) <= 0.05 * len(cases), "\n".join(different)


def test_nothing_recorded_breaks_the_splitter() -> None:
    for case in CASES:
        if spoken(case["text"]):
            sentences = Normalizer()(case["text"])
            assert "".join(sentences).replace(" ", "") == spoken(case["text"]).replace(" ", "")
