"""Answers drawn from a policy, and how likely it thinks them. Read `Actor.draw` and `scored`.

The weights that learn stay as they are in training; an actor speaks with a copy of them, in the
quickest type of the machine, many utterances side by side on the package's own engine.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from glmtts.engine import Engine, Request
from glmtts.lm import LMConfig, Rollouts, TextToSpeechTokens
from glmtts.nn.gaze import Held
from glmtts.nn.int8 import exact_kernels
from glmtts.sampling import Sampling
from glmtts.train.policy import entropy
from glmtts.voice import Prompt

SCORE = "score_draws"
"""Method by which a policy that is divided among ranks is asked (`sharding.give_method`)."""


@dataclass(frozen=True)
class Order:
    """One text of which some answers are wanted.

    Attributes:
        text_ids: (T,) the sentence.
        prompt: The voice.
        seeds: One for each answer.
    """

    text_ids: tuple[int, ...]
    prompt: Prompt
    seeds: tuple[int, ...]


class Actor:
    """A policy's copy that speaks."""

    def __init__(
        self, config: LMConfig, device: torch.device | str = "cpu", dtype: str = "auto",
        slots: int = 32,
    ) -> None:  # fmt: skip
        """Without weights yet: see `follow`.

        Args:
            config: Of the language model.
            device: Where it speaks.
            dtype: "float32", "bfloat16", "int8" (CPU only) or "auto", the quickest there.
            slots: Utterances side by side; more wait.
        """
        self.config, self.device, self.slots = config, torch.device(device), slots
        self.dtype = dtype
        if dtype == "auto":
            on_cpu = self.device.type == "cpu"
            self.dtype = ("int8" if exact_kernels() else "float32") if on_cpu else "bfloat16"
        self._lm: TextToSpeechTokens | None = None

    @torch.no_grad()
    def follow(self, weights: dict[str, Tensor]) -> None:
        """Speak with these weights (a `state_dict` of the language model) from now on."""
        with torch.device(self.device):
            lm = TextToSpeechTokens(self.config).requires_grad_(False).eval()
        lm.load_state_dict(weights)
        if self.dtype == "bfloat16":
            lm = lm.to(torch.bfloat16)
        self._lm = lm.pack() if self.dtype == "int8" else lm

    def close(self) -> None:
        """Forget the weights."""
        self._lm = None

    def draw(self, orders: Sequence[Order], sampling: Sampling) -> list[Rollouts]:
        """The answers to each order. Each depends on its seed alone, not on its neighbours.

        `logprobs` of what is returned are zero: the policy, not this copy of it, says how likely
        it finds them (`scored`).

        Raises:
            BadInput: a text that is empty or too long for the model.
        """
        lm = self._lm
        assert lm is not None, "follow some weights first"
        longest = 0
        for order in orders:
            before = len(lm.sequence(order.text_ids, order.prompt))
            longest = max(longest, before + lm.bounds(len(order.text_ids), before)[1])
        wanted = sum(len(order.seeds) for order in orders)
        engine = Engine(lm, min(self.slots, max(1, wanted)), longest or 1, traced=True)
        asked = [
            [engine.submit(order.text_ids, order.prompt, sampling, rng=lm.generator(seed))
             for seed in order.seeds]
            for order in orders
        ]  # fmt: skip
        engine.run()
        return [as_rollouts(lm, requests) for requests in asked]


def as_rollouts(lm: TextToSpeechTokens, requests: Sequence[Request]) -> Rollouts:
    """Finished requests of one text as tensors; their `logprobs` are zero."""
    end = lm.config.speech_count
    drawn = [[*r.tokens, *([end] if r.finish_reason == "stop" else [])] for r in requests]
    width = max(map(len, drawn))
    tokens = torch.tensor([row + [-1] * (width - len(row)) for row in drawn], device=lm.device)
    held, first = None, requests[0]
    if any(r.places for r in requests):
        places = [[*r.places, *[-1] * (width - len(r.places))] for r in requests]
        held = Held(*first.text, first.sampling.ahead or 0, torch.tensor(places, device=lm.device))
    return Rollouts(
        sequence=torch.tensor(first.sequence, device=lm.device), tokens=tokens.clamp(min=0),
        lengths=torch.tensor([len(r.tokens) for r in requests], device=lm.device),
        logprobs=torch.zeros(tokens.shape, device=lm.device), masks=tokens >= 0,
        finish=tuple(r.finish_reason or "length" for r in requests), shortest=first.shortest,
        held=held,
    )  # fmt: skip


@dataclass(frozen=True)
class Scored:
    """What a policy thinks of a group of answers.

    Attributes:
        logprobs: (B, S) log-probability of each draw, zero where nothing was drawn.
        entropy: Scalar, the mean entropy (nat) of the distributions drawn from; no gradient.
    """

    logprobs: Tensor
    entropy: Tensor


def scored(lm: TextToSpeechTokens, group: Rollouts) -> Scored:
    """How likely each draw of a group is: `TextToSpeechTokens.log_probs`, the prompt read once.

    Args:
        lm: The policy, in the mode (training or not) it shall be scored in.
        group: Answers to one text.
    """
    score = getattr(lm, SCORE, None)  # of a policy that is divided among ranks
    return Scored(*(score(group) if score else score_draws(lm, group)))


def score_draws(lm: TextToSpeechTokens, group: Rollouts) -> tuple[Tensor, Tensor]:
    """The fields of `Scored`.

    All answers stand in one row behind the prompt they share; each sees the prompt and itself, and
    the aligned head what it saw when they were drawn.
    """
    masks = group.masks
    draws = masks.sum(-1)  # (B,)
    prefix, width = len(group.sequence), masks.shape[1]
    heard = masks.clone()
    heard[torch.arange(len(masks), device=masks.device), draws - 1] = False  # the last is not heard
    shown = group.tokens.clamp(max=lm.config.speech_count - 1)[heard] + lm.config.speech_start
    ids = torch.cat([group.sequence, shown])[None]  # (1, L), L = P + sum of (draws - 1)

    rows, columns = heard.nonzero(as_tuple=True)
    owner = torch.cat([rows.new_full((prefix,), -1), rows])
    positions = torch.cat([torch.arange(prefix, device=rows.device), prefix + columns])[None]
    visible = (owner[None, :] == -1) | (owner[None, :] == owner[:, None])
    visible = visible.tril()
    aligned = None
    if group.held is not None and lm.config.align_layer is not None:
        seen = group.held.visible(visible, rows, columns)[None]
        aligned = (lm.config.align_layer, lm.config.align_head or 0, seen)
    hidden, _ = lm.model(ids, positions=positions, mask=visible[None], aligned=aligned)

    first = prefix + (draws - 1).cumsum(0) - (draws - 1)  # (B,) where each answer begins
    step = torch.arange(width, device=rows.device)
    before = torch.where(step == 0, prefix - 1, first[:, None] + step - 1)[masks]  # (n,)
    early = (step < group.shortest).expand_as(masks)[masks]

    logits = lm.logits(hidden[0, before]).float()  # (n, D) -> (n, classes)
    ending = torch.zeros_like(logits, dtype=torch.bool)
    ending[:, -1] = early
    logits = logits.masked_fill(ending, float("-inf"))
    picked = logits.log_softmax(-1).gather(-1, group.tokens[masks][:, None])[:, 0]
    logprobs = torch.zeros(masks.shape, dtype=picked.dtype, device=picked.device)
    return logprobs.masked_scatter(masks, picked), entropy(logits.detach()).mean()
