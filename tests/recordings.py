"""Recordings of the bundled voices, good and bad, for tests of data preparation and voices.

Each is the reference clip of a voice of glmtts-nano, made sound by its vocoder: real speech with a
true transcript, in a moment.
"""

from functools import cache

import torch

from glmtts import Audio, checkpoint, hub
from glmtts.vocoder import Vocoder
from glmtts.voice import Voice


@cache
def clip(name: str) -> tuple[Audio, str]:
    """What the voice `name` says in its reference, and the transcript."""
    folder = hub.resolve("glmtts-nano")
    voice = Voice.load(folder / "voices" / f"{name}.safetensors")
    return Audio(_vocoder().decode(voice.mel).detach().clone(), 24_000), voice.transcript


@cache
def _vocoder() -> Vocoder:
    return checkpoint.load(Vocoder, hub.resolve("glmtts-nano") / "vocoder")


def silence(seconds: float) -> Audio:
    return Audio(torch.zeros(round(seconds * 24_000)), 24_000)


def noisy(audio: Audio, snr_db: float) -> Audio:
    noise = torch.randn(len(audio.samples), generator=torch.Generator().manual_seed(0))
    return _mixed(audio, noise, snr_db)


def with_music(audio: Audio, snr_db: float) -> Audio:
    """A chord that swells and fades under the speech."""
    time = torch.arange(len(audio.samples)) / audio.sample_rate
    chord = torch.stack([torch.sin(2 * torch.pi * f * time) for f in (220, 277, 330, 440)]).sum(0)
    return _mixed(audio, chord * (0.7 + 0.3 * torch.sin(2 * torch.pi * time)), snr_db)


def _mixed(audio: Audio, other: torch.Tensor, snr_db: float) -> Audio:
    gain = audio.samples.std() / other.std() / 10 ** (snr_db / 20)
    return Audio(audio.samples + gain * other, audio.sample_rate)


def clipped(audio: Audio) -> Audio:
    return Audio((audio.samples / audio.samples.abs().max() * 6).clamp(-1, 1), audio.sample_rate)


def telephone(audio: Audio) -> Audio:
    return audio.resampled(8_000).resampled(24_000)
