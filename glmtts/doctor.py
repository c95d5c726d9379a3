"""`glmtts doctor`: what is installed, what is used, and how fast one sentence is spoken."""

import platform
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import wraps
from importlib import metadata
from typing import Any

import torch
from packaging.requirements import Requirement

from glmtts.audio import Audio
from glmtts.options import SpeakOptions
from glmtts.sampling import Sampling
from glmtts.synthesizer import Synthesizer

SENTENCE = "今天天气很好，我们一起去公园散步吧。"

STAGES = {
    "text": ("text_tokenizer", ("encode",)),
    "tokens": ("lm", ("generate", "generate_checked")),
    "mel": ("flow", ("sample", "open")),
    "samples": ("vocoder", ("decode", "stream")),
}
"""For each stage the component of a `Synthesizer`, and those of its methods that do the work."""


@dataclass(frozen=True)
class Report:
    """What `examine` found.

    Attributes:
        versions: Python, this package and its dependencies; None for one that is not installed.
        extras: For each extra, the packages of it that are missing.
        device: Where the model runs.
        dtype: Type of the language model's weights.
        threads: CPU threads.
        load_seconds: Time to load the model.
        stage_seconds: Time of each stage, speaking `SENTENCE`.
        work_seconds: Time of all of them together.
        audio_seconds: Length of the speech.
        peak_memory_mb: Most memory this process had; None where the system does not tell.
    """

    versions: dict[str, str | None]
    extras: dict[str, list[str]]
    device: str
    dtype: str
    threads: int
    load_seconds: float
    stage_seconds: dict[str, float]
    work_seconds: float
    audio_seconds: float
    peak_memory_mb: float | None

    @property
    def real_time_factor(self) -> float:
        """Seconds of work per second of speech."""
        return self.work_seconds / self.audio_seconds

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {**asdict(self), "real_time_factor": round(self.real_time_factor, 3)}

    def to_text(self) -> str:
        """A page to read."""
        lines = [
            f"{name:16} {version or 'not installed'}" for name, version in self.versions.items()
        ]
        lines.append("")
        for extra, missing in self.extras.items():
            state = "installed"
            if missing:
                state = f"missing {', '.join(missing)}; pip install 'glmtts[{extra}]'"
            lines.append(f"extra {extra:10} {state}")
        lines += ["", f"device {self.device}, {self.dtype}, {self.threads} CPU threads"]
        lines.append(f"loading   {self.load_seconds:6.2f} s")
        lines += [f"{stage:9} {spent:6.2f} s" for stage, spent in self.stage_seconds.items()]
        lines.append(
            f"all       {self.work_seconds:6.2f} s for {self.audio_seconds:.2f} s of speech "
            f"({self.real_time_factor:.2f} s per second)"
        )
        if self.peak_memory_mb is not None:
            lines.append(f"memory    {self.peak_memory_mb:6.0f} MB at most")
        return "\n".join(lines)


def examine(model: str = "glmtts-nano", device: str = "auto") -> Report:
    """Look at the installation, load `model` and speak one sentence twice, timing the second.

    Raises:
        GlmTtsError: the model cannot be loaded, or the device is not there.
    """
    versions, extras = installed()
    started = time.monotonic()
    synthesizer = Synthesizer.load(model, device=device)
    load_seconds = time.monotonic() - started

    options = SpeakOptions(sampling=Sampling(seed=0))
    voice = synthesizer.default_voice(SENTENCE)
    synthesizer.speak(SENTENCE, voice, options)  # first use reads dictionaries and plans kernels
    clocks = {name: Clock() for name in STAGES}
    for name, (component, methods) in STAGES.items():
        for method in methods:
            clocks[name].watch(getattr(synthesizer, component), method)
    started = time.monotonic()
    audio: Audio = synthesizer.speak(SENTENCE, voice, options)
    work_seconds = time.monotonic() - started

    weight = synthesizer.lm.model.embed_tokens.weight
    kind = "int8" if synthesizer.lm.model.packed else str(weight.dtype).removeprefix("torch.")
    return Report(
        versions, extras, str(weight.device), kind,
        torch.get_num_threads(), round(load_seconds, 3),
        {name: round(clock.seconds, 3) for name, clock in clocks.items()},
        round(work_seconds, 3), round(audio.seconds, 3), peak_memory_mb(),
    )  # fmt: skip


def installed() -> tuple[dict[str, str | None], dict[str, list[str]]]:
    """Versions of the package and its dependencies, and what each extra lacks."""
    versions: dict[str, str | None] = {"python": platform.python_version()}
    extras: dict[str, list[str]] = {}
    try:
        versions["glmtts"] = metadata.version("glmtts")
        requirements = [Requirement(line) for line in metadata.requires("glmtts") or []]
    except metadata.PackageNotFoundError:  # run from a source folder
        versions["glmtts"], requirements = None, []
    for extra in (
        metadata.metadata("glmtts").get_all("Provides-Extra") or [] if requirements else []
    ):
        extras[extra] = []
    for requirement in requirements:
        version = _version(requirement.name)
        if requirement.marker is None:
            versions[requirement.name] = version
            continue
        for extra, missing in extras.items():
            if version is None and requirement.marker.evaluate({"extra": extra}):
                missing.append(requirement.name)
    return versions, extras


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def peak_memory_mb() -> float | None:
    """Most memory this process ever had, in MB; None on Windows."""
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1e6 if sys.platform == "darwin" else 1e3), 1)


class Clock:
    """Adds up the time spent inside the methods it watches, and in what they return."""

    def __init__(self) -> None:
        """Start at zero."""
        self.seconds = 0.0
        self._running = False

    def watch(self, owner: Any, method: str) -> None:
        """Replace the method on this one object by a timed one; none such is fine."""
        if hasattr(owner, method):
            setattr(owner, method, self.timed(getattr(owner, method)))

    def timed(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """`call`, timed; a returned iterator is timed as it runs, a stream in `push`."""

        @wraps(call)
        def timed(*args: Any, **kwargs: Any) -> Any:
            result = self.measure(call, *args, **kwargs)
            if isinstance(result, Iterator):
                return TimedIterator(result, self)  # pyright: ignore[reportUnknownArgumentType]
            for method in ("push", "stream"):
                if hasattr(result, method):  # also on a frozen value: this one object alone
                    object.__setattr__(result, method, self.timed(getattr(result, method)))
            return result

        return timed

    def measure(self, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call and add the time it takes."""
        if self._running:  # called by a watched method: that one's time holds it
            return call(*args, **kwargs)
        started, self._running = time.monotonic(), True
        try:
            return call(*args, **kwargs)
        finally:
            self._running = False
            self.seconds += time.monotonic() - started


class TimedIterator(Iterator[Any]):
    """An iterator whose every step is timed by `clock`; in all else it is the one it wraps."""

    def __init__(self, values: Iterator[Any], clock: Clock) -> None:
        """Wrap `values`."""
        self._values, self._clock = values, clock

    def __next__(self) -> Any:
        """The next value."""
        return self._clock.measure(next, self._values)

    def __getattr__(self, name: str) -> Any:
        """Whatever else the iterator has."""
        return getattr(self._values, name)
