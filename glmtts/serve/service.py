"""What all protocols share: a model behind an engine, voices by name, what was spoken."""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import platformdirs

from glmtts.errors import BadInput, UnknownVoice
from glmtts.options import Pace, SpeakOptions
from glmtts.sampling import Sampling
from glmtts.serve.engine import Closing, Order, Speech, SpeechEngine, TextSource
from glmtts.serve.errors import ApiError
from glmtts.serve.keys import KeyRing
from glmtts.serve.metrics import Metrics
from glmtts.serve.schemas import Spoken, VoiceId
from glmtts.serve.settings import Settings
from glmtts.serve.store import Store, VoiceRecord
from glmtts.synthesizer import Synthesizer
from glmtts.text.instructions import emotion_of
from glmtts.text.lexicon import Lexicon
from glmtts.text.styles import NEUTRAL
from glmtts.timing import Clock, Line
from glmtts.voice import Voice
from glmtts.voices import VoiceDescription

log = logging.getLogger(__name__)

MODEL_ALIASES = ("tts-1", "tts-1-hd", "gpt-4o-mini-tts", "default")
"""Names that tools send without asking; they mean the model that is served."""

VOICE_ALIASES = (
    "alloy", "ash", "ballad", "cedar", "coral", "echo", "fable", "marin", "nova", "onyx", "sage",
    "shimmer", "verse", "default",
)  # fmt: skip
"""OpenAI's voices; they mean the model's own voice for the language of the text."""

PACES = {
    "quick": Pace.quick_start(),
    "whole": Pace.whole_sentence(),
    "blocks": Pace(Pace.quick_start().blocks),
}
REMEMBERED = 1_000


@dataclass
class Record:
    """What is remembered of a text after it was spoken, for whoever asked for it."""

    id: str
    key: str
    created: float
    voice: str
    characters: int = 0
    outcome: str = "waiting"
    finish_reason: str | None = None
    seconds: float = 0.0
    first_audio_s: float | None = None
    queued_s: float = 0.0
    work_s: float = 0.0
    underruns: int = 0
    lines: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])


class Service:
    """A server without its protocols."""

    def __init__(
        self,
        load: Callable[[], Synthesizer],
        settings: Settings,
        keys: KeyRing,
        store: Store | None = None,
    ) -> None:
        """Nothing is loaded yet.

        Args:
            load: Gives the model, warmed up and ready for many threads. Runs in a thread.
            settings: Limits.
            keys: Who may come in.
            store: The database; by default in `settings.data`.
        """
        self.settings, self.keys = settings, keys
        self.data = settings.data or Path(platformdirs.user_data_path("glmtts", appauthor=False))
        self.store = store or Store(self.data / "server.sqlite")
        self.metrics = Metrics()
        self.records: OrderedDict[str, Record] = OrderedDict()
        self.failure: str | None = None
        self._load = load
        self._synthesizer: Synthesizer | None = None
        self._engine: SpeechEngine | None = None
        self._voices: dict[str, tuple[float, Voice]] = {}

    # ----- life -----------------------------------------------------------------------------------

    async def start(self) -> None:
        """Load the model; the server answers meanwhile, but is not ready."""
        try:
            self._synthesizer = await asyncio.to_thread(self._load)
            self._engine = SpeechEngine(self._synthesizer, self.settings, self.metrics)
        except Exception as error:
            log.exception("The model could not be loaded")
            self.failure = str(error)
            raise

    async def stop(self) -> None:
        """Let what is being spoken end, within `settings.drain_s`; free everything."""
        if self._engine is not None:
            await self._engine.drain(self.settings.drain_s)
        lm = self._synthesizer and getattr(self._synthesizer, "shared_lm", None)
        if lm is not None:
            await asyncio.to_thread(lm.close)

    @property
    def ready(self) -> bool:
        """Whether a text would be spoken now."""
        return self._engine is not None and not self._engine.closing

    @property
    def engine(self) -> SpeechEngine:
        """The engine.

        Raises:
            Closing: the model is not loaded yet.
        """
        if self._engine is None:
            raise Closing("This server is still loading its model. Ask /ready until it is.")
        return self._engine

    @property
    def synthesizer(self) -> Synthesizer:
        """The model.

        Raises:
            Closing: it is not loaded yet.
        """
        if self._synthesizer is None:
            raise Closing("This server is still loading its model. Ask /ready until it is.")
        return self._synthesizer

    # ----- what is asked for ----------------------------------------------------------------------

    def check_model(self, name: str) -> None:
        """Refuse a model that is not served.

        Raises:
            ApiError: it is another one.
        """
        own = self.synthesizer.manifest.name
        if name != own and name not in MODEL_ALIASES:
            raise ApiError(
                404, f"The model {name[:60]!r} is not served here. Known: {own}.",
                code="model_not_found", param="model",
            )  # fmt: skip

    def check_length(self, text: str, limit: int | None = None, param: str = "input") -> None:
        """Refuse a text that is too long.

        Raises:
            ApiError: it is.
        """
        limit = limit or self.settings.input_characters
        if len(text) > limit:
            raise ApiError(
                400, f"The text has {len(text)} characters, at most {limit} are allowed. "
                "Send it in parts, or as a job to /v1/audio/jobs.",
                code="too_long", param=param,
            )  # fmt: skip

    def options(self, asked: Spoken) -> SpeakOptions:
        """The options of a request.

        Raises:
            ApiError: its instructions name an emotion that the model has not learnt.
            BadText: a reading of its lexicon does not exist.
        """
        return SpeakOptions(
            sampling=Sampling(seed=asked.seed),
            pace=PACES[asked.pace],
            speed=asked.speed,
            lexicon=Lexicon.of(asked.lexicon) if asked.lexicon else None,
            phonemes=asked.phonemes,
            style=self.style(asked),
        )

    def style(self, asked: Spoken) -> str | None:
        """The style that the instructions of a request name, if they name one.

        Raises:
            ApiError: the model has not learnt it.
        """
        style = emotion_of(asked.instructions or "")
        known = self.synthesizer.styles
        if style is None or style == NEUTRAL or style in known:
            return style
        can = f"it knows {', '.join(known)}" if known else "it has learnt no emotions"
        raise ApiError(
            400, f"The instructions ask for {style!r}, which this model cannot speak: {can}. "
            "Leave them out, or clone a clip that is spoken so.",
            code="unsupported_style", param="instructions",
        )  # fmt: skip

    def voice(self, wanted: str | VoiceId | None, key: str) -> Voice | None:
        """A voice by name or id; None for the model's own.

        Raises:
            UnknownVoice: there is none, or it belongs to another key.
        """
        if wanted is None:
            return None
        name = wanted if isinstance(wanted, str) else wanted.id
        record = self.store.voice(name)
        name = record.name if record else name
        known = self.voice_names(key)
        if name not in known:
            if name in VOICE_ALIASES:
                return None
            shown = ", ".join(known[:40])
            raise UnknownVoice(f"No voice named {name[:60]!r}. Known voices: {shown}.")
        library = self.synthesizer.voices
        path = next((p for p in (library.stored, library.bundled) if p and
                     (p / f"{name}.safetensors").is_file()), None)  # fmt: skip
        stamp = (path / f"{name}.safetensors").stat().st_mtime if path else 0.0
        if name not in self._voices or self._voices[name][0] != stamp:
            self._voices[name] = (stamp, library.get(name))
        return self._voices[name][1]

    def voice_names(self, key: str) -> list[str]:
        """The voices a key may use: all but those that others uploaded."""
        records = self.store.voices()
        return [n for n in self.synthesizer.voices.names() if _mine(records.get(n), key)]

    def voices(self, key: str) -> list[tuple[VoiceDescription, VoiceRecord | None]]:
        """Those voices with what is known of them."""
        records = self.store.voices()
        described = self.synthesizer.voices.describe()
        return [
            (d, records.get(d["name"]))
            for d in described
            if _mine(records.get(d["name"]), key) and not d["problem"]
        ]

    def speak(
        self, text: str | TextSource, asked: Spoken, key: str, request_id: str,
        deadline_s: float | None = None,
    ) -> tuple[Speech, "Follower"]:  # fmt: skip
        """Take a text.

        Raises:
            GlmTtsError: it cannot be spoken, or not now.
        """
        voice, options = self.voice(asked.voice, key), self.options(asked)
        speech = self.engine.submit(Order(text, voice, options, key, deadline_s), request_id)
        name = voice.name if voice else ""
        if name and self.store.voice(name):
            characters = len(text) if isinstance(text, str) else None
            self.store.note(key, "speak", name, speech.id, characters=characters)
        record = Record(speech.id, key, time.time(), name)
        self.records[speech.id] = record
        while len(self.records) > REMEMBERED:
            self.records.popitem(last=False)
        clock = Clock(self.synthesizer.manifest.audio, self.synthesizer.proofreader, options.speed)
        return speech, Follower(speech, record, clock)


class Follower:
    """Takes notes of a text while it is spoken."""

    def __init__(self, speech: Speech, record: Record, clock: Clock) -> None:
        """Follow from the beginning."""
        self.speech, self.record, self.clock = speech, record, clock
        self.lines: list[Line] = []

    def update(self) -> None:
        """Write down where it stands."""
        speech, record = self.speech, self.record
        record.characters = speech.order.characters
        for name in ("outcome", "finish_reason", "seconds", "first_audio_s", "queued_s",
                     "work_s", "underruns"):  # fmt: skip
            setattr(record, name, getattr(speech, name))

    def heard(self, line: Line | None) -> None:
        """Keep a line that is complete."""
        if line is not None:
            self.lines.append(line)
            self.record.lines.append(line_json(line))


def line_json(line: Line) -> dict[str, Any]:
    """A line as JSON, times to a millisecond."""
    rounded = asdict(line)
    rounded["start_s"], rounded["end_s"] = round(line.start_s, 3), round(line.end_s, 3)
    rounded["words"] = [
        {"text": w.text, "start_s": round(w.start_s, 3), "end_s": round(w.end_s, 3),
         "index": w.index} for w in line.words
    ]  # fmt: skip
    return rounded


def _mine(record: VoiceRecord | None, key: str) -> bool:
    return record is None or record.owner == key


def checked_consent(statement: str) -> str:
    """A statement that somebody agreed to have their voice cloned.

    Raises:
        BadInput: it says nothing.
    """
    statement = " ".join(statement.split())
    if len(statement) < 8 or statement.lower() in ("true", "yes", "consent"):
        raise BadInput(
            "A voice needs the consent of who speaks, in words that name them: "
            "'I, Anna Smith, agree that my voice is cloned', or who has given it to you and when."
        )
    return statement[:2_000]
