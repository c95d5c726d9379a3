"""Which manner somebody speaks in, told from a few curves alone. Read `StyleNet`, then the judges.

Two judges that share nothing but their architecture, so that one can reward and the other examine:

| | `by_tokens` | `by_sound` |
|---|---|---|
| hears | the pitch that speech tokens tell, when a phoneme begins | F0 by WORLD, loudness |
| learnt from | one half of the speakers | the other half |
| for | the reward of GRPO (no sound is made) | evaluation |

Both are small and were taught by rule-made styles (`glmtts.data.manner`): what they recognise is
those rules, not what people feel. `glmtts train style-judge` makes them.
"""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from glmtts import checkpoint, hub
from glmtts.audio import Audio, AudioSpec
from glmtts.data.manifest import timbres
from glmtts.data.pitch import track_pitch
from glmtts.errors import BadAudio, BadInput
from glmtts.judges.emotion import Emotion
from glmtts.proofreader import Proofreader
from glmtts.speech_tokenizer import SpeechTokenizer, TokenizerHeads
from glmtts.text.styles import NEUTRAL, STYLES

Hears = Literal["tokens", "sound"]
CURVES: dict[Hears, int] = {"tokens": 3, "sound": 3}
"""Curves of each judge: pitch, voicing, and what is said (tokens) or how loud (sound)."""
ASSETS = Path(__file__).parent.parent / "assets" / "judges"
LEAST_VOICED = 10
"""Voiced frames (0.2 s) below which there is no pitch to judge."""
LOUDNESS_DB = 40.0
"""Range of the loudness that is looked at, below the loud parts of a clip."""


@dataclass(frozen=True)
class StyleConfig:
    """Of a `StyleNet`.

    Attributes:
        hears: Which curves it reads.
        about: What it was taught with, for reports.
        styles: What it tells apart.
        width: Channels.
    """

    hears: Hears
    about: str = ""
    styles: tuple[str, ...] = (NEUTRAL, *STYLES)
    width: int = 32


class StyleNet(nn.Module):
    """Curves of a clip -> a score for each style: convolutions, then statistics over time.

    Statistics are over the whole clip and over its last third, where questions rise.
    """

    config_type: ClassVar[type[StyleConfig]] = StyleConfig

    def __init__(self, config: StyleConfig) -> None:
        """Build with random weights."""
        super().__init__()
        self.config = config
        width = config.width
        sizes = [CURVES[config.hears] + 1, width, width, width]
        self.layers = nn.ModuleList(
            nn.Conv1d(a, b, 5, padding=2 * 2**i, dilation=2**i)
            for i, (a, b) in enumerate(pairwise(sizes))
        )
        self.dropout = nn.Dropout(0.2)
        self.out = nn.Linear(3 * width, len(config.styles))

    def forward(self, curves: Tensor, lengths: Tensor) -> Tensor:
        """Logits of padded clips: (B, F, curves), (B,) -> (B, styles)."""
        frames = torch.arange(curves.shape[1], device=curves.device)
        place = (frames / (lengths[:, None] - 1).clamp(min=1)).clamp(max=1.0)  # (B, F), 0 to 1
        inside = (frames < lengths[:, None]).to(curves.dtype)[:, None]  # (B, 1, F)
        x = torch.cat([curves, place[..., None]], dim=-1).transpose(1, 2)  # (B, curves + 1, F)
        for layer in self.layers:
            x = F.gelu(layer(x)) * inside
        late = inside * (place > 2 / 3)[:, None]
        mean = x.sum(-1) / inside.sum(-1).clamp(min=1.0)  # (B, width)
        spread = ((x - mean[..., None]) * inside).square().sum(-1) / inside.sum(-1).clamp(min=1.0)
        end = (x * late).sum(-1) / late.sum(-1).clamp(min=1.0)
        told = torch.cat([mean, (spread + 1e-4).sqrt(), end], dim=-1)
        return self.out(self.dropout(told))

    @torch.inference_mode()
    def chances(self, curves: Tensor) -> dict[str, float]:
        """The probability of each style for one clip: (F, curves)."""
        logits = self(curves[None], torch.tensor([len(curves)], device=curves.device))[0]
        return dict(zip(self.config.styles, logits.float().softmax(-1).tolist(), strict=True))


# ----- the curves ---------------------------------------------------------------------------------


def curves_of_tokens(proofreader: Proofreader, tokens: Sequence[int]) -> Tensor:
    """Pitch, voicing and speaking that (S,) speech tokens tell, two frames each: (2 S, 3).

    Raises:
        BadAudio: hardly anything is voiced.
    """
    pitch, voiced, speaking = proofreader.melody(tokens)
    return _curves(pitch / np.log(2.0), voiced, speaking)


def curves_of_sound(f0: np.ndarray, samples: np.ndarray, hop_length: int) -> Tensor:
    """F0, voicing and loudness of a sound: (F, 3).

    Args:
        f0: (F,) in Hz, 0 unvoiced, as `track_pitch` gives it.
        samples: (N,) float samples.
        hop_length: Samples a frame.

    Raises:
        BadAudio: hardly anything is voiced.
    """
    frames = min(len(f0), len(samples) // hop_length)
    f0 = f0[:frames].astype(np.float32)
    power = np.square(samples[: frames * hop_length].reshape(frames, hop_length)).mean(axis=1)
    level = 10.0 * np.log10(power + 1e-10)
    loud = np.percentile(level, 95) if frames else 0.0
    loudness = 1.0 + np.clip(level - loud, -LOUDNESS_DB, 0.0) / LOUDNESS_DB
    octaves = np.log2(np.maximum(f0, 40.0))
    return _curves(*(torch.from_numpy(c) for c in (octaves, np.float32(f0 > 0), loudness)))


def _curves(octaves: Tensor, voiced: Tensor, third: Tensor) -> Tensor:
    """Curves as `StyleNet` reads them: pitch in half octaves from its median, 0 where unvoiced.

    Whose voice it is does not matter, nor how high it is: tokens do not tell that. Silence at both
    ends is cut off.

    Raises:
        BadAudio: hardly anything is voiced.
    """
    sung = voiced > 0.5
    if int(sung.sum()) < LEAST_VOICED:
        raise BadAudio("Hardly anything is voiced: its manner cannot be told.")
    pitch = ((octaves - octaves[sung].median()) * 2.0).clamp(-2.0, 2.0) * voiced
    spoken = sung.nonzero()[:, 0]
    kept = slice(max(0, int(spoken[0]) - 5), int(spoken[-1]) + 6)
    return torch.stack([pitch, voiced, third], dim=-1)[kept].float()


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

    def __call__(self, audio: Audio) -> Mapping[str, float]:
        """See `glmtts.judges.emotion.Classifier`."""
        assert self._tokenizer is not None, "this classifier was made for tokens alone"
        return self.of_tokens(self._tokenizer.encode(audio))

    def of_tokens(self, tokens: Sequence[int]) -> Mapping[str, float]:
        """The probability of each style of (S,) speech tokens.

        Raises:
            BadAudio: hardly anything is voiced.
        """
        return self._net.chances(curves_of_tokens(self._proofreader, tokens))


class SoundStyles:
    """A `Classifier` of sound."""

    def __init__(self, net: StyleNet) -> None:
        """Judge by `net`.

        Raises:
            BadInput: the net reads other curves.
        """
        self._net, self._spec = _fit(net, "sound"), AudioSpec()
        self.version = f"style net on F0 and loudness; {net.config.about}"
        self.styles: Sequence[str] = net.config.styles

    def __call__(self, audio: Audio) -> Mapping[str, float]:
        """See `glmtts.judges.emotion.Classifier`."""
        spec = self._spec
        samples = audio.resampled(spec.sample_rate).samples.float().cpu().numpy()
        f0 = track_pitch(samples, spec.sample_rate, spec.hop_length)
        return self._net.chances(curves_of_sound(f0, samples, spec.hop_length))


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
    """`Emotion` by F0 and loudness.

    Raises:
        CheckpointError: the folder is no judge.
        BadInput: it is one that hears something else.
    """
    return Emotion(SoundStyles(net_at(folder, "sound")))
