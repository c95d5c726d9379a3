"""Does the voice sound like its speaker, and is it understood? Read `Judge` first."""

import copy
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from glmtts import checkpoint, hub
from glmtts.audio import Audio
from glmtts.data.agreement import error_rate, phonemes_of, sounds, units_of
from glmtts.data.ear import Ear
from glmtts.data.files import write_json
from glmtts.data.quality import mos_judge
from glmtts.data.shards import Corpus
from glmtts.nn.adapted import Rows, view
from glmtts.options import SpeakOptions
from glmtts.sampling import Sampling
from glmtts.speaker import SpeakerEncoder
from glmtts.synthesizer import Synthesizer
from glmtts.train.lora import Trained
from glmtts.voice import Voice

CARD = "voice.json"


@dataclass(frozen=True)
class Verdict:
    """What the judge found.

    Attributes:
        sim: Mean cosine to the speaker's mean vector, by the encoder of glmtts-nano.
        per: Mean share of phonemes that its ear disputes.
        mos: Mean naturalness by DistillMOS, 1 to 5; None where it is not installed.
        spoken: Texts that were judged.
    """

    sim: float = 0.0
    per: float = 0.0
    mos: float | None = None
    spoken: int = 0

    @property
    def score(self) -> float:
        """All in one: 0.1 more phonemes misread weigh as 0.05 of similarity or one point of MOS."""
        return self.sim - 0.5 * self.per + 0.05 * (self.mos or 0.0)

    def values(self, prefix: str) -> dict[str, float]:
        """For the log; nothing where nothing was judged."""
        if not self.spoken:
            return {}
        natural = {} if self.mos is None else {f"{prefix}_mos": self.mos}
        return {f"{prefix}_sim": self.sim, f"{prefix}_per": self.per, **natural}


class Judge:
    """Speaks held-out texts and listens: similarity to the speaker, phoneme errors, naturalness."""

    def __init__(
        self,
        base: str,
        voice: Voice,
        valid: Corpus,
        count: int,
        device: str,
        *,
        mos: bool = False,
    ) -> None:
        """Choose the texts, evenly spaced.

        Args:
            base: The model.
            voice: The reference.
            valid: Held-out clips of the speaker.
            count: Texts to speak; 0: never judges.
            device: Where to speak.
            mos: Whether naturalness is judged, where DistillMOS is installed.
        """
        self._valid, self._voice = valid, voice
        self._places = spaced(len(valid), count)
        if not self._places:
            return
        self._mos = mos_judge() if mos else None
        self._synthesizer = Synthesizer.load(base, device=device, dtype="float32")
        folder = hub.resolve("glmtts-nano") / "speaker"
        self._speaker = checkpoint.load(SpeakerEncoder, folder)
        self._ear = Ear()
        self._target = voice.speaker
        if hub.resolve(base) != hub.resolve("glmtts-nano"):
            self._target = self._speaker.embed(self._sound_of(voice.mel))

    @torch.inference_mode()
    def _sound_of(self, mel: Tensor) -> Audio:
        samples = self._synthesizer.vocoder.decode(mel).float().cpu()
        return Audio(samples, self._synthesizer.sample_rate)

    @property
    def listens(self) -> bool:
        """Whether anything is judged at all."""
        return bool(self._places)

    def __call__(self, done: Sequence[Trained] | None) -> Verdict:
        """Judge the base (None), or what was trained, by all texts."""
        return self._spoken(done or (), self._places)

    def glance(self, done: Sequence[Trained], count: int) -> Verdict:
        """Judge what is being trained, the last of `done`, by a few clips, as quickly as it can be.

        A flow speaks the tokens of the held-out clips themselves: no token has to be drawn.
        """
        places = spaced(len(self._valid), count)
        if done[-1].name != "flow":
            return self._spoken(done, places)
        speaker = self._with(done[-1:])
        options = speaker.flow_options
        made: list[tuple[str, Audio]] = []
        for place in places:
            tokens = [int(token) for token in self._valid.array("tokens", place)]
            told = speaker.telling(tokens, self._valid.clips[place].phonemes)
            mel = speaker.flow.sample(told, self._voice, options)
            made.append((self._valid.clips[place].text, self._sound_of(mel)))
        return self._verdict(made)

    def _spoken(self, done: Sequence[Trained], places: Sequence[int]) -> Verdict:
        if not places:
            return Verdict()
        speaker = self._with(done)
        made: list[tuple[str, Audio]] = []
        for number, place in enumerate(places):
            options = SpeakOptions(sampling=Sampling(seed=number))
            text = self._valid.clips[place].text
            made.append((text, speaker.speak(text, self._voice, options)))
        return self._verdict(made)

    def _with(self, done: Sequence[Trained]) -> Synthesizer:
        """The base with what was trained in its place."""
        speaker = copy.copy(self._synthesizer)
        for trained in done:
            base = getattr(speaker, trained.name)
            if trained.config is None:
                setattr(speaker, trained.name, trained.component().eval())
            else:
                like = next(iter(base.parameters()))
                adapter = trained.adapter().to(like.device, like.dtype)
                setattr(speaker, trained.name, view(base, Rows(adapter)))
        return speaker

    def _verdict(self, spoken: Sequence[tuple[str, Audio]]) -> Verdict:
        sims: list[float] = []
        pers: list[float] = []
        moss: list[float] = []
        for text, audio in spoken:
            phonemes = phonemes_of(units_of(text))
            heard = self._ear.hear(audio).phonemes()
            pers.append(error_rate(sounds(phonemes), sounds(heard)))
            sims.append(float((self._speaker.embed(audio) @ self._target).item()))
            if self._mos is not None:
                moss.append(self._mos(audio))
        mos = float(np.mean(moss)) if moss else None
        return Verdict(float(np.mean(sims)), float(np.mean(pers)), mos, len(sims))


def spaced(length: int, count: int) -> list[int]:
    """At most `count` of `length` places, evenly spaced."""
    return sorted({int(place) for place in np.linspace(0, length - 1, min(count, length))})


def write_card(
    folder: Path,
    voice: Voice,
    done: Sequence[Trained],
    before: Verdict,
    after: Verdict,
    base: str,
    seconds: float,
    costs: Mapping[str, Any],
) -> None:
    """Write a voice that can be added: what was trained, its reference, and what is known of it.

    `costs` holds a dataclass of what each part cost.
    """
    draft = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(draft, ignore_errors=True)
    for trained in done:
        trained.save(draft / trained.name)
    voice.save(draft / "reference.safetensors")
    card = {
        "base": base, "seconds_of_speech": round(seconds, 1), "before": asdict(before),
        "after": asdict(after),
        "parts": {
            t.name: {"rank": t.rank, "share": round(t.share, 4), **asdict(costs[t.name])}
            for t in done
        },
    }  # fmt: skip
    write_json(draft / CARD, card)
    shutil.rmtree(folder, ignore_errors=True)
    draft.rename(folder)
    print(json.dumps(card, indent=1), flush=True)
    print(f"The voice is in {folder}. Keep it with: glmtts voice add NAME --adapter {folder}")
