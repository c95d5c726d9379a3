"""Root-mean-square layer normalisation (Zhang & Sennrich 2019), as Llama uses it."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def compute_dtype(x: Tensor) -> torch.dtype:
    """The type in which matrix products of `x` run: autocast's where it is on, else that of `x`."""
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype


class RMSNorm(nn.Module):
    """Scale each vector to unit root mean square, then by a learnt weight. Computed in float32."""

    def __init__(self, size: int, eps: float = 1e-5) -> None:
        """`size` is the last dimension of the input."""
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., D), already in the type that the next matrix product wants.

        Under autocast each linear layer would otherwise cast the same float32 tensor again.
        """
        if x.dtype is self.weight.dtype is torch.float32 and not torch.is_grad_enabled():
            # As below in a third of the time, which counts when there are few vectors.
            scale = x.square().mean(-1, keepdim=True).add_(self.eps).rsqrt_()
            return (x * scale).mul_(self.weight).to(compute_dtype(x))
        with torch.autocast(x.device.type, enabled=False):
            y = F.rms_norm(x.float(), self.weight.shape, self.weight.float(), self.eps)
        return y.to(compute_dtype(x))
