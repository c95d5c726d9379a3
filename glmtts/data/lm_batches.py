"""Shards to packed rows for the language model. Read LMBatches.batch first.

A document is one training sequence: [prompt texts][target text][BOA][prompt speech][target speech],
its last position predicting the end. Documents of random clips are packed into rows of fixed
length, so that few positions are padding and every batch has the same shape (which compiled models
and the CPU's memory both like).
"""

from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from glmtts.data.shards import MEL_HIGH, MEL_LOW, Clip, Corpus
from glmtts.errors import BadInput
from glmtts.lm import LMBatch, LMConfig
from glmtts.text import hybrid
from glmtts.text.styles import LAUGHTER, TAGS, tag


class UnitEncoder(Protocol):
    """What is needed of a text tokenizer."""

    def encode_units(
        self, units: Sequence[tuple[str, tuple[str, ...]]], as_phonemes: Sequence[bool]
    ) -> tuple[list[int], list[int]]:
        """Text ids, and for each the index of its phoneme in the clip (-1: none)."""
        ...


@dataclass(frozen=True)
class TextMix:
    """How the text of a clip is written; what is left of the shares is hybrid.

    Attributes:
        phonemes: Share of the clips written in phonemes throughout.
        surface: Share written as ordinary text throughout.
        most: In hybrid clips each unit becomes phonemes with a rate drawn from U(0, `most`).
        ordinary: Only units with one usual reading do; polyphones and rare Hanzi stay text, so that
            the model learns them too (paper §2.6, which has `TextMix(0.0, 0.8, 0.5, True)`).
    """

    phonemes: float = 0.8
    surface: float = 0.04
    most: float = 0.5
    ordinary: bool = False

    def choose(self, clip: Clip, rng: np.random.Generator) -> list[bool]:
        """For each unit of `clip`, whether it is written in phonemes."""
        kind = rng.random()
        if kind < self.phonemes:
            return [True] * len(clip.units)
        if kind < self.phonemes + self.surface:
            return [False] * len(clip.units)
        rate = rng.uniform(0.0, self.most)
        chosen = hybrid.at_random(len(clip.units), rate, rng)
        if self.ordinary:
            plain = (hybrid.is_plain(surface) for surface, _ in clip.units)
            chosen = [choice and fit for choice, fit in zip(chosen, plain, strict=True)]
        return chosen


@dataclass(frozen=True)
class Spoken:
    """One clip, encoded: text ids, speech tokens, and for each of them its text index or -1."""

    text: np.ndarray
    speech: np.ndarray
    spoken: np.ndarray

    def __len__(self) -> int:
        """Ids in all."""
        return len(self.text) + len(self.speech)


def spoken_text(phonemes: np.ndarray, alignment: np.ndarray) -> np.ndarray:
    """Which text id each speech token speaks.

    Args:
        phonemes: (T,) phoneme index of each text id, -1 for none; otherwise rising.
        alignment: (S,) phoneme index of each speech token, -1 where it is not known.

    Returns:
        (S,) index into the text: the last id whose phoneme is not later than the token's, or -1.
    """
    where = np.flatnonzero(phonemes >= 0)
    found = np.searchsorted(phonemes[where], alignment, side="right") - 1
    known = (alignment >= 0) & (found >= 0)
    if not len(where):
        return np.full(len(alignment), -1)
    return np.where(known, where[np.maximum(found, 0)], -1)


class LMBatches:
    """Batches as a pure function of the step: nothing to save, resuming at any step is exact."""

    def __init__(
        self,
        corpus: Corpus,
        tokenizer: UnitEncoder,
        model: LMConfig,
        *,
        rows: int,
        row_length: int,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
        text: TextMix = TextMix(),
        prompt_share: float = 0.5,
        second_prompt_share: float = 0.2,
        fragment_share: float = 0.0,
    ) -> None:
        """Measure the corpus and fix how many batches an epoch has.

        Args:
            corpus: Clips with the array "tokens", and "alignment" where a head is aligned.
            tokenizer: Writes units as text ids.
            model: Gives the special ids.
            rows: Rows of a batch, B.
            row_length: Positions of a row, L; longer documents are left out.
            seed: Of order, prompts and texts.
            rank: This process among `world`.
            world: Number of processes; each gets other rows.
            text: How texts are written.
            prompt_share: Share of documents that begin with another clip of the same speaker.
            second_prompt_share: Share of those that get a second one (where it fits).
            fragment_share: Share of clips cut to a few words; a model that only ever heard whole
                sentences does not know how to say one word. Needs the array "alignment".

        Raises:
            BadInput: the corpus is too small for one batch, or its tokens do not fit the model.
        """
        self.corpus, self.tokenizer, self.model = corpus, tokenizer, model
        self.rows, self.row_length, self.seed = rows, row_length, seed
        self.rank, self.world, self.text = rank, world, text
        self.prompt_share, self.second_prompt_share = prompt_share, second_prompt_share
        self.fragment_share = fragment_share
        self._speakers = [np.array(v) for v in corpus.by_speaker().values()]
        self._speaker_of = np.empty(len(corpus), dtype=np.int64)
        for number, members in enumerate(self._speakers):
            self._speaker_of[members] = number
        self._in_phonemes: dict[int, Spoken] = {}
        self._plans: dict[int, list[list[list[int]]]] = {}
        top = max(int(corpus.array("tokens", i).max(initial=0)) for i in range(len(corpus)))
        if top >= model.speech_count:
            raise BadInput(
                f"The shards hold speech token {top}, the model has {model.speech_count}. Encode "
                "them with the tokenizer the model is made for."
            )
        # Epochs pack a little differently; two per cent fewer rows than the first one has, so that
        # each epoch has enough and step -> (epoch, row) needs no knowledge of the others.
        self.steps_per_epoch = int(len(self._plan(0)) * 0.98) // (rows * world)
        if not self.steps_per_epoch:
            self.steps_per_epoch = len(self._plan(0)) // (rows * world)
        if not self.steps_per_epoch:
            raise BadInput(
                f"{len(corpus)} clips fill {len(self._plan(0))} rows of {row_length}, a batch "
                f"needs {rows * world}. Use fewer or shorter rows, or more data."
            )

    def batch(self, step: int) -> LMBatch:
        """Batch number `step` of this rank."""
        epoch, index = divmod(step, self.steps_per_epoch)
        first = (index * self.world + self.rank) * self.rows
        plan = self._plan(epoch)
        return self._collate(
            [[self._clips(epoch, document) for document in plan[(first + row) % len(plan)]]
             for row in range(self.rows)]
        )  # fmt: skip

    def stream(self, start: int) -> Generator[LMBatch]:
        """Batches from step `start` on, the next one made in the background."""
        with ThreadPoolExecutor(1) as pool:
            step, ahead = start, pool.submit(self.batch, start)
            while True:
                batch = ahead.result()
                step += 1
                ahead = pool.submit(self.batch, step)
                yield batch

    def _plan(self, epoch: int) -> list[list[list[int]]]:
        """The rows of an epoch: lists of documents, each the indices of its clips."""
        if epoch not in self._plans:
            for old in [e for e in self._plans if e < epoch - 1]:
                del self._plans[old]
            self._plans[epoch] = self._pack(epoch)
        return self._plans[epoch]

    def _pack(self, epoch: int) -> list[list[list[int]]]:
        rng = np.random.default_rng([self.seed, epoch])
        done: list[list[list[int]]] = []
        open_rows: list[tuple[int, list[list[int]]]] = []  # (room, documents)
        for target in rng.permutation(len(self.corpus)):
            room = self.row_length - 1
            clips = [int(target)]
            size = len(self._spoken(epoch, clips[0]))
            if size > room:
                continue
            wanted = int(rng.random() < self.prompt_share)
            wanted += wanted and int(rng.random() < self.second_prompt_share)
            others = self._speakers[self._speaker_of[target]]
            for _ in range(wanted):
                other = int(others[rng.integers(len(others))])
                more = len(self._spoken(epoch, other))
                if other not in clips and size + more <= room:
                    clips.insert(0, other)
                    size += more
            size += 1  # BOA
            fits = [n for n, (free, _) in enumerate(open_rows) if free >= size]
            if fits:  # the tightest fit among the open rows
                number = min(fits, key=lambda n: open_rows[n][0])
                free, documents = open_rows[number]
                documents.append(clips)
                open_rows[number] = (free - size, documents)
                continue
            if len(open_rows) == 64:
                number = min(range(64), key=lambda n: open_rows[n][0])
                done.append(open_rows.pop(number)[1])
            open_rows.append((self.row_length - size, [clips]))
        done += [documents for _, documents in open_rows]
        return [done[i] for i in rng.permutation(len(done))]

    def _spoken(self, epoch: int, index: int) -> Spoken:
        """Clip `index` as it is written in this epoch."""
        clip = self.corpus.clips[index]
        rng = np.random.default_rng([self.seed, epoch, index])
        choice = self.text.choose(clip, rng)
        if rng.random() < self.fragment_share:
            return self._fragment(index, choice, rng)
        if not all(choice):
            return self._encode(index, choice)
        if index not in self._in_phonemes:
            self._in_phonemes[index] = self._encode(index, choice)
        return self._in_phonemes[index]

    def _encode(self, index: int, as_phonemes: Sequence[bool]) -> Spoken:
        ids, phonemes = self.tokenizer.encode_units(self.corpus.clips[index].units, as_phonemes)
        speech = self.corpus.array("tokens", index)
        spoken = np.full(len(speech), -1)
        if self.model.align_layer is not None:
            spoken = spoken_text(np.array(phonemes), self.corpus.array("alignment", index))
        return Spoken(np.array(ids, dtype=np.int32), speech, spoken.astype(np.int16))

    def _fragment(
        self, index: int, as_phonemes: Sequence[bool], rng: np.random.Generator
    ) -> Spoken:
        """One to eight neighbouring words of a clip (all of it if it has no more, or a laugh)."""
        units = self.corpus.clips[index].units
        if any(surface == tag(LAUGHTER) for surface, _ in units):
            return self._encode(index, as_phonemes)  # a laugh belongs to no word
        said = np.flatnonzero([bool(phonemes) for _, phonemes in units])
        count = int(rng.integers(1, 9))
        if count >= len(said):
            return self._encode(index, as_phonemes)
        begin = int(rng.integers(len(said) - count + 1))
        first, last = int(said[begin]), int(said[begin + count - 1])
        before = sum(len(phonemes) for _, phonemes in units[:first])
        size = sum(len(phonemes) for _, phonemes in units[first : last + 1])

        alignment = self.corpus.array("alignment", index)
        kept = (alignment >= before) & (alignment < before + size)
        kept[[0, -1]] = True  # the silence at the ends of the clip
        speech = self.corpus.array("tokens", index)[kept]
        alignment = np.where(alignment < before + size, alignment - before, -1)[kept]
        mark = "。" if self.corpus.clips[index].lang == "zh" else "."
        style = [unit for unit in units[:1] if unit[0] in TAGS]
        ids, phonemes = self.tokenizer.encode_units(
            [*style, *units[first : last + 1], (mark, ())],
            [*([False] * len(style)), *as_phonemes[first : last + 1], False],
        )
        spoken = np.full(len(speech), -1)
        if self.model.align_layer is not None:
            spoken = spoken_text(np.array(phonemes), alignment)
        return Spoken(np.array(ids, dtype=np.int32), speech, spoken.astype(np.int16))

    def _clips(self, epoch: int, document: Sequence[int]) -> list[Spoken]:
        return [self._spoken(epoch, index) for index in document]

    def _collate(self, rows: Sequence[Sequence[Sequence[Spoken]]]) -> LMBatch:
        shape = (len(rows), self.row_length)
        ids = np.full(shape, self.model.pad_id, dtype=np.int64)
        positions = np.zeros(shape, dtype=np.int64)
        documents, labels, align = (np.full(shape, -1, dtype=np.int64) for _ in range(3))
        for row, row_documents in enumerate(rows):
            start = 0
            for number, clips in enumerate(row_documents):
                text = np.concatenate([clip.text for clip in clips])
                speech = np.concatenate([clip.speech for clip in clips]).astype(np.int64)
                begins = np.cumsum([start, *(len(clip.text) for clip in clips)])
                spoken = np.concatenate(
                    [np.where(c.spoken >= 0, c.spoken.astype(np.int64) + b, -1)
                     for c, b in zip(clips, begins, strict=False)]
                )  # fmt: skip
                boa = start + len(text)
                end = boa + 1 + len(speech)
                ids[row, start:boa] = text
                ids[row, boa] = self.model.begin_audio_id
                ids[row, boa + 1 : end] = speech + self.model.speech_start
                positions[row, start:end] = np.arange(end - start)
                documents[row, start:end] = number
                labels[row, boa : end - 1] = speech
                labels[row, end - 1] = self.model.speech_count
                align[row, boa : end - 1] = spoken
                start = end
        return LMBatch(*(torch.from_numpy(a) for a in (ids, positions, documents, labels, align)))


def silence_tokens(corpus: Corpus, loudest: float = -5.0, share: float = 0.6) -> tuple[int, ...]:
    """Speech tokens that mostly stand for silence, for the runaway guard.

    Args:
        corpus: Shards with `tokens` and `mel`.
        loudest: A token's frames are silent when their loudest bins stay below this (natural log).
        share: A token is silence when more than this share of its occurrences (15 at least) is.
    """
    step = (MEL_HIGH - MEL_LOW) / 255.0
    tokens = [corpus.array("tokens", i) for i in range(len(corpus))]
    quiet: list[np.ndarray] = []
    for i, clip in enumerate(tokens):
        peaks = corpus.array("mel", i).max(1) * step + MEL_LOW
        quiet.append(peaks.reshape(len(clip), -1).mean(1) < loudest)
    ids, silent = np.concatenate(tokens), np.concatenate(quiet)
    count = np.bincount(ids)
    silence = np.bincount(ids, weights=silent)
    return tuple(int(i) for i in np.flatnonzero((count >= 15) & (silence > share * count)))
