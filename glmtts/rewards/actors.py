"""A judge in actors of a Ray cluster: `RayPool` keeps every promise of `pool.Pool`.

Samples cross as values in Ray's object store; no machine needs to see another's files.
"""

import math
from typing import Any

from glmtts.judges.needs import needed
from glmtts.rewards.pool import Batch, MakeJudge, Pool, Worker, judge_all, make_judge
from glmtts.rewards.wire import Packed, unpack


class Judging:
    """What an actor does."""

    def __init__(self, make: MakeJudge, threads: int) -> None:
        """Make the judge; an error waits for `ready`, Ray would hide its kind."""
        import torch

        torch.set_num_threads(threads)
        self._judge, self._error = make_judge(make)

    def ready(self) -> tuple[str, Any]:
        """The answer of a worker that has started."""
        if self._judge is None:
            return "broken", self._error
        return "ready", (self._judge.name, self._judge.version)

    def judge(self, packed: list[Packed]) -> tuple[str, Any]:
        """The answer to a batch."""
        assert self._judge is not None, "a judge that could not be made was asked"
        return "verdicts", judge_all(self._judge, [unpack(one) for one in packed])


class Actor:
    """A worker that is a Ray actor; see `glmtts.rewards.pool.Worker`."""

    def __init__(self, ray: Any, make: MakeJudge, threads: int, gpus: float) -> None:
        """Start it."""
        self._ray = ray
        kind = ray.remote(num_cpus=threads, num_gpus=gpus, max_restarts=0)(Judging)
        self._actor = kind.remote(make, threads)
        self.pending = self._actor.ready.remote()
        self.ready = False
        self.batch: Batch | None = None
        self.deadline = math.inf

    def send(self, packed: list[Packed]) -> None:
        """See `Worker`."""
        self.pending = self._actor.judge.remote(packed)

    def answer(self) -> tuple[str, Any]:
        """See `Worker`."""
        try:
            return self._ray.get(self.pending)
        except self._ray.exceptions.RayError as error:
            raise EOFError(str(error)) from error

    def stop(self) -> str:
        """See `Worker`."""
        self._ray.kill(self._actor)
        return "actor ended"


class RayPool(Pool):
    """A `Pool` of Ray actors."""

    def __init__(
        self,
        make: MakeJudge,
        workers: int = 2,
        *,
        address: str | None = None,
        batch_size: int = 4,
        timeout_s: float = 300.0,
        retries: int = 2,
        threads: int = 1,
        gpus: float = 0.0,
    ) -> None:
        """Start the actors and wait for the first; see `Pool` for the other arguments.

        Args:
            make: Makes the judge inside an actor; must be picklable.
            workers: Actors.
            address: Of the cluster; None for the one in the environment, or a new local one.
            batch_size: See `Pool`.
            timeout_s: See `Pool`.
            retries: See `Pool`.
            threads: CPUs of each actor.
            gpus: GPUs of each actor; shares such as 0.25 are fine.

        Raises:
            MissingExtra: Ray is not installed.
            GlmTtsError: the judge cannot be made; what it lacks is said.
        """
        self._ray = needed("ray", "Judging in actors", "ray")
        if not self._ray.is_initialized():
            self._ray.init(address=address, log_to_driver=False, include_dashboard=False)
        self._make, self._threads, self._gpus = make, threads, gpus
        super().__init__(workers, batch_size, timeout_s, retries)

    def _start(self) -> Worker:
        return Actor(self._ray, self._make, self._threads, self._gpus)

    def _wait(self, workers: list[Worker], patience_s: float) -> list[Worker]:
        pending = {w.pending: w for w in workers if isinstance(w, Actor)}
        if not pending:
            return []
        done, _ = self._ray.wait(list(pending), num_returns=1, timeout=patience_s)
        return [pending[one] for one in done]
