"""`glmtts say`: text to a sound file that grows sentence by sentence. Read `say` first."""

import signal
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any, BinaryIO

from tqdm import tqdm

from glmtts.audio import Audio
from glmtts.audio_writer import AudioWriter
from glmtts.commands.voices import transcribed
from glmtts.errors import BadInput, GlmTtsError, MissingExtra
from glmtts.options import SpeakOptions
from glmtts.sampling import Sampling
from glmtts.synthesizer import Synthesizer
from glmtts.text.lexicon import Lexicon
from glmtts.watermark import Watermarker

TEXT_SUFFIXES = (".txt", ".md")
COMPONENTS = ("text_tokenizer", "lm", "flow", "vocoder", "speech_tokenizer", "speaker")


@dataclass(frozen=True)
class Request:
    """The flags of `glmtts say`."""

    text: str
    """The text, "-" for standard input, or the path of a .txt or .md file."""
    voice: str | None = None
    """Name of a voice or path of a clip; None chooses one by the language of the text."""
    transcript: str | None = None
    """What the clip says."""
    transcribe: bool = False
    """Let the recogniser write the transcript."""
    output: str | None = None
    """Path of a sound file, "-" for a WAV on standard output, None to write nothing."""
    play: bool = False
    watermark: str | None = None
    """Key of a watermark to put into the sound (`glmtts.watermark`)."""
    seed: int | None = None
    speed: float = 1.0
    emotion: str | None = None
    """How it is said, see `glmtts.text.styles`; None: as the model speaks."""
    lexicon: Path | None = None
    """A file of words and their readings."""
    steps: int | None = None
    """Steps of the flow; None for the model's own."""
    model: str = "glmtts-nano"
    components: tuple[str, ...] = ()
    """"NAME=FOLDER": parts to use instead of the model's own."""
    device: str = "auto"


def say(request: Request) -> None:
    """Speak, writing (and playing) each sentence as soon as it is made.

    Raises:
        GlmTtsError: anything that was asked for cannot be done; nothing was written then.
        SystemExit: 130 or 143 after SIGINT or SIGTERM; the file keeps what was spoken.
    """
    text = read_text(request.text)
    options = speak_options(request)
    clip, transcript = None, request.transcript
    if request.transcribe:
        if request.voice is None:
            raise BadInput("--transcribe needs a recording. Give one with --voice CLIP.")
        clip = Audio.load(request.voice)
        transcript = transcribed(clip)
    synthesizer = Synthesizer.load(
        request.model, device=request.device, components=component_folders(request.components)
    )
    if request.steps is not None:
        options = replace(options, flow=replace(synthesizer.flow_options, steps=request.steps))
    if request.voice is None:
        voice = synthesizer.default_voice(text)
    else:
        voice = synthesizer.voice(clip or request.voice, transcript)

    started, seconds, spoken, cut = time.monotonic(), 0.0, 0, list[str]()
    bar = sentence_bar(len(synthesizer.sentences(text, options, voice)))
    with Outputs(request, synthesizer.sample_rate) as outputs:
        try:
            with stop_signals(), bar:
                for audio in synthesizer.stream(text, voice, options):
                    outputs.write(audio)
                    seconds += audio.seconds
                    spoken += 1
                    bar.update()
                    if audio.finish_reason not in (None, "stop"):
                        cut.append(f"sentence {spoken} ({audio.finish_reason})")
        except Stopped as stopped:
            outputs.close()
            kept = f"{outputs.name} keeps the {seconds:.1f} s spoken so far" if seconds else (
                "nothing had been spoken yet"
            )  # fmt: skip
            tell(f"Stopped: {kept}.")
            raise SystemExit(stopped.status) from None
    work = time.monotonic() - started
    rate = work / max(seconds, 1e-9)
    tell(f"{outputs.name}: {seconds:.1f} s of speech in {work:.1f} s ({rate:.2f} s per second)")
    if cut:
        tell(f"Cut short: {', '.join(cut)}. Another --seed may help.")


def read_text(source: str) -> str:
    """The text to speak: standard input for "-", a file's content for a path, else `source`.

    Only names ending in .txt or .md are files, so that no sentence is mistaken for one.

    Raises:
        BadInput: such a file is missing or not UTF-8.
    """
    if source == "-":
        return sys.stdin.read()
    is_name = source.lower().endswith(TEXT_SUFFIXES) and "\n" not in source
    if not is_name or (" " in source and not Path(source).exists()):
        return source
    try:
        return Path(source).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(
            f"Cannot read the text file {source} ({error}). Expected an existing file in UTF-8; "
            "to speak the name itself, pass it on standard input: glmtts say -"
        ) from error


def speak_options(request: Request) -> SpeakOptions:
    """The options of the pipeline that the flags ask for."""
    return SpeakOptions(
        sampling=Sampling(seed=request.seed),
        speed=request.speed,
        style=request.emotion,
        lexicon=Lexicon.load(request.lexicon) if request.lexicon else None,
    )


def component_folders(pairs: Sequence[str]) -> dict[str, str | Path]:
    """The folders that replace a model's own components.

    Raises:
        BadInput: a pair is not "NAME=FOLDER" with a known name.
    """
    folders: dict[str, str | Path] = {}
    for pair in pairs:
        name, found, folder = pair.partition("=")
        if not found or name not in COMPONENTS:
            raise BadInput(
                f"Cannot use the component {pair!r}. Expected NAME=FOLDER, for example "
                f"lm=runs/lm/step_002000; names are {', '.join(COMPONENTS)}."
            )
        folders[name] = folder
    return folders


def sentence_bar(sentences: int) -> "tqdm[Any]":
    """A progress bar on standard error, shown when it is a terminal and there is more than one."""
    hidden = sentences < 2 or not sys.stderr.isatty()
    return tqdm(total=sentences, unit="sentence", disable=hidden, leave=False)


def tell(line: str) -> None:
    """Print to standard error, which stays free for people when standard output carries sound."""
    print(line, file=sys.stderr, flush=True)


class Outputs:
    """Where sound goes: a file, standard output, the loudspeaker. Opened by the first sound."""

    def __init__(self, request: Request, sample_rate: int) -> None:
        """Check at once what can be checked; open nothing."""
        if request.output is None and not request.play:
            raise BadInput("Nowhere to put the sound. Give -o FILE or --play.")
        self.player = _player() if request.play else None
        self.path = request.output
        self.name = {"-": "standard output", None: "loudspeaker"}.get(request.output) or str(
            request.output
        )
        self.sample_rate = sample_rate
        self._stack = ExitStack()
        self._file: AudioWriter | None = None
        self._speaker: Any = None
        key = request.watermark
        self._marker = None if key is None else Watermarker(key, sample_rate)

    def write(self, audio: Audio) -> None:
        """Append one sound everywhere."""
        self._write(audio if self._marker is None else self._marker.push(audio))

    def _write(self, audio: Audio) -> None:
        if self._file is None and self.path is not None:
            target: str | BinaryIO = sys.stdout.buffer if self.path == "-" else self.path
            self._file = self._stack.enter_context(AudioWriter(target, self.sample_rate))
        if self._speaker is None and self.player is not None:
            self._speaker = self._stack.enter_context(
                self.player.OutputStream(self.sample_rate, channels=1, dtype="float32")
            )
        if self._file is not None:
            self._file.write(audio)
        if self._speaker is not None:
            self._speaker.write(audio.samples.cpu().numpy()[:, None])

    def close(self) -> None:
        """Finish the file and let the loudspeaker play to its end."""
        if self._marker is not None and (self._file or self._speaker) is not None:
            self._write(self._marker.finish())
            self._marker = None
        self._stack.close()

    def __enter__(self) -> "Outputs":
        """The outputs themselves."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close, also after an error."""
        self.close()


def _player() -> Any:
    try:
        import sounddevice  # pyright: ignore
    except ImportError as error:
        raise MissingExtra("Playing sound (--play)", "play") from error
    except OSError as error:
        raise GlmTtsError(
            f"Cannot play sound ({error}). Install PortAudio (libportaudio2), or write a file: -o"
        ) from error
    return sounddevice


class Stopped(BaseException):
    """SIGINT or SIGTERM arrived."""

    def __init__(self, number: int) -> None:
        """Remember the exit status that stands for signal `number`."""
        super().__init__(number)
        self.status = 128 + number


@contextmanager
def stop_signals() -> Generator[None, None, None]:
    """Within the block SIGINT and SIGTERM raise `Stopped`."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise Stopped(number)

    numbers = (signal.SIGINT, signal.SIGTERM)
    previous = [signal.signal(number, stop) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, previous, strict=True):
            signal.signal(number, handler)
