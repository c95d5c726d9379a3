"""Which of two readings a character has, by the words around it: linear, learnt from news.

`glmtts.data.reading_data` trains the weights. Used where neither a phrase nor a rule decides.
"""

import gzip
import json
from collections.abc import Sequence
from functools import lru_cache
from importlib import resources

from glmtts.text.words import CLAUSE_MARKS, Word

CLASSIFIED = {
    "为": ("wei4", "wei2"),
    "得": ("v", "de5"),
    "地": ("di4", "de5"),
    "还": ("hai2", "huan2"),
    "重": ("zhong4", "chong2"),
    "长": ("chang2", "zhang3"),
    "种": ("zhong3", "zhong4"),
    "只": ("zhi3", "zhi1"),
    "中": ("zhong1", "zhong4"),
    "处": ("chu4", "chu3"),
}
"""The characters and their two readings; a negative score means the first."""


def features(line: str, words: Sequence[Word], index: int) -> list[str]:
    """Names of the features of a word of one character: its neighbours, and what is to come.

    Args:
        line: The sentence.
        words: Its words.
        index: Which of them.
    """
    i = words[index].start + 3
    padded = f"^^^{line}$$$"
    a, b, c = padded[i - 3 : i]
    x, y, z = padded[i + 1 : i + 4]
    tags = [_tag(line, words, index + step) for step in (-2, -1, 1, 2)]
    behind = index + 2
    while behind < len(words) and _tag(line, words, behind) not in "v$":
        behind += 1
    verb = behind < len(words) and _tag(line, words, behind) == "v"
    before = line[words[index - 1].start : words[index].start] if index else "^"
    after = line[words[index + 1].start : words[index + 1].end] if index + 1 < len(words) else "$"
    return [
        "", f"-1{c}", f"-2{b}", f"+1{x}", f"+2{y}", f"-{b}{c}", f"+{x}{y}", f"={c}{x}",
        f"-{a}{b}{c}", f"+{x}{y}{z}", f"w-{before}", f"w+{after}", f"t-{tags[1]}", f"t+{tags[2]}",
        f"t={tags[1]}{tags[2]}", f"t+{tags[2]}{tags[3]}", f"t-{tags[0]}{tags[1]}",
        f"v{verb}", f"v{verb}{tags[1]}", f"v{verb}{tags[2]}", f"v{verb}{c}",
        f"n{min(len(before), 3)}", f"n{min(len(before), 3)}{tags[1]}",
    ]  # fmt: skip


def _tag(line: str, words: Sequence[Word], index: int) -> str:
    if not 0 <= index < len(words) or line[words[index].start] in CLAUSE_MARKS:
        return "$"
    return words[index].tag


@lru_cache(maxsize=1)
def _weights() -> dict[str, dict[str, float]]:
    packed = (resources.files("glmtts") / "assets" / "text" / "senses.json.gz").read_bytes()
    return json.loads(gzip.decompress(packed))


def sense(line: str, words: Sequence[Word], index: int) -> str:
    """The likelier reading of one of the `CLASSIFIED` characters that is a word by itself."""
    char = line[words[index].start]
    weights = _weights()[char]
    score = sum(weights.get(name, 0.0) for name in features(line, words, index))
    return CLASSIFIED[char][score > 0]
