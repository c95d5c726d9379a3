"""A recording to a `Voice`: clean it, then ask the encoders. Read `VoiceEncoder` first."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from glmtts.audio import Audio, AudioSpec, log_mel
from glmtts.errors import BadAudio, BadText
from glmtts.vad import FRAME_SECONDS, Mask, frame_levels, samples_where, spans_of, speech_mask
from glmtts.voice import Prompt, Turn, Voice

MIN_SPEECH_SECONDS = 1.0
MAX_SECONDS = 30.0
BEST_SECONDS = 10.0
"""Long recordings are cut to this: more tells the models little and makes every sentence slower."""

SPEECH_DBFS = -23.5
"""RMS of the speech in a reference: the median of the training corpus (-23.4, half of its clips
lie within 1.7 dB)."""

PEAK = 0.95
"""The loudness gain never raises a sample above this."""

LEAD_SECONDS, TAIL_SECONDS = 0.08, 0.15
"""Silence kept before and after speech, as in the training corpus."""

SILENCE_DBFS = -60.0
"""A recording whose loudest 0.3 s stay below this holds no voice, only the room."""

CLIPPED_SHARE = 0.005
"""More samples than this in clipped runs are refused. Corpus clips have none; driven 12 dB too
loud, half of them have more than 0.7 %."""


class SpeechEncoder(Protocol):
    """What turns sound into speech tokens (`glmtts.speech_tokenizer.SpeechTokenizer`)."""

    def encode(self, audio: Audio) -> Sequence[int]:
        """Speech tokens of a sound of any rate: (S,)."""
        ...


class SpeakerEmbedder(Protocol):
    """What turns sound into a speaker vector (`glmtts.speaker.SpeakerEncoder`)."""

    def embed(self, audio: Audio) -> Tensor:
        """Speaker vector of a sound of any rate: (E,), unit length."""
        ...


@dataclass(frozen=True)
class VoiceEncoder:
    """Makes voices out of recordings.

    Attributes:
        speech_tokenizer: Gives the speech tokens.
        speaker_encoder: Gives the speaker vector.
        text_ids: A transcript to text ids, normalised as any text to be spoken.
        spec: Rates and mel settings of the model.
        dbfs: Loudness of the speech in a reference; None = as recorded.
    """

    speech_tokenizer: SpeechEncoder
    speaker_encoder: SpeakerEmbedder
    text_ids: Callable[[str], Sequence[int]]
    spec: AudioSpec
    dbfs: float | None = SPEECH_DBFS

    @torch.no_grad()
    def __call__(
        self,
        audio: Audio,
        transcript: str | None = None,
        name: str = "",
        language: str = "",
        gender: str = "",
        *,
        trim_long: bool = False,
    ) -> Voice:
        """Clone the voice of a recording.

        Args:
            audio: 1 to 30 seconds of one person speaking, at any rate; 4 to 10 are best.
            transcript: What the recording says. Without it only the speaker vector and the flow's
                prompt carry the voice, and the language model speaks in no one's manner.
            name: How to call the voice.
            language: "zh" or "en"; when empty, told from the transcript.
            gender: "female", "male" or empty.
            trim_long: Use the best 10 seconds of a recording over 30 seconds instead of refusing
                it. A transcript is refused then: it would say more than is heard.

        Raises:
            BadAudio: the recording is unfit; the message says why and what to do (see `prepared`).
            BadText: the transcript holds nothing that can be spoken.
        """
        transcript = (transcript or "").strip()
        reference = prepared(
            audio, self.spec, trim_long=trim_long, transcribed=bool(transcript), dbfs=self.dbfs
        )
        tokens = tuple(int(token) for token in self.speech_tokenizer.encode(reference))
        tokens = tokens[: len(reference.samples) // self.spec.samples_per_token]
        mel = log_mel(reference.samples, self.spec)[: len(tokens) * self.spec.frames_per_token]
        prompt = Prompt()
        if transcript:
            text_ids = tuple(self.text_ids(transcript))
            if not text_ids:
                raise BadText(
                    f"The transcript {transcript!r} holds nothing that can be spoken. "
                    "Write what the recording says, or leave the transcript out."
                )
            prompt = Prompt((Turn(text_ids, tokens),), own=1)
        return Voice(
            name=name,
            transcript=transcript,
            prompt=prompt,
            speech_tokens=tokens,
            mel=mel.clone(),
            speaker=self.speaker_encoder.embed(reference),
            language=language or language_of(transcript),
            gender=gender,
        )


def prepared(
    audio: Audio,
    spec: AudioSpec,
    *,
    trim_long: bool = False,
    transcribed: bool = False,
    dbfs: float | None = SPEECH_DBFS,
) -> Audio:
    """A recording as the encoders want it: trimmed, at the model's rate, no DC, training loudness.

    The length is a multiple of `spec.samples_per_token`, so its mel covers whole tokens.

    Args:
        audio: The recording.
        spec: Rates of the model.
        trim_long: Take the best stretch of a recording that is too long.
        transcribed: A transcript of the whole recording is going to be used.
        dbfs: RMS level that its speech is brought to; None = as recorded, the DC too.

    Raises:
        BadAudio: the recording is empty, not numbers, silent, clipped, holds less than a second of
            speech, or is longer than 30 seconds (without silence at its ends).
    """
    if audio.samples.numel() == 0:
        raise BadAudio("The recording is empty. Expected 1 to 30 seconds of speech.")
    if not bool(torch.isfinite(audio.samples).all()):
        raise BadAudio(
            "The recording holds samples that are not numbers (NaN or infinity). "
            "Export it again as 16-bit WAV."
        )
    audio = trimmed(audio)
    if audio.seconds > MAX_SECONDS:
        if not trim_long:
            raise BadAudio(
                f"The recording is {audio.seconds:.1f} s long, at most {MAX_SECONDS:.0f} s can be "
                f"used. Cut it to 4-10 s, or let the best {BEST_SECONDS:.0f} s be taken "
                "(--trim-long, trim_long=True; without a transcript)."
            )
        if transcribed:
            raise BadAudio(
                f"Only {BEST_SECONDS:.0f} s of the {audio.seconds:.1f} s recording would be used, "
                "and the transcript says more than that. Leave the transcript out, or cut both the "
                "recording and the transcript to the same 4-10 s."
            )
        audio = best_stretch(audio, BEST_SECONDS)
    mask = speech_mask(audio)
    found = float(mask.sum()) * FRAME_SECONDS
    if found < MIN_SPEECH_SECONDS:
        raise BadAudio(
            f"Only {found:.2f} s of speech found in the recording, at least "
            f"{MIN_SPEECH_SECONDS:.0f} s is needed. Record 4-10 s of one person speaking."
        )
    if (share := float(clipped(audio).mean())) > CLIPPED_SHARE:
        raise BadAudio(
            f"The recording is clipped: {share:.1%} of its samples are cut off at full scale. "
            "Record again at a lower level."
        )
    speech = samples_where(audio, mask)
    samples = audio.resampled(spec.sample_rate).samples.float().cpu()
    if dbfs is not None:
        offset = float(speech.mean(dtype=np.float64))
        rms = float(np.sqrt(np.square(speech - offset, dtype=np.float64).mean()))
        samples = samples - offset
        samples = samples * min(10.0 ** (dbfs / 20.0) / rms, PEAK / float(samples.abs().max()))
    whole = len(samples) // spec.samples_per_token * spec.samples_per_token
    return Audio(samples[:whole], spec.sample_rate)


def trimmed(audio: Audio) -> Audio:
    """Cut silence before and after speech, down to 80 and 150 ms: (N,) -> (n,).

    Raises:
        BadAudio: there is only silence.
    """
    mask = _speech(audio)
    spans = spans_of(mask)
    return _cut(audio, spans[0][0], spans[-1][1])


def best_stretch(audio: Audio, seconds: float = BEST_SECONDS) -> Audio:
    """The stretch of at most `seconds` with the most unclipped speech: (N,) -> (n,).

    It starts where speech starts and ends at a pause, unless no pause comes within `seconds`.

    Raises:
        BadAudio: there is only silence.
    """
    if audio.seconds <= seconds:
        return audio
    mask = _speech(audio)
    spans = np.array(spans_of(mask))  # (spans, 2): first frame, one past last
    limit = max(1, round((seconds - LEAD_SECONDS - TAIL_SECONDS) / FRAME_SECONDS))
    size = max(1, round(audio.sample_rate * FRAME_SECONDS))
    harsh = clipped(audio)[: len(mask) * size].reshape(len(mask), size).any(axis=1)
    # One frame of clipping costs ten frames of speech.
    worth = np.concatenate(([0], np.cumsum(mask.astype(np.int64) - 10 * harsh)))
    starts = spans[:, 0]
    last_fitting = np.searchsorted(spans[:, 1], starts + limit, side="right") - 1
    at_pause = last_fitting >= np.arange(len(spans))
    ends = np.where(at_pause, spans[np.maximum(last_fitting, 0), 1], starts + limit)
    best = int(np.argmax(worth[ends] - worth[starts]))
    return _cut(audio, int(starts[best]), int(ends[best]))


def clipped(audio: Audio) -> Mask:
    """True for samples at full scale that stand in runs of three or more: (N,) -> (N,)."""
    full: npt.NDArray[np.bool_] = np.abs(audio.samples.detach().cpu().numpy()) >= 0.995
    mask = np.zeros(len(full), np.bool_)
    for first, last in spans_of(full) if full.any() else []:
        mask[first:last] = last - first >= 3
    return mask


def language_of(text: str) -> str:
    """Tell "zh" (a text with Hanzi) from "en" (with Latin letters); "" for any other."""
    if re.search(r"[\u3400-\u9fff]", text):
        return "zh"
    return "en" if re.search(r"[A-Za-z]", text) else ""


def _speech(audio: Audio) -> Mask:
    """The speech mask of a sound that has speech; raises `BadAudio` for silence."""
    mask = speech_mask(audio)
    levels = np.sort(frame_levels(audio))
    if not mask.any() or levels[-min(30, len(levels))] < SILENCE_DBFS:
        raise BadAudio(
            "The recording is silent: no sound in it reaches the level of speech. "
            "Check the microphone and record 4-10 s of one person speaking."
        )
    return mask


def _cut(audio: Audio, first: int, last: int) -> Audio:
    """The frames [first, last) of a mask with the silence kept around them."""
    start = round((first * FRAME_SECONDS - LEAD_SECONDS) * audio.sample_rate)
    end = round((last * FRAME_SECONDS + TAIL_SECONDS) * audio.sample_rate)
    return replace(audio, samples=audio.samples[max(0, start) : end])
