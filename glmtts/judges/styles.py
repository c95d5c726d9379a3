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
from functools import lru_cache
from pathlib import Path

import numpy as np
from torch import Tensor

from glmtts import checkpoint, hub
from glmtts.audio import AudioSpec
from glmtts.data.manifest import timbres
from glmtts.data.pitch import track_pitch
from glmtts.errors import BadInput
from glmtts.judges.base import Sample
from glmtts.judges.emotion import Emotion
from glmtts.judges.prosody import SECONDS_OF_SILENCE, expected_seconds
from glmtts.judges.words import STYLE_TAG
from glmtts.proofreader import Proofreader
from glmtts.speech_tokenizer import SpeechTokenizer, TokenizerHeads
from glmtts.style_net import Hears, StyleNet, statistics

RATE, HOP = AudioSpec().sample_rate, AudioSpec().hop_length
ASSETS = Path(__file__).parent.parent / "assets" / "judges"
LOUDNESS_DB = 40.0
"""Range of the loudness that is looked at, below the loudest frame of a clip. What is voiced below
that (for a pitch tracker a hum of -75 dB behind vocoded speech is) nobody hears."""


# ----- what it is told from -----------------------------------------------------------------------


def statistics_of_tokens(
    proofreader: Proofreader, tokens: Sequence[int], narrowed: float = 1.0
) -> Tensor:
    """(STATISTICS,) of the melody that (S,) speech tokens tell; see `statistics`.

    Raises:
        BadAudio: hardly anything is voiced.
    """
    return proofreader.manner(tokens, narrowed)


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
    voiced = (f0 > 0) & (loudness > -1.0)
    spoken = np.flatnonzero(voiced)
    seconds = (spoken[-1] - spoken[0] + 1) * hop_length / RATE if len(spoken) else 1.0
    usual = max(0.1, expected_seconds(STYLE_TAG.sub("", text)) - SECONDS_OF_SILENCE)
    semitones = 12.0 * np.log2(np.maximum(f0, 40.0)) * narrowed
    return statistics(semitones, voiced, loudness, tempo=np.log(usual / seconds))


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
    """The net of a folder; empty: the one that comes with this package (of tokens, with nano)."""
    if not folder and hears == "tokens":
        folder = str(hub.resolve("glmtts-nano") / "speech_tokenizer" / "styles")
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
