"""The same work on one core, many cores, or a Ray cluster. Read `run` first.

A stage is made once in each worker (it holds models) and called with one item after the other. What
an item gives is written to disk by the stage itself, whole or not at all, so that a killed run
loses nothing and an engine cannot change a result.
"""

import json
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from importlib import import_module
from typing import Any, Literal

import torch
from tqdm import tqdm

from glmtts.errors import BadInput, GlmTtsError, MissingExtra
from glmtts.nn.threads import at_most

Item = dict[str, Any]
Stage = Callable[[Item], object]
Engine = Literal["local", "ray"]

_stage: Stage | None = None


def run(
    make: Callable[[], Stage],
    items: Sequence[Item],
    *,
    workers: int = 1,
    engine: Engine = "local",
    gpus: float = 0.0,
    name: str = "",
) -> None:
    """Call a stage with every item; which worker gets which does not matter.

    Args:
        make: Makes the stage, in each worker; it is sent there, so it must be importable.
        items: Plain values.
        workers: Processes, or actors on Ray.
        engine: "local" or "ray".
        gpus: Share of a GPU that a Ray actor of this stage takes.
        name: Shown beside the progress.

    Raises:
        BadInput: an unknown engine, or no workers.
        MissingExtra: Ray is not installed.
        GlmTtsError: a worker died; what was done is kept.
    """
    if engine not in ("local", "ray") or workers < 1:
        raise BadInput(f"Unknown engine {engine!r} or {workers} workers. Known: local, ray.")
    if not items:
        return
    workers = min(workers, len(items))
    done = _on_ray(make, items, workers, gpus) if engine == "ray" else _local(make, items, workers)
    for _ in tqdm(done, total=len(items), desc=name, unit="item", disable=not name):
        pass


def _local(make: Callable[[], Stage], items: Sequence[Item], workers: int) -> Iterator[object]:
    if workers == 1:
        with at_most(1):  # sums round by the number of threads
            stage = make()
            for item in items:
                yield stage(item)
        return
    spawn = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, spawn, initializer=_begin, initargs=(make,))
    try:
        for future in as_completed([pool.submit(_work, item) for item in items]):
            yield future.result()
    except BrokenProcessPool as error:
        raise GlmTtsError(
            "A worker process died (out of memory?). What was done is kept: run the same command "
            "again, perhaps with fewer --workers."
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _begin(make: Callable[[], Stage]) -> None:
    global _stage  # one process, one stage
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    torch.set_num_threads(1)
    _stage = make()


def _work(item: Item) -> object:
    assert _stage is not None
    return _stage(item)


def _on_ray(
    make: Callable[[], Stage], items: Sequence[Item], workers: int, gpus: float
) -> Iterator[object]:
    """As a Ray Data pipeline with one actor pool; joins a running cluster (RAY_ADDRESS) if any."""
    try:
        ray: Any = import_module("ray")
        import_module("ray.data")
    except ImportError as error:
        raise MissingExtra("--engine ray", "ray") from error
    if not ray.is_initialized():
        local = {} if os.environ.get("RAY_ADDRESS") else {"num_cpus": workers}
        ray.init(include_dashboard=False, log_to_driver=False, **local)
    rows = ray.data.from_items(
        [{"item": json.dumps(item)} for item in items],
        override_num_blocks=min(len(items), 4 * workers),
    )
    done = rows.map(
        _OnRay, fn_constructor_args=(make,), concurrency=workers, num_cpus=1, num_gpus=gpus or None
    )
    yield from done.iter_rows()


class _OnRay:
    """A stage as an actor of Ray Data."""

    def __init__(self, make: Callable[[], Stage]) -> None:
        torch.set_num_threads(1)
        self._stage = make()

    def __call__(self, row: Item) -> Item:
        self._stage(json.loads(row["item"]))
        return {"done": 1}
