"""Web and mail addresses, paths, file names, handles: spelled sign by sign.

`code` replaces what is special in them by characters that no other rule knows (U+2400 onwards), so
that nothing takes a dot for the end of a sentence; `READ_ZH` and `READ_EN` give those their names.
"""

import re

from glmtts.text.traced import Part, Rule, Traced, rules
from glmtts.text.units import HANZI

_SIGNS = "0123456789.-_@/\\:~+%=&"
_CODES = {sign: chr(0x2400 + i) for i, sign in enumerate(_SIGNS)}
_HASHTAG = "\u2430"
_MORE = {"\u2441": ("的阶乘", "factorial"), "\u2442": ("到", "to")}
CODED = "\u2400-\u244f"
"""Character class of the codes (for use inside [...] of a pattern)."""

_NAMES_ZH = dict(
    zip(_SIGNS, (*"零一二三四五六七八九", "点", "杠", "下划线", "艾特", "斜杠", "反斜杠", "冒号",
                 "波浪号", "加", "百分号", "等于", "和"), strict=True)
)  # fmt: skip
_NAMES_EN = dict(
    zip(_SIGNS, ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine",
                 "dot", "dash", "underscore", "at", "slash", "backslash", "colon", "tilde", "plus",
                 "percent", "equals", "and"), strict=True)
)  # fmt: skip

_TLD = "com|cn|org|net|io|ai|edu|gov|app|dev|tv|info|xyz|top|wiki|tech|online|store|hk|jp|uk|de|fr"
_EXTENSION = (
    "py|md|txt|pdf|docx?|xlsx?|pptx?|csv|tsv|jsonl?|ya?ml|toml|xml|html?|css|jsx?|tsx?|cpp|hpp|"
    "java|go|rs|sh|bat|exe|dll|zip|rar|gz|tar|7z|png|jpe?g|gif|svg|bmp|webp|mp3|mp4|wav|flac|ogg|"
    "m4a|avi|mov|mkv|apk|iso|dmg|log|ini|cfg|conf|ipynb|pt|pth|ckpt|onnx|safetensors|db|sql|bak|"
    "tmp|tex|bib|srt|psd"
)
_REST = rf"[^\s<>\"'，。！？；：、（）《》“”{HANZI}]"
_ADDRESS = "|".join(
    (
        rf"(?i:https?|ftp|file)://{_REST}{{1,500}}",
        rf"(?<![A-Za-z0-9])www\.{_REST}{{1,500}}",
        r"(?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}",
        rf"(?<![\w.@-])(?:[A-Za-z0-9][\w-]{{0,62}}\.){{1,6}}(?:{_TLD})(?![\w-])"
        rf"(?:\.[a-z]{{2}}(?![\w-]))?(?::\d{{2,5}}(?!\d))?(?:/[\w./?=&%#~+:-]{{0,300}})?",
        r"(?<![A-Za-z])[A-Za-z]:\\[^\s，。；！？]{0,200}",
        r"(?<![\w.:/<])(?:~/[\w./-]{1,200}|(?:/[A-Za-z._][\w.-]{0,100}){2,20}/?)",
        r"(?<![\w.])0x[0-9A-Fa-f]{1,16}(?!\w)",
        rf"(?:(?<![\w./-])(?:[\w.-]{{1,50}}/){{0,8}}[\w-]{{1,100}}(?:\.[\w-]{{1,50}}){{0,4}}|(?<=[{HANZI}]))"
        rf"\.(?i:{_EXTENSION})(?![\w-])",
        r"(?<![\w-])(?=[\w-]{0,60}[A-Za-z])[A-Za-z0-9]+(?:-[A-Za-z0-9]+)*_[A-Za-z0-9][\w-]{0,60}",
        r"(?<![\w.])@[A-Za-z]\w{1,40}",
    )
)
_WORDS = re.compile(r"[A-Za-z]+|[^A-Za-z]")
_HUMP = re.compile("(?<=[a-z])(?=[A-Z])")


def _coded(match: re.Match[str]) -> tuple[Part, ...]:
    """Signs and digits as codes, letters as they are; no scheme, query or final mark."""
    address = match[0]
    start = re.match(r"(?i:https?|ftp|file)://|", address).end()  # pyright: ignore
    web = start > 0 or address.startswith("www.")
    body = re.split("[?#]", address[start:])[0] if web or "/" in address else address[start:]
    stop = start + len(body.rstrip(".,;:!?)/" if web else ".,;:!?)"))
    parts: list[Part] = []
    for word in _WORDS.finditer(address, start, stop):
        if word[0].isascii() and word[0].isalpha():
            places = (match.start() + place for place in word.span())
            parts.append(slice(*places))
        else:
            parts.append(_CODES.get(word[0], " "))
    tail = re.search(r"[.,;:!?)]*$", address)
    return (*parts, tail[0] if tail else "")


def _hashtag(match: re.Match[str]) -> tuple[Part, ...]:
    words = _HUMP.split(match[1])
    parts: list[Part] = [_HASHTAG]
    place = match.start(1)
    for word in words:
        parts += [" "] * (place > match.start(1)) + [slice(place, place + len(word))]
        place += len(word)
    return tuple(parts)


_CODE = (
    *rules(
        (
            "topic",
            rf"(?<![A-Za-z0-9_&#])#([^#\s\d][^#\s]{{0,30}}[{HANZI}][^#\s]{{0,30}}|[{HANZI}]+)#",
            (1,),
        )
    ),
    Rule("address", re.compile(_ADDRESS, re.ASCII), _coded),
    Rule(
        "hashtag",
        re.compile(rf"(?<![A-Za-z0-9_&])#([A-Za-z]\w*|[{HANZI}]{{1,20}})", re.ASCII),
        _hashtag,
    ),
)
_NAMES = {
    zh: {code: names[sign] for sign, code in _CODES.items()}
    | {_HASHTAG: "话题" if zh else "hashtag"}
    | {code: names[not zh] for code, names in _MORE.items()}
    for zh, names in ((True, _NAMES_ZH), (False, _NAMES_EN))
}
READ_ZH = rules(("address", f"[{CODED}]", lambda m: _NAMES[True].get(m[0], " ")))
READ_EN = rules(("address", f"[{CODED}]", lambda m: f" {_NAMES[False].get(m[0], '')} "))


def code(text: Traced) -> Traced:
    """`text` with the signs and digits of its addresses in code."""
    if not _MAY_HAVE.search(text.text):
        return text
    for rule in _CODE:
        text = text.sub(rule.pattern, rule.replacement, rule.name)
    return text


_MAY_HAVE = re.compile(r"[@#_\\/]|\.[A-Za-z0-9]|0x")
