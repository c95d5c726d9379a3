"""The language model in vLLM, for GPUs that many share; it has never met a real vLLM.

vLLM batches and pages; what is drawn stays ours: `Ras` is a logits processor that draws the token
as `sampling.draw_each` does and leaves vLLM no other choice, so repetition-aware sampling, the
forbidden early end and the seed mean the same. Loops and silences are watched here (`lm.Utterance`)
and the request is aborted. Candidates cannot follow one another between two marks of a stream:
streams are drawn once, whole sentences as independent candidates, read back as everywhere. No head
is held near its place in the text (`nn.gaze`).

Written for the V1 engine (0.11 to 0.31), whose `AdapterLogitsProcessor` asks for a callable each
request; the adapter and all that may change with vLLM's version is in `engine` and `processor`.
"""

import asyncio
import queue
import threading
import uuid
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping, Sequence
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from glmtts.errors import BadInput
from glmtts.lm import LMConfig, TextToSpeechTokens
from glmtts.sampling import Sampling, draw_each
from glmtts.serve.remote import End, Spoken, Wanted, generator_of, state_of
from glmtts.utterance import Utterance

ARGUMENT = "glmtts"
"""Name of what a request tells its logits processor, in `SamplingParams.extra_args`."""


class Ras:
    """Draws one request's tokens within vLLM."""

    def __init__(self, told: Mapping[str, Any]) -> None:
        """`told` is what `asked` gives for the request."""
        self._start, self._count = int(told["start"]), int(told["count"])
        self._end, self._shortest = int(told["end"]), int(told["shortest"])
        self._sampling = Sampling(**told["sampling"])
        self._rng = torch.Generator().manual_seed(int(told["seed"]))

    def __call__(self, output_ids: Sequence[int], logits: Tensor) -> Tensor:
        """Scores of the whole vocabulary (V,) that leave the drawn id alone."""
        speech = logits[self._start : self._start + self._count]
        scores = torch.cat([speech, logits[self._end : self._end + 1]]).float().cpu()
        if len(output_ids) < self._shortest:
            scores[-1] = float("-inf")
        past = [token - self._start for token in output_ids]
        (drawn,) = draw_each(scores[None], [past], [self._sampling], [self._rng])
        only = torch.full_like(logits, float("-inf"))
        only[self._end if drawn == self._count else self._start + drawn] = 0.0
        return only


def asked(config: LMConfig, utterance: Utterance, seed: int) -> dict[str, Any]:
    """What `Ras` must know of an utterance, in types that can be sent to another process."""
    return {
        "start": config.speech_start, "count": config.speech_count, "end": config.end_id,
        "shortest": utterance.shortest, "seed": seed, "sampling": asdict(utterance.sampling),
    }  # fmt: skip


class Drawing(Protocol):
    """The part of vLLM's `AsyncLLM` that is used, with requests already made."""

    def draw(
        self, ids: Sequence[int], longest: int, told: dict[str, Any], request_id: str
    ) -> AsyncIterator[Sequence[int]]:
        """New ids of a request as they come, the end among them."""
        ...

    async def abort(self, request_id: str) -> None:
        """Draw no more for it."""
        ...


class VllmWire:
    """A `remote.Wire` to a vLLM engine; use it as `RemoteLM(VllmWire(...))`."""

    def __init__(self, engine: Drawing, config: LMConfig) -> None:
        """Run the engine's event loop in a thread of its own."""
        self._engine, self._config = engine, config
        with torch.device("meta"):  # for its layout of sequences; the weights are in vLLM
            self._lm = TextToSpeechTokens(config)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="glmtts-vllm", daemon=True
        )
        self._thread.start()

    def tokens(self, wanted: Wanted) -> "Iterator[int | End]":
        """See `Wire`: one candidate."""
        rng = generator_of(wanted.state)
        utterance, seed = self._utterances(wanted, rng, 1)[0]
        news: queue.SimpleQueue[int | BaseException | None] = queue.SimpleQueue()

        async def work() -> None:
            try:
                async for token in self._drawn(utterance, seed):
                    news.put(token)
                news.put(None)
            except BaseException as error:
                news.put(error)
                raise

        task = self._begin(work())
        try:
            while (item := news.get()) is not None:
                if isinstance(item, BaseException):
                    raise item
                yield item
            assert utterance.finish_reason is not None
            yield End(utterance.finish_reason, state_of(rng))
        finally:
            task.cancel()

    def utterances(self, wanted: Wanted) -> tuple[list[Spoken], bytes]:
        """See `Wire`."""
        rng = generator_of(wanted.state)
        drawn = self._utterances(wanted, rng, wanted.sampling.side_by_side)

        async def end(utterance: Utterance, seed: int) -> None:
            async for _ in self._drawn(utterance, seed):
                pass

        async def work() -> None:
            await asyncio.gather(*(end(*each) for each in drawn))

        self._begin(work()).result()
        done = [Spoken(u.tokens, u.finish_reason, u.runaway) for u, _ in drawn]
        return done, state_of(rng)

    def close(self) -> None:
        """Give up what is being drawn, and end the thread."""

        async def end() -> None:
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)
            await self._loop.shutdown_asyncgens()

        asyncio.run_coroutine_threadsafe(end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _begin(self, work: Coroutine[Any, Any, None]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def _utterances(
        self, wanted: Wanted, rng: torch.Generator, count: int
    ) -> list[tuple[Utterance, int]]:
        seeds = [int(seed) for seed in torch.randint(2**62, (count,), generator=rng)]
        return [
            (Utterance(self._lm, wanted.text_ids, wanted.prompt, wanted.sampling, rng), seed)
            for seed in seeds
        ]

    async def _drawn(self, utterance: Utterance, seed: int) -> AsyncIterator[int]:
        """The tokens of one utterance, which takes note of them."""
        config, request_id = self._config, uuid.uuid4().hex
        told = asked(config, utterance, seed)
        try:
            async for ids in self._engine.draw(
                utterance.sequence, utterance.longest, told, request_id
            ):
                for number in ids:
                    count = len(utterance.tokens)
                    ended = number == config.end_id
                    utterance.take(config.speech_count if ended else number - config.speech_start)
                    if len(utterance.tokens) > count:
                        yield utterance.tokens[-1]
                    if utterance.finish_reason is not None:
                        return
            raise ConnectionError("vLLM ended an utterance that has not come to its end.")
        finally:
            if utterance.finish_reason != "stop":
                await self._engine.abort(request_id)


def processor() -> type[Any]:
    """The logits processor class that vLLM is given; made here, as its base is vLLM's."""
    base: Any = _vllm("v1.sample.logits_processor").AdapterLogitsProcessor

    class GlmTtsSampling(base):
        """`Ras` for each request that brings its arguments."""

        @classmethod
        def validate_params(cls, params: Any) -> None:
            """Nothing but what `asked` gives comes here."""

        def is_argmax_invariant(self) -> bool:
            """It decides which token is the likeliest."""
            return False

        def new_req_logits_processor(self, params: Any) -> Ras | None:
            """The callable of a request."""
            asked: dict[str, Any] = params.extra_args or {}
            return Ras(asked[ARGUMENT]) if asked.get(ARGUMENT) is not None else None

    return GlmTtsSampling


class VllmEngine:
    """`Drawing` by vLLM's `AsyncLLM`."""

    def __init__(self, folder: str | Path, **options: Any) -> None:
        """Load a Llama in Hugging Face's layout, such as `ckpt/llm` of the official release.

        Args:
            folder: The model.
            options: More of vLLM's `AsyncEngineArgs`.

        Raises:
            BadInput: vLLM is not installed.
        """
        self._params: Any = _vllm("sampling_params")
        arguments = _vllm("engine.arg_utils").AsyncEngineArgs(
            model=str(folder), skip_tokenizer_init=True, logits_processors=[processor()],
            **{"async_scheduling": False, **options},  # a draw needs the token before it
        )  # fmt: skip
        self._engine: Any = _vllm("v1.engine.async_llm").AsyncLLM.from_engine_args(arguments)

    async def draw(
        self, ids: Sequence[int], longest: int, told: dict[str, Any], request_id: str
    ) -> AsyncIterator[Sequence[int]]:
        """See `Drawing`."""
        params = self._params.SamplingParams(
            temperature=0.0, max_tokens=longest + 1, stop_token_ids=[told["end"]],
            ignore_eos=True, detokenize=False, extra_args={ARGUMENT: told},
            output_kind=self._params.RequestOutputKind.DELTA,
        )  # fmt: skip
        prompt = {"prompt_token_ids": list(ids)}
        async for output in self._engine.generate(
            prompt=prompt, sampling_params=params, request_id=request_id
        ):
            yield output.outputs[0].token_ids

    async def abort(self, request_id: str) -> None:
        """See `Drawing`."""
        await self._engine.abort(request_id)


def _vllm(module: str) -> Any:
    try:
        return import_module(f"vllm.{module}")
    except ImportError as error:
        raise BadInput(
            f"vLLM cannot be used ({error}). Install vllm, 0.11 to 0.31, beside glmtts; it needs a "
            "GPU."
        ) from error
