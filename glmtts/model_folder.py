"""`glmtts.json`, which makes a folder of components a model: what it says, and how it is read."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glmtts import hub
from glmtts.audio import AudioSpec
from glmtts.cloning import SPEECH_DBFS
from glmtts.config import from_dict
from glmtts.errors import CheckpointError

FORMAT = 1
"""Version of the layout that this package reads and writes."""


@dataclass(frozen=True)
class Manifest:
    """`glmtts.json`: what a model folder is.

    Attributes:
        format: Version of this layout.
        name: Name of the model.
        license: SPDX name of the weights' licence.
        audio: Rates and mel settings every component shares.
        phonemes: Sentences are given to the language model as phonemes, else as text.
        history_tokens: Speech tokens of voice and past sentences the language model is reminded of;
            0 = of the voice only (official 750).
        prompt_tokens: A voice's clip of more speech tokens is kept from the language model, which
            never learnt to go on from one so long; speaker vector and flow still carry the voice.
        sequence_length: Positions of a voice's clip, a text and its speech (as quick as the clip)
            together, up to which the language model is at home; a clip that leads beyond is kept
            from it, else it breaks off in long sentences. 0: any.
        foreign_prompts: Whether the language model hears a voice's clip when it is in another
            language than the sentence. A model that never learnt that speaks better without.
        tagged_prompts: Whether it hears one before a sentence with a style or a laugh. A model that
            has heard few of them goes on as the clip does, whatever the tag says.
        sentence_length: Longest sentence spoken at once, in Hanzi (a Latin letter counts 0.3).
        top_p: Nucleus of the language model unless asked otherwise (official 0.8).
        candidates: Utterances drawn for each sentence, the best-read one is spoken.
        styled_candidates: The same for a sentence in a style, where the best must also be said so;
            0: no other number.
        list_pause_s: Seconds that a pause between the items of a list takes at least
            (`glmtts.pauses`); 0: as the language model says it.
        lead_s: Seconds of silence ahead of each sentence, but for a first one that is spoken in
            blocks, for which somebody waits.
        least_s: Seconds that a text of one sentence takes at least where it is not spoken in
            blocks: a shorter one has silence around it. What begins and ends with a syllable of a
            third of a second is easily lost, to a sound card that wakes up and to a recogniser.
        ahead: How many text ids beyond the present one the language model's aligned head may look
            unless asked otherwise; 0: anywhere.
        flow_steps: Euler steps of the flow unless asked otherwise.
        flow_guidance: Its guidance unless asked otherwise.
        flow_temperature: Factor on the noise it starts from unless asked otherwise. In few steps
            much of the noise is left in the mel: less of it is clearer speech.
        laugh_temperature: The same where somebody laughs (`[laughter]`); None: no other.
        voice_dbfs: Loudness that the speech in a voice's clip is brought to; None = as recorded
            (official).
        default_voices: Voice for each language when none is asked for.
        trained_by: Which recipe made it.
    """

    format: int
    name: str
    license: str
    audio: AudioSpec
    phonemes: bool = True
    history_tokens: int = 750
    prompt_tokens: int = 750
    sequence_length: int = 0
    foreign_prompts: bool = True
    tagged_prompts: bool = True
    sentence_length: int = 60
    top_p: float = 0.8
    candidates: int = 1
    styled_candidates: int = 0
    list_pause_s: float = 0.0
    lead_s: float = 0.0
    least_s: float = 0.0
    ahead: int = 0
    flow_steps: int = 10
    flow_guidance: float = 0.7
    flow_temperature: float = 1.0
    laugh_temperature: float | None = None
    voice_dbfs: float | None = SPEECH_DBFS
    default_voices: tuple[str, ...] = ()
    trained_by: str = ""


def read_manifest(folder: Path) -> Manifest:
    """Read `folder/glmtts.json`.

    Raises:
        CheckpointError: it is missing, not JSON, of another format, or has unknown settings.
    """
    path = folder / hub.MODEL_FILE
    try:
        data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"Cannot read {path} ({error}).") from error
    if data.get("format") != FORMAT:
        raise CheckpointError(
            f"{path}: format {data.get('format')} is not known; this version reads {FORMAT}. "
            "Update the package."
        )
    return from_dict(Manifest, data, str(path))
