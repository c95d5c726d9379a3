"""A judge in several workers. Read `Pool.__call__` first.

`WorkerPool` has processes of this machine, `actors.RayPool` actors of a Ray cluster. Each worker
makes the judge for itself and is given batches as plain values. A worker that dies or hangs is
replaced and its batch tried again, sample by sample; a sample that keeps losing its worker is
`Failed`. So nothing is lost silently, whatever is killed when.
"""

import contextlib
import math
import signal
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing import connection, get_context
from types import TracebackType
from typing import Any, Protocol

from glmtts.errors import GlmTtsError
from glmtts.judges.base import Failed, Judge, Sample, Verdict
from glmtts.rewards.wire import Packed, pack, unpack

MakeJudge = Callable[[], Judge]
Answer = tuple[str, Any]
"""("ready", (name, version)), ("broken", error) or ("verdicts", [verdict, …])."""


class WorkerLost(GlmTtsError, RuntimeError):
    """Workers of a judge die before they can judge anything."""


@dataclass
class Batch:
    """Samples that one worker is given at once, by their numbers."""

    numbers: list[int]
    tries: int = 0


class Worker(Protocol):
    """Someone with a judge. It first answers ("ready", (name, version)), unasked.

    Attributes:
        ready: It has said so.
        batch: What it was given and has not answered.
        deadline: When that answer is late, by `time.monotonic`.
    """

    ready: bool
    batch: Batch | None
    deadline: float

    def send(self, packed: list[Packed]) -> None:
        """Give it a batch; raises OSError when it is gone."""
        ...

    def answer(self) -> Answer:
        """Its answer, which is there; raises EOFError or OSError when it is gone."""
        ...

    def stop(self) -> str:
        """End it however it is; how it ended."""
        ...


class Pool(ABC):
    """A judge whose samples are judged by several workers in parallel.

    Attributes:
        name: Of the judge inside.
        version: Of the judge inside.
        lost: Workers that died or hung so far.
    """

    def __init__(self, workers: int, batch_size: int, timeout_s: float, retries: int) -> None:
        """Start the workers and wait for the first.

        Args:
            workers: How many.
            batch_size: Samples given to a worker at once.
            timeout_s: A worker that takes longer for a batch is replaced.
            retries: How often a sample that lost its worker is tried again.

        Raises:
            GlmTtsError: the judge cannot be made; what it lacks is said.
            WorkerLost: workers die while they start.
        """
        self._batch_size, self._timeout_s, self._retries = batch_size, timeout_s, retries
        self.lost = 0
        self._early = 0
        self.name = self.version = ""
        self._workers: list[Worker] = []
        try:
            self._workers += [self._start() for _ in range(max(1, workers))]
            while not self.version:
                self._listen([], deque())
        except BaseException:
            self.close()
            raise

    @abstractmethod
    def _start(self) -> Worker:
        """A new worker."""

    @abstractmethod
    def _wait(self, workers: list[Worker], patience_s: float) -> list[Worker]:
        """Those of `workers` that have answered or died, after at most so long."""

    def __enter__(self) -> "Pool":
        """The pool; its workers end with the block."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """End the workers."""
        for worker in self._workers:
            worker.stop()
        self._workers = []

    def __call__(self, samples: Sequence[Sample]) -> list[Verdict]:
        """See `glmtts.judges.base.Judge`.

        Raises:
            WorkerLost: workers die while they start.
        """
        verdicts: list[Verdict | None] = [None] * len(samples)
        size = self._batch_size
        waiting = deque(
            Batch(list(range(i, min(i + size, len(samples))))) for i in range(0, len(samples), size)
        )
        try:
            while waiting or any(worker.batch for worker in self._workers):
                self._hand_out(samples, verdicts, waiting)
                self._listen(verdicts, waiting)
        except BaseException:  # what is still being judged must not answer the next call
            for place, worker in enumerate(self._workers):
                if worker.batch is not None:
                    worker.stop()
                    self._workers[place] = self._start()
            raise
        assert all(verdict is not None for verdict in verdicts)
        return [verdict for verdict in verdicts if verdict is not None]

    def _hand_out(
        self, samples: Sequence[Sample], verdicts: list[Verdict | None], waiting: deque[Batch]
    ) -> None:
        """Give every idle worker a batch."""
        for place, worker in enumerate(list(self._workers)):
            if not waiting or not worker.ready or worker.batch is not None:
                continue
            worker.batch = waiting.popleft()
            worker.deadline = time.monotonic() + self._timeout_s
            try:
                worker.send([pack(samples[number]) for number in worker.batch.numbers])
            except OSError:
                self._replace(place, "it had ended", verdicts, waiting)

    def _listen(self, verdicts: list[Verdict | None], waiting: deque[Batch]) -> None:
        """Take what workers answer; replace those that died or are late."""
        busy = [w for w in self._workers if w.batch is not None or not w.ready]
        soonest = min((w.deadline for w in busy), default=0.0)
        answered = self._wait(busy, min(1.0, max(0.0, soonest - time.monotonic())))
        for place, worker in enumerate(list(self._workers)):
            if any(worker is other for other in answered):
                try:
                    answer = worker.answer()
                except (EOFError, OSError):
                    self._replace(place, "it died", verdicts, waiting)
                    continue
                self._take(worker, answer, verdicts)
            elif worker.batch is not None and time.monotonic() > worker.deadline:
                late = f"it took more than {self._timeout_s:g} s"
                self._replace(place, late, verdicts, waiting)

    def _take(
        self, worker: Worker, answer: tuple[str, Any], verdicts: list[Verdict | None]
    ) -> None:
        kind, value = answer
        if kind == "broken":
            raise value
        if kind == "ready":
            self.name, self.version = value
            worker.ready = True
            self._early = 0
            return
        assert worker.batch is not None, "an answer nobody asked for"
        for number, verdict in zip(worker.batch.numbers, value, strict=True):
            verdicts[number] = verdict
        worker.batch, worker.deadline = None, float("inf")

    def _replace(
        self, place: int, why: str, verdicts: list[Verdict | None], waiting: deque[Batch]
    ) -> None:
        """Start another worker in place of one; its samples are tried again, or have failed."""
        worker = self._workers[place]
        ended = worker.stop()
        self.lost += 1
        if not worker.ready:
            self._early += 1
            if self._early > self._retries:
                raise WorkerLost(
                    f"Workers of the judge die before they are ready ({ended}, {self._early} times "
                    "in a row). Is there enough memory? Try fewer workers."
                )
        self._workers[place] = self._start()
        batch = worker.batch
        if batch is None:
            return
        for number in batch.numbers:
            if batch.tries < self._retries:
                waiting.append(Batch([number], batch.tries + 1))
            else:
                verdicts[number] = Failed(
                    f"The worker that judged this was lost {batch.tries + 1} times; the last time "
                    f"{why} ({ended})."
                )


class Process:
    """A worker in a process of its own; see `Worker`."""

    def __init__(self, make: MakeJudge, threads: int) -> None:
        """Start it."""
        context = get_context("spawn")
        self.pipe, other = context.Pipe()
        self.process = context.Process(target=serve, args=(other, make, threads), daemon=True)
        self.process.start()
        other.close()
        self.ready = False
        self.batch: Batch | None = None
        self.deadline = math.inf

    def send(self, packed: list[Packed]) -> None:
        """See `Worker`."""
        self.pipe.send(packed)

    def answer(self) -> Answer:
        """See `Worker`."""
        return self.pipe.recv()

    def stop(self) -> str:
        """See `Worker`."""
        if self.process.is_alive():
            self.process.kill()
        self.process.join()
        self.pipe.close()
        code = self.process.exitcode
        return f"signal {-code}" if code is not None and code < 0 else f"exit status {code}"


class WorkerPool(Pool):
    """A `Pool` of processes on this machine."""

    def __init__(
        self,
        make: MakeJudge,
        workers: int = 2,
        *,
        batch_size: int = 4,
        timeout_s: float = 300.0,
        retries: int = 2,
        threads: int = 1,
    ) -> None:
        """Start the processes and wait for the first; see `Pool` for the other arguments.

        Args:
            make: Makes the judge inside a worker; must be picklable (`WantedReward("cer")`).
            workers: Processes.
            batch_size: See `Pool`.
            timeout_s: See `Pool`.
            retries: See `Pool`.
            threads: CPU threads of each worker.

        Raises:
            GlmTtsError: the judge cannot be made; what it lacks is said.
            WorkerLost: workers die while they start.
        """
        self._make, self._threads = make, threads
        super().__init__(workers, batch_size, timeout_s, retries)

    def _start(self) -> Worker:
        return Process(self._make, self._threads)

    def _wait(self, workers: list[Worker], patience_s: float) -> list[Worker]:
        pipes = {w.pipe: w for w in workers if isinstance(w, Process)}
        return [pipes[pipe] for pipe in connection.wait(list(pipes), patience_s)]  # pyright: ignore

    @property
    def processes(self) -> list[int]:
        """Process ids of the workers."""
        return [w.process.pid or 0 for w in self._workers if isinstance(w, Process)]


def serve(pipe: Any, make: MakeJudge, threads: int) -> None:
    """The life of a worker: make the judge, answer batches until the pipe closes."""
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one who asks
    torch.set_num_threads(threads)
    judge, error = make_judge(make)
    if judge is None:
        pipe.send(("broken", error))
        return
    with contextlib.suppress(EOFError, OSError):
        pipe.send(("ready", (judge.name, judge.version)))
        while True:
            samples = [unpack(packed) for packed in pipe.recv()]
            pipe.send(("verdicts", judge_all(judge, samples)))


def make_judge(make: MakeJudge) -> tuple[Judge | None, GlmTtsError | None]:
    """The judge, or why it cannot be made, as an error that crosses processes."""
    try:
        return make(), None
    except GlmTtsError as error:
        return None, error
    except Exception as error:
        return None, WorkerLost(f"The judge cannot be made ({type(error).__name__}: {error}).")


def judge_all(judge: Judge, samples: Sequence[Sample]) -> list[Verdict]:
    """What a judge says of samples; when it raises, what it says of each alone."""
    try:
        verdicts = judge(samples)
    except MemoryError:
        raise
    except Exception as error:  # a judge is a plug-in: anything can go wrong inside
        if len(samples) == 1:
            return [Failed(f"{type(error).__name__}: {error}")]
        return [verdict for sample in samples for verdict in judge_all(judge, [sample])]
    if len(verdicts) != len(samples):
        return [Failed(f"{judge.name} answered {len(verdicts)} of {len(samples)}.")] * len(samples)
    return verdicts
