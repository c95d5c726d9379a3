"""Vector quantisation with an EMA codebook and dead-code restart (van den Oord et al. 2017).

The codebook is not trained by gradient: each code follows the running mean of the vectors that
chose it (decay 0.99). A code that stopped being chosen restarts at a vector of the current batch.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from glmtts.nn.packed import PackedLinear, pack


@torch.no_grad()
def spread_codes(codes: Tensor, width: int) -> Tensor:
    """A codebook as a starting table of embeddings: like tokens, like embeddings.

    A random table is noise that Adam takes thousands of steps to unlearn.

    Args:
        codes: (V, C) codes; whitened, then turned by a fixed random matrix.
        width: Width D of the embeddings.

    Returns:
        (V, D) of unit variance.
    """
    whole = (codes - codes.mean(0)).float()
    whole = whole @ torch.linalg.inv(torch.linalg.cholesky(torch.cov(whole.T))).T
    inner = whole.shape[1]
    random = torch.randn(max(width, inner), width, generator=torch.Generator().manual_seed(0))
    turn = torch.linalg.qr(random)[0][:inner] * (width / inner) ** 0.5
    return whole @ turn.to(whole)


class EMAQuantizer(nn.Module):
    """Nearest-neighbour codes for D-dimensional vectors.

    The parameter names (`weight`, `ema_count`, `ema_weight`) are those of the official tokenizer,
    which holds them beside each other; see `SpeechTokenizer`.
    """

    def __init__(self, codes: int, dim: int, decay: float = 0.99) -> None:
        """Make `codes` entries of `dim` numbers."""
        super().__init__()
        self.decay = decay
        self._nearness: PackedLinear | None = None
        self.weight = nn.Parameter(nn.init.normal_(torch.empty(codes, dim)), requires_grad=False)
        self.register_buffer("ema_count", torch.ones(codes))
        self.register_buffer("ema_weight", self.weight.detach().clone())
        self.ema_count: Tensor
        self.ema_weight: Tensor

    @torch.no_grad()
    def pack(self) -> None:
        """Prepare the codes for fast `ids` on a CPU; they must not change any more."""
        nearness = nn.Linear(self.weight.shape[1], len(self.weight), device="meta")
        nearness.weight = self.weight
        nearness.bias = nn.Parameter(-0.5 * self._squares(), requires_grad=False)
        pack(nearness)
        self._nearness = getattr(nearness, "packed", None)

    def _squares(self) -> Tensor:
        """Squared length of each code, without a copy of them all: (V,)."""
        return torch.cat([part.float().square().sum(1) for part in self.weight.split(4096)])

    def ids(self, x: Tensor) -> Tensor:
        """Index of the nearest code by squared distance: (..., D) -> (...)."""
        flat = x.reshape(-1, x.shape[-1]).float()
        pieces = flat.split(max(1, 2**25 // len(self.weight)))  # distances of 128 MB
        if self._nearness is not None and self._nearness.takes(
            flat
        ):  # x.c - |c|^2 / 2, largest for the nearest
            found = [self._nearness(part, None).argmax(1) for part in pieces]
            return torch.cat(found).reshape(x.shape[:-1])
        codes, squares = self.weight.float(), self._squares()
        # less |x|^2, the same for every code
        found = [(squares - 2.0 * part @ codes.T).argmin(1) for part in pieces]
        return torch.cat(found).reshape(x.shape[:-1])

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Quantise for training.

        Args:
            x: (B, S, D) vectors.
            mask: (B, S) True where x is real.

        Returns:
            Straight-through codes (B, S, D), ids (B, S), and the commitment loss (a scalar).
        """
        ids = self.ids(x)
        codes = F.embedding(ids, self.weight)
        commitment = F.mse_loss(x[mask], codes[mask].detach())
        return x + (codes - x).detach(), ids, commitment

    @torch.no_grad()
    def update(self, x: Tensor, ids: Tensor) -> None:
        """Move the codes towards the vectors that chose them: x (n, D), ids (n,)."""
        x = x.detach().float()
        count = torch.zeros_like(self.ema_count).index_add_(0, ids, torch.ones_like(x[:, 0]))
        total = torch.zeros_like(self.ema_weight).index_add_(0, ids, x)
        self.ema_count.mul_(self.decay).add_(count, alpha=1.0 - self.decay)
        self.ema_weight.mul_(self.decay).add_(total, alpha=1.0 - self.decay)
        self.weight.copy_(self.ema_weight / self.ema_count.clamp(min=1e-5)[:, None])

    @torch.no_grad()
    def restart(self, x: Tensor, threshold: float = 0.05) -> int:
        """Replace codes whose running count fell below `threshold` by random vectors of x (n, D).

        Returns:
            How many codes were replaced.
        """
        dead = (self.ema_count < threshold).nonzero()[:, 0]
        dead = dead[torch.randperm(len(dead), device=dead.device)[: len(x) // 4]]
        chosen = x.detach().float()[torch.randperm(len(x), device=x.device)[: len(dead)]]
        self.weight[dead] = chosen
        self.ema_weight[dead] = chosen
        self.ema_count[dead] = 1.0
        return len(dead)

    @torch.no_grad()
    def initialise(self, x: Tensor, rounds: int = 10) -> None:
        """Start from k-means over x (n, D): random vectors, then `rounds` of Lloyd's iteration."""
        x = x.detach().float()
        pick = torch.randperm(len(x), device=x.device)[: len(self.weight)]
        repeats = -(-len(self.weight) // len(pick))
        self.weight.copy_(x[pick].repeat(repeats, 1)[: len(self.weight)])
        for _ in range(rounds):
            ids = torch.cat([self.ids(part) for part in x.split(4096)])
            count = torch.bincount(ids, minlength=len(self.weight)).float()
            total = torch.zeros_like(self.weight).index_add_(0, ids, x)
            used = count > 0
            self.weight[used] = total[used] / count[used, None]
            empty = (~used).nonzero()[:, 0]
            self.weight[empty] = x[torch.randint(len(x), (len(empty),), device=x.device)]
        self.ema_weight.copy_(self.weight)
        self.ema_count.fill_(1.0)
