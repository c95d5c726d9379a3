"""What a policy is asked to say, and in whose voice. Read `Cases.at` first."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from glmtts.data.shards import Clip, Corpus, dequantise_mel, read_clips
from glmtts.errors import BadInput, BadText
from glmtts.synthesizer import Synthesizer
from glmtts.text.frontend import Sentence
from glmtts.text.readings import is_mandarin
from glmtts.text.styles import STYLES, laugh_places, style_of
from glmtts.text_reader import Reading
from glmtts.voice import Prompt, Turn, Voice


@dataclass(frozen=True)
class Case:
    """One sentence to say.

    Attributes:
        text: In words.
        language: "zh" or "en".
        text_ids: (T,) what the language model reads.
        phonemes: What is meant, where the model's tokenizer is one of phonemes; else empty.
        voice: Who says it.
        prompt: What the language model hears of the voice: nothing where it does not fit.
        style: The manner asked for, or None.
        laughs: For each laugh how many phonemes stand before it.
    """

    text: str
    language: str
    text_ids: tuple[int, ...]
    phonemes: tuple[str, ...]
    voice: Voice
    prompt: Prompt
    style: str | None = None
    laughs: tuple[int, ...] = ()


@dataclass(frozen=True)
class Line:
    """One entry of a source, not yet read: a text, or a clip of shards with its readings."""

    text: str
    clip: Clip | None = None
    voice: str | None = None
    style: str | None = None


class Cases:
    """An endless, shuffled stream of cases; number `index` depends on the seed alone."""

    def __init__(
        self,
        source: str,
        synthesizer: Synthesizer,
        *,
        voices: str = "",
        voiceless: float = 0.0,
        longest: int = 80,
        seed: int = 0,
        styles: Sequence[str] | None = None,
    ) -> None:
        """Open the source; its entries are read when they are due.

        Args:
            source: A .txt file (a text a line), a .jsonl file (`text`, and perhaps `voice`, a name
                or a clip, and `style`, on each line; `glmtts data texts` writes such), or folders
                of shards, separated by commas, whose texts have their readings already.
            synthesizer: The model: its text tokenizer, its voices and what it hears of them.
            voices: Folders of shards with tokens, mel and speaker vectors, whose clips serve as
                voices; empty: the voices of the model.
            voiceless: Share of the cases for which the language model hears no voice.
            longest: Sentences of more text ids are left out.
            seed: Of order, voices and shares.
            styles: Tags that the policy obeys, others are left out; None: those of the model.

        Raises:
            BadInput: the source cannot be read or is empty, or there are no voices.
        """
        self.lines = read_lines(source)
        self.synthesizer, self.seed = synthesizer, seed
        self.voiceless, self.longest = voiceless, longest
        reader = synthesizer.reader()
        self.reader = reader if styles is None else replace(reader, styles=tuple(styles))
        self.clips = Corpus(voices) if voices else None
        library = [] if voices else synthesizer.voices.describe()
        self.names = [v["name"] for v in library if not v["problem"] and v["bundled"]]
        self._languages = {v["name"]: v["language"] for v in library}
        if not (self.names or self.clips):
            raise BadInput("The model has no voices of its own. Name shards of voices (--voices).")
        self._voices: dict[str, Voice] = {}
        self._orders: dict[int, NDArray[np.int64]] = {}

    def at(self, index: int) -> Case:
        """Case number `index`.

        Raises:
            BadInput: no text of the source can be spoken within the longest length.
        """
        epoch, place = divmod(index, len(self.lines))
        if epoch not in self._orders:
            order = np.random.default_rng([self.seed, 1, epoch]).permutation(len(self.lines))
            self._orders = {epoch: order}
        rng = np.random.default_rng([self.seed, 2, index])
        for step in range(len(self.lines)):  # unfit ones give way to the next
            line = self.lines[int(self._orders[epoch][(place + step) % len(self.lines)])]
            if (case := self._read(line, rng)) is not None:
                return case
        raise BadInput(
            f"None of the {len(self.lines)} texts can be spoken with at most {self.longest} text "
            "ids. Give shorter sentences or raise the limit."
        )

    def _read(self, line: Line, rng: np.random.Generator) -> Case | None:
        """A sentence of a line; None where there is none that fits."""
        if line.clip is not None and self.synthesizer.manifest.phonemes:
            units = line.clip.units
            ids, _ = self.synthesizer.text_tokenizer.encode_units(units, [True] * len(units))
            phonemes = [p for _, phonemes in units for p in phonemes]
            found = [(line.text, Reading(ids, phonemes, laugh_places(units)), style_of(units))]
        else:
            found: list[tuple[str, Reading, str | None]] = []
            for sentence in self._sentences(line.text):
                if line.style in STYLES and not sentence.style:
                    sentence = replace(sentence, style=line.style)
                try:
                    reading = self.reader.read(sentence)
                except BadText:
                    continue
                style = sentence.style or next(iter(sentence.tags), line.style)
                found.append((sentence.text, reading, style))
        found = [item for item in found if 0 < len(item[1].ids) <= self.longest]
        if not found:
            return None
        text, reading, style = found[int(rng.integers(len(found)))]
        language = "zh" if is_mandarin(text) else "en"
        voice = self._voice(line, language, rng)
        learnt = self.reader.styles
        heard = self.synthesizer.audible(voice.prompt, voice, text, style, learnt, len(reading.ids))
        if rng.random() < self.voiceless:
            heard = Prompt()
        return Case(
            text, language, tuple(reading.ids), tuple(reading.phonemes), voice, heard, style,
            reading.laughs,
        )  # fmt: skip

    def _sentences(self, text: str) -> Sequence[Sentence]:
        """The sentences of a text; none where nothing in it can be spoken."""
        try:
            return self.synthesizer.frontend(text)
        except BadText:
            return []

    def _voice(self, line: Line, language: str, rng: np.random.Generator) -> Voice:
        if line.voice:
            return self._named(line.voice)
        if self.clips is None:
            fit = [name for name in self.names if self._languages[name] == language]
            fit = fit or self.names
            return self._named(fit[int(rng.integers(len(fit)))])
        for _ in range(100):
            index = int(rng.integers(len(self.clips)))
            clip = self.clips.clips[index]
            limit = self.synthesizer.manifest.prompt_tokens
            if clip.lang == language and self.clips.length("tokens", index) <= limit:
                return voice_of_clip(self.clips, index, self.synthesizer)
        raise BadInput(f"The shards of voices hold hardly any short clip in {language!r}.")

    def _named(self, name: str) -> Voice:
        if name not in self._voices:
            self._voices[name] = self.synthesizer.voice(name)
        return self._voices[name]


def voice_of_clip(corpus: Corpus, index: int, synthesizer: Synthesizer) -> Voice:
    """The voice that a clip of token shards shows.

    Raises:
        BadInput: the shards lack tokens, mel or speaker vectors.
    """
    clip = corpus.clips[index]
    units = clip.units
    ids, _ = synthesizer.text_tokenizer.encode_units(
        units, [synthesizer.manifest.phonemes] * len(units)
    )
    tokens = tuple(int(token) for token in corpus.array("tokens", index))
    return Voice(
        name=clip.id, transcript=clip.text, prompt=Prompt((Turn(tuple(ids), tokens),), own=1),
        speech_tokens=tokens, mel=dequantise_mel(np.array(corpus.array("mel", index))),
        speaker=torch.from_numpy(corpus.array("speaker", index).astype(np.float32)),
        language=clip.lang,
    )  # fmt: skip


def read_lines(source: str) -> Sequence[Line]:
    """The entries of a source, see `Cases`.

    Raises:
        BadInput: it cannot be read, or holds nothing.
    """
    path = Path(source)
    if path.suffix not in (".txt", ".jsonl"):
        return [Line(clip.text, clip) for clip in read_clips(source)]
    try:
        rows = [row for row in path.read_text(encoding="utf-8").splitlines() if row.strip()]
        if path.suffix == ".txt":
            lines = [Line(row.strip()) for row in rows]
        else:
            records: list[dict[str, Any]] = [json.loads(row) for row in rows]
            lines = [Line(r["text"], None, r.get("voice"), r.get("style")) for r in records]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInput(
            f"Cannot read the texts {path} ({error!r}). Expected a text on each line, or JSON "
            'lines with "text".'
        ) from error
    if not lines:
        raise BadInput(f"There are no texts in {path}.")
    folder = path.parent
    return [replace(line, voice=_beside(line.voice, folder)) for line in lines]


def _beside(voice: str | None, folder: Path) -> str | None:
    """A clip that is named relative to the list of texts; a voice's name as it is."""
    if voice and (folder / voice).is_file():
        return str(folder / voice)
    return voice
