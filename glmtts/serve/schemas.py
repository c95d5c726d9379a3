"""The requests and answers of the HTTP interface, with examples: what /openapi.json says."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Format = Literal["mp3", "opus", "aac", "flac", "wav", "pcm"]
Text = Annotated[str, StringConstraints(min_length=1)]
LEXICON_WORDS = 1_000


class VoiceId(BaseModel):
    """OpenAI's other way to name a voice."""

    model_config = ConfigDict(extra="forbid")
    id: Annotated[str, StringConstraints(min_length=1, max_length=200)]


Voice = Annotated[str, StringConstraints(min_length=1, max_length=200)] | VoiceId


class Spoken(BaseModel):
    """What every request for speech has."""

    model_config = ConfigDict(extra="ignore")
    voice: Voice | None = Field(
        None, description="Name or id; by the language of the text if absent."
    )
    speed: float = Field(1.0, ge=0.25, le=4.0, description="2 is twice as fast; the pitch stays.")
    seed: int | None = Field(
        None, ge=0, le=2**63 - 1, description="The same seed speaks the same way."
    )
    lexicon: dict[str, str] = Field(
        default_factory=dict[str, str], max_length=LEXICON_WORDS,
        description="Words and their readings: {'银行': 'yin2 hang2', 'WTO': '世界贸易组织'}.",
        examples=[{"长乐": "chang2 le4"}],
    )  # fmt: skip
    phonemes: Literal["off", "auto", "all"] | None = Field(
        None, description="Which words the model is given as phonemes; its own choice if absent."
    )
    instructions: str | None = Field(
        None, max_length=4_096,
        description=(
            "How to speak, in English or Chinese: the one emotion it names (happy, sad, angry, "
            "surprised, neutral) is obeyed; an error where the model does not know it. Other prose "
            "is not, and X-Ignored says so."
        ),
        examples=["Speak happily.", "高兴地说"],
    )  # fmt: skip
    pace: Literal["quick", "whole", "blocks"] = Field(
        "quick",
        description=(
            "quick: the first sentence comes in blocks, the others checked and whole; whole: all "
            "sentences are checked before they are heard; blocks: none."
        ),
    )


class SpeechRequest(Spoken):
    """OpenAI's `POST /v1/audio/speech`, with the extensions of `Spoken`."""

    model_config = ConfigDict(
        extra="ignore",
        json_schema_extra={
            "examples": [
                {"model": "tts-1", "input": "Hello, world.", "voice": "alloy"},
                {
                    "model": "glmtts-nano",
                    "input": "你好，世界。",
                    "response_format": "wav",
                    "seed": 7,
                },
            ]
        },
    )
    model: Annotated[str, StringConstraints(min_length=1, max_length=200)] = Field(
        "default", description="A name of /v1/models; OpenAI's names mean the model served."
    )
    input: Text = Field(description="The text, with readings in brackets or SSML in it.")
    response_format: Format = "mp3"
    stream_format: Literal["audio", "sse"] = "audio"
    sample_rate: Literal[8000, 16000, 22050, 24000, 32000, 44100, 48000] | None = Field(
        None, description="Samples a second; the model's own if absent."
    )
    timestamps: bool = Field(False, description="With sse: an event with words for each sentence.")
    deadline_s: float | None = Field(
        None, gt=0, le=3_600, description="Give up after so many seconds."
    )


class NormalizeRequest(BaseModel):
    """A text to be read, not spoken."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"input": "银行行长在 3 号楼。"}]}
    )
    input: Text
    lexicon: dict[str, str] = Field(default_factory=dict[str, str], max_length=LEXICON_WORDS)


class JobRequest(Spoken):
    """A long text, such as a book; each chapter becomes a file."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"title": "A book", "input": "# One\nIt began.\n# Two\nIt ended."}]
        },
    )
    input: Text = Field(description="Chapters begin at lines with # or 第…章 or Chapter …")
    title: str = Field("", max_length=200)
    response_format: Literal["mp3", "opus", "flac", "wav"] = "mp3"


class ElevenVoiceSettings(BaseModel):
    """ElevenLabs' settings; only the speed means something here."""

    model_config = ConfigDict(extra="ignore")
    speed: float = Field(1.0, ge=0.25, le=4.0)


class ElevenRequest(BaseModel):
    """ElevenLabs' body of a text-to-speech request."""

    model_config = ConfigDict(
        extra="ignore",
        json_schema_extra={"examples": [{"text": "Hello.", "model_id": "eleven_turbo_v2_5"}]},
    )
    text: Text
    model_id: str | None = Field(None, max_length=200)
    voice_settings: ElevenVoiceSettings | None = None
    seed: int | None = Field(None, ge=0, le=2**32 - 1)


class ErrorDetail(BaseModel):
    """What is wrong."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorBody(BaseModel):
    """OpenAI's shape of an error."""

    error: ErrorDetail


ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorBody, "description": about}
    for status, about in (
        (400, "Something in the request is wrong; `param` names it."),
        (401, "A key is needed, or is unknown."),
        (403, "The page that asks is of another origin."),
        (404, "No such voice, model, job, or path."),
        (408, "The body came too slowly."),
        (413, "The body is too large."),
        (421, "The server is not called by that name."),
        (429, "Too much to do; Retry-After says when it may be better."),
        (503, "Not ready, shutting down, or the text could not be spoken."),
    )
}
