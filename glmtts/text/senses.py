"""Which of two readings a character has, by the characters around it: linear, learnt from news.

`glmtts.data.reading_data` trains the weights. Used where neither a phrase nor a rule decides.
"""

import gzip
import json
from functools import lru_cache
from importlib import resources

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


def features(line: str, position: int) -> list[str]:
    """Names of the features of the character at `position` of a sentence, its neighbours."""
    padded = f"^^^{line}$$$"
    i = position + 3
    a, b, c = padded[i - 3], padded[i - 2], padded[i - 1]
    x, y, z = padded[i + 1], padded[i + 2], padded[i + 3]
    return [
        "", f"-1{c}", f"-2{b}", f"+1{x}", f"+2{y}", f"-{b}{c}", f"+{x}{y}", f"={c}{x}",
        f"-{a}{b}{c}", f"+{x}{y}{z}",
    ]  # fmt: skip


@lru_cache(maxsize=1)
def _weights() -> dict[str, dict[str, float]]:
    packed = (resources.files("glmtts") / "assets" / "text" / "senses.json.gz").read_bytes()
    return json.loads(gzip.decompress(packed))


def sense(line: str, position: int) -> str:
    """The likelier reading of one of the `CLASSIFIED` characters in its context."""
    weights = _weights()[line[position]]
    score = sum(weights.get(name, 0.0) for name in features(line, position))
    return CLASSIFIED[line[position]][score > 0]
