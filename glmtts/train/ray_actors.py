"""Actors of a Ray cluster that draw answers in parallel; in place of one in the training's process.

Each answer is a function of weights and seed, so it does not matter who draws it: a lost actor is
replaced and its orders are drawn anew, with the same answers.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from glmtts.errors import GlmTtsError, MissingExtra
from glmtts.lm import LMConfig, Rollouts
from glmtts.sampling import Sampling
from glmtts.train.rollouts import Actor, Order

TRIES = 3
"""How often orders are given out before their losses count as a fault of ours."""


@dataclass(frozen=True)
class RayOptions:
    """Ray actors that draw answers."""

    actors: int = 0
    """How many; 0: the training draws them itself."""
    address: str = ""
    """Of the cluster (`ray://host:port`); empty: the one in the environment, or one made here."""
    threads: int = 1
    """CPUs of each."""
    gpus: float = 0.0
    """GPUs of each; shares such as 0.25 are fine."""


class Speaking:
    """What happens in an actor."""

    def __init__(self, config: LMConfig, device: str, dtype: str, slots: int, threads: int) -> None:
        """Make the actor; it has no weights yet."""
        torch.set_num_threads(threads)
        self._actor = Actor(config, device, dtype, slots)
        self._version = -1

    def draw(
        self, version: int, weights: dict[str, Tensor], orders: list[Order], sampling: Sampling
    ) -> list[Rollouts]:
        """Answers drawn with these weights, on the CPU."""
        if version != self._version:
            self._actor.follow(weights)
            self._version = version
        return [group.to("cpu") for group in self._actor.draw(orders, sampling)]


class RayActors:
    """Speaks as `rollouts.Actor` does, in several places at once."""

    def __init__(
        self,
        config: LMConfig,
        options: RayOptions,
        *,
        dtype: str = "auto",
        slots: int = 32,
    ) -> None:
        """Join or start a cluster, and start the actors.

        Args:
            config: Of the language model.
            options: How many, where, and what each may use.
            dtype: See `Actor`.
            slots: Utterances side by side in each.

        Raises:
            MissingExtra: Ray is not installed.
        """
        try:
            self._ray: Any = import_module("ray")
        except ImportError as error:
            raise MissingExtra("Drawing answers in Ray actors", "ray") from error
        if not self._ray.is_initialized():
            self._ray.init(
                address=options.address or None, log_to_driver=False, include_dashboard=False
            )
        threads, device = options.threads, "cuda" if options.gpus else "cpu"
        kind = self._ray.remote(num_cpus=threads, num_gpus=options.gpus, max_restarts=-1)(Speaking)
        self.actors: list[Any] = [
            kind.remote(config, device, dtype, slots, threads) for _ in range(options.actors)
        ]
        self._version, self._weights = -1, None

    def follow(self, weights: dict[str, Tensor]) -> None:
        """Speak with these weights from now on; they cross once to each machine."""
        self._version += 1
        self._weights = self._ray.put({name: value.cpu() for name, value in weights.items()})

    def draw(self, orders: Sequence[Order], sampling: Sampling) -> list[Rollouts]:
        """The answers to each order, see `Actor.draw`.

        Raises:
            GlmTtsError: actors were lost again and again over the same order.
        """
        found: dict[int, Rollouts] = {}
        waiting = deque((number, 0) for number in range(len(orders)))
        idle, busy = list(self.actors), dict[Any, tuple[Any, int, int]]()
        while waiting or busy:
            while waiting and idle:
                number, tries = waiting.popleft()
                actor = idle.pop()
                task = actor.draw.remote(self._version, self._weights, [orders[number]], sampling)
                busy[task] = (actor, number, tries)
            (done,), _ = self._ray.wait(list(busy), num_returns=1)
            actor, number, tries = busy.pop(done)
            idle.insert(0, actor)
            try:
                (found[number],) = self._ray.get(done)
            except self._ray.exceptions.RayActorError as error:
                if tries + 1 == TRIES:
                    raise GlmTtsError(
                        f"{TRIES} Ray actors were lost over the same text ({error}). Look for "
                        "their memory: fewer slots (--slots) need less."
                    ) from error
                waiting.append((number, tries + 1))
        return [found[number] for number in range(len(orders))]

    def close(self) -> None:
        """End the actors."""
        for actor in self.actors:
            self._ray.kill(actor)
