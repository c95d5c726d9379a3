"""The speaker judge of published figures: WavLM-large under an ECAPA-TDNN. Read `WavLMSpeaker`.

Seed-TTS-eval, the GLM-TTS report and its similarity reward (spec §8.6) all use one checkpoint of
UniSpeech's speaker verification, `wavlm_large_finetune.pth`. WavLM (Chen et al., arXiv:2110.13900)
is `transformers`' own; the network above it (ECAPA-TDNN, Desplanques et al., arXiv:2005.07143) is
here, with the names of its tensors mapped in `renamed`.
"""

import re
from importlib import metadata
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from glmtts.audio import Audio
from glmtts.errors import BadAudio, CheckpointError
from glmtts.judges.needs import Weights, needed
from glmtts.judges.speaker import SAMPLE_RATE, Similarity, Vector

WAVLM_ECAPA = Weights(
    "WavLM-large with ECAPA-TDNN", "sim=wavlm", file="wavlm_large_finetune.pth",
    url="the README of https://github.com/BytedanceSpeech/seed-tts-eval",
)  # fmt: skip
LARGE: dict[str, Any] = {
    "hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16,
    "intermediate_size": 4096, "feat_extract_norm": "layer", "do_stable_layer_norm": True,
    "conv_bias": False, "num_buckets": 320, "max_bucket_distance": 800,
}  # fmt: skip
"""WavLM-large as a configuration of `transformers`."""
SHORTEST = 400
"""Samples at 16 kHz below which WavLM has no frame."""

NAMES = [
    (r"^feature_extract\.model\.", "wavlm."),
    (r"^wavlm\.layer_norm\.", "wavlm.feature_projection.layer_norm."),
    (r"^wavlm\.post_extract_proj\.", "wavlm.feature_projection.projection."),
    (r"^wavlm\.mask_emb$", "wavlm.masked_spec_embed"),
    (r"\.conv_layers\.(\d+)\.0\.", r".conv_layers.\1.conv."),
    (r"\.conv_layers\.(\d+)\.2(\.1)?\.", r".conv_layers.\1.layer_norm."),
    (r"\.pos_conv\.0\.weight_g$", ".pos_conv_embed.conv.parametrizations.weight.original0"),
    (r"\.pos_conv\.0\.weight_v$", ".pos_conv_embed.conv.parametrizations.weight.original1"),
    (r"\.pos_conv\.0\.", ".pos_conv_embed.conv."),
    (r"\.self_attn\.grep_linear\.", ".attention.gru_rel_pos_linear."),
    (r"\.self_attn\.grep_a$", ".attention.gru_rel_pos_const"),
    (r"\.self_attn\.relative_attention_bias\.", ".attention.rel_attn_embed."),
    (r"\.self_attn\.", ".attention."),
    (r"\.self_attn_layer_norm\.", ".layer_norm."),
    (r"\.fc1\.", ".feed_forward.intermediate_dense."),
    (r"\.fc2\.", ".feed_forward.output_dense."),
    (r"^feature_weight$", "layer_weights"),
    (r"\.Conv1dReluBn1\.", ".narrow."),
    (r"\.Res2Conv1dReluBn\.", ".scales."),
    (r"\.Conv1dReluBn2\.", ".widen."),
    (r"\.SE_Connect\.", ".gate."),
]
"""Names of UniSpeech's checkpoint and what they become here, applied in turn."""


def renamed(key: str) -> str:
    """The name here of a tensor of UniSpeech's checkpoint."""
    for pattern, new in NAMES:
        key = re.sub(pattern, new, key)
    return key


class ConvReluNorm(nn.Module):
    """Convolution, ReLU, batch normalisation, in this order."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1) -> None:
        """A convolution that keeps the length."""
        super().__init__()
        self.conv = nn.Conv1d(inputs, outputs, kernel, padding=kernel // 2)
        self.bn = nn.BatchNorm1d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, T) -> (B, outputs, T)."""
        return self.bn(F.relu(self.conv(x)))


class Scales(nn.Module):
    """Res2Net (Gao et al., arXiv:1904.01169): each eighth of the channels also hears the last."""

    def __init__(self, channels: int, kernel: int, dilation: int, parts: int = 8) -> None:
        """Seven dilated convolutions; the last part passes as it is."""
        super().__init__()
        width = channels // parts
        pad = dilation * (kernel // 2)
        self.convs = nn.ModuleList(
            nn.Conv1d(width, width, kernel, padding=pad, dilation=dilation)
            for _ in range(parts - 1)
        )
        self.bns = nn.ModuleList(nn.BatchNorm1d(width) for _ in range(parts - 1))

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, T), the same."""
        parts = torch.chunk(x, len(self.convs) + 1, dim=1)
        heard: list[Tensor] = []
        for part, conv, norm in zip(parts, self.convs, self.bns, strict=False):
            y = conv(part if not heard else part + heard[-1])
            heard.append(norm(F.relu(y)))
        return torch.cat([*heard, parts[-1]], dim=1)


class Gate(nn.Module):
    """Squeeze and excitation (Hu et al., arXiv:1709.01507): channels weighted by their means."""

    def __init__(self, channels: int, inner: int = 128) -> None:
        """Two linear layers."""
        super().__init__()
        self.linear1 = nn.Linear(channels, inner)
        self.linear2 = nn.Linear(inner, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, T), the same."""
        inner = F.relu(self.linear1(x.mean(dim=2)))
        return x * torch.sigmoid(self.linear2(inner)).unsqueeze(2)


class Block(nn.Module):
    """SE-Res2Block, with a residual path."""

    def __init__(self, channels: int, dilation: int) -> None:
        """Kernels of three."""
        super().__init__()
        self.narrow = ConvReluNorm(channels, channels)
        self.scales = Scales(channels, 3, dilation)
        self.widen = ConvReluNorm(channels, channels)
        self.gate = Gate(channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, T), the same."""
        return x + self.gate(self.widen(self.scales(self.narrow(x))))


class Pooling(nn.Module):
    """Attentive statistics (Okabe et al., arXiv:1803.10963): weighted mean and deviation."""

    def __init__(self, channels: int, inner: int = 128) -> None:
        """Two convolutions of one frame."""
        super().__init__()
        self.linear1 = nn.Conv1d(channels, inner, 1)
        self.linear2 = nn.Conv1d(inner, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, T) -> (B, 2 * channels)."""
        weight = torch.softmax(self.linear2(torch.tanh(self.linear1(x))), dim=2)
        mean = (weight * x).sum(dim=2)
        spread = (weight * x.square()).sum(dim=2) - mean.square()
        return torch.cat([mean, spread.clamp(min=1e-9).sqrt()], dim=1)


class Ecapa(nn.Module):
    """The ECAPA-TDNN of UniSpeech's `ECAPA_TDNN_SMALL`, over the layers of another network."""

    def __init__(
        self, layers: int, features: int, channels: int = 512, joined: int = 1536, width: int = 256
    ) -> None:
        """Weights of `layers` hidden states of `features` channels, and the network above."""
        super().__init__()
        self.layer_weights = nn.Parameter(torch.zeros(layers))
        self.instance_norm = nn.InstanceNorm1d(features)
        self.layer1 = ConvReluNorm(features, channels, 5)
        self.layer2 = Block(channels, 2)
        self.layer3 = Block(channels, 3)
        self.layer4 = Block(channels, 4)
        self.conv = nn.Conv1d(3 * channels, joined, 1)
        self.pooling = Pooling(joined)
        self.bn = nn.BatchNorm1d(2 * joined)
        self.linear = nn.Linear(2 * joined, width)

    def forward(self, states: Tensor) -> Tensor:
        """(layers, B, T, features) -> (B, width)."""
        weight = torch.softmax(self.layer_weights, dim=0)
        x = torch.einsum("l,lbtf->bft", weight, states) + 1e-6
        x = self.layer1(self.instance_norm(x))
        second = self.layer2(x)
        third = self.layer3(second)
        fourth = self.layer4(third)
        x = F.relu(self.conv(torch.cat([second, third, fourth], dim=1)))
        return self.linear(self.bn(self.pooling(x)))


class WavLMSpeaker(nn.Module):
    """Speaker vectors of WavLM's hidden layers."""

    def __init__(self, wavlm: nn.Module, ecapa: Ecapa) -> None:
        """Put both together; `WavLMSpeaker.load` reads them from a checkpoint."""
        super().__init__()
        self.wavlm = wavlm
        self.ecapa = ecapa

    @classmethod
    def sized(cls, **sizes: Any) -> "WavLMSpeaker":
        """One with random weights; `sizes` differ from `LARGE`.

        Raises:
            MissingExtra: transformers is not installed.
        """
        transformers = needed("transformers", "The WavLM judge")
        config = transformers.WavLMConfig(**(LARGE | sizes))
        ecapa = Ecapa(config.num_hidden_layers + 1, config.hidden_size)
        return cls(transformers.WavLMModel(config), ecapa).eval()

    @classmethod
    def load(cls, weights: str | Path = "", **sizes: Any) -> "WavLMSpeaker":
        """Read `wavlm_large_finetune.pth`.

        Args:
            weights: The file, or the folder that holds it.
            sizes: As of `sized`.

        Raises:
            MissingExtra: transformers is not installed.
            MissingWeights: the file is not here; the message says where it comes from.
            CheckpointError: it is damaged, or holds something else.
        """
        path = WAVLM_ECAPA.found(weights)
        model = cls.sized(**sizes)
        try:
            held = torch.load(path, map_location="cpu", weights_only=True)
        except (OSError, RuntimeError, EOFError, UnpicklingError) as error:
            raise CheckpointError(f"Cannot read {path} ({error}).") from error
        state = cast("dict[str, Any]", held).get("model") if isinstance(held, dict) else None
        if not isinstance(state, dict):
            raise CheckpointError(f"{path} holds no speaker model. Expected tensors in `model`.")
        model.take(cast("dict[str, Tensor]", state), path)
        return model

    def take(self, state: dict[str, Tensor], path: Path) -> None:
        """Take the tensors of a checkpoint; those of its training loss are left.

        Raises:
            CheckpointError: some are missing or of another shape.
        """
        own = self.state_dict()
        named = {renamed(key): value for key, value in state.items()}
        named |= {f"ecapa.{key}": value for key, value in named.items()}
        lacking = sorted(
            key for key, value in own.items()
            if not key.endswith(("num_batches_tracked", "masked_spec_embed"))
            and (key not in named or named[key].shape != value.shape)
        )  # fmt: skip
        if lacking:
            raise CheckpointError(
                f"{path} is not WavLM-large with ECAPA-TDNN: {len(lacking)} of {len(own)} tensors "
                f"are missing or of another shape, {lacking[0]!r} the first."
            )
        self.load_state_dict({key: named[key] for key in own if key in named}, strict=False)

    @torch.inference_mode()
    def forward(self, samples: Tensor) -> Tensor:
        """(N,) at 16 kHz -> (256,), not of unit length.

        The states are what enters each layer, and what the last normalisation gives (s3prl's).
        """
        states: list[Tensor] = []

        def enters(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            states.append(inputs[0])

        layers: list[nn.Module] = list(cast("Any", self.wavlm).encoder.layers)
        watched = [layer.register_forward_pre_hook(enters) for layer in layers]
        try:
            heard = F.layer_norm(samples, samples.shape).unsqueeze(0)
            states.append(self.wavlm(heard).last_hidden_state)
        finally:
            for hook in watched:
                hook.remove()
        return self.ecapa(torch.stack(states))[0]


def official(weights: str = "") -> Similarity:
    """`Similarity` by WavLM-large and ECAPA-TDNN, on a GPU where there is one."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = WavLMSpeaker.load(weights).to(device)

    def embed(audio: Audio) -> Vector:
        samples = audio.resampled(SAMPLE_RATE).samples.float().reshape(-1)
        if len(samples) < SHORTEST or not samples.any():
            raise BadAudio("Cannot tell the speaker of silence. Expected a recording of speech.")
        vector: Vector = model(samples.to(device)).cpu().numpy()
        return (vector / np.linalg.norm(vector)).astype(np.float32)

    about = f"WavLM-large with ECAPA-TDNN, transformers {metadata.version('transformers')}"
    return Similarity(embed, about)
