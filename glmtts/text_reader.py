"""From the sentences of the text front end to what a language model reads."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from glmtts.errors import BadText
from glmtts.pauses import digit_groups, list_commas
from glmtts.text.frontend import Frontend, Sentence, encode
from glmtts.text.hybrid import Policy
from glmtts.text.normalize import normalise
from glmtts.text.styles import laugh_places
from glmtts.text.tokenizer import TextTokenizer
from glmtts.text.written import as_written

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Reading:
    """What is said: the text ids (T,) for the language model, and the phonemes meant.

    `laughs` tells for each laugh how many phonemes stand before it, `pauses` for each comma of a
    list and each further group of a long number; `style` is how all of it is said.
    """

    ids: list[int]
    phonemes: list[str]
    laughs: tuple[int, ...] = ()
    style: str | None = None
    pauses: tuple[int, ...] = ()


@dataclass(frozen=True)
class TextReader:
    """Sentences to text ids.

    Attributes:
        tokenizer: Of the model.
        phonemes: The model learnt units, mostly as phonemes; else text as the official model.
        policy: Which units are phonemes; None: all or none of them, as the model learnt.
        styles: Tags that the model obeys; others are left out.
    """

    tokenizer: TextTokenizer
    phonemes: bool
    policy: Policy | None = None
    styles: Sequence[str] = ()

    def read(self, sentence: Sentence) -> Reading:
        """Read one sentence.

        Raises:
            BadText: nothing in it can be spoken.
        """
        if self.phonemes and not sentence.said:
            raise BadText(f"Nothing in the text can be spoken: {sentence.text[:40]!r}.")
        if unknown := sentence.tags.difference(self.styles):
            log.warning("This model does not know [%s]; it is left out.", "], [".join(unknown))
            sentence = sentence.without(unknown)
        policy = self.policy or ("all" if self.phonemes else "off")
        ids = encode(sentence, self.tokenizer, policy, written=not self.phonemes)
        if not self.phonemes:
            return Reading(ids, [])
        places = laugh_places(sentence.units)
        pauses = {*list_commas(sentence.units), *digit_groups(sentence.units)}
        return Reading(ids, sentence.phonemes, places, sentence.style, tuple(sorted(pauses)))

    def __call__(self, text: str) -> Reading:
        """Read a text of any length at once.

        Raises:
            BadText: nothing in the text can be spoken.
        """
        read = [self.read(sentence) for sentence in Frontend()(text) if sentence.text]
        return Reading(
            [i for reading in read for i in reading.ids],
            [phoneme for reading in read for phoneme in reading.phonemes],
        )

    def ids(self, text: str) -> list[int]:
        """(T,) text ids alone.

        Raises:
            BadText: nothing in the text can be spoken.
        """
        return self(text).ids

    def transcript(self, text: str) -> list[int]:
        """(T,) text ids of what a voice's clip says; as text it ends with a space (spec §2.1).

        Raises:
            BadText: nothing in the text can be spoken.
        """
        if self.phonemes:
            return self(text).ids
        return self.tokenizer.encode(as_written(normalise(text)) + " ")
