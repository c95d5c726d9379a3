"""Plain words about how to speak, to a style: "speak happily" -> "happy", 难过地说 -> "sad".

Clients of OpenAI's interface send prose with a text ("Speak in a cheerful and positive tone."). Of
such prose one thing can be obeyed, the emotion, and only when it names a single one. This is a list
of words, not an understanding of language: what it does not know it says nothing about.
"""

import re

from glmtts.text.styles import NEUTRAL

_WORDS = {
    "happy": (
        r"happ(?:y|ily|ier|iness)|cheer(?:y|ily|ful|fully|fulness)|joy|joyous(?:ly)?|joyful(?:ly)?"
        r"|glad(?:ly)?|delight(?:ed|edly|ful)?|excited(?:ly)?|excitement|enthusias(?:m|tic|tically)"
        r"|upbeat|merry|merrily|jolly|elated|thrilled",
        "高兴|开心|快乐|愉快|欢快|欢乐|喜悦|兴奋|欣喜|兴高采烈|喜气洋洋",
    ),
    "sad": (
        r"sad(?:ly|der|ness)?|sorrow(?:ful|fully)?|unhapp(?:y|ily|iness)|melanchol(?:y|ic)"
        r"|gloom(?:y|ily)?|depressed|dejected(?:ly)?|mournful(?:ly)?|grie(?:f|ving|f-stricken)"
        r"|heartbroken|downcast|tearful(?:ly)?",
        "悲伤|伤心|难过|忧伤|悲哀|哀伤|悲痛|沮丧|忧郁|低落|失落|不高兴|不开心|不快乐",
    ),
    "angry": (
        r"ang(?:ry|rily|er)|angrier|furious(?:ly)?|fury|mad|madly|annoyed|annoyance|irritated"
        r"|irate|enraged|outraged|indignant(?:ly)?|rage|raging",
        "生气|愤怒|恼火|恼怒|气愤|发火|发怒|怒气|怒吼|暴怒|气冲冲",
    ),
    "surprised": (
        r"surprise[sd]?|surprised(?:ly)?|astonish(?:ed|ment)|amaze(?:d|ment)|startled|shocked"
        r"|stunned|astounded|in disbelief",
        "惊讶|吃惊|惊奇|诧异|震惊|惊喜|惊呆|意外|难以置信",
    ),
    NEUTRAL: (
        r"neutral(?:ly)?|emotionless(?:ly)?|matter[- ]of[- ]fact(?:ly)?|calm(?:ly)?|composed",
        "中性|平静|平淡|冷静|不带感情|没有感情",
    ),
}
_NOT = re.compile(
    r"(?:\b(?:not|no|never|without|don't|doesn't|isn't|less|nor|neither|avoid|rather than"
    r"|instead of)\b(?:\s+(?:a|an|any|be|being|sound|sounding|speak|speaking|seem|too|so|very"
    r"|overly|the|in|at|all))*\s+(?:[\w-]+\s+n?or\s+)?"
    r"|(?:不要|不用|不能|不太|别|莫|勿|避免|而不是|不是|不|没有|没)(?:显得|那么|这么|太|很|用|再|有)*)$",
    re.IGNORECASE,
)
_FIND = [
    (style, re.compile(rf"(?<![\w-])(?:{english})(?![\w-])|{chinese}", re.IGNORECASE))
    for style, (english, chinese) in _WORDS.items()
]


def emotion_of(instructions: str) -> str | None:
    """The style that plain words ask for, or None where they name none, or more than one.

    Args:
        instructions: In English or Chinese, such as "sad and slow" or 高兴地说. What is denied
            ("do not sound angry", 别生气) is not asked for; neutral beside a style is overruled.

    Returns:
        A name of `glmtts.text.styles.STYLES`, or "neutral".
    """
    text = instructions.replace("’", "'")
    found: set[str] = set()
    for style, pattern in _FIND:
        if any(not _NOT.search(text[: match.start()]) for match in pattern.finditer(text)):
            found.add(style)
    if len(found) > 1:
        found.discard(NEUTRAL)
    return found.pop() if len(found) == 1 else None
