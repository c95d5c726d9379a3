"""Many utterances at once: requests join and leave between the steps of one batch.

Read `Engine.step` first. A request's tokens do not depend on its neighbours: each has its options
and its generator, and the decoder computes each slot by itself (`nn.decoder`). What may be shared
is computed once: in the layout [voice's text][past and target text][BOA][speech] only the text of
the voice comes before anything of the request's own, so its keys and values are kept for the next
request in the same voice; the voice's speech stands behind the target text and is read each time.

Each request may bring an adapter of its own: what it adds is computed row by row, the base for all.
"""

from collections import deque
from collections.abc import Sequence

import torch

from glmtts.adapters import Adapter
from glmtts.errors import BadInput
from glmtts.lm import TextToSpeechTokens
from glmtts.nn.adapted import Rows, view
from glmtts.nn.cache import Prefixes
from glmtts.nn.program import program_of
from glmtts.sampling import Sampling
from glmtts.steering import Judge, Marks, Rivals
from glmtts.utterance import Utterance, draw_next
from glmtts.voice import Prompt

CAPACITY = 2_048
"""Positions of a slot unless asked otherwise: a minute of speech with prompt and text."""


class Request(Utterance):
    """An utterance that an engine is asked for; read `tokens` and `finish_reason` after each step.

    Attributes:
        slot: Where it is computed; None while it waits and after it has ended.
        adapter: What is added to the model for it.
        places: Where it was in its text when it read each of its tokens, in an engine that is
            `traced`; empty where its head is not held (`nn.gaze`).
        rivals: Those it is one candidate of.
    """

    slot: int | None = None
    adapter: Adapter | None = None
    rivals: "Rivals[Request] | None" = None
    places: tuple[int, ...] = ()

    def starts_like(self, other: "Request") -> bool:
        """Whether both read the very same before they speak, by the same weights."""
        return self.sequence == other.sequence and self.adapter is other.adapter


class Engine:
    """A language model that speaks up to `slots` utterances side by side.

    Not for several threads at once: one thread submits, steps and reads.

    Attributes:
        slots: Utterances computed at once; more wait.
        capacity: Positions (prompt, text and longest speech) an utterance may take.
    """

    def __init__(
        self,
        lm: TextToSpeechTokens,
        slots: int = 8,
        capacity: int | None = None,
        *,
        prefixes: int = 16,
        static: bool | None = None,
        adapters: bool = False,
        traced: bool = False,
    ) -> None:
        """Allocate the slots.

        Args:
            lm: The model; packed to 8 bits (`lm.pack()`) it is fastest on a CPU.
            slots: Utterances at once.
            capacity: Positions of each; by default 2,048, or the model's context if shorter.
            prefixes: Voices whose text is kept read.
            static: Steps of constant shape, replayed as a CUDA graph; by default on a GPU, unless
                there are adapters.
            adapters: Requests may bring some.
            traced: Keep where requests were in their texts.

        Raises:
            BadInput: `static` together with `adapters`: a graph repeats the adapters it saw.
        """
        if static and adapters:
            raise BadInput("Steps with adapters cannot be replayed as a graph. Leave out static.")
        self.lm, self.slots, self.traced = lm, slots, traced
        self._rows = Rows() if adapters else None
        self.capacity = capacity or min(CAPACITY, lm.config.max_context)
        if static is None:
            static = lm.device.type == "cuda" and not adapters
        served = lm if self._rows is None else view(lm, self._rows)
        self._decoder = served.decoder(slots, self.capacity, static=static)
        self._plain = program_of(lm.model)
        self._prefixes = Prefixes(prefixes)
        self._waiting: deque[Request] = deque()
        self._running: dict[int, Request] = {}

    @property
    def busy(self) -> bool:
        """Whether a request waits or runs."""
        return bool(self._waiting or self._running)

    def submit(
        self,
        text_ids: Sequence[int],
        prompt: Prompt,
        sampling: Sampling = Sampling(),
        *,
        rng: torch.Generator | None = None,
        adapter: Adapter | None = None,
    ) -> Request:
        """Ask for an utterance; the coming steps give its tokens, one each.

        Args:
            text_ids: (T,) the sentence.
            prompt: The voice, and what it has just said.
            sampling: How tokens are drawn.
            rng: Generator on the model's device, for this request alone; by default one seeded
                with `sampling.seed`.
            adapter: Changes the model for this request alone. It is on the model's device; the
                same object for all requests of a voice, so that its text is read once.

        Raises:
            BadInput: nothing to speak, foreign ids, longer than a slot, or an adapter for an engine
                made without.
        """
        if adapter is not None and self._rows is None:
            raise BadInput("This engine takes no adapters. Make it with adapters=True.")
        rng = rng or self.lm.generator(sampling.seed)
        request = Request(self.lm, text_ids, prompt, sampling, rng)
        request.adapter = adapter
        if request.positions > self.capacity:
            raise BadInput(
                f"Prompt, text and speech may take {request.positions} positions, a slot of this "
                f"engine has {self.capacity}. Split the text or raise the engine's capacity."
            )
        self._waiting.append(request)
        return request

    def submit_rivals(
        self,
        text_ids: Sequence[int],
        prompt: Prompt,
        sampling: Sampling = Sampling(),
        *,
        rng: torch.Generator | None = None,
        adapter: Adapter | None = None,
        judge: Judge | None = None,
        marks: Marks = Marks(),
    ) -> Rivals[Request]:
        """Ask for an utterance of `sampling.candidates`; see `glmtts.steering` and `submit`.

        They are let in together, and read the text once.

        Raises:
            BadInput: as for `submit`, or there are more than slots.
        """
        rng, count = rng or self.lm.generator(sampling.seed), sampling.side_by_side
        if count > self.slots:
            raise BadInput(
                f"{count} candidates need as many slots; this engine has {self.slots}. Draw fewer."
            )
        rngs = self.lm.generators(rng, count) if count > 1 else [rng]
        requests = [
            self.submit(text_ids, prompt, sampling, rng=own, adapter=adapter) for own in rngs
        ]
        rivals = Rivals(requests, judge, marks)
        for request in requests:
            request.rivals = rivals
        return rivals

    def cancel(self, request: Request) -> None:
        """Drop a request; its neighbours do not notice. Nothing happens if it has ended."""
        if request in self._waiting:
            self._waiting.remove(request)
        elif request.slot is not None:
            self._release(request)

    def step(self) -> list[Request]:
        """Let a waiting request in, and give each running one its next token.

        A prompt is read between two steps, one at a time, so that no crowd of newcomers holds up
        those that already speak. Those behind it that go on from the very same prompt and text,
        with the same adapter, are let in with it: it is read once for all of them, and they advance
        as one.

        Returns:
            The requests that took a token or ended in this step.
        """
        slots = sorted(self._running)
        scores = [self._advance(slots)] if slots else []
        newest: Request | None = None
        while self._waiting and len(slots) < self.slots:
            request = self._waiting[0]
            if newest is not None and not newest.starts_like(request):
                break
            rivals, free = request.rivals, self.slots - len(slots)
            if rivals and rivals.all[0] is request and len(rivals.all) > free:
                break
            slot = next(slot for slot in range(self.slots) if slot not in self._running)
            if newest is None:
                scores.append(self._admit(self._waiting.popleft(), slot)[None])
            else:
                scores.append(scores[-1])
                self._admit_beside(self._waiting.popleft(), slot, newest)
            slots.append(slot)
            newest = request
        if not slots:
            return []
        requests = [self._running[slot] for slot in slots]
        draw_next(requests, torch.cat(scores))
        groups = {id(request.rivals): request.rivals for request in requests if request.rivals}
        for rivals in groups.values():
            self._lead(rivals)
        for request in requests:
            if request.finish_reason is not None:
                self._release(request)
        return requests

    def _lead(self, rivals: Rivals[Request]) -> None:
        """Let the others go on from the best candidate, if this is the time."""
        settled = rivals.settled
        if (best := rivals.lead()) is None:
            return
        leader = rivals.all[best]
        common = len(leader.sequence) + max(0, settled - 1)
        for request in rivals.all:
            if request is not leader:
                assert request.slot is not None
                assert leader.slot is not None
                self._decoder.follow(request.slot, leader.slot, common)

    def run(self) -> None:
        """Step until all requests have ended."""
        while self.busy:
            self.step()

    def _advance(self, slots: Sequence[int]) -> torch.Tensor:
        """Scores of what follows the last token of each running request: (n, classes)."""
        if self.traced and (places := self._decoder.places(slots)) is not None:
            for slot, place in zip(slots, places, strict=True):
                self._running[slot].places += (place,)
        if self._rows is None:
            return self._stepped(slots)
        # What the plain ones say must not depend on whether somebody brings an adapter: they take
        # the program, which knows none, and the others the way of modules.
        apart = [slot for slot in slots if self._running[slot].adapter] if self._plain else slots
        together = [slot for slot in slots if slot not in apart]
        groups: list[torch.Tensor] = []
        if together:
            self._decoder.use(self._plain)
            groups.append(self._stepped(together))
        if apart:
            self._decoder.use(None)
            self._rows.used = [self._running[slot].adapter for slot in apart]
            running = (self._running.get(slot) for slot in range(self.slots))
            self._rows.slots = [request and request.adapter for request in running]
            groups.append(self._stepped(apart))
        order = sorted(range(len(slots)), key=[*together, *apart].__getitem__)
        return torch.cat(groups)[order] if len(groups) > 1 else groups[0]

    def _stepped(self, slots: Sequence[int]) -> torch.Tensor:
        start = self.lm.config.speech_start
        return self._decoder.step(slots, [self._running[slot].tokens[-1] + start for slot in slots])

    def _admit(self, request: Request, slot: int) -> torch.Tensor:
        """Read what comes before the speech into a slot: (classes,)."""
        shared, own = request.sequence[: request.shared], request.sequence[request.shared :]
        self._decoder.clear(slot)
        if self._rows is not None:
            self._rows.used = self._rows.slots = [request.adapter]
        if shared:
            if (known := self._prefixes.get(shared, request.adapter)) is not None:
                self._decoder.put(slot, known)
            else:
                self._decoder.read(slot, shared)
                self._prefixes.keep(shared, self._decoder.copied(slot), request.adapter)
        scores = self._decoder.read(slot, own)
        self._decoder.watch(slot, *request.text, request.sampling.ahead or 0)
        request.slot, self._running[slot] = slot, request
        return scores

    def _admit_beside(self, request: Request, slot: int, twin: Request) -> None:
        """Let in a request whose sequence `twin` has just read and not gone beyond."""
        assert twin.slot is not None
        self._decoder.put(slot, self._decoder.copied(twin.slot))
        self._decoder.watch(slot, *request.text, request.sampling.ahead or 0)
        request.slot, self._running[slot] = slot, request

    def _release(self, request: Request) -> None:
        assert request.slot is not None
        self._decoder.clear(request.slot)
        del self._running[request.slot]
        request.slot = None
