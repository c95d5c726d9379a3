"""Is a clip fit to learn from? One function a defect, each measured on the sound alone.

`measure` asks all of them, `fault` compares with the limits.
"""

import contextlib
import io
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np
import torch

from glmtts.audio import Audio
from glmtts.cloning import clipped
from glmtts.errors import MissingExtra
from glmtts.vad import SILENT_DB, VadOptions, frame_levels, speech_mask, widened

DOUBT_DB, CLEAN = 12.0, 3.7
"""An SNR of `DOUBT_DB` up to the limit is only a suspicion where naturalness is judged: such a clip
stays if its MOS is at least `CLEAN`. Of 30 prompts of Asterisk below the limit 29 are clean speech
with few pauses (MOS 3.75 to 4.51) and one is a shriek (1.25). Speech with white noise at 20 dB has
at most 3.01, with music at 12 dB at most 3.54 (six clips each)."""
BEST_SNR_DB = 60.0
"""What digital silence between words is said to have."""


@dataclass(frozen=True)
class Limits:
    """What a clip must reach; 0 (or 1 for the share) lets everything pass.

    Attributes:
        snr_db: Least distance between speech and what is heard in its pauses. Below it there is
            noise or music under the speech; see also `DOUBT_DB`.
        clipped: Largest share of samples in clipped runs.
        bandwidth_hz: Least bandwidth; a telephone has 3,400.
        mos: Least naturalness by DistillMOS, 1 to 5, where it is installed. Of 46 prompts of a real
            speaker the least is 3.59, of 86 clips of the teacher corpus one is below 2.5.
        seconds: Shortest clip.
    """

    snr_db: float = 20.0
    clipped: float = 0.002
    bandwidth_hz: float = 4_500.0
    mos: float = 2.5
    seconds: float = 1.0


@dataclass(frozen=True)
class Quality:
    """What was measured of a clip; the names are those of `Limits`."""

    snr_db: float
    clipped: float
    bandwidth_hz: float


def measure(audio: Audio, source_rate: int) -> Quality:
    """All measures of a clip.

    Args:
        audio: The clip, with a little of the silence around it.
        source_rate: Rate of the recording it was cut from: no bandwidth lies above half of it.
    """
    share = float(clipped(audio).mean()) if audio.samples.numel() else 0.0
    width = min(bandwidth(audio), source_rate / 2)
    return Quality(round(snr(audio), 2), round(share, 5), round(width, 0))


def fault(quality: Quality, seconds: float, limits: Limits, judged: bool = False) -> str:
    """The first limit that a clip fails, as the reason shown to people; "" for none.

    Where naturalness is `judged` later, `noisy` decides about clips that are only suspicious.
    """
    if seconds < limits.seconds:
        return "too short"
    if quality.clipped > limits.clipped:
        return "clipped"
    if quality.snr_db < (min(limits.snr_db, DOUBT_DB) if judged else limits.snr_db):
        return "noise or music"
    if quality.bandwidth_hz < limits.bandwidth_hz:
        return "narrow band"
    return ""


def noisy(audio: Audio, mos: float, limits: Limits) -> bool:
    """Whether noise or music is heard in a clip: the suspicion of its SNR, confirmed by its MOS."""
    return mos < CLEAN and snr(audio) < limits.snr_db


def snr(audio: Audio) -> float:
    """Level of speech over the level of its pauses in dB, at most 60.

    The pauses are those of 30 ms and more inside and around the speech, without the decay of the
    words next to them; of these the louder half counts, so that music is not judged by its rests.
    A clip without any pause is judged by its quietest twentieth.
    """
    levels = frame_levels(audio)
    mask = speech_mask(audio, VadOptions(max_gap=0.0))
    if not mask.any():
        return 0.0
    speech = 10.0 * np.log10(np.mean(10.0 ** (levels[mask] / 10.0)))
    still = levels[~widened(mask, 0.03, 0.05)]
    floor = float(np.median(still)) if len(still) >= 5 else float(np.quantile(levels, 0.05))
    return BEST_SNR_DB if floor <= SILENT_DB else float(min(BEST_SNR_DB, speech - floor))


def bandwidth(audio: Audio) -> float:
    """Up to which frequency (Hz) there is sound: where the long-term spectrum falls off a cliff.

    It is the highest frequency whose mean level lies within 75 dB of the loudest; 0 for less than
    43 ms of sound.
    """
    samples = audio.samples.detach().float().cpu()
    size = 1_024
    if len(samples) < size:
        return 0.0
    window = torch.hann_window(size)
    spectrum: Any = torch.stft(samples, size, size // 2, window=window, return_complex=True)
    power = spectrum.abs().square().mean(1).numpy()  # (bins,)
    level = 10.0 * np.log10(np.convolve(power, np.ones(5) / 5, mode="same") + 1e-12)
    heard = np.flatnonzero(level > level.max() - 75.0)
    return float((heard[-1] + 1) * audio.sample_rate / size) if len(heard) else 0.0


def loudness(audio: Audio) -> float:
    """Integrated loudness in LUFS (ITU-R BS.1770-4); -inf for silence.

    Raises:
        MissingExtra: pyloudnorm is not installed.
    """
    try:
        meters: Any = import_module("pyloudnorm")
    except ImportError as error:
        raise MissingExtra("Measuring loudness", "prepare") from error
    samples = audio.samples.detach().float().cpu().numpy().astype(np.float64)
    block = 0.4
    short = round(block * audio.sample_rate) + 1 - len(samples)
    if short > 0:  # a meter needs one whole block
        samples = np.pad(samples, (0, short), mode="wrap")
    return float(meters.Meter(audio.sample_rate, block_size=block).integrated_loudness(samples))


def levelled(audio: Audio, lufs: float, peak: float = 0.95) -> Audio:
    """The same sound at the loudness `lufs`, as far as no sample exceeds `peak`.

    Raises:
        MissingExtra: pyloudnorm is not installed.
    """
    found = loudness(audio)
    if not np.isfinite(found):
        return audio
    gain = min(10.0 ** ((lufs - found) / 20.0), peak / float(audio.samples.abs().max()))
    return Audio(audio.samples * gain, audio.sample_rate)


def mos_judge() -> Callable[[Audio], float] | None:
    """DistillMOS (MIT; 16 kHz) as a function of a sound, None where it is not installed.

    Its packages ask for torchaudio, which only their command line uses; see docs/voice.md.
    """
    stand_in = "torchaudio" not in sys.modules
    if stand_in:
        sys.modules["torchaudio"] = ModuleType("torchaudio")
    try:
        package: Any = import_module("distillmos")
    except ImportError:
        return None
    finally:
        if stand_in:
            del sys.modules["torchaudio"]
    with contextlib.redirect_stdout(io.StringIO()):  # it announces its weights
        model = package.ConvTransformerSQAModel().eval()

    @torch.inference_mode()
    def judge(audio: Audio) -> float:
        samples = audio.resampled(16_000).samples.float()
        samples = samples / samples.abs().max().clamp(min=1e-4) * 0.8
        return round(float(model(samples[None])), 2)

    return judge
