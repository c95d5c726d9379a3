"""Does the voice sound like its speaker, and is it understood? Read `Judge` first."""

import copy
import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from glmtts import checkpoint, hub
from glmtts.audio import Audio
from glmtts.data.agreement import error_rate, phonemes_of, sounds, units_of
from glmtts.data.ear import Ear
from glmtts.data.files import write_json
from glmtts.data.shards import Corpus
from glmtts.nn.adapted import Rows, view
from glmtts.sampling import Sampling
from glmtts.speaker import SpeakerEncoder
from glmtts.synthesizer import SpeakOptions, Synthesizer
from glmtts.train.lora import Trained
from glmtts.voice import Voice

CARD = "voice.json"


@dataclass(frozen=True)
class Verdict:
    """What the judge found.

    Attributes:
        sim: Mean cosine to the speaker's held-out clips, by the encoder of glmtts-nano.
        per: Mean share of phonemes that its ear disputes.
        spoken: Texts that were judged.
    """

    sim: float = 0.0
    per: float = 0.0
    spoken: int = 0

    def values(self, prefix: str) -> dict[str, float]:
        """For the log; nothing where nothing was judged."""
        if not self.spoken:
            return {}
        return {f"{prefix}_sim": self.sim, f"{prefix}_per": self.per}


class Judge:
    """Speaks held-out texts and listens: similarity to the speaker and phoneme errors."""

    def __init__(self, base: str, voice: Voice, valid: Corpus, count: int, device: str) -> None:
        """Choose the texts, evenly spaced.

        Args:
            base: The model.
            voice: The reference.
            valid: Held-out clips of the speaker.
            count: Texts to speak; 0: never judges.
            device: Where to speak.
        """
        places = np.unique(np.linspace(0, len(valid) - 1, min(count, len(valid))).astype(int))
        texts = [valid.clips[int(place)].text for place in places]
        self._texts: list[str] = texts if count else []
        if not self._texts:
            return
        self._voice = voice
        self._synthesizer = Synthesizer.load(base, device=device, dtype="float32")
        folder = hub.resolve("glmtts-nano") / "speaker"
        self._speaker = checkpoint.load(SpeakerEncoder, folder)
        self._ear = Ear()
        self._target = voice.speaker
        if hub.resolve(base) != hub.resolve("glmtts-nano"):
            self._target = self._speaker.embed(self._sound_of(voice))

    def _sound_of(self, voice: Voice) -> Audio:
        rate = self._synthesizer.sample_rate
        return Audio(self._synthesizer.vocoder.decode(voice.mel).float().cpu(), rate)

    def __call__(self, done: Sequence[Trained] | None) -> Verdict:
        """Judge the base (None), or what was trained."""
        if not self._texts:
            return Verdict()
        speaker = copy.copy(self._synthesizer)
        for trained in done or ():
            base = getattr(speaker, trained.name)
            if trained.config is None:
                setattr(speaker, trained.name, trained.model.eval())
            else:
                like = next(iter(base.parameters()))
                adapter = trained.adapter().to(like.device, like.dtype)
                setattr(speaker, trained.name, view(base, Rows(adapter)))
        sims: list[float] = []
        pers: list[float] = []
        for number, text in enumerate(self._texts):
            options = SpeakOptions(sampling=Sampling(seed=number))
            audio = speaker.speak(text, self._voice, options)
            phonemes = phonemes_of(units_of(text))
            heard = self._ear.hear(audio).phonemes()
            pers.append(error_rate(sounds(phonemes), sounds(heard)))
            sims.append(float((self._speaker.embed(audio) @ self._target).item()))
        return Verdict(float(np.mean(sims)), float(np.mean(pers)), len(sims))


def write_card(
    folder: Path,
    voice: Voice,
    done: Sequence[Trained],
    before: Verdict,
    after: Verdict,
    base: str,
    seconds: float,
) -> None:
    """Write a voice that can be added: what was trained, its reference, and what is known of it."""
    draft = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(draft, ignore_errors=True)
    for trained in done:
        trained.save(draft / trained.name)
    voice.save(draft / "reference.safetensors")
    card = {
        "base": base, "seconds_of_speech": round(seconds, 1), "before": asdict(before),
        "after": asdict(after),
        "parts": {t.name: {"rank": t.rank, "share": round(t.share, 4)} for t in done},
    }  # fmt: skip
    write_json(draft / CARD, card)
    shutil.rmtree(folder, ignore_errors=True)
    draft.rename(folder)
    print(json.dumps(card, indent=1), flush=True)
    print(f"The voice is in {folder}. Keep it with: glmtts voice add NAME --adapter {folder}")
