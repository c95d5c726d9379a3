"""Which manner somebody speaks in, told from statistics of a few curves. Read `StyleNet` first.

Two judges that share nothing but their form, so that one can reward and the other examine:

| | `by_tokens` | `by_sound` |
|---|---|---|
| hears | pitch, voicing and phonemes that speech tokens tell | F0 by WORLD, loudness, tempo |
| learnt from | one half of the speakers | the other half |
| for | the reward of GRPO (no sound is made) | evaluation |

Both are small and were taught by rule-made styles (`glmtts.data.manner`): what they recognise is
those rules, not what people feel. `glmtts train style-judge` makes them.
"""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from glmtts import checkpoint, hub
from glmtts.audio import AudioSpec
from glmtts.data.manifest import timbres
from glmtts.data.pitch import track_pitch
from glmtts.errors import BadAudio, BadInput
from glmtts.judges.base import Sample
from glmtts.judges.emotion import Emotion
from glmtts.judges.prosody import SECONDS_OF_SILENCE, expected_seconds
from glmtts.judges.words import STYLE_TAG
from glmtts.proofreader import Proofreader
from glmtts.speech_tokenizer import SpeechTokenizer, TokenizerHeads
from glmtts.text.styles import NEUTRAL, STYLES

Hears = Literal["tokens", "sound"]
RATE, HOP = AudioSpec().sample_rate, AudioSpec().hop_length
ASSETS = Path(__file__).parent.parent / "assets" / "judges"
LEAST_VOICED = 20
"""Voiced frames (0.4 s) below which a manner cannot be told."""
LOUDNESS_DB = 40.0
"""Range of the loudness that is looked at, below the loud parts of a clip."""
STATISTICS = 17
"""Of `statistics`."""


@dataclass(frozen=True)
class StyleConfig:
    """Of a `StyleNet`.

    Attributes:
        hears: What its statistics are of.
        about: What it was taught with, for reports.
        styles: What it tells apart.
        width: Hidden units.
    """

    hears: Hears
    about: str = ""
    styles: tuple[str, ...] = (NEUTRAL, *STYLES)
    width: int = 16


class StyleNet(nn.Module):
    """`statistics` of a clip -> a score for each style: standardised, one hidden layer."""

    config_type: ClassVar[type[StyleConfig]] = StyleConfig

    def __init__(self, config: StyleConfig) -> None:
        """Build with random weights."""
        super().__init__()
        self.config = config
        self.register_buffer("mean", torch.zeros(STATISTICS))
        self.register_buffer("scale", torch.ones(STATISTICS))
        self.mean: Tensor
        self.scale: Tensor
        self.hidden = nn.Linear(STATISTICS, config.width)
        self.out = nn.Linear(config.width, len(config.styles))

    def forward(self, statistics: Tensor) -> Tensor:
        """Logits: (B, STATISTICS) -> (B, styles)."""
        return self.out(torch.tanh(self.hidden((statistics - self.mean) / self.scale)))

    @torch.inference_mode()
    def chances(self, statistics: Tensor) -> dict[str, float]:
        """The probability of each style for one clip: (STATISTICS,)."""
        found = self(statistics[None])[0].softmax(-1).tolist()
        return dict(zip(self.config.styles, found, strict=True))


# ----- what it is told from -----------------------------------------------------------------------


def statistics_of_tokens(
    proofreader: Proofreader, tokens: Sequence[int], narrowed: float = 1.0
) -> Tensor:
    """(STATISTICS,) of the melody that (S,) speech tokens tell; see `statistics`.

    Raises:
        BadAudio: hardly anything is voiced.
    """
    pitch, voiced, begins = proofreader.melody(tokens)
    semitones = pitch.double().numpy() * (12.0 / np.log(2.0)) * narrowed
    spoken = begins.double().numpy()
    return statistics(semitones, voiced.numpy() > 0.5, spoken, tempo=np.log(spoken.mean() + 0.01))


def statistics_of_sound(
    f0: np.ndarray, samples: np.ndarray, hop_length: int, text: str, narrowed: float = 1.0
) -> Tensor:
    """(STATISTICS,) of a sound; see `statistics`.

    Args:
        f0: (F,) in Hz, 0 unvoiced, as `track_pitch` gives it.
        samples: (N,) float samples.
        hop_length: Samples a frame.
        text: What is said, for the tempo.
        narrowed: Factor on the deviations of pitch.

    Raises:
        BadAudio: hardly anything is voiced.
    """
    frames = min(len(f0), len(samples) // hop_length)
    f0 = f0[:frames].astype(np.float64)
    power = np.square(samples[: frames * hop_length].reshape(frames, hop_length)).mean(axis=1)
    level = 10.0 * np.log10(power + 1e-10)
    loudness = np.clip(level - level.max(initial=-100.0), -LOUDNESS_DB, 0.0) / LOUDNESS_DB
    voiced = f0 > 0
    spoken = np.flatnonzero(voiced)
    seconds = (spoken[-1] - spoken[0] + 1) * hop_length / RATE if len(spoken) else 1.0
    usual = max(0.1, expected_seconds(STYLE_TAG.sub("", text)) - SECONDS_OF_SILENCE)
    semitones = 12.0 * np.log2(np.maximum(f0, 40.0)) * narrowed
    return statistics(semitones, voiced, loudness, tempo=np.log(usual / seconds))


def statistics(pitch: np.ndarray, voiced: np.ndarray, third: np.ndarray, tempo: float) -> Tensor:
    """What a manner is told from: (STATISTICS,).

    Whose voice it is does not matter, nor how high it is: speech tokens do not tell that.

    Args:
        pitch: (F,) in semitones, from anything.
        voiced: (F,) where it means something.
        third: (F,) loudness, or how much a phoneme begins.
        tempo: Logarithm of the tempo.

    Raises:
        BadAudio: hardly anything is voiced.
    """
    where = np.flatnonzero(voiced)
    if len(where) < LEAST_VOICED:
        raise BadAudio("Hardly anything is voiced: its manner cannot be told.")
    sung = pitch[where] - np.median(pitch[where])
    place = (where - where[0]) / (where[-1] - where[0])
    tenth = max(3, len(sung) // 10)
    body, last = sung[place < 0.6], place > 0.6
    slope = _slope(place, sung)
    level = sung - slope * place
    inside = third[where[0] : where[-1] + 1]
    half = len(inside) // 2
    low, high = (float(bound) for bound in np.percentile(sung, [5, 95]))
    told: list[float] = [
        sung.std(), low, high,
        sung[: 2 * tenth].mean(), sung[-2 * tenth :].mean() - body.mean(),
        sung[-tenth:].mean() - body.mean(), sung[-3 * tenth :].max(),
        slope, level.std(), _slope(place[~last], sung[~last]),
        _slope(place[last], sung[last]), np.abs(np.diff(sung)).mean(), len(where) / len(inside),
        inside.mean(), inside.std(), inside[half:].mean() - inside[:half].mean(), tempo,
    ]  # fmt: skip
    return torch.tensor(np.asarray(told, np.float32))


def _slope(place: np.ndarray, value: np.ndarray) -> float:
    return float(np.polyfit(place, value, 1)[0]) if np.ptp(place) > 0.02 else 0.0


# ----- the judges ---------------------------------------------------------------------------------


def side_of(speaker: str) -> int | None:
    """Which judge may learn from a speaker: 0, 1, or None where a blend has parts of both."""
    sides = {zlib.crc32(timbre.encode()) % 2 for timbre in timbres(speaker)}
    return sides.pop() if len(sides) == 1 else None


class TokenStyles:
    """A `Classifier` of speech tokens, and of sound by way of the tokenizer."""

    def __init__(
        self, net: StyleNet, proofreader: Proofreader, tokenizer: SpeechTokenizer | None = None
    ) -> None:
        """Judge by `net`; without a tokenizer only tokens can be judged.

        Raises:
            BadInput: the net reads other curves.
        """
        self._net, self._proofreader, self._tokenizer = _fit(net, "tokens"), proofreader, tokenizer
        self.version = f"style net on speech tokens; {net.config.about}"
        self.styles: Sequence[str] = net.config.styles

    def __call__(self, sample: Sample) -> Mapping[str, float]:
        """See `glmtts.judges.emotion.Classifier`."""
        assert self._tokenizer is not None, "this classifier was made for tokens alone"
        return self.of_tokens(self._tokenizer.encode(sample.audio))

    def of_tokens(self, tokens: Sequence[int]) -> Mapping[str, float]:
        """The probability of each style of (S,) speech tokens.

        Raises:
            BadAudio: hardly anything is voiced.
        """
        return self._net.chances(statistics_of_tokens(self._proofreader, tokens))


class SoundStyles:
    """A `Classifier` of sound."""

    def __init__(self, net: StyleNet) -> None:
        """Judge by `net`.

        Raises:
            BadInput: the net reads other curves.
        """
        self._net = _fit(net, "sound")
        self.version = f"style net on F0, loudness and tempo; {net.config.about}"
        self.styles: Sequence[str] = net.config.styles

    def __call__(self, sample: Sample) -> Mapping[str, float]:
        """See `glmtts.judges.emotion.Classifier`."""
        samples = sample.audio.resampled(RATE).samples.float().cpu().numpy()
        f0 = track_pitch(samples, RATE, HOP)
        return self._net.chances(statistics_of_sound(f0, samples, HOP, sample.text))


def _fit(net: StyleNet, hears: Hears) -> StyleNet:
    if net.config.hears != hears:
        raise BadInput(
            f"This style judge hears {net.config.hears}, here one that hears {hears} is needed: "
            f"emotion={net.config.hears}:FOLDER."
        )
    return net.eval()


@lru_cache(maxsize=4)
def net_at(folder: str, hears: Hears) -> StyleNet:
    """The net of a folder; empty: the one that comes with this package."""
    return checkpoint.load(StyleNet, folder or ASSETS / f"style-{hears}")


def by_tokens(folder: str = "") -> Emotion:
    """`Emotion` by the pitch that speech tokens of glmtts-nano's tokenizer tell.

    Raises:
        CheckpointError: the folder is no judge.
        BadInput: it is one that hears something else.
    """
    home = hub.resolve("glmtts-nano") / "speech_tokenizer"
    tokenizer = checkpoint.load(SpeechTokenizer, home)
    reader = Proofreader(tokenizer, checkpoint.load(TokenizerHeads, home / "heads"))
    return Emotion(TokenStyles(net_at(folder, "tokens"), reader, tokenizer))


def by_sound(folder: str = "") -> Emotion:
    """`Emotion` by F0, loudness and tempo.

    Raises:
        CheckpointError: the folder is no judge.
        BadInput: it is one that hears something else.
    """
    return Emotion(SoundStyles(net_at(folder, "sound")))
