"""What a voice costs before its first frame, paid once: prompts that the flow has already run."""

import hashlib
import threading
from collections import OrderedDict

import torch

from glmtts.flow import FlowOptions, Opening, TokenToMel
from glmtts.voice import Voice

ROOM = 16
"""Openings kept; one of nano holds 6 MB with a prompt of five seconds."""


def fingerprint(voice: Voice) -> bytes:
    """Equal for voices that sound alike: of what the flow is given of one."""
    digest = hashlib.sha256(repr(voice.speech_tokens).encode())
    for part in (voice.mel, voice.speaker):
        held = part.detach().cpu().contiguous()
        digest.update(f"{held.dtype}{tuple(held.shape)}".encode())
        digest.update(held.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.digest()


def age(flow: TokenToMel) -> int:
    """A number that grows whenever a weight is written to: a flow may be in training."""
    weights = (weight for weight in flow.parameters() if not weight.is_inference())
    return sum(weight._version for weight in weights)  # pyright: ignore[reportPrivateUsage]


class Openings:
    """The latest voices as flows have opened them. Many threads may ask at once."""

    def __init__(self, room: int = ROOM) -> None:
        """Keep up to `room` openings."""
        self._room = room
        self._kept: OrderedDict[tuple[int, int, bytes, FlowOptions], Opening] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, flow: TokenToMel, voice: Voice, options: FlowOptions) -> Opening:
        """As `flow.open`; the same voice again costs nothing.

        Raises:
            BadInput: the voice does not fit the model.
        """
        # An opening holds its flow, so that the id stays its own.
        key = id(flow), age(flow), fingerprint(voice), options
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        opening = flow.open(voice, options)
        with self._lock:
            self._kept[key] = opening
            while len(self._kept) > self._room:
                self._kept.popitem(last=False)
        return opening
