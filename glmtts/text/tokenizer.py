"""A sentence to text ids. Read TextTokenizer.encode first, then encode_units.

A tokenizer is a folder with `tokenizer.json` (Hugging Face tokenizers) and `special.json`, which
holds the number of speech ids. Speech ids follow the text vocabulary; they need no entries in
tokenizer.json, but where entries `<|audio_0|>` ... exist, those count (spec §1.4).

The language model reads hybrid text: every unit (a Hanzi, a word) is either written out or given by
its phoneme tokens, `银<|H|><|ANG2|>`. `render` makes that string from units; `encode_units` makes
its ids directly, with the phoneme each id stands for.
"""

import json
import string
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from tokenizers.trainers import BpeTrainer

from glmtts.errors import CheckpointError
from glmtts.text.phonemes import PHONEME_TOKENS

PAD, EOA, BOA = "<|endoftext|>", "<|user|>", "<|begin_of_audio|>"
PUNCTUATION = "，。！？；：、…—～·“”‘’（）《》〈〉「」『』【】" + string.punctuation

Units = Sequence[tuple[str, tuple[str, ...]]]
"""(surface, phoneme tokens) of each Hanzi, word or punctuation mark; a mark has no phonemes."""


@dataclass(frozen=True)
class SpecialTokens:
    """Ids with a role of their own.

    Attributes:
        pad: Filler of batches.
        eoa: End of audio; the language model stops here.
        boa: Begin of audio; stands between text and speech.
        ats: First speech id: vocabulary id = speech token + ats.
        ate: Last speech id.
    """

    pad: int
    eoa: int
    boa: int
    ats: int
    ate: int

    @property
    def speech_count(self) -> int:
        """Number of speech ids."""
        return self.ate - self.ats + 1


class TextTokenizer:
    """Text ids of a sentence, a hybrid string or a sequence of units."""

    def __init__(self, tokenizer: Tokenizer, speech_count: int) -> None:
        """Resolve the special tokens by name.

        Raises:
            CheckpointError: one is missing, or the speech ids are not one run after `boa`.
        """
        self._tokenizer = tokenizer
        text_size = max(tokenizer.get_vocab().values(), default=-1) + 1  # ids may have gaps
        ats = tokenizer.token_to_id("<|audio_0|>")
        ate = tokenizer.token_to_id(f"<|audio_{speech_count - 1}|>")
        if ats is None and ate is None:
            ats, ate = text_size, text_size + speech_count - 1
        if ats is None or ate is None or ate - ats != speech_count - 1:
            raise CheckpointError(
                f"The tokenizer's speech ids run from {ats} to {ate}; {speech_count} in a row were "
                "expected. Does special.json belong to this tokenizer.json?"
            )
        pad, eoa, boa = (self._named(name) for name in (PAD, EOA, BOA))
        if not boa < ats:
            raise CheckpointError(f"The id of {BOA} ({boa}) is not before the speech ids ({ats}).")
        self.special = SpecialTokens(pad, eoa, boa, ats, ate)
        self.vocab_size = max(text_size, ate + 1)
        """All ids: text, special and speech."""
        known = ((name, tokenizer.token_to_id(name)) for name in PHONEME_TOKENS)
        self._phoneme_ids = {name: i for name, i in known if i is not None}
        self._space = self.encode(" ")
        self._surface_ids: dict[str, list[int]] = {}

    @classmethod
    def load(cls, folder: str | Path) -> "TextTokenizer":
        """Read a tokenizer folder.

        Raises:
            CheckpointError: files are missing or damaged, or a special token is not there.
        """
        folder = Path(folder)
        try:
            special = json.loads((folder / "special.json").read_text(encoding="utf-8"))
            return cls(Tokenizer.from_file(str(folder / "tokenizer.json")), special["speech_count"])
        except CheckpointError as error:
            raise CheckpointError(f"{folder}: {error}") from error
        except Exception as error:  # tokenizers raises plain Exception for every damage
            raise CheckpointError(
                f"Cannot read a text tokenizer from {folder} ({error}). Expected tokenizer.json "
                'and special.json with {"speech_count": ...}.'
            ) from error

    def encode(self, text: str) -> list[int]:
        """Ids of a sentence, exactly as written (case aside); any string has ids.

        Phoneme tokens inside (`<|H|><|ANG2|>`) become one id each.
        """
        return self._tokenizer.encode(text, add_special_tokens=False).ids

    def decode(self, ids: Sequence[int]) -> str:
        """The text of `ids`, in lower case; speech ids are written `<|audio_17|>`.

        Raises:
            CheckpointError: an id is outside the vocabulary.
        """
        parts: list[str] = []
        run: list[int] = []
        for i in (*ids, None):
            if i is not None and not self.special.ats <= i <= self.special.ate:
                if not 0 <= i < self.vocab_size:
                    raise CheckpointError(f"Id {i} is outside the {self.vocab_size} known ids.")
                run.append(i)
                continue
            parts.append(self._tokenizer.decode(run, skip_special_tokens=False))
            run = []
            if i is not None:
                parts.append(f"<|audio_{i - self.special.ats}|>")
        return "".join(parts)

    def encode_units(
        self, units: Units, as_phonemes: Sequence[bool]
    ) -> tuple[list[int], list[int]]:
        """Ids of the hybrid text `render(units, as_phonemes)`, with the phoneme of each id.

        Args:
            units: Surface and phoneme tokens of each unit.
            as_phonemes: For each unit, whether its phoneme tokens are written instead of it; a unit
                one of whose phonemes has no token here (`knows`) is written out all the same.

        Returns:
            The ids (T,), and for each id its index among all phonemes of all units: of its own
            phoneme, of the first phoneme of a unit that is written out, -1 for punctuation and
            spaces.
        """
        ids: list[int] = []
        where: list[int] = []
        position, after_word = 0, False
        for (surface, phonemes), phonetic in zip(units, as_phonemes, strict=True):
            word = _is_word(phonemes)
            if word and after_word:
                ids += self._space
                where += [-1] * len(self._space)
            after_word = word
            if phonemes and phonetic and self.knows(phonemes):
                ids += [self._phoneme_ids[p] for p in phonemes]
                where += range(position, position + len(phonemes))
            else:
                written = self._surface_ids.get(surface)
                if written is None:
                    written = self._surface_ids[surface] = self.encode(surface)
                ids += written
                where += [position if phonemes else -1] * len(written)
            position += len(phonemes)
        return ids, where

    def knows(self, phonemes: Sequence[str]) -> bool:
        """Whether every one of these phoneme tokens has an id.

        The official tokenizer has 204 Mandarin ones (spec §6.6), that of nano also the English.
        """
        return all(name in self._phoneme_ids for name in phonemes)

    def _named(self, name: str) -> int:
        i = self._tokenizer.token_to_id(name)
        if i is None:
            raise CheckpointError(f"The tokenizer has no token {name}. Is it one for speech?")
        return i


def render(units: Units, as_phonemes: Sequence[bool]) -> str:
    """The hybrid text of `units`: `<|H|><|ANG2|>，hello world`.

    A space stands between two English words that follow each other, and nowhere else.
    """
    text, after_word = "", False
    for (surface, phonemes), phonetic in zip(units, as_phonemes, strict=True):
        word = _is_word(phonemes)
        text += " " if word and after_word else ""
        text += "".join(phonemes) if phonemes and phonetic else surface
        after_word = word
    return text


def build_nano_tokenizer(
    texts: Iterable[str], folder: str | Path, *, speech_count: int = 4096, merges: int = 1200
) -> Path:
    """Make the small bilingual tokenizer and write it to `folder`.

    Ids in order: special tokens, phoneme tokens, the 256 bytes (a fallback, so that any string has
    ids), space and punctuation, digits and letters, English sub-words (BPE on the words of `texts`,
    lower case), Hanzi (GB2312 and those in `texts`), and after them the speech ids.

    Returns:
        `folder`.
    """
    texts = [text.lower() for text in texts]
    pieces, rules = _subwords(texts, merges)
    written = {char for text in texts for char in text if _is_hanzi(char)}
    hanzi = sorted(written.union(_gb2312()))
    names = dict.fromkeys(
        (
            *(PAD, EOA, BOA),
            *PHONEME_TOKENS,
            *(f"<0x{byte:02X}>" for byte in range(256)),
            *(" ", *PUNCTUATION, *string.digits, *string.ascii_lowercase),
            *pieces,
            *hanzi,
        )
    )
    vocabulary = {name: i for i, name in enumerate(names)}
    tokenizer = Tokenizer(models.BPE(vocabulary, rules, byte_fallback=True))
    settings: Any = tokenizer  # its attributes are untyped
    settings.normalizer = normalizers.Lowercase()
    settings.pre_tokenizer = pre_tokenizers.Split(Regex("[^a-z]"), "isolated")
    settings.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.add_special_tokens([PAD, EOA, BOA])
    tokenizer.add_tokens([AddedToken(name, normalized=False) for name in PHONEME_TOKENS])
    assert tokenizer.get_vocab_size() == len(vocabulary), "an added token is not in the vocabulary"
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    (folder / "special.json").write_text(json.dumps({"speech_count": speech_count}) + "\n")
    return folder


def _subwords(texts: Sequence[str], merges: int) -> tuple[list[str], list[tuple[str, str]]]:
    """English sub-words of two letters and more, and the merges that make them."""
    trained = Tokenizer(models.BPE())
    settings: Any = trained
    settings.pre_tokenizer = pre_tokenizers.Split(Regex("[a-z]+"), "removed", invert=True)
    alphabet = list(string.ascii_lowercase)
    trained.train_from_iterator(
        texts,
        BpeTrainer(
            vocab_size=len(alphabet) + merges, initial_alphabet=alphabet, show_progress=False
        ),
    )
    model = json.loads(trained.to_str())["model"]
    pieces = sorted((p for p in model["vocab"] if len(p) > 1), key=model["vocab"].__getitem__)
    return pieces, [(left, right) for left, right in model["merges"]]


def _gb2312() -> list[str]:
    """The 6,763 Hanzi of GB2312, levels 1 and 2."""
    codes = (bytes((row, cell)) for row in range(0xB0, 0xF8) for cell in range(0xA1, 0xFF))
    return [char for code in codes if (char := code.decode("gb2312", "ignore"))]


def _is_hanzi(char: str) -> bool:
    return "\u4e00" <= char <= "\u9fff" or "\u3400" <= char <= "\u4dbf" or char == "〇"


def _is_word(phonemes: Sequence[str]) -> bool:
    return bool(phonemes) and phonemes[0].startswith("<|EN_")
