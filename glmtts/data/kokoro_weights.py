"""Kokoro's tensors under their PyTorch names, out of its int8 ONNX graph (`glmtts.data.kokoro`).

`weight = (int8 - zero_point) * scale`, per tensor (convolutions) or per column (matrices).
"""

import re
from importlib import import_module
from typing import Any

import numpy as np

from glmtts.data.packages import PackageError
from glmtts.errors import MissingExtra


def module_path(node: str) -> str:
    """Module of an exported node: "/encoder/F0.1/conv1/Conv_quant" -> predictor.F0.1.conv1.

    The first part is the half of the exported graph. A part that repeats its parent
    ("cnn.0/cnn.0.0") replaces it. ALBERT's layers share their weights; `query_3` is `query`.
    """
    parts: list[str] = []
    for part in node.strip("/").split("/")[1:-1]:
        if parts and part.startswith(parts[-1] + "."):
            parts[-1] = part
        else:
            parts.append(part)
    if parts[0].split(".")[0] in ("F0", "N", "F0_proj", "N_proj", "shared"):
        parts.insert(0, "predictor")
    if parts[0] == "bert":
        parts = [re.sub(r"_\d+$", "", part) for part in parts]
    return ".".join(parts)


def _expand(value: np.ndarray, axis: int, ndim: int) -> np.ndarray:
    """A scalar, or a vector laid along `axis`, ready to broadcast."""
    if value.size == 1:
        return value.reshape(())
    return value.reshape([-1 if i == axis else 1 for i in range(ndim)])


def dequantise(
    weight: np.ndarray, zero_point: np.ndarray, scale: np.ndarray, axis: int
) -> np.ndarray:
    """`(weight - zero_point) * scale` in float32; a vector scale runs along `axis`."""
    zero, step = (
        _expand(np.asarray(v, np.float32), axis, weight.ndim) for v in (zero_point, scale)
    )
    return ((weight.astype(np.float32) - zero) * step).astype(np.float32)


def lstm_parameters(w: np.ndarray, r: np.ndarray, b: np.ndarray) -> dict[str, np.ndarray]:
    """ONNX's bidirectional LSTM as PyTorch's: gates (i, o, f, c) -> (i, f, c, o), biases halved.

    Args:
        w: (2, 4H, inputs).
        r: (2, 4H, H).
        b: (2, 8H).
    """
    size = r.shape[-1]
    gates = [gate * size + row for gate in (0, 2, 3, 1) for row in range(size)]
    out: dict[str, np.ndarray] = {}
    for direction, suffix in enumerate(("_l0", "_l0_reverse")):
        out[f"weight_ih{suffix}"] = w[direction][gates]
        out[f"weight_hh{suffix}"] = r[direction][gates]
        out[f"bias_ih{suffix}"] = b[direction][: 4 * size][gates]
        out[f"bias_hh{suffix}"] = b[direction][4 * size :][gates]
    return out


class _Graph:
    """An ONNX graph, indexed: initial values, who makes a value, who reads it."""

    def __init__(self, data: bytes) -> None:
        try:
            onnx: Any = import_module("onnx")
        except ImportError as error:
            raise MissingExtra("Reading the teacher's weights", "teacher") from error
        graph = onnx.load_model_from_string(data).graph
        self.nodes: list[Any] = list(graph.node)
        self.values: dict[str, np.ndarray] = {
            value.name: onnx.numpy_helper.to_array(value) for value in graph.initializer
        }
        self.maker: dict[str, Any] = {name: node for node in self.nodes for name in node.output}
        self.readers: dict[str, list[Any]] = {}
        for node in self.nodes:
            for name in node.input:
                self.readers.setdefault(name, []).append(node)

    def follow(self, name: str, kinds: tuple[str, ...], until: str) -> Any:
        """First reader of kind `until` down the line, passing nodes of `kinds` on the way."""
        for node in self.readers.get(name, ()):
            if node.op_type == until:
                return node
            if node.op_type in kinds:
                return self.follow(node.output[0], kinds, until)
        raise PackageError(f"The teacher's graph has no {until} after {name!r}: another version?")

    def weight_scale(self, node: Any) -> np.ndarray:
        """Scale of an integer product's weight: the result is cast, then times both scales."""
        product = self.follow(node.output[0], ("Cast", "Add"), "Mul")
        for name in product.input:
            source = self.maker.get(name)
            while source is not None and source.op_type in ("Reshape", "Unsqueeze"):
                source = self.maker.get(source.input[0])
            if source is not None and source.op_type == "Mul":
                return next(self.values[i] for i in source.input if i in self.values)
        raise PackageError(f"No weight scale found for {node.name!r}: another version?")


def read_weights(data: bytes) -> dict[str, np.ndarray]:
    """The tensors of the int8 ONNX model under KModel's names, float32.

    Raises:
        PackageError: the graph is built in another way than expected.
        MissingExtra: the package onnx is not installed.
    """
    graph, state = _Graph(data), dict[str, np.ndarray]()
    for name, value in graph.values.items():
        if re.match(r"(en|de)coder\.", name) and not re.search(
            r"_(quantized|scale|zero_point)$", name
        ):
            state[name.split(".", 1)[1]] = value
    for node in graph.nodes:
        inputs = list(node.input)
        if node.op_type in ("ConvInteger", "MatMulInteger"):
            weight, zero = graph.values[inputs[1]], graph.values[inputs[3]]
            axis = 0 if node.op_type == "ConvInteger" else 1
            value = dequantise(weight, zero, graph.weight_scale(node), axis)
            key = f"{module_path(node.name)}.weight"
            state.setdefault(key, value if axis == 0 else np.swapaxes(value, 0, 1))
            # Biases of matrices keep their names, those of ALBERT and the convolutions too.
        elif node.op_type == "Gather" and inputs[0].endswith("_quantized"):
            table = graph.follow(node.output[0], (), "DequantizeLinear")
            scale, zero = graph.values[table.input[1]], graph.values[table.input[2]]
            key = inputs[0].split(".", 1)[1].removesuffix("_quantized")
            state[key] = dequantise(graph.values[inputs[0]], zero, scale, 1)
        elif node.op_type == "DynamicQuantizeLSTM":
            parts = [graph.values[name] for name in (*inputs[1:4], *inputs[8:12])]
            w, r, bias, w_scale, w_zero, r_scale, r_zero = parts
            halves: list[list[np.ndarray]] = [[], []]
            for side in range(2):
                for out, value, zero, scale in ((0, w, w_zero, w_scale), (1, r, r_zero, r_scale)):
                    zero, scale = zero.reshape(2, -1)[side], scale.reshape(2, -1)[side]
                    halves[out].append(np.swapaxes(dequantise(value[side], zero, scale, 1), 0, 1))
            path = module_path(node.name)
            for key, value in lstm_parameters(
                np.stack(halves[0]), np.stack(halves[1]), bias
            ).items():
                state[f"{path}.{key}"] = value
        elif node.op_type in ("Conv", "ConvTranspose") and inputs[1] in graph.values:
            state.setdefault(f"{module_path(node.name)}.weight", graph.values[inputs[1]])
        elif node.op_type == "MatMul" and inputs[1] in graph.values:
            weight = np.swapaxes(graph.values[inputs[1]], 0, 1)
            state.setdefault(f"{module_path(node.name)}.weight", weight)
    return state
