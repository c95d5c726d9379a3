"""How a text is spoken: `SpeakOptions`, and the blocks it is spoken in."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from glmtts.errors import BadInput
from glmtts.flow import FlowOptions
from glmtts.sampling import Sampling
from glmtts.text.hybrid import Policy
from glmtts.text.lexicon import Lexicon
from glmtts.text.styles import NEUTRAL, STYLES


@dataclass(frozen=True)
class Pace:
    """How many speech tokens are turned into sound at once.

    Attributes:
        blocks: Tokens of the first, second, … block; the last repeats. Empty = whole sentences.
        sentences: So many sentences at the beginning are spoken in blocks, those after them whole;
            None = all in blocks.
    """

    blocks: tuple[int, ...] = ()
    sentences: int | None = None

    @classmethod
    def whole_sentence(cls) -> "Pace":
        """One piece a sentence: frames see all of it, and a runaway can be retried."""
        return cls()

    @classmethod
    def growing(cls, *blocks: int) -> "Pace":
        """Small pieces first for a quick start, then larger ones (official 25, 50, 200)."""
        return cls(blocks or (25, 50, 200))

    @classmethod
    def quick_start(cls, *blocks: int) -> "Pace":
        """The first sentence in blocks, the others whole: a quick start, then checked speech."""
        return cls(blocks or (12, 25, 50), sentences=1)

    def of(self, sentence: int) -> "Pace":
        """The pace of one sentence, counted from 0."""
        return Pace() if self.sentences is not None and sentence >= self.sentences else self

    def cut(self, tokens: Iterable[int], ahead: int = 0) -> Iterator[tuple[list[int], bool]]:
        """Group tokens into blocks; the last one (perhaps empty) is marked.

        The first has `ahead` more: what the flow must know beyond a block before it speaks it.
        """
        sizes = list(self.blocks)
        block: list[int] = []
        size = sizes[0] + ahead if sizes else 0
        for token in tokens:
            block.append(token)
            if size and len(block) >= size:
                yield block, False
                block = []
                size = (sizes.pop(0) and sizes[0]) if len(sizes) > 1 else size
        yield block, True


@dataclass(frozen=True)
class SpeakOptions:
    """How one text is spoken.

    Attributes:
        sampling: How speech tokens are drawn; its seed makes speech repeatable.
        flow: Steps, guidance and temperature of the flow; None = what the model was tuned for
            (`Synthesizer.flow_options`).
        pace: Whole sentences or blocks.
        speed: 1 = as the model speaks, 2 = twice as fast; the pitch stays.
        lexicon: The user's words and their readings, or a file of them, read again when it changes.
        style: How sentences without a tag of their own (`[happy] …`) are said, a name of
            `glmtts.text.styles.STYLES`; None or "neutral": as the model speaks.
        phonemes: What the language model is given as phonemes: "off" (text alone), "auto"
            (polyphones and rare Hanzi), "all"; None = what it was made for. Readings that the text
            or the lexicon gives are phonemes always.
    """

    sampling: Sampling = field(default_factory=Sampling)
    flow: FlowOptions | None = None
    pace: Pace = field(default_factory=Pace)
    speed: float = 1.0
    lexicon: Lexicon | str | Path | None = None
    phonemes: Policy | None = None
    style: str | None = None

    def __post_init__(self) -> None:
        """Refuse a speed no one can follow, and a style no one knows.

        Raises:
            BadInput: the speed is not within 0.25 .. 4, or there is no such style.
        """
        if self.style not in (None, NEUTRAL, *STYLES):
            raise BadInput(f"No style {self.style!r}. Known: {', '.join((*STYLES, NEUTRAL))}.")
        if not 0.25 <= self.speed <= 4.0:
            raise BadInput(f"Speed {self.speed} is not possible. Expected 0.25 to 4 (1 = normal).")
