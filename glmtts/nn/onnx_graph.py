"""A published network in ONNX's format, run on the CPU by onnxruntime."""

from typing import Any

import numpy as np
import numpy.typing as npt

from glmtts.errors import CheckpointError, MissingExtra

Array = npt.NDArray[np.float32]


class OnnxGraph:
    """A graph of one input and one output.

    Attributes:
        data: The file's bytes. They alone are copied and pickled; the session is made anew.
    """

    def __init__(self, data: bytes) -> None:
        """Prepare the graph to run, on one thread: such networks are small.

        Raises:
            MissingExtra: onnxruntime is not installed.
            CheckpointError: `data` is no ONNX graph that it can run.
        """
        try:
            import onnxruntime
        except ImportError as error:
            raise MissingExtra("Running an ONNX network", "official") from error
        options: Any = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3  # of warnings, it has many about missing accelerators
        try:
            self._session: Any = onnxruntime.InferenceSession(
                data, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its errors have no common base
            raise CheckpointError(
                f"The ONNX network cannot be read ({_first_line(error)}). Convert or download it "
                "again."
            ) from error
        self.data = data

    def __reduce__(self) -> tuple[type["OnnxGraph"], tuple[bytes]]:
        """Cross process borders as the file."""
        return OnnxGraph, (self.data,)

    def __call__(self, x: Array, dims: int) -> Array:
        """Run the graph.

        Args:
            x: Its input.
            dims: Size that the output's last dimension must have.

        Raises:
            CheckpointError: the graph does not take `x`, or gives something else.
        """
        (taken,) = self._session.get_inputs()[:1]
        try:
            result: Array = self._session.run(None, {taken.name: x})[0]
        except Exception as error:
            raise CheckpointError(
                f"The ONNX network does not take an input of shape {x.shape} "
                f"({_first_line(error)}). Is it the one of this model?"
            ) from error
        if result.shape[-1] != dims:
            raise CheckpointError(
                f"The ONNX network gives {result.shape[-1]} numbers, the configuration says {dims}."
            )
        return result


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:120] if str(error).strip() else type(error).__name__
