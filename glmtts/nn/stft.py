"""Short-time Fourier helpers: overlap-add, the iSTFT of the vocoder heads, spectral losses."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

RESOLUTIONS = ((2048, 512), (1024, 256), (512, 128), (256, 64))
"""(window, hop) of the spectral loss: the long ones see harmonics, the short ones transients."""


def overlap_add(frames: Tensor, hop: int) -> Tensor:
    """Add frames that start `hop` samples apart: (B, T, W) -> (B, (T - 1) * hop + W)."""
    batch, count, width = frames.shape
    pieces = -(-width // hop)
    frames = F.pad(frames, (0, pieces * hop - width)).reshape(batch, count, pieces, hop)
    out = frames.new_zeros(batch, count + pieces - 1, hop)
    for piece in range(pieces):
        out[:, piece : piece + count] += frames[:, :, piece]
    return out.reshape(batch, -1)[:, : (count - 1) * hop + width]


def centred_istft(spectrum: Tensor, n_fft: int, hop: int) -> Tensor:
    """Inverse STFT (Hann) whose frame f is centred on samples f * hop … (f + 1) * hop.

    Args:
        spectrum: (B, F, n_fft // 2 + 1) complex.
        n_fft: Window length in samples.
        hop: Samples between frames; n_fft - hop must be even.

    Returns:
        (B, F * hop): exactly `hop` samples a frame.
    """
    frames = spectrum.shape[1]
    window = torch.hann_window(n_fft, device=spectrum.device)
    waves = torch.fft.irfft(spectrum, n_fft, dim=-1) * window
    envelope = overlap_add(window.square().expand(1, frames, -1), hop)
    trim = (n_fft - hop) // 2
    whole = overlap_add(waves, hop)[:, trim : trim + frames * hop]
    return whole / envelope[:, trim : trim + frames * hop].clamp(min=1e-4)


def magnitudes(samples: Tensor, n_fft: int, hop: int) -> Tensor:
    """STFT magnitudes (Hann, no padding): (B, N) -> (B, n_fft // 2 + 1, frames), never 0."""
    window = torch.hann_window(n_fft, device=samples.device)
    stft = torch.stft(samples, n_fft, hop, window=window, center=False, return_complex=True)
    return torch.sqrt(stft.real.square() + stft.imag.square() + 1e-8)


def spectral_loss(
    output: Tensor,
    target: Tensor,
    resolutions: Sequence[tuple[int, int]] = RESOLUTIONS,
    convergence: float = 0.2,
) -> Tensor:
    """Multi-resolution STFT distance (Parallel WaveGAN, arXiv 1910.11480 §2.2).

    Log-magnitude L1 plus `convergence` × spectral convergence. The second term is kept small: on
    noise it pulls magnitudes below the target, the first one does not.

    Args:
        output: (B, N) samples.
        target: (B, N) samples; N at least the longest window.
        resolutions: Pairs of window and hop in samples.
        convergence: Weight of the linear-magnitude term.
    """
    loss = output.new_zeros(())
    for n_fft, hop in resolutions:
        mine = magnitudes(output, n_fft, hop)
        with torch.no_grad():
            theirs = magnitudes(target, n_fft, hop)
        # A floor about 100 dB under a full-scale sine: nothing is heard below it.
        floor = 3e-6 * n_fft
        log_distance = (torch.log(mine + floor) - torch.log(theirs + floor)).abs().mean()
        linear = (mine - theirs).square().sum().sqrt() / theirs.square().sum().sqrt().clamp(min=1.0)
        loss = loss + log_distance + convergence * linear
    return loss / len(resolutions)


def phase_loss(
    output: Tensor,
    target: Tensor,
    resolutions: Sequence[tuple[int, int]] = ((1024, 256), (512, 128)),
    share: float = 0.5,
) -> Tensor:
    """How far phases are from those of a recording that the output keeps in step with: 0 … 2.

    One minus the cosine of the angle between them, for the lower `share` of the frequencies, each
    bin as heavy as the root of both magnitudes. Random phases give 1, and no gradient on average:
    noise, which cannot be foretold, is left alone.

    Args:
        output: (B, N) samples.
        target: (B, N) samples; N at least the longest window.
        resolutions: Pairs of window and hop in samples.
        share: Of the bins, from the lowest on.
    """
    losses: list[Tensor] = []
    for n_fft, hop in resolutions:
        window = torch.hann_window(n_fft, device=output.device)
        mine, theirs = (
            torch.stft(x, n_fft, hop, window=window, center=False, return_complex=True)[
                :, : round(share * n_fft / 2)
            ]
            for x in (output, target)
        )
        product = mine * theirs.conj()
        size = torch.sqrt(product.real.square() + product.imag.square() + 1e-10)
        weight = size.detach().sqrt()
        losses.append((weight * (1.0 - product.real / size)).sum() / weight.sum())
    return torch.stack(losses).mean()
