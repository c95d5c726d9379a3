"""Text with readings and SSML in it, to plain text that knows what is forced. Read `parse` first.

Readings stand in brackets behind what they are for, 真长[zhǎng]啊, 银行[yin2 hang2], read[R EH1 D],
or as phoneme tokens in its place, 真<|ZH|><|ANG3|>啊. Styles and laughs are tags, [happy]
(`styles`). SSML is a whole document, `<speak>…</speak>`, or `<phoneme>`, `<say-as>`, `<sub>` and
`<break>` in plain text.
"""

import re

from glmtts.text import readings, ssml, styles
from glmtts.text.marked import Marked

_SURROGATE = re.compile("[\ud800-\udfff]")
_READING = re.compile(
    # Something with a letter in it, made of what readings are made of; or phoneme tokens.
    r"[\[［]([ 0-9]*[^\W\d_][\w :,;'’·.\u0300-\u030c-]{0,400})[\]］]|" + readings.TOKENS.pattern
)
_REACH = 200
"""Characters before a bracket that a reading may be for."""


def parse(text: str) -> list[Marked]:
    """Take the markup out of a text.

    Args:
        text: What a user wrote, in SSML as a whole (`<speak>…`) or in part, or none.

    Returns:
        Stretches of text, cut where there is a pause or a style begins.

    Raises:
        BadText: a reading that does not exist (the message names the nearest), or SSML that is
            malformed (it names line and column) or asks for what is not supported.
    """
    text = _SURROGATE.sub("\ufffd", text)
    return [with_readings(stretch) for stretch in styles.cut(ssml.parse(text))]


def with_readings(stretch: Marked) -> Marked:
    """A stretch whose readings in brackets and in phoneme tokens are bound to what they are for.

    Raises:
        BadText: a reading does not exist, or is longer than what it is for.
    """
    text = stretch.text
    marked = Marked(pause_s=stretch.pause_s, lang=stretch.lang, style=stretch.style)
    done = 0
    for match in _READING.finditer(text):
        marked.copy(stretch, done, match.start())
        done = match.start()
        if stretch.forced[done] is not None:  # inside a <phoneme>, which has decided
            continue
        if match[1] is None:
            given = readings.of_tokens(match[0])
            whole = "".join(item.surface for item in given) == match[0]
            done = match.end()
            marked.force(given, stretch.where[match.start() : done] if whole else None)
            continue
        bound = readings.bind(match[1], "".join(marked.chars[-_REACH:]))
        if bound is None:
            continue
        marked.force_last(*bound)
        done = marked.take_possessive(stretch, match.end())
        marked.keep_words_apart(text[done : done + 1])
    marked.copy(stretch, done, len(text))
    return marked
