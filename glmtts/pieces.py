"""What a sentence is in between: blocks of speech tokens, and pieces of sound made of them."""

from dataclasses import dataclass

from glmtts.audio import Audio
from glmtts.options import Pace
from glmtts.text.frontend import Sentence
from glmtts.voice import Voice


@dataclass(frozen=True)
class Block:
    """What the language model hands to the flow at once.

    Attributes:
        tokens: (s,) speech tokens, perhaps none.
        sentence: What they are part of.
        voice: Who speaks it.
        pace: How it is cut.
        last: The sentence ends here.
        speech: False for a pause alone.
        finish_reason: How the sentence ended, with `last`.
        utterance: (S,) all speech tokens of the sentence, with `last`.
        told: (s,) the tokens as the flow is given them, see `Synthesizer.telling`.
        laughing: (s,) which of them are of a laugh; empty: none.
        lead_s: Silence ahead of the sentence, with its first block.
    """

    tokens: list[int]
    sentence: Sentence
    voice: Voice
    pace: Pace
    last: bool
    speech: bool = True
    finish_reason: str | None = None
    utterance: tuple[int, ...] = ()
    told: tuple[int, ...] = ()
    laughing: tuple[bool, ...] = ()
    lead_s: float = 0.0

    @property
    def pause_s(self) -> float:
        """Silence behind the sentence."""
        return self.sentence.pause_s if self.last else 0.0


@dataclass(frozen=True)
class Piece:
    """Sound, what it is made of, and the seconds of silence at its beginning."""

    audio: Audio
    block: Block
    lead_s: float = 0.0
