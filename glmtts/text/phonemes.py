"""The phonemes: Mandarin initials and toned finals, English ARPAbet, and their token names.

Mandarin symbols are the official model's (spec §6.6): 21 initials and finals with a tone digit
(1-4, 5 = neutral), completed where the official list has holes. `<|ZH|><|ANG3|>` is zhang3.
English symbols are ARPAbet with stress digits; their tokens carry the prefix EN_ (`<|EN_R|>`),
because AO1, ER2 and most consonants exist in both languages.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import lru_cache

from pypinyin.contrib.tone_convert import to_finals, to_initials

from glmtts.errors import BadText

INITIALS = tuple("B C CH D F G H J K L M N P Q R S SH T X Z ZH".split())  # noqa: SIM905
FINALS = tuple(
    "A AI AN ANG AO E EI EN ENG ER I IA IAN IANG IAO IE II III IN ING IO IONG IOU O ONG OU "  # noqa: SIM905
    "U UA UAI UAN UANG UEI UEN UENG UO V VAN VE VN".split()
)
SYLLABICS = ("M", "N", "NG", "EH")
"""Interjections written 呣 嗯 欸; spelled as a final with a tone."""

MANDARIN = (
    *INITIALS,
    *(f"{final}{tone}" for final in FINALS for tone in range(1, 6)),
    *(f"{final}{tone}" for final in SYLLABICS for tone in range(1, 6)),
)
VOWELS = tuple("AA AE AH AO AW AY EH ER EY IH IY OW OY UH UW".split())  # noqa: SIM905
CONSONANTS = tuple("B CH D DH F G HH JH K L M N NG P R S SH T TH V W Y Z ZH".split())  # noqa: SIM905
ENGLISH = (*CONSONANTS, *(f"{vowel}{stress}" for vowel in VOWELS for stress in range(3)))

_SYLLABLE = re.compile(r"([a-zêü:]+?)([1-5]?)$")
_SYLLABIC = {"m": "M", "hm": "M", "n": "N", "ng": "NG", "hng": "NG", "ê": "EH"}


def token(symbol: str, lang: str = "zh") -> str:
    """The text-tokenizer token of a symbol: `<|ANG3|>`, `<|EN_R|>`."""
    return f"<|{symbol}|>" if lang == "zh" else f"<|EN_{symbol}|>"


PHONEME_TOKENS = (*(token(s) for s in MANDARIN), *(token(s, "en") for s in ENGLISH))
"""Every phoneme token, Mandarin first; the order fixes ids of tokenizers and CTC classes."""

CTC_CLASS = {name: index + 1 for index, name in enumerate(PHONEME_TOKENS)}
"""Class of each phoneme token in the speech tokenizer's CTC head; 0 is the blank."""


@lru_cache(maxsize=4_096)
def pinyin_to_tokens(syllable: str) -> tuple[str, ...]:
    """One numbered pinyin syllable to phoneme tokens: "zhang3" -> ("<|ZH|>", "<|ANG3|>").

    A missing tone digit means neutral. `v` and `ü` are the same.

    Raises:
        ValueError: not a Mandarin syllable.
    """
    match = _SYLLABLE.match(syllable.strip().lower().replace("u:", "v").replace("ü", "v"))
    if not match:
        raise ValueError(f"{syllable!r} is not a numbered pinyin syllable, such as zhang3.")
    base, tone = match[1], match[2] or "5"
    if base in _SYLLABIC:
        return (token(f"{_SYLLABIC[base]}{tone}"),)
    initial = to_initials(base, strict=True).upper()
    final = to_finals(base, strict=True, v_to_u=False).upper().replace("Ü", "V")
    if final == "I" and initial in ("ZH", "CH", "SH", "R"):
        final = "III"
    elif final == "I" and initial in ("Z", "C", "S"):
        final = "II"
    if final not in FINALS or (initial and initial not in INITIALS):
        raise ValueError(f"{syllable!r} is not a Mandarin syllable.")
    return (*((token(initial),) if initial else ()), token(f"{final}{tone}"))


def arpabet_to_tokens(phones: Sequence[str]) -> tuple[str, ...]:
    """ARPAbet symbols to phoneme tokens; a vowel without a stress digit gets 0.

    Raises:
        ValueError: a symbol is not ARPAbet.
    """
    out: list[str] = []
    for phone in phones:
        symbol = phone.upper()
        symbol = f"{symbol}0" if symbol in VOWELS else symbol
        if symbol not in ENGLISH:
            raise ValueError(f"{phone!r} is not an ARPAbet symbol.")
        out.append(token(symbol, "en"))
    return tuple(out)


# ----- what people write --------------------------------------------------------------------------

SYLLABLES = frozenset(
    """
a ai an ang ao ba bai ban bang bao bei ben beng bi bian biang biao bie bin bing bo bong bu ca cai
can cang cao ce cei cen ceng cha chai chan chang chao che chen cheng chi chong chou chu chua chuai
chuan chuang chui chun chuo ci cong cou cu cuan cui cun cuo da dai dan dang dao de dei den deng di
dia dian diao die din ding diu dong dou du duan dui dun duo e ei en eng er fa fan fang fei fen feng
fiao fo fou fu ga gai gan gang gao ge gei gen geng gong gou gu gua guai guan guang gui gun guo ha
hai han hang hao he hei hen heng hm hng hong hou hu hua huai huan huang hui hun huo ji jia jian
jiang jiao jie jin jing jiong jiu ju juan jue jun ka kai kan kang kao ke kei ken keng kong kou ku
kua kuai kuan kuang kui kun kuo la lai lan lang lao le lei len leng li lia lian liang liao lie lin
ling liu lo long lou lu luan lun luo lv lve m ma mai man mang mao me mei men meng mi mian miao mie
min ming miu mo mou mu n na nai nan nang nao ne nei nen neng ng ni nia nian niang niao nie nin ning
niu nong nou nu nuan nun nuo nv nve o ou pa pai pan pang pao pei pen peng pi pian piao pie pin ping
po pou pu qi qia qian qiang qiao qie qin qing qiong qiu qu quan que qun ran rang rao re ren reng ri
rong rou ru rua ruan rui run ruo sa sai san sang sao se sei sen seng sha shai shan shang shao she
shei shen sheng shi shou shu shua shuai shuan shuang shui shun shuo si song sou su suan sui sun suo
ta tai tan tang tao te tei teng ti tian tiao tie ting tong tou tu tuan tui tun tuo wa wai wan wang
wei wen weng wo wong wu xi xia xian xiang xiao xie xin xing xiong xiu xu xuan xue xun ya yan yang
yao ye yi yin ying yo yong you yu yuan yue yun za zai zan zang zao ze zei zen zeng zha zhai zhan
zhang zhao zhe zhei zhen zheng zhi zhong zhou zhu zhua zhuai zhuan zhuang zhui zhun zhuo zi zong
zou zu zuan zui zun zuo ê
""".split()  # noqa: SIM905
)
"""Every syllable of Mandarin without its tone, v for ü."""

_TONE_MARKS = {"\u0304": "1", "\u0301": "2", "\u030c": "3", "\u0300": "4"}
_WRITTEN = re.compile(r"(\D+)([0-5]?)")


@lru_cache(maxsize=4_096)
def canonical_pinyin(written: str) -> str | None:
    """A syllable as people write it, in numbered pinyin; None where it is no syllable of Mandarin.

    A missing tone means neutral.

    >>> [canonical_pinyin(s) for s in ("zhǎng", "Zhang3", "lü4", "lu:4", "ma0", "zhang9")]
    ['zhang3', 'zhang3', 'lv4', 'lv4', 'ma5', None]
    """
    match = _WRITTEN.fullmatch(written.lower().replace("u:", "v"))
    if not match:
        return None
    letters, tones = "", match[2].replace("0", "5")
    for char in unicodedata.normalize("NFD", match[1]):
        if char in _TONE_MARKS:
            tones += _TONE_MARKS[char]
        else:
            letters += char
    letters = _plain(letters)
    return f"{letters}{tones or 5}" if letters in SYLLABLES and len(tones) <= 1 else None


def _plain(letters: str) -> str:
    """Letters of a syllable in this module's spelling: v for ü but after j, q, x and y."""
    letters = unicodedata.normalize("NFC", letters).replace("ü", "v")
    if letters[:2] in ("jv", "qv", "xv", "yv"):
        letters = f"{letters[0]}u{letters[2:]}"
    return {"lue": "lve", "nue": "nve"}.get(letters, letters)


@lru_cache(maxsize=1)
def _syllable_of() -> dict[tuple[str, ...], str]:
    """The pinyin of phoneme tokens; of several spellings (hm, m) the shortest."""
    found: dict[tuple[str, ...], str] = {}
    for base in sorted(SYLLABLES, key=lambda base: (-len(base), base)):
        for tone in "12345":
            found[pinyin_to_tokens(base + tone)] = base + tone
    return found


def tokens_to_reading(phonemes: Sequence[str]) -> str:
    """Phoneme tokens as people write them: numbered pinyin, or ARPAbet; the inverse of both above.

    >>> tokens_to_reading(("<|ZH|>", "<|ANG3|>"))
    'zhang3'
    """
    known = _syllable_of()
    words: list[str] = []
    start = 0
    while start < len(phonemes):
        for size in (2, 1):
            syllable = known.get(tuple(phonemes[start : start + size]))
            if syllable and start + size <= len(phonemes):
                words.append(syllable)
                start += size
                break
        else:
            words.append(phonemes[start][2:-2].removeprefix("EN_"))
            start += 1
    return " ".join(words)


# ----- what they may have meant -------------------------------------------------------------------


def nearest_pinyin(written: str, own: Iterable[str] = (), count: int = 4) -> list[str]:
    """Readings near to one that does not exist, the nearest first; none if all are far.

    Args:
        written: Such as "zhang9" or "zhng3".
        own: Readings that the character has, preferred among equals.
        count: How many at most.
    """
    lower = unicodedata.normalize("NFD", written.lower())
    letters = _plain("".join(c for c in lower if not c.isdigit() and c not in _TONE_MARKS))
    marks = [_TONE_MARKS.get(c, c) for c in lower if c.isdigit() or c in _TONE_MARKS]
    tones = marks if len(marks) == 1 and marks[0] in "12345" else list("1234")
    preferred = set(own)
    scored: list[tuple[int, bool, bool, int, str]] = []
    for syllable in SYLLABLES:
        if abs(len(syllable) - len(letters)) > 1:
            continue
        far = edit_distance(letters, syllable)
        if far > max(1, len(letters) // 3):
            continue
        swapped = sorted(letters) == sorted(syllable)
        same_start = _same_start(letters, syllable)
        scored += (
            (far, (reading := syllable + tone) not in preferred, not swapped, -same_start, reading)
            for tone in tones
        )
    return [reading for *_, reading in sorted(scored)[:count]]


def nearest_symbols(symbol: str, known: Sequence[str], count: int = 4) -> list[str]:
    """Symbols of an inventory near to one that is not in it, the nearest first."""
    upper = symbol.upper()
    scored = sorted(
        (edit_distance(upper, other), -_same_start(other, upper), index, other)
        for index, other in enumerate(known)
    )
    return [other for far, _, _, other in scored[:count] if far < max(2, len(upper))]


def _same_start(first: str, second: str) -> int:
    """How many characters two strings begin with in common."""
    pairs = enumerate(zip(first, second, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(first), len(second)))


def edit_distance(first: Sequence[str], second: Sequence[str]) -> int:
    """Insertions, deletions, substitutions and swaps of neighbours from one to the other.

    Optimal string alignment, the usual dynamic programme with one more case.
    """
    before: list[int] = []
    row = list(range(len(second) + 1))
    for i, char in enumerate(first, 1):
        before, above, row = row, before, [i]
        for j, other in enumerate(second, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (char != other))
            if i > 1 and j > 1 and char == second[j - 2] and other == first[i - 2]:
                cost = min(cost, above[j - 2] + 1)
            row.append(cost)
    return row[-1]


def syllables_in(written: str) -> list[str]:
    """Numbered syllables of a word in pinyin, as few as possible; [] if it is no pinyin.

    >>> syllables_in("yínháng"), syllables_in("xiamen"), syllables_in("mexico")
    (['yin2', 'hang2'], ['xia5', 'men5'], [])
    """
    best: list[list[str] | None] = [[], *([None] * len(written))]
    for end in range(1, len(written) + 1):
        for start in range(max(0, end - 12), end):
            done, syllable = best[start], canonical_pinyin(written[start:end])
            if done is None or syllable is None:
                continue
            if best[end] is None or len(done) + 1 < len(best[end] or []):
                best[end] = [*done, syllable]
    return best[-1] or []


def read_pinyin(written: str, own: Iterable[str] = ()) -> str:
    """A syllable as people write it, in numbered pinyin.

    Raises:
        BadText: it is none; the message names the nearest ones.
    """
    reading = canonical_pinyin(written)
    if reading is None:
        near = did_you_mean(nearest_pinyin(written, own))
        raise BadText(f"{written!r} is not a reading of Mandarin. {near}")
    return reading


def read_arpabet(written: Sequence[str]) -> tuple[str, ...]:
    """ARPAbet as people write it, in capitals; a vowel without a stress digit gets 0.

    Raises:
        BadText: a symbol is none; the message names the nearest ones.
    """
    phones: list[str] = []
    for symbol in written:
        upper = symbol.upper()
        phone = f"{upper}0" if upper in VOWELS else upper
        if phone not in ENGLISH:
            near = did_you_mean(nearest_symbols(symbol, ENGLISH))
            raise BadText(f"{symbol!r} in {' '.join(written)!r} is not an ARPAbet symbol. {near}")
        phones.append(phone)
    return tuple(phones)


def did_you_mean(nearest: Sequence[str]) -> str:
    """The end of a message that refuses a reading."""
    if not nearest:
        return "Expected numbered pinyin such as zhang3, or ARPAbet such as R EH1 D."
    return f"The nearest are: {', '.join(nearest)}."
