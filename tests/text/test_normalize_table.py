"""The cases of normalize.tsv: category, input, what is to be read, source or reason.

They were written category by category before the rules were tried on them. Readings are compared
without marks and capitals, except in the category "marks", which is about them.
"""

from collections import Counter
from pathlib import Path

from glmtts.errors import BadText
from glmtts.text.normalize import normalise
from tests.text.reading import reading

CASES = [
    line.split("\t")
    for line in (Path(__file__).parent / "normalize.tsv").read_text("utf-8").splitlines()
]


def spoken(written: str) -> str:
    try:
        return normalise(written)
    except BadText:
        return ""


def test_the_table_is_read_right() -> None:
    total, right, wrong = Counter[str](), Counter[str](), list[str]()
    for category, written, expected, _ in CASES:
        result = spoken(written)
        exact = category == "marks"
        same = result == expected if exact else reading(result) == reading(expected)
        total[category] += 1
        right[category] += same
        if not same:
            wrong.append(f"{category}: {written!r} is read {result!r}, not {expected!r}")
    for category in total:
        print(f"{category:16} {right[category]:3} of {total[category]:3}")
    assert len(CASES) >= 400
    assert right.total() >= 0.97 * total.total(), "\n".join(wrong)
    poor = [category for category in total if right[category] < 0.9 * total[category]]
    assert not poor, "\n".join([*poor, *wrong])


def test_every_case_has_a_category_and_a_reason() -> None:
    assert all(len(case) == 4 and all(case) for case in CASES)
    assert len({(category, written) for category, written, *_ in CASES}) == len(CASES)
