"""The official 24 kHz vocoder's weights as ours. Read `official_hift_state` first.

Upstream stores each convolution as a direction and a length (weight norm); here they are multiplied
once and for all. The other tensors have our names already.
"""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from glmtts.errors import CheckpointError
from glmtts.nn.hift import HiFTConfig
from glmtts.vocoder import Vocoder, VocoderConfig

NORMS = (
    (".parametrizations.weight.original0", ".parametrizations.weight.original1"),
    ("weight_g", "weight_v"),
)
"""Suffixes of length and direction in PyTorch's two weight norms (the second after a dot)."""

COMPUTED = ("stft_window", "m_source.l_sin_gen.harmonic_num")
"""Tables that some versions saved; we compute them."""

PREFIXES = ("generator.", "module.")
"""What wrappers put before the names."""


def fused(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Replace each length g and direction v by the weight g v / |v|, normed over all but the first.

    Raises:
        CheckpointError: one of the two is missing, or their shapes do not belong together.
    """
    found: dict[str, Tensor] = {}
    for key, value in state.items():
        name, part = _part_of(key)
        if part is None:
            if name in found:
                raise CheckpointError(f"The vocoder has tensor {name!r} twice.")
            found[name] = value
            continue
        other = key.removesuffix(NORMS[part[0]][part[1]]) + NORMS[part[0]][1 - part[1]]
        if other not in state:
            raise CheckpointError(f"The vocoder lacks tensor {other!r}. Is hift.pt complete?")
        if part[1] == 0:
            continue  # done with its direction
        length, direction = state[other], value
        if length.shape != (len(direction), *[1] * (direction.ndim - 1)):
            raise CheckpointError(
                f"Tensor {other!r} of the vocoder has shape {tuple(length.shape)}, which does not "
                f"go with {key!r} of {tuple(direction.shape)}."
            )
        if name in found:
            raise CheckpointError(f"The vocoder has tensor {name!r} twice.")
        norm = direction.double().flatten(1).square().sum(1).sqrt().view(length.shape)
        found[name] = (direction.double() * (length.double() / norm)).to(direction.dtype)
    return found


def _part_of(key: str) -> tuple[str, tuple[int, int] | None]:
    """Name of the weight, and (which norm, length 0 or direction 1), None without a norm."""
    for norm, suffixes in enumerate(NORMS):
        for side, suffix in enumerate(suffixes):
            if key.endswith(suffix):
                return key.removesuffix(suffix).removesuffix(".") + ".weight", (norm, side)
    return key, None


def official_hift_config(state: Mapping[str, Tensor]) -> VocoderConfig:
    """The configuration of released tensors: sizes are read off them, the rest is as published.

    Rates, dilations and levels leave no trace in the tensors.

    Raises:
        CheckpointError: a tensor that tells a size is missing.
    """
    weights = fused(_unwrapped(state))

    def size(name: str, dimension: int) -> int:
        key = f"{name}.weight"
        if key not in weights:
            raise CheckpointError(f"The vocoder lacks tensor {key!r}. Is hift.pt complete?")
        if weights[key].ndim <= dimension:
            raise CheckpointError(
                f"Tensor {key!r} of the vocoder has shape {tuple(weights[key].shape)}. Is it HiFT?"
            )
        return weights[key].shape[dimension]

    published = HiFTConfig()
    ups, kinds = range(len(published.up_rates)), range(len(published.kernels))
    sizes = replace(
        published,
        dims=size("conv_pre", 0),
        harmonics=size("m_source.l_linear", 1) - 1,
        up_kernels=tuple(size(f"ups.{i}", 2) for i in ups),
        n_fft=size("conv_post", 0) - 2,
        kernels=tuple(size(f"resblocks.{i}.convs1.0", 2) for i in kinds),
        source_kernels=tuple(size(f"source_resblocks.{i}.convs1.0", 2) for i in ups),
        pitch_dims=size("f0_predictor.classifier", 1),
    )
    base = VocoderConfig(kind="hift", hift=sizes)
    return replace(base, spec=replace(base.spec, n_mels=size("conv_pre", 1)))


def official_hift_state(
    state: Mapping[str, Tensor], config: VocoderConfig | None = None
) -> dict[str, Tensor]:
    """The state dict of `Vocoder` from the official generator's, weight norms multiplied out.

    Args:
        state: The released tensors, with either of PyTorch's weight norms or without; their names
            may begin with one of `PREFIXES`.
        config: Of the vocoder; by default `official_hift_config` of the tensors.

    Raises:
        CheckpointError: the first tensor that is missing, not expected or of another shape.
    """
    state = _unwrapped(state)
    config = config or official_hift_config(state)
    with torch.device("meta"):
        expected = Vocoder(config).state_dict()
    given = {f"network.{key}": value for key, value in fused(state).items()}
    for key, value in expected.items():
        name = key.removeprefix("network.")
        if key not in given:
            raise CheckpointError(f"The vocoder lacks tensor {name!r}. Is hift.pt complete?")
        if given[key].shape != value.shape:
            raise CheckpointError(
                f"Tensor {name!r} of the vocoder has shape {tuple(given[key].shape)}, its "
                f"configuration says {tuple(value.shape)}."
            )
    if unexpected := sorted(set(given) - set(expected)):
        name = unexpected[0].removeprefix("network.")
        raise CheckpointError(f"Tensor {name!r} is not part of the vocoder.")
    return {key: given[key] for key in expected}


def _unwrapped(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Without prefixes and computed tables."""
    found: dict[str, Tensor] = {}
    for key, value in state.items():
        for prefix in PREFIXES:
            key = key.removeprefix(prefix)
        if key not in COMPUTED:
            found[key] = value
    return found
