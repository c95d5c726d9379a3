"""English words that sound otherwise as a noun, a verb, an adjective or in the past. Read `choose`.

Most pairs are in the CMU dictionary: a noun stressed on its first syllable and a verb stressed
later (record), or -ate as EY2 T in a verb and AH0 T elsewhere (estimate). The part of speech comes
from the words around; words of their own kind (read, live, tear, bass) have their own rules.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

Phones = tuple[str, ...]


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_STRESS = _set(
    "abstract accent addict affix ally annex attribute augment combat combine compact compound "
    "compress concert conduct confine conflict conserve console consort construct contest contract "
    "contrast converse convert convict decrease defect desert digest discard discharge discount "
    "discourse escort essay exploit export extract ferment finance fragment frequent impact "
    "implant import incense incline increase insert insult intern object offset overthrow perfect "
    "permit pervert present produce progress project prospect protest rebel recall recap recount "
    "record redress refill refund reject relapse relay remake replay research retake segment "
    "subject survey suspect torment transfer transplant transport traverse update upgrade uplift "
    "upset"
)
_ATE = _set(
    "advocate affiliate aggregate alternate animate appropriate approximate articulate associate "
    "certificate conjugate consummate coordinate correlate degenerate delegate deliberate "
    "designate desolate duplicate elaborate estimate graduate incarnate initiate intimate laminate "
    "legitimate moderate postulate precipitate predicate separate subordinate surrogate syndicate "
    "triplicate"
)
_VOICED = _set("use excuse abuse house misuse diffuse")
_LATE = _set("upset compact overthrow converse")
"""Predicate adjectives that are stressed like the verb."""
_EXTRA: dict[str, tuple[str, str]] = {
    "absent": ("AE1 B S AH0 N T", "AE0 B S EH1 N T"),
    "export": ("EH1 K S P AO0 R T", "IH0 K S P AO1 R T"),
    "exports": ("EH1 K S P AO0 R T S", "IH0 K S P AO1 R T S"),
    "fragment": ("F R AE1 G M AH0 N T", "F R AE0 G M EH1 N T"),
    "frequent": ("F R IY1 K W AH0 N T", "F R IY0 K W EH1 N T"),
    "overthrow": ("OW1 V ER0 TH R OW2", "OW2 V ER0 TH R OW1"),
    "recount": ("R IY1 K AW2 N T", "R IH0 K AW1 N T"),
    "relapse": ("R IY1 L AE2 P S", "R IH0 L AE1 P S"),
    "relay": ("R IY1 L EY2", "R IH0 L EY1"),
    "remake": ("R IY1 M EY2 K", "R IY0 M EY1 K"),
    "replay": ("R IY1 P L EY2", "R IY0 P L EY1"),
    "transplant": ("T R AE1 N S P L AE2 N T", "T R AE0 N S P L AE1 N T"),
    "uplift": ("AH1 P L IH2 F T", "AH0 P L IH1 F T"),
    "prospect": ("P R AA1 S P EH2 K T", "P R AH0 S P EH1 K T"),
    "aggregate": ("AE1 G R AH0 G AH0 T", "AE1 G R AH0 G EY2 T"),
    "certificate": ("S ER0 T IH1 F IH0 K AH0 T", "S ER0 T IH1 F IH0 K EY2 T"),
    "conjugate": ("K AA1 N JH AH0 G AH0 T", "K AA1 N JH AH0 G EY2 T"),
    "designate": ("D EH1 Z IH0 G N AH0 T", "D EH1 Z IH0 G N EY2 T"),
    "initiate": ("IH2 N IH1 SH IY0 AH0 T", "IH2 N IH1 SH IY0 EY2 T"),
    "legitimate": ("L AH0 JH IH1 T AH0 M AH0 T", "L AH0 JH IH1 T AH0 M EY2 T"),
    "precipitate": ("P R IH0 S IH1 P IH0 T AH0 T", "P R IH0 S IH1 P IH0 T EY2 T"),
    "use": ("Y UW1 S", "Y UW1 Z"), "uses": ("Y UW1 S IH0 Z", "Y UW1 Z IH0 Z"),
    "excuse": ("IH0 K S K Y UW1 S", "IH0 K S K Y UW1 Z"),
    "excuses": ("IH0 K S K Y UW1 S IH0 Z", "IH0 K S K Y UW1 Z IH0 Z"),
    "abuse": ("AH0 B Y UW1 S", "AH0 B Y UW1 Z"),
    "abuses": ("AH0 B Y UW1 S IH0 Z", "AH0 B Y UW1 Z IH0 Z"),
    "misuse": ("M IH0 S Y UW1 S", "M IH0 S Y UW1 Z"),
    "diffuse": ("D IH0 F Y UW1 S", "D IH0 F Y UW1 Z"),
    "house": ("HH AW1 S", "HH AW1 Z"),
    "houses": ("HH AW1 Z IH0 Z", "HH AW1 Z IH0 Z"),
}  # fmt: skip
"""What the dictionary lacks: (noun or adjective, verb)."""

# ----- the words around ---------------------------------------------------------------------------

_ARTICLES = _set("a an the this these those my your his her its our their whose every each another")
_QUANTITIES = _set(
    "some any no all both many few several more most much other such enough what which one two "
    "three four five six seven eight nine ten hundred thousand million first second third last "
    "next same own only new old good bad big small great large little high low strong cold long "
    "short public private main major real full free early late best better final main national "
    "international annual daily official foreign local personal political social economic strange "
    "world fresh heavy light deep white black red green young poor rich clear open special "
    "hot warm cool dry wet famous popular simple single double digital legal medical"
)
_PREPOSITIONS = _set(
    "of in on at by for with from about into onto over under between through during without within "
    "against among than as like after before across around near per via despite toward towards upon"
)
_MODALS = _set(
    "can could will would shall should may might must do does did don't doesn't didn't won't can't "
    "cannot couldn't wouldn't shouldn't mustn't let let's please help make makes made to not never "
    "i'll you'll he'll she'll we'll they'll it'll i'd you'd he'd she'd we'd they'd gonna wanna"
)
_SUBJECTS = _set("i you he she it we they who people everyone nobody someone anybody both")
_OBJECTS = _set(
    "the a an my your his her its our their this that these those me you him us them it all some "
    "any everything anything something myself yourself himself herself itself ourselves themselves "
    "both each every no one another more what whatever how"
)
_BE = _set("is am are was were be been being isn't aren't wasn't weren't i'm you're we're they're "
           "it's he's she's that's")  # fmt: skip
_SEEM = _set("seem seems seemed feel feels felt look looks looked become becomes became grow grew "
             "stay stayed remain remains remained keep kept sound sounds")  # fmt: skip
_HAVE = _set(
    "have has had having i've you've we've they've he'd she'd i'd we'd they'd haven't hasn't hadn't"
)
_ADVERBS = _set(
    "not never always often also just only still already ever even now then soon again really "
    "quite very so too rather almost once twice sometimes usually together both probably perhaps "
    "merely hardly well ever yet seldom rarely finally actually simply certainly"
)
_LY = re.compile("[a-z]{2,}ly$")
_NOT_LY = _set("family only early friendly daily likely lovely ugly lonely reply supply apply july "
               "assembly fly rely multiply italy")  # fmt: skip
_PARTICIPLES_IRREGULAR = _set(
    "was were went said saw took sat came got made gave found thought knew told became felt left "
    "put ran stood wrote began kept held brought bought met paid lost grew drew fell rose spoke "
    "ate slept woke had did could would wanted liked ago yesterday formerly previously"
)
_PAST = re.compile("[a-z]{2,}ed$")
_PAST_TIME = _set("yesterday ago last earlier previously once formerly when after before already")
_PRESENT_TIME = _set("always often usually every sometimes never now daily today nowadays")


@dataclass(frozen=True)
class Place:
    """A word of a run of English words and marks.

    Attributes:
        words: The run in lower case, marks too.
        index: Which one.
        written: That word as it is written.
    """

    words: Sequence[str]
    index: int
    written: str

    def at(self, offset: int) -> str:
        """The word so many places away; "" beyond a mark or the end."""
        step = 1 if offset > 0 else -1
        for i in range(self.index + step, self.index + offset + step, step):
            if not 0 <= i < len(self.words) or not self.words[i][0].isalnum():
                return ""
        return self.words[self.index + offset]

    @property
    def before(self) -> str:
        """The word before, adverbs and "not" skipped; "" if there is none in the clause."""
        offset = -1
        while _is_adverb(self.at(offset)):
            offset -= 1
        return self.at(offset)

    @property
    def before_that(self) -> str:
        """The word before `before`."""
        offset = -1
        while _is_adverb(self.at(offset)):
            offset -= 1
        return self.at(offset - 1) if self.at(offset) else ""

    @property
    def after(self) -> str:
        """The word after."""
        return self.at(1)

    def anywhere(self, words: frozenset[str]) -> bool:
        """Whether the run holds one of these words."""
        return not words.isdisjoint(self.words)


def _is_adverb(word: str) -> bool:
    return word in _ADVERBS or (bool(_LY.match(word)) and word not in _NOT_LY)


def _is_plural(word: str) -> bool:
    return (
        (word.endswith("s") and not word.endswith(("ss", "us", "is", "'s")) and len(word) > 3)
        or word in _set("people men women children police they we you i students fish")
    )  # fmt: skip


def role(place: Place) -> str:
    """Part of speech of a word that may be several: "v" verb, "n" noun, "a" predicate adjective."""
    word, before, after = place.words[place.index], place.before, place.after
    third_person = word.endswith("s") and not word.endswith("ss")
    if third_person:
        return _role_of_s(place)
    nearest = place.at(-1)
    if not before and nearest not in ("not", "never"):
        object_follows = after in _OBJECTS or after in ("to", "with", "against", "yourself")
        commanded = not place.at(-1) and after in _OBJECTS - {"is"}
        return "v" if (commanded or (_is_adverb(nearest) and object_follows)) else "n"
    if not before or before in _MODALS:
        if before == "to" and place.before_that in _set(
            "due according close next access answer addition response reaction regard"
        ):
            return "n"  # fmt: skip
        if before in ("make", "makes", "made", "help") and after not in _OBJECTS:
            return "n"
        return "v"
    if before in _BE or before in _SEEM:
        return "a"
    if place.before_that == "let" and before in ("us", "me", "them", "him", "her"):
        return "v"
    if before in _SUBJECTS and not (before in ("it", "you") and place.before_that in _PREPOSITIONS):
        return "v"
    if before == "that":
        return "v" if after in ("with", "to") or _is_plural(place.before_that) else "n"
    if before in _ARTICLES or before in _QUANTITIES or before in _PREPOSITIONS:
        return "n"
    if before in ("and", "or", "but"):
        return "v" if after in _OBJECTS else "n"
    if _is_plural(before):
        if not place.before_that and after and not _is_finite(after):
            return "v"  # Farmers produce wheat
        following = (
            after in _OBJECTS or after in _PREPOSITIONS or after in ("that", "to", "and", "")
        )
        return "v" if following or _is_adverb(after) or _looks_like_object(after) else "n"
    return "n"


def _is_finite(word: str) -> bool:
    return word in _BE | _HAVE | _MODALS or bool(_PAST.match(word))


def _role_of_s(place: Place) -> str:
    before, after = place.before, place.after
    if before in ("he", "she", "it", "who", "which", "that", "this", "one", "everyone", "nobody"):
        return "v"
    if not before or before in _MODALS or before in _BE or before in _HAVE:
        return "n"
    if before in _ARTICLES or before in _QUANTITIES or before in _PREPOSITIONS:
        return "n"
    if _is_plural(before):
        return "n"
    return "v" if after in _OBJECTS or after in _QUANTITIES else "n"


def _looks_like_object(word: str) -> bool:
    return word.endswith(("ity", "tion", "ment", "ness", "ing", "ance")) or word in _set(
        "cars peace rice oil food people children tasks electricity strongly"
    )


# ----- words of their own kind --------------------------------------------------------------------


def _read(place: Place) -> str:
    present, past = "R IY1 D", "R EH1 D"
    before, nearest = place.before, place.at(-1)
    if not before:
        earlier = [w for w in place.words[: place.index] if w[0].isalnum()]
        if nearest in ("not", "never") or not earlier:
            return present
    if before in _MODALS:
        question = before in _set("did does do can could will would")
        return present if question or before else past
    if before in _HAVE or before in _BE:
        return past
    if before in _ARTICLES or before in _QUANTITIES:
        return present
    words = place.words[: place.index]
    starts = [i for i, w in enumerate(words) if w in _HAVE]
    if starts and place.index - starts[-1] <= 3 and before in _SUBJECTS:
        return past  # have you read
    asked = [
        i for i, w in enumerate(words) if w in _MODALS - {"to", "not", "never", "make", "made"}
    ]
    if asked and place.index - asked[-1] <= 3 and before in _SUBJECTS | {"and", "or"}:
        return present  # did you read; can she read
    if before in ("he", "she", "it") or (before in ("who",) and not _is_plural(place.before_that)):
        return past
    rest = [w for i, w in enumerate(place.words) if i != place.index]
    happened = any(
        w in _PARTICIPLES_IRREGULAR or w in _PAST_TIME or (_PAST.match(w) and w != "need")
        for w in rest
    )
    if place.anywhere(_PRESENT_TIME) and not place.anywhere(_set("yesterday ago last")):
        return present
    if happened:
        return past
    plural = before in _SUBJECTS or before in ("and", "or") or _is_plural(before)
    return present if plural or not before or before in _PREPOSITIONS else past


def _live(place: Place) -> str:
    verb, adjective = "L IH1 V", "L AY1 V"
    before, after = place.before, place.after
    shown = _set("broadcast broadcasted streamed streaming stream aired air shown performed "
                 "performing perform played playing play recorded coming going go goes went sing "
                 "singing sang reported reporting report watch watched watching see seen saw "
                 "televised appear appeared hear heard show tv")  # fmt: skip
    if before in shown or place.at(-1) in shown:
        return adjective
    if before in _MODALS or before in _SUBJECTS or _is_plural(before) or place.at(-1) == "long":
        return verb
    if before in _BE or before in _ARTICLES or before in _PREPOSITIONS or before in _QUANTITIES:
        return adjective
    if not before:
        settled = _set(
            "in on at with here there near together alone by long without under for your as"
        )
        return verb if after in settled else adjective
    settled = _set("in at with here there near together alone without under")
    return verb if after in settled or before in ("and", "or", "but") else adjective


def _lives(place: Place) -> str:
    before, after = place.before, place.after
    noun = before in _ARTICLES | _QUANTITIES | _PREPOSITIONS or before in _set(
        "save saves saved saving lose lost losing cost costs change changed changing risk risked "
        "human people's live living ruin ruined claim claimed and ordinary past"
    )
    settled = _set("in on at with here there near alone next by under for up out through off")
    return "L AY1 V Z" if noun or (not before and after not in settled) else "L IH1 V Z"


def _wind(place: Place) -> str:
    s = " Z" if place.words[place.index] == "winds" else ""
    along = _set("up down through around along across past between over into back its round")
    if s:
        adjective = place.before in _QUANTITIES or place.before in _PREPOSITIONS
        verb = (
            place.after in along and bool(place.before) and not adjective
            and place.before not in _ARTICLES
        )  # fmt: skip
    else:
        verb = role(place) == "v" or (not place.at(-1) and place.after in ("up", "down", "the"))
    return ("W AY1 N D" if verb else "W IH1 N D") + s


def _tear(place: Place) -> str:
    word = place.words[place.index]
    s = " Z" if word == "tears" else ""
    apart = _set("up down apart off out open away")
    rip = place.after in apart or (
        word == "tear"
        and (role(place) == "v" or place.after in ("in", "my", "the") or place.before == "and")
    )
    if s:
        easily = _is_adverb(place.after) and bool(place.before) and not place.before_that
        rip = rip or easily or place.before in ("he", "she", "it", "who") or (
            place.after in _ARTICLES and place.before not in _PREPOSITIONS | _ARTICLES
        )  # fmt: skip
    return ("T EH1 R" if rip else "T IH1 R") + s


def _close(place: Place) -> str:
    before, after = place.before, place.after
    if after == "of" and before in ("the", "a"):
        return "K L OW1 Z"
    if before in (
        "came",
        "come",
        "comes",
        "coming",
        "stand",
        "stood",
        "stay",
        "stayed",
        "sit",
        "sat",
        "get",
        "got",
        "getting",
        "keep",
        "kept",
        "drew",
        "hold",
        "held",
        "live",
        "lives",
    ):
        return "K L OW1 S" if after not in _OBJECTS or after == "to" else "K L OW1 Z"  # fmt: skip
    if place.at(-1) in ("so", "too", "very", "quite", "rather", "pretty", "really", "how", "as"):
        return "K L OW1 S"
    if not before:
        return "K L OW1 Z" if after in _OBJECTS or after in ("up", "down", "") else "K L OW1 S"
    return "K L OW1 Z" if role(place) == "v" and after != "to" else "K L OW1 S"


def _bow(place: Place) -> str:
    s = " Z" if place.words[place.index] == "bows" else ""
    ship = _set("ship ship's ships boat boat's vessel stern deck sea waves yacht captain submarine")
    courtesy = place.before in _set("take took takes taking") or place.before_that in _set(
        "take took takes taking made makes make gave give"
    )
    verb = role(place) == "v" or place.after in ("to", "down", "before", "out")
    return ("B AW1" if verb or courtesy or place.anywhere(ship) else "B OW1") + s


def _bass(place: Place) -> str:
    fish = _set("fish fishing lake caught catch river sea striped largemouth grilled ate eat "
                "cooked hook bait pond fried trout salmon fisherman")  # fmt: skip
    return "B AE1 S" if place.anywhere(fish) else "B EY1 S"


def _dove(place: Place) -> str:
    down = _set("into in under down deep off from straight right headfirst for through underwater")
    bird = place.before in _ARTICLES | _QUANTITIES | _PREPOSITIONS or not place.before
    return "D OW1 V" if place.after in down and not bird else "D AH1 V"


def _sow(place: Place) -> str:
    pig = _set("pig pigs piglets piglet boar litter farm's hog pork farrowed")
    verb = role(place) == "v"
    return "S AW1" if place.anywhere(pig) or (not verb and place.before in _ARTICLES) else "S OW1"


def _row(place: Place) -> str:
    quarrel = place.after in ("about", "over", "with", "erupted", "broke") and place.before in (
        "a", "the", "big", "terrible", "furious", "huge", "blazing"
    ) and place.before_that not in ("in", "front", "back")  # fmt: skip
    return "R AW1" if quarrel else "R OW1"


def _wound(place: Place) -> str:
    turned = _set("up around round down through its along tightly")
    before, after = place.before, place.after
    if place.before_that in _MODALS or before in _MODALS | _ARTICLES | _QUANTITIES:
        return "W UW1 N D"
    return (
        "W AW1 N D"
        if after in turned or before in _SUBJECTS or (after in _ARTICLES and before)
        else "W UW1 N D"
    )


def _content(place: Place) -> str:
    pleased = _set("with to just not")
    happy = role(place) in ("a", "v") or place.after in pleased - {"not", "just"}
    noun = place.before in _ARTICLES | _PREPOSITIONS
    return "K AA1 N T EH0 N T" if noun or not happy else "K AH0 N T EH1 N T"


def _minute(place: Place) -> str:
    tiny = _set("particles particle details detail amounts amount quantities quantity differences "
                "changes traces fragments creatures holes organisms dose doses crystals grains "
                "cracks insects structures concentrations variations adjustments portion "
                "inspection")  # fmt: skip
    small = place.after in tiny or place.at(-1) in ("so", "very", "extremely", "too", "incredibly")
    return "M AY0 N UW1 T" if small or place.before in _BE else "M IH1 N AH0 T"


def _invalid(place: Place) -> str:
    person = place.before in _ARTICLES and (
        not place.after or place.after in _BE | _HAVE | _PREPOSITIONS | _MODALS | {"who", "and"}
    )
    return "IH1 N V AH0 L AH0 D" if person else "IH0 N V AE1 L AH0 D"


def _polish(place: Place) -> str:
    nation = place.written[0].isupper() and not (not place.at(-1) and place.after in _OBJECTS)
    return "P OW1 L IH0 SH" if nation and place.after != "remover" else "P AA1 L IH0 SH"


def _refuse(place: Place) -> str:
    verb = role(place) == "v" or place.after == "to"
    return "R AH0 F Y UW1 Z" if verb else "R EH1 F Y UW2 S"


def _resume(place: Place) -> str:
    return "R IH0 Z UW1 M" if role(place) == "v" else "R EH1 Z AH0 M EY2"


def _lead(place: Place) -> str:
    metal = _set("pipe pipes poisoning paint pencil metal made zinc copper mercury heavy toxic "
                 "bullet bullets batteries battery tin ore mine mines mining exposure "
                 "contamination blood shielding weighs contains iron alloy")  # fmt: skip
    verb = role(place) == "v"
    if verb or place.after in ("singer", "role", "time", "to", "the", "in", "actor", "author"):
        return "L IY1 D"
    return "L EH1 D" if place.anywhere(metal) else "L IY1 D"


def _number(place: Place) -> str:
    grown = place.before in _set(
        "grew grow grown become became feel felt feels getting got went much"
    )
    return "N AH1 M ER0" if grown and place.after != "of" else "N AH1 M B ER0"


def _does(place: Place) -> str:
    herd = place.anywhere(_set("buck bucks fawn fawns stag stags deer"))
    counted = place.before in _set("the two three four five six seven eight nine ten several")
    return "D OW1 Z" if herd and counted else "D AH1 Z"


def _used(place: Place) -> str:
    accustomed = place.before in _SEEM | _set("get got getting gets") or place.before in _BE
    habit = place.after == "to" and (
        (accustomed and (place.at(2).endswith("ing") or place.at(2) in _OBJECTS))
        or place.before in _SUBJECTS
        or (not accustomed and bool(place.before) and place.before not in _HAVE)
    )
    return "Y UW1 S T" if habit else "Y UW1 Z D"


def _adjective_ed(adjective: str, verb: str, nouns: str) -> Callable[[Place], str]:
    known = _set(nouns)

    def choose_one(place: Place) -> str:
        described = place.before in _ARTICLES and (place.after in known or "*" in known)
        return adjective if described else verb

    return choose_one


_OWN: Mapping[str, Callable[[Place], str]] = {
    "read": _read, "live": _live, "lives": _lives, "wind": _wind, "winds": _wind, "tear": _tear,
    "tears": _tear, "close": _close, "bow": _bow, "bows": _bow, "bass": _bass, "dove": _dove,
    "sow": _sow, "row": _row, "wound": _wound, "content": _content, "minute": _minute,
    "invalid": _invalid, "polish": _polish, "refuse": _refuse, "resume": _resume, "lead": _lead,
    "number": _number, "used": _used, "does": _does,
    "learned": _adjective_ed(
        "L ER1 N IH0 D", "L ER1 N D",
        "man men woman judge professor scholar society friend colleague counsel journal doctor"
    ),
    "blessed": _adjective_ed(
        "B L EH1 S IH0 D", "B L EH1 S T",
        "virgin event day life sacrament land man mother saint trinity"
    ),
    "aged": _adjective_ed(
        "EY1 JH IH0 D", "EY1 JH D",
        "mother father parents man woman men women people aunt uncle couple relative grandmother "
        "grandfather parent and population relatives"
    ),
    "beloved": lambda place: "B IH0 L AH1 V D" if place.after == "by" else "B IH0 L AH1 V IH0 D",
}  # fmt: skip


def choose(place: Place, variants: Callable[[str], Sequence[str]]) -> tuple[Phones, str] | None:
    """Phones of a heteronym at its place and what decided; None if the word is none.

    Args:
        place: The word among its neighbours.
        variants: All pronunciations the dictionary has of a word.
    """
    word = place.words[place.index]
    if word in _OWN:
        phones = _OWN[word](place)
        return tuple(phones.split()), f"heteronym {word}: {phones}"
    stem = word if word in _STRESS | _ATE | _VOICED else word.removesuffix("s")
    if stem not in _STRESS | _ATE | _VOICED:
        return None
    kind = role(place)
    if kind == "a":
        kind = "v" if stem in _LATE else "n"
    noun, verb = _EXTRA.get(word, ("", ""))
    if not noun:
        noun, verb = _pair(stem in _ATE, variants(word))
    phones = verb if kind == "v" else noun
    if not phones:
        return None
    return tuple(phones.split()), f"heteronym {word}, {'verb' if kind == 'v' else 'noun'}"


def _pair(ate: bool, variants: Sequence[str]) -> tuple[str, str]:
    """The noun's and the verb's among the dictionary's pronunciations, "" where there is none."""
    noun = verb = ""
    for phones in variants:
        if ate:
            is_verb = phones.removesuffix(" S").endswith("EY2 T")
        else:
            vowels = [phone for phone in phones.split() if phone[-1].isdigit()]
            is_verb = not vowels[0].endswith("1")
        if is_verb:
            verb = verb or phones
        else:
            noun = noun or phones
    return noun, verb
