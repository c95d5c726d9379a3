"""A normalised sentence as the official language model was taught to see one (spec §6.1-6.3).

Lower case; of the marks only commas, full stops and question marks stay (English keeps colons and
semicolons), the question mark half width in Mandarin too; the end is a full stop or question mark.
A text with a single Hanzi counts as Mandarin.
"""

import re

from glmtts.text.units import HANZI

_HAS_HANZI = re.compile(f"[{HANZI}]")
_HYPHEN = re.compile("(?<=[A-Za-z])-+(?=[A-Za-z])")
_MANDARIN = str.maketrans(
    {**dict.fromkeys("！!….", "。"), **dict.fromkeys("；;：:、,", "，"), "？": "?", "'": None}
)
_ENGLISH = str.maketrans({"!": ".", "…": "."})
_MARKS = "。？！；：、.?!;:，,"
_GAP = re.compile("(?<=[，。]) +")
_RUN = re.compile("[，。?](?=[，。?])|[,.?;:] *(?=[,.?;:])")


def as_written(sentence: str, *, mandarin: bool | None = None) -> str:
    """`sentence` (from `glmtts.text.normalize`) in the official model's spelling.

    Args:
        sentence: Words and marks.
        mandarin: Whether it counts as Mandarin, where its Hanzi do not show it.

    Returns:
        The text to be encoded; an empty one stays empty.
    """
    chinese = bool(_HAS_HANZI.search(sentence)) if mandarin is None else mandarin
    text = _HYPHEN.sub(" ", sentence).translate(_MANDARIN if chinese else _ENGLISH).lower()
    text = _GAP.sub("", _RUN.sub("", text)).strip()  # of a run of marks the last one counts
    if not text or text[-1] == "?":
        return text
    return text.rstrip(_MARKS + " ") + ("。" if chinese else ".")
