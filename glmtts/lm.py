"""Text ids to speech tokens by next-token prediction. Read TextToSpeechTokens.generate first.

Layout of a sequence (spec §2.1): the text of every prompt turn, the target text, BOA, the speech of
every prompt turn, then the target's speech until the end id. Only speech ids and the end are ever
predicted, so only those rows of the head are computed; in logits and labels, class `i` is speech
token `i` and class `speech_count` is the end.
"""

import math
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from glmtts.errors import BadInput
from glmtts.nn.decoder import Decoder
from glmtts.nn.gaze import Held
from glmtts.nn.int8 import Int8Linear
from glmtts.nn.llama import Llama, LlamaConfig
from glmtts.nn.program import FewRows, compiles, program_of
from glmtts.nn.quantizer import spread_codes
from glmtts.nn.threads import at_most, for_decoder
from glmtts.runaway import Finish
from glmtts.sampling import Sampling, draw
from glmtts.steering import NEVER, Judge, Marks, Rivals
from glmtts.utterance import Utterance, always, best_of, certain, draw_next, while_wanted
from glmtts.voice import Prompt


@dataclass(frozen=True)
class LMConfig:
    """What the language model is; the defaults are the official sizes.

    Attributes:
        speech_start: Vocabulary id of speech token 0 (ATS).
        end_id: Id that ends the speech (EOA).
        begin_audio_id: Id between text and speech (BOA).
        pad_id: Fills rows; never attended to.
        vocab_size: Text, special and speech ids together.
        speech_count: Number of speech tokens.
        hidden_size: Width D.
        layers: Number of layers.
        heads: Query heads.
        kv_heads: Key and value heads.
        head_dim: Width of a head.
        ffn_size: Width of the feed-forward layers.
        rope_theta: Base of the rotary angles.
        rms_eps: Epsilon of the norms.
        tied: Whether the head is the embedding.
        min_ratio: Speech tokens a text id needs at least; the end is forbidden before.
        max_ratio: Speech tokens a text id gets at most; generation is cut there.
        least_budget: Speech tokens that even the shortest text may take (official 0).
        max_context: Positions a sequence may have.
        align_layer: Layer whose head `align_head` follows the text, or None.
        align_head: Query head that is trained to look at the text being spoken, or None.
        silence_ids: Speech tokens that are silence, for the runaway guard.
        dropout: Share dropped of what enters the residual stream, in training only.
        styles: Styles and laughs it was trained to obey tags for (`glmtts.text.styles`).
    """

    speech_start: int
    end_id: int
    begin_audio_id: int
    pad_id: int
    vocab_size: int = 98_304
    speech_count: int = 32_768
    hidden_size: int = 2_048
    layers: int = 28
    heads: int = 16
    kv_heads: int = 4
    head_dim: int = 128
    ffn_size: int = 6_144
    rope_theta: float = 10_000.0
    rms_eps: float = 1e-5
    tied: bool = True
    min_ratio: float = 2.0
    max_ratio: float = 20.0
    least_budget: int = 25
    max_context: int = 8_192
    align_layer: int | None = None
    align_head: int | None = None
    silence_ids: tuple[int, ...] = ()
    dropout: float = 0.0
    styles: tuple[str, ...] = ()

    @property
    def llama(self) -> LlamaConfig:
        """The sizes of the decoder."""
        return LlamaConfig(
            self.vocab_size, self.hidden_size, self.layers, self.heads, self.kv_heads,
            self.head_dim, self.ffn_size, self.rope_theta, self.rms_eps, self.dropout,
        )  # fmt: skip


@dataclass(frozen=True)
class LMBatch:
    """Packed training rows: several documents one behind the other, padded at the end.

    Attributes:
        ids: (B, L) int64 vocabulary ids.
        positions: (B, L) int64, counting from 0 in each document.
        documents: (B, L) int64 number of the document a position belongs to, -1 in the padding.
        labels: (B, L) int64 class the position predicts (speech token, or `speech_count` for the
            end), -1 where it predicts nothing.
        align: (B, L) int64 column of the text id that is spoken by the token this position
            predicts, -1 where that is not known.
    """

    ids: Tensor
    positions: Tensor
    documents: Tensor
    labels: Tensor
    align: Tensor

    def to(self, device: torch.device | str) -> "LMBatch":
        """The same batch on `device`."""
        parts = (self.ids, self.positions, self.documents, self.labels, self.align)
        return LMBatch(*(part.to(device, non_blocking=True) for part in parts))

    @property
    def tokens(self) -> int:
        """Positions that are not padding."""
        return int((self.documents >= 0).sum())

    def mask(self) -> Tensor:
        """(B, L, L) bool: a position sees itself and the past of its own document."""
        same = self.documents[:, :, None] == self.documents[:, None, :]
        return same.tril_()


@dataclass(frozen=True)
class Rollouts:
    """A group of utterances drawn for one text, for policy-gradient training.

    Attributes:
        sequence: (P,) vocabulary ids before the speech (text, BOA and prompt speech).
        tokens: (B, S) classes drawn: speech tokens, then `speech_count` for the end; 0 behind it.
        lengths: (B,) speech tokens of each row, without the end.
        logprobs: (B, S) log-probability of each draw under the model at temperature 1.
        masks: (B, S) true where something was drawn (the end included).
        finish: How each row ended.
        shortest: Draws before which the end was forbidden.
        held: Where the aligned head was held while they were drawn; None: nowhere.
    """

    sequence: Tensor
    tokens: Tensor
    lengths: Tensor
    logprobs: Tensor
    masks: Tensor
    finish: tuple[Finish, ...]
    shortest: int
    held: Held | None = None

    def to(self, device: torch.device | str) -> "Rollouts":
        """The same on `device`."""
        names = ("sequence", "tokens", "lengths", "logprobs", "masks")
        held = self.held and self.held.of(self.held.places.to(device))
        moved = {name: getattr(self, name).to(device) for name in names}
        return replace(self, held=held, **moved)

    def speech(self, row: int) -> list[int]:
        """The speech tokens of one row."""
        return [int(token) for token in self.tokens[row, : int(self.lengths[row])]]


class Generation(Utterance, Iterator[int]):
    """One utterance being spoken: iterate for its speech tokens, then see how it ended."""

    def __init__(
        self,
        lm: "TextToSpeechTokens",
        text_ids: Sequence[int],
        prompt: Prompt,
        sampling: Sampling,
        rng: torch.Generator,
    ) -> None:
        """Check the lengths; the first token costs the reading of the prompt."""
        super().__init__(lm, text_ids, prompt, sampling, rng)
        self._decoder = lm.decoder(1, self.positions)
        self._speech_start = lm.config.speech_start
        self._threads = for_decoder(lm.config.hidden_size)

    def __next__(self) -> int:
        """The next speech token."""
        if self.finish_reason is not None:
            raise StopIteration
        spoken = len(self.tokens)
        with at_most(self._threads):
            if not spoken:
                if self.shared:
                    self._decoder.read(0, self.sequence[: self.shared])
                scores = self._decoder.read(0, self.sequence[self.shared :])[None]
                self._decoder.watch(0, *self.text, self.sampling.ahead or 0)
            else:
                scores = self._decoder.step([0], [self.tokens[-1] + self._speech_start])
            draw_next([self], scores)
        if len(self.tokens) == spoken:  # it was the end
            raise StopIteration
        return self.tokens[-1]

    def close(self) -> None:
        """No more tokens are wanted."""
        self._decoder.clear(0)


class Steered(Iterator[int]):
    """One utterance of several candidates: tokens come once they are certain, at each mark."""

    def __init__(
        self, drawn: Generator[Rivals[Utterance]], sampling: Sampling, judge: Judge
    ) -> None:
        """`drawn` are the candidates after each step."""
        self.finish_reason: Finish | None = None
        self._drawn, self._sampling, self._judge = drawn, sampling, judge
        self._ready, self._given = list[int](), 0

    def __next__(self) -> int:
        """The next speech token."""
        while self._given >= len(self._ready):
            rivals = next(self._drawn, None)
            if rivals is None:
                raise StopIteration
            self._ready, reason = certain(rivals, self._sampling, self._judge)
            self.finish_reason = reason
        self._given += 1
        return self._ready[self._given - 1]

    def close(self) -> None:
        """No more tokens are wanted."""
        self._drawn.close()


class TextToSpeechTokens(nn.Module):
    """The language model of the system."""

    config_type: ClassVar[type[LMConfig]] = LMConfig

    def __init__(self, config: LMConfig) -> None:
        """Build with random weights."""
        super().__init__()
        self.config = config
        self.model = Llama(config.llama)
        self.lm_head = (
            None if config.tied else nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        )
        self.packed_head: Int8Linear | FewRows | None = None

    @torch.no_grad()
    def untied(self) -> "TextToSpeechTokens":
        """A copy whose head is a matrix of its own, equal to the embedding."""
        other = TextToSpeechTokens(replace(self.config, tied=False)).to(self.device)
        head = self.model.embed_tokens if self.lm_head is None else self.lm_head
        other.load_state_dict({**self.state_dict(), "lm_head.weight": head.weight})
        return other.train(self.training)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.model.embed_tokens.weight.device

    def logits(self, hidden: Tensor) -> Tensor:
        """Scores of the speech tokens and the end: (..., D) -> (..., speech_count + 1)."""
        if self.packed_head is not None:
            return self.packed_head(hidden)
        rows, end_row = self._head_rows()
        speech = F.linear(hidden, rows)
        # No product of matrices: with one column its rounding depends on how many rows there are.
        end = (hidden.float() * end_row[0].float()).sum(-1, keepdim=True)
        return torch.cat([speech, end.to(speech)], -1)

    def _head_rows(self) -> tuple[Tensor, Tensor]:
        """Rows of the head for the speech tokens (speech_count, D) and for the end (1, D)."""
        c = self.config
        head = self.model.embed_tokens.weight if self.lm_head is None else self.lm_head.weight
        speech = head[c.speech_start : c.speech_start + c.speech_count]
        return speech, head[c.end_id : c.end_id + 1]

    @torch.no_grad()
    def pack(self) -> "TextToSpeechTokens":
        """Go over to 8-bit weights, in place, for fast decoding on a CPU; see `nn.int8`.

        Weights are rounded (a relative error of about 0.4 %), activations are not. From then on
        the model can neither be trained nor saved. Embeddings stay as they are.

        Returns:
            The model itself.

        Raises:
            BadInput: the model is not on a CPU, or on one without fitting kernels.
        """
        if self.packed_head is None:
            self.model.pack()
            packed = FewRows if compiles(self.config.hidden_size) else Int8Linear
            self.packed_head = packed(torch.cat(self._head_rows()))
            self.lm_head = None
            program_of(self.model)  # compiled now, not before the first sound
        return self

    def decoder(self, slots: int, capacity: int, *, static: bool = False) -> Decoder:
        """Slots for sequences of this model, see `nn.decoder`; their classes are those of `logits`.

        Args:
            slots: Sequences held at once.
            capacity: Positions of each.
            static: Keep the shapes of all steps the same (CUDA graphs).
        """
        c = self.config
        aligned = None if c.align_layer is None else (c.align_layer, c.align_head or 0)
        return Decoder(self.model, self.logits, slots, capacity, aligned=aligned, static=static)

    def forward(
        self,
        batch: LMBatch,
        align_weight: float = 0.0,
        label_smoothing: float = 0.0,
        near: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """`loss`, under the name that data-parallel wrappers call."""
        return self.loss(batch, align_weight, label_smoothing, near)

    @torch.no_grad()
    def start_from(self, codes: Tensor, deviation: float = 0.05) -> None:
        """Start the embeddings of speech from the (speech_count, C) codes of the tokenizer."""
        weight = self.model.embed_tokens.weight
        start = self.config.speech_start
        table = spread_codes(codes, self.config.hidden_size) * deviation
        weight[start : start + len(codes)] = table.to(weight)

    def loss(
        self,
        batch: LMBatch,
        align_weight: float = 0.0,
        label_smoothing: float = 0.0,
        near: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Next-token loss over speech and end, and guided attention where the model has it.

        The aligned head is trained with cross-entropy: from each position that predicts a speech
        token it should look at the text id which that token speaks (guided attention, Tachibana
        et al. 2018, with true alignments instead of a diagonal).

        Args:
            batch: Packed rows.
            align_weight: Factor of the alignment loss.
            label_smoothing: Share of the target mass spread over other classes.
            near: (speech_count, K) the classes it is spread over, for each token; None: over all.

        Returns:
            Scalars: "loss" to be minimised, "nll" (nat per token, without smoothing), "top1" and
            "top10" accuracy, and with an aligned head "align" (nat) and "align_top1".
        """
        c = self.config
        mask = batch.mask()
        aligned = c.align_layer is not None and align_weight > 0
        hidden, tapped = self.model(
            batch.ids, positions=batch.positions, mask=mask,
            tap=c.align_layer if aligned else None,
        )  # fmt: skip
        chosen = batch.labels >= 0
        labels = batch.labels[chosen]
        logits = self.logits(hidden[chosen]).float()  # (B, L, D) -> (n, D) -> (n, classes)
        logprobs = logits.log_softmax(-1)
        target = logprobs.gather(-1, labels[:, None])  # (n, 1)
        loss = -target.mean()
        out = {"nll": loss.detach()}
        if label_smoothing and near is None:
            loss = loss.lerp(-logprobs.mean(), label_smoothing)
        elif label_smoothing and near is not None:
            speech = labels < c.speech_count  # the end has no neighbours
            spread = logprobs[speech].gather(-1, near[labels[speech]]).mean()
            loss = loss.lerp(-spread, label_smoothing)
        out["loss"] = loss
        with torch.no_grad():
            better = (logprobs > target).sum(-1)
            out["top1"] = (better < 1).float().mean()
            out["top10"] = (better < 10).float().mean()
        if tapped is not None:
            scores = self._align_scores(tapped, batch.positions).masked_fill(~mask, float("-inf"))
            known = batch.align >= 0
            target = batch.align[known]
            scores = scores[known]  # (B, L, L) -> (m, L)
            align = F.cross_entropy(scores, target) if len(target) else scores.sum() * 0.0
            out["loss"] = loss + align_weight * align
            out["align"] = align.detach()
            out["align_top1"] = (scores.detach().argmax(-1) == target).float().mean()
        return out

    def _align_scores(self, tapped: Tensor, positions: Tensor) -> Tensor:
        """(B, L, D) input of the aligned layer -> (B, L, L) scores of its aligned head."""
        c = self.config
        assert c.align_layer is not None
        attention = self.model.layers[c.align_layer].self_attn
        cos, sin = self.model.rotary(positions, torch.float32)
        return attention.scores(tapped, cos, sin, c.align_head or 0)  # pyright: ignore

    def sequence(self, text_ids: Sequence[int], prompt: Prompt) -> list[int]:
        """Vocabulary ids of everything before the target's speech (spec §2.1).

        Raises:
            BadInput: no text, or ids the model does not have.
        """
        c = self.config
        texts = [i for turn in prompt.turns for i in turn.text_ids]
        speech = [i for turn in prompt.turns for i in turn.speech_tokens]
        if not text_ids:
            raise BadInput("There is no text to speak: text_ids is empty.")
        if not all(0 <= i < c.vocab_size for i in (*texts, *text_ids)):
            raise BadInput(
                f"A text id is outside 0..{c.vocab_size - 1}. Use the text tokenizer of this model."
            )
        if not all(0 <= i < c.speech_count for i in speech):
            raise BadInput(
                f"A speech token of the prompt is outside 0..{c.speech_count - 1}. Was the voice "
                "made with another model? Make it again from its audio."
            )
        return [*texts, *text_ids, c.begin_audio_id, *(i + c.speech_start for i in speech)]

    def bounds(self, text_length: int, context: int) -> tuple[int, int]:
        """Fewest and most speech tokens for a text (spec §2.2).

        Args:
            text_length: Ids of the target text.
            context: Positions already taken by text and prompt.

        Raises:
            BadInput: the context has no room left.
        """
        c = self.config
        room = c.max_context - context
        longest = min(max(int(text_length * c.max_ratio), c.least_budget), room)
        if longest <= 0:
            raise BadInput(
                f"Text and prompt take {context} positions, the model has {c.max_context}. Split "
                "the text into sentences or use a shorter reference."
            )
        return min(int(text_length * c.min_ratio), longest), longest

    def generate(
        self,
        text_ids: Sequence[int],
        prompt: Prompt,
        sampling: Sampling = Sampling(),
        *,
        rng: torch.Generator | None = None,
        judge: Judge | None = None,
        marks: Marks = Marks(),
    ) -> "Generation | Steered":
        """Speak: yields speech tokens 0..speech_count-1 as they are certain.

        A stream cannot take back what it gave, so a runaway (a loop, a long silence) ends it early;
        `generate_checked` tries again instead. With a judge, `sampling.candidates` are drawn side
        by side, and at each mark the best is what was said; without one, one is, token by token.

        Args:
            text_ids: (T,) the sentence.
            prompt: The voice, and what it has just said.
            sampling: How tokens are drawn.
            rng: Generator on the model's device; by default one seeded with `sampling.seed`.
            judge: Hears how badly tokens read back.
            marks: Where it is asked.

        Returns:
            An iterator whose `finish_reason` tells afterwards how it ended.

        Raises:
            BadInput: nothing to speak, foreign ids, or too long for the context.
        """
        rng = rng or self.generator(sampling.seed)
        if judge is None or sampling.side_by_side == 1:
            return Generation(self, text_ids, prompt, sampling, rng)
        drawn = self._rivals(text_ids, prompt, sampling, rng, judge, marks)
        return Steered(drawn, sampling, judge)

    def generate_checked(
        self,
        text_ids: Sequence[int],
        prompt: Prompt,
        sampling: Sampling = Sampling(),
        *,
        rng: torch.Generator | None = None,
        judge: Judge | None = None,
        wanted: Callable[[], bool] = always,
    ) -> tuple[list[int], Finish]:
        """Speak a whole sentence, trying again (`sampling.retries` times) when it goes wrong.

        Each attempt draws `sampling.candidates` utterances side by side; with a judge the best
        leads the others (`glmtts.steering`). One that runs away loses the loop or silence it ended
        in. The best is the one with the least penalty: how badly it reads back, plus 4 to 12 for
        an end in silence, at the longest or in a loop, plus 16 for nothing at all; of equals the
        longest.

        Args:
            text_ids: (T,) the sentence.
            prompt: The voice, and what it has just said.
            sampling: How tokens are drawn; attempt n draws on from where attempt n - 1 stopped, so
                a seed still decides everything.
            rng: As for `generate`.
            judge: Hears how badly tokens read back; what exceeds `sampling.accept` is tried again.
                None: only runaways are.
            wanted: Asked at each step; once it says no, the work ends with `Cancelled`.

        Returns:
            The tokens of the best attempt, and how it ended.

        Raises:
            BadInput: as for `generate`.
            Cancelled: nobody wants the utterance any more.
        """
        rng = rng or self.generator(sampling.seed)

        def attempt() -> list[Utterance]:
            if sampling.side_by_side > 1:
                drawn = self._rivals(text_ids, prompt, sampling, rng, judge, NEVER)
                return list(while_wanted(drawn, wanted))[-1].all
            generation = cast(Generation, self.generate(text_ids, prompt, sampling, rng=rng))
            for _ in while_wanted(generation, wanted):
                pass
            return [generation]

        return best_of(attempt, sampling, judge)

    def _rivals(
        self,
        text_ids: Sequence[int],
        prompt: Prompt,
        sampling: Sampling,
        rng: torch.Generator,
        judge: Judge | None,
        marks: Marks,
    ) -> Generator[Rivals[Utterance]]:
        """Candidates of one sentence after each step, until all have ended.

        The prompt is read once. Each has a generator of its own, so that none depends on when its
        neighbours end.
        """
        count = sampling.side_by_side
        candidates = [
            Utterance(self, text_ids, prompt, sampling, own) for own in self.generators(rng, count)
        ]
        rivals = Rivals(candidates, judge, marks)
        first, start = candidates[0], self.config.speech_start
        decoder = self.decoder(count, first.positions)
        threads = for_decoder(self.config.hidden_size)
        with at_most(threads):
            if first.shared:
                decoder.read(0, first.sequence[: first.shared])
            scores = decoder.read(0, first.sequence[first.shared :]).expand(count, -1)
        decoder.watch(0, *first.text, sampling.ahead or 0)
        for row in range(1, count):
            decoder.follow(row, 0)
        running = list(range(count))
        while True:
            draw_next([candidates[row] for row in running], scores)
            common = len(first.sequence) + max(0, rivals.settled - 1)
            if (best := rivals.lead()) is not None:
                for row in range(count):
                    if row != best:
                        decoder.follow(row, best, common)
            yield rivals
            running = [row for row in running if candidates[row].finish_reason is None]
            if not running:
                return
            with at_most(threads):
                last = [candidates[row].tokens[-1] + start for row in running]
                scores = decoder.step(running, last)

    @torch.no_grad()  # not inference mode: `log_probs` differentiates through what is drawn here
    def generate_group(
        self,
        text_ids: Sequence[int],
        prompt: Prompt,
        sampling: Sampling = Sampling(),
        *,
        size: int,
        rng: torch.Generator | None = None,
        wanted: Callable[[], bool] = always,
    ) -> Rollouts:
        """Draw `size` utterances of one text side by side; the prompt is read once.

        An aligned head looks anywhere (`train.rollouts.Actor` heeds `sampling.ahead`), and nothing
        stops a runaway: in training it shall be seen by the reward.

        Raises:
            BadInput: as for `generate`.
        """
        c, rng = self.config, rng or self.generator(sampling.seed)
        end = c.speech_count
        before = self.sequence(text_ids, prompt)
        shortest, longest = self.bounds(len(text_ids), len(before))
        decoder, rows = self.decoder(size, len(before) + longest), range(size)
        scores = decoder.read(0, before).expand(size, -1)
        for row in rows[1:]:
            decoder.put(row, decoder.copied(0))
        tokens = torch.full((size, longest), -1, device=self.device)
        logprobs = torch.zeros(size, longest, device=self.device)
        running = torch.ones(size, dtype=torch.bool, device=self.device)
        for step in while_wanted(range(longest), wanted):
            logits = scores.float().clone()
            if step < shortest:
                logits[:, end] = float("-inf")
            token = draw(logits, tokens[:, :step], sampling, rng)
            chosen = logits.log_softmax(-1).gather(-1, token[:, None])[:, 0]
            tokens[:, step] = torch.where(running, token, -1)
            logprobs[:, step] = torch.where(running, chosen, 0.0)
            running = running & (token != end)
            if step + 1 == longest or not bool(running.any()):
                break
            shown = torch.where(token == end, 0, token) + c.speech_start
            scores = decoder.step(rows, [int(i) for i in shown])
        masks = tokens >= 0
        width = int(masks.sum(-1).max())
        tokens, masks, logprobs = tokens[:, :width], masks[:, :width], logprobs[:, :width]
        ended = (tokens == end).any(-1)
        return Rollouts(
            sequence=torch.tensor(before, device=self.device), tokens=tokens.clamp(min=0),
            lengths=masks.sum(-1) - ended.long(), logprobs=logprobs, masks=masks,
            finish=tuple("stop" if bool(e) else "length" for e in ended),
            shortest=shortest,
        )  # fmt: skip

    def log_probs(self, rollouts: Rollouts) -> Tensor:
        """Log-probability of each draw under the present weights, with gradient: (B, S).

        Zero where nothing was drawn. Equals `rollouts.logprobs` for the weights that drew them.
        """
        c, (rows, width) = self.config, rollouts.tokens.shape
        shown = rollouts.tokens[:, :-1].clamp(max=c.speech_count - 1) + c.speech_start
        ids = torch.cat([rollouts.sequence.expand(rows, -1), shown], 1)  # (B, P + S - 1)
        hidden, _ = self.model(ids)
        logits = self.logits(hidden[:, -width:]).float()  # (B, S, classes)
        early = torch.arange(width, device=ids.device) < rollouts.shortest
        end = torch.arange(c.speech_count + 1, device=ids.device) == c.speech_count
        logits = logits.masked_fill(early[:, None] & end, float("-inf"))
        chosen = logits.log_softmax(-1).gather(-1, rollouts.tokens[..., None])[..., 0]
        return torch.where(rollouts.masks, chosen, 0.0)

    @torch.inference_mode()
    def alignment(self, text_ids: Sequence[int], prompt: Prompt, tokens: Sequence[int]) -> Tensor:
        """Where the aligned head looks while each speech token is predicted: (S, T).

        Rows sum to at most 1; the rest goes to the prompt and to speech.

        Args:
            text_ids: (T,) the sentence.
            prompt: The prompt it was spoken with.
            tokens: (S,) its speech tokens.

        Raises:
            BadInput: this model has no aligned head, or nothing was spoken.
        """
        c = self.config
        if c.align_layer is None or not tokens:
            raise BadInput(
                "An alignment needs speech tokens and a model trained with align_layer and "
                "align_head."
            )
        before = self.sequence(text_ids, prompt)
        ids = torch.tensor([[*before, *(i + c.speech_start for i in tokens[:-1])]]).to(self.device)
        _, tapped = self.model(ids, tap=c.align_layer)
        positions = torch.arange(ids.shape[1], device=ids.device)[None]
        scores = self._align_scores(tapped, positions)[0]  # (L, L)
        scores = scores.masked_fill(~torch.ones_like(scores, dtype=torch.bool).tril(), -math.inf)
        begin = sum(len(turn.text_ids) for turn in prompt.turns)
        return scores[-len(tokens) :].softmax(-1)[:, begin : begin + len(text_ids)]

    @staticmethod
    def generators(rng: torch.Generator, count: int) -> list[torch.Generator]:
        """`count` generators on the device of `rng`, seeded by it."""
        seeds = torch.randint(2**62, (count,), generator=rng, device=rng.device)
        return [torch.Generator(rng.device).manual_seed(int(seed)) for seed in seeds]

    def generator(self, seed: int | None) -> torch.Generator:
        """A generator on the model's device, seeded with `seed` or, without one, at random."""
        rng = torch.Generator(self.device)
        if seed is None:
            rng.seed()
        else:
            rng.manual_seed(seed)
        return rng
