"""Where the sound of a case comes from: a model that speaks, or a folder. Read `Source`."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

from glmtts.audio import Audio
from glmtts.errors import BadInput, BadText, SpeechError
from glmtts.eval.cases import Case
from glmtts.options import Pace, SpeakOptions
from glmtts.sampling import Sampling
from glmtts.synthesizer import Synthesizer

SUFFIXES = (".wav", ".flac", ".mp3", ".ogg", ".opus")


@dataclass(frozen=True)
class Spoken:
    """The sound of a case.

    Attributes:
        path: Where it is; None when there is none.
        error: Why there is none.
        timing: `first_s`, `work_s`, `real_time_factor`, where it was spoken now.
        finish_reason: How synthesis ended.
    """

    path: Path | None
    error: str = ""
    timing: dict[str, float] = field(default_factory=dict[str, float])
    finish_reason: str | None = None


class Source(Protocol):
    """Gives the sound of cases."""

    def describe(self) -> dict[str, Any]:
        """What it is, for the summary: equal descriptions give equal sounds."""
        ...

    def sound(self, case: Case, seed: int) -> Spoken:
        """The sound of a case; one that cannot be had is an answer, not an error."""
        ...


class Folder:
    """Sounds that exist: ID.wav, or another format that can be read."""

    def __init__(self, folder: str | Path) -> None:
        """Look into `folder`.

        Raises:
            BadInput: there is no such folder.
        """
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise BadInput(f"There is no folder {folder} with sounds to judge.")

    def describe(self) -> dict[str, Any]:
        """See `Source`."""
        return {"audio": str(self.folder)}

    def sound(self, case: Case, seed: int) -> Spoken:
        """See `Source`."""
        for suffix in SUFFIXES:
            path = self.folder / f"{case.id}{suffix}"
            if path.is_file():
                return Spoken(path)
        return Spoken(None, f"{self.folder} holds no {case.id}.wav")


class Speaker:
    """A model that speaks each case, once for each seed, into a folder."""

    def __init__(
        self,
        model: str,
        folder: Path,
        *,
        device: str = "auto",
        voice: str = "",
        paced: bool = False,
        styled: bool = False,
        components: Mapping[str, str | Path] | None = None,
        candidates: int | None = None,
        top_p: float | None = None,
        synthesizer: Any = None,
    ) -> None:
        """Load the model.

        Args:
            model: Name or folder.
            folder: Where the sounds go.
            device: Where the model runs.
            voice: Name of a voice, or a clip, for cases that ask for none.
            paced: In growing blocks instead of whole sentences.
            styled: Each case in its style, by control tags.
            components: Folders of parts that replace the model's own, by name.
            candidates: Utterances drawn for each sentence; None: the model's own number.
            top_p: Nucleus that tokens are drawn from; None: the model's own.
            synthesizer: Speaks instead of the loaded model.

        Raises:
            GlmTtsError: the model or the voice is not there.
        """
        components = dict(components or {})
        self._about = {
            "model": model, "voice": voice, "paced": paced, "candidates": candidates,
            "top_p": top_p, "styled": styled,
            "components": {name: str(folder) for name, folder in components.items()},
        }  # fmt: skip
        self._drawn, self._styled = Sampling(candidates=candidates, top_p=top_p), styled
        self._folder, self._pace = folder, Pace.growing() if paced else Pace.whole_sentence()
        self._model: Any = synthesizer or Synthesizer.load(
            model, device=device, components=components
        )
        self._voice = self._model.voice(voice) if voice else None
        # The prompt of a case is that of many: each clip is cloned once.
        self._cloned = lru_cache(maxsize=64)(self._model.voice)
        if paced:  # the first use reads dictionaries and plans kernels: no latency of a server
            for text in ("今天天气很好。", "The weather is nice."):
                for _ in self._model.stream(text, self._voice, SpeakOptions(pace=self._pace)):
                    pass

    def describe(self) -> dict[str, Any]:
        """See `Source`."""
        return self._about

    def sound(self, case: Case, seed: int) -> Spoken:
        """See `Source`."""
        path = self._folder / f"{case.id}.{seed}.wav"
        started = time.monotonic()
        first = 0.0
        parts: list[Audio] = []
        style = (case.style or None) if self._styled else None
        options = SpeakOptions(
            sampling=replace(self._drawn, seed=seed), pace=self._pace, style=style
        )
        try:
            voice = self._voice_of(case)
            started = time.monotonic()
            for part in self._model.stream(case.text, voice, options):
                first = first or time.monotonic() - started
                parts.append(part)
            work = time.monotonic() - started
            audio = Audio.concat(parts)
        except (BadText, SpeechError) as error:
            return Spoken(None, f"{type(error).__name__}: {error}")
        self._folder.mkdir(parents=True, exist_ok=True)
        audio.save(path)
        timing = {
            "first_s": round(first, 4),
            "work_s": round(work, 4),
            "real_time_factor": round(work / max(audio.seconds, 1e-3), 4),
        }
        return Spoken(path, timing=timing, finish_reason=audio.finish_reason)

    def _voice_of(self, case: Case) -> Any:
        if case.prompt:
            return self._cloned(Path(case.prompt), case.prompt_text or None)
        if case.voice:
            return self._cloned(case.voice, None)
        return self._voice or self._model.default_voice(case.text)
