"""How two texts are compared as readings: marks, capitals and hyphens are no sound."""

import re

from glmtts.text.traditional import SIMPLIFIED

_MARKS = re.compile(r"[^\w' ]|_|(?<!\w)'|(?<!s)(?<!in)'(?!\w)")


def reading(text: str) -> str:
    """`text` without marks, in lower case and simplified characters; spaces only between words."""
    text = text.translate(SIMPLIFIED).casefold().replace("-", " ")
    text = re.sub(r"\s+", " ", _MARKS.sub(" ", text)).strip()
    return re.sub(r"(?<![a-z']) +| +(?![a-z'])", "", text)
