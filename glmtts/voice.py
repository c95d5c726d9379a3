"""A voice as a plain value: what every stage needs to know about a speaker, with save and load."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file  # pyright: ignore[reportUnknownVariableType]
from torch import Tensor

from glmtts.errors import CheckpointError


@dataclass(frozen=True)
class Turn:
    """One stretch of text and the speech tokens that say it."""

    text_ids: tuple[int, ...]
    speech_tokens: tuple[int, ...]


@dataclass(frozen=True)
class Prompt:
    """What the language model goes on from: `turns[0]` is the voice, later turns what it just said.

    A voice cloned without a transcript has no turns: only the flow knows it then.
    """

    turns: tuple[Turn, ...] = ()
    own: int = 0
    """How many leading turns belong to the voice itself and are never dropped (0 or 1)."""

    def extended(
        self, text_ids: Sequence[int], speech_tokens: Sequence[int], limit: int | None = 750
    ) -> "Prompt":
        """Add what was just said; drop the oldest later turns while speech exceeds `limit` tokens.

        The voice's own turn is always kept (spec §2.5). No limit: nothing is dropped.
        """
        said = Turn(tuple(text_ids), tuple(speech_tokens))
        prompt = Prompt((*self.turns, said), self.own)
        return prompt if limit is None else prompt._within(limit)

    def before(self, text_length: int, limit: int = 750) -> "Prompt":
        """What is left of the prompt before a sentence, so that it too fits into `limit` tokens.

        The sentence is expected to take as many speech tokens for each of its `text_length` ids as
        the turns so far did (spec §2.5).
        """
        texts = sum(len(turn.text_ids) for turn in self.turns)
        speech = sum(len(turn.speech_tokens) for turn in self.turns)
        return self._within(limit - int(speech / max(1, texts) * text_length))

    def rested(self, silent: Sequence[int], least: int) -> "Prompt":
        """With the voice's own speech ending in silence.

        A clip that breaks off within a word is a word to be ended: the model does so ahead of the
        sentence it is asked for.

        Args:
            silent: Speech tokens that sound like silence; empty: not known, nothing is added.
            least: How many of them there shall be at the end.
        """
        if not self.own or not silent:
            return self
        (own, *later), known = self.turns, frozenset(silent)
        spoken = own.speech_tokens
        tail = next(
            (n for n, token in enumerate(reversed(spoken)) if token not in known), len(spoken)
        )
        heard = [token for token in spoken if token in known]
        fill = heard[-1] if heard else silent[0]
        own = replace(own, speech_tokens=(*spoken, *[fill] * (least - tail)))
        return replace(self, turns=(own, *later))

    def _within(self, limit: int) -> "Prompt":
        later = [*self.turns[self.own :]]
        kept = self.turns[: self.own]
        total = sum(len(turn.speech_tokens) for turn in self.turns)
        while later and total > limit:
            total -= len(later.pop(0).speech_tokens)
        return Prompt((*kept, *later), self.own)


@dataclass(frozen=True)
class Voice:
    """A speaker.

    Attributes:
        name: How the voice is called.
        transcript: What the reference clip says; empty when it is not known.
        prompt: Conditioning of the language model.
        speech_tokens: (S,) ids of the reference clip, for the flow's prompt.
        mel: (F, M) log-mel of the reference clip, F = S * frames_per_token.
        speaker: (E,) unit-length speaker vector.
        language: "zh" or "en", the language of the reference; empty when it is not known.
        gender: "female", "male" or empty.
        adapter: Folder of the adapters that were trained for the voice (in it `lm`, `flow` or
            both), or empty. A stored voice has it beside its file.
    """

    name: str
    transcript: str
    prompt: Prompt
    speech_tokens: tuple[int, ...]
    mel: Tensor
    speaker: Tensor
    language: str = ""
    gender: str = ""
    adapter: str = ""

    def save(self, path: str | Path) -> None:
        """Write one .safetensors file; names and texts stand in its header."""
        turns = [[list(t.text_ids), list(t.speech_tokens)] for t in self.prompt.turns]
        meta = {
            "name": self.name, "transcript": self.transcript, "language": self.language,
            "gender": self.gender, "turns": turns, "own": self.prompt.own,
            "adapter": Path(self.adapter).name,
        }  # fmt: skip
        tensors = {
            "mel": self.mel.half().cpu().contiguous(),
            "speaker": self.speaker.float().cpu().contiguous(),
            "speech_tokens": torch.tensor(self.speech_tokens, dtype=torch.int32),
        }
        save_file(tensors, path, metadata={"voice": json.dumps(meta, ensure_ascii=False)})
        Path(path).chmod(0o644)

    @classmethod
    def load(cls, path: str | Path) -> "Voice":
        """Read a voice written by `save`.

        Raises:
            CheckpointError: the file is missing, damaged, or not a voice.
        """
        try:
            with safe_open(str(path), "pt") as file:  # pyright: ignore[reportUnknownVariableType]
                meta = json.loads((file.metadata() or {})["voice"])  # pyright: ignore
                get = cast("Callable[[str], Tensor]", file.get_tensor)  # pyright: ignore
                mel, speaker, tokens = get("mel"), get("speaker"), get("speech_tokens")
            turns = tuple(Turn(tuple(a), tuple(b)) for a, b in meta["turns"])
            return cls(
                name=meta["name"], transcript=meta["transcript"],
                prompt=Prompt(turns, meta["own"]), speech_tokens=tuple(map(int, tokens)),
                mel=mel.float(), speaker=speaker.float(),
                language=meta["language"], gender=meta["gender"],
                adapter=_beside(path, meta.get("adapter", "")),
            )  # fmt: skip
        except (OSError, KeyError, TypeError, ValueError, SafetensorError) as error:
            raise CheckpointError(f"{path} is not a voice file ({error}).") from error


def _beside(path: str | Path, name: str) -> str:
    """The folder `name` beside a file; a name from a file never leads elsewhere."""
    return str(Path(path).absolute().parent / Path(name).name) if name else ""
