"""Kokoro's convolutions in bf16, for inference on a CPU; the source of its sines stays fp32."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class _Conv(nn.Module):
    """A 1-d convolution as a 2-d one in bf16, channels last: (B, C, 1, N) -> (B, C', 1, N')."""

    def __init__(self, source: nn.Conv1d) -> None:
        super().__init__()
        weight = source.weight[:, :, None].bfloat16()
        self.weight = nn.Parameter(weight.contiguous(memory_format=torch.channels_last), False)
        bias = source.bias
        self.bias = None if bias is None else nn.Parameter(bias.bfloat16(), False)
        self.stride, self.dilation = (1, source.stride[0]), (1, source.dilation[0])
        self.padding = (0, int(source.padding[0]))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, self.bias, self.stride, self.padding, self.dilation)


def _norm_snake(x: Tensor, gain: Tensor, shift: Tensor, alpha: Tensor) -> Tensor:
    """Adaptive instance norm, then x + sin(alpha x)^2 / alpha, of bf16 (B, C, 1, N)."""
    wide = x.float()
    variance, mean = torch.var_mean(wide, dim=3, keepdim=True, correction=0)
    scale = torch.rsqrt(variance + 1e-5) * (1.0 + gain)
    y = wide * scale + (shift - mean * scale)
    return (y + torch.sin(y * alpha).square() / alpha).bfloat16()


class _Block(nn.Module):
    """`AdaINResBlock1` on bf16 channels-last activations."""

    def __init__(self, source: Any, norm_snake: Any) -> None:
        super().__init__()
        self.first = nn.ModuleList(_Conv(conv) for conv in source.convs1)
        self.second = nn.ModuleList(_Conv(conv) for conv in source.convs2)
        self.norms = [*zip(source.adain1, source.adain2, strict=True)]
        pairs = zip(source.alpha1, source.alpha2, strict=True)
        self.alphas = [(a[:, :, None], b[:, :, None]) for a, b in pairs]
        self.norm_snake = norm_snake

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        layers = zip(self.first, self.second, self.norms, self.alphas, strict=True)
        for first, second, norms, alphas in layers:
            y = x
            for conv, norm, alpha in zip((first, second), norms, alphas, strict=True):
                gain, shift = norm.fc(style)[:, :, None, None].chunk(2, dim=1)
                y = conv(self.norm_snake(y, gain, shift, alpha))
            x = x + y
        return x


def accelerate(model: nn.Module, *, compiled: bool = False) -> nn.Module:
    """Run the decoder's convolutions and ALBERT in bf16, in place (inference on a CPU).

    Args:
        model: A KModel with its weights.
        compiled: Fuse the norms with torch.compile: needs a C++ compiler and half a minute once.
    """
    m: Any = model
    decoder, generator = m.decoder, m.decoder.generator
    snake = torch.compile(_norm_snake, dynamic=True) if compiled else _norm_snake
    blocks = nn.ModuleList(_Block(block, snake) for block in generator.resblocks)
    noise_blocks = nn.ModuleList(_Block(block, snake) for block in generator.noise_res)
    noise_convs = nn.ModuleList(_Conv(conv) for conv in generator.noise_convs)
    generator.ups.bfloat16()
    kernels = generator.num_kernels

    def wide(x: Tensor) -> Tensor:
        return x.bfloat16()[:, :, None].contiguous(memory_format=torch.channels_last)

    def generate(x: Tensor, style: Tensor, f0: Tensor) -> Tensor:
        pitch = generator.f0_upsamp(f0[:, None]).transpose(1, 2)
        source = generator.m_source(pitch)[0].transpose(1, 2).squeeze(1)
        harmonics = wide(torch.cat(generator.stft.transform(source), dim=1))
        x = x.bfloat16()
        for level, up in enumerate(generator.ups):
            added = noise_blocks[level](noise_convs[level](harmonics), style)
            x = up(F.leaky_relu(x, 0.1))
            if level == len(generator.ups) - 1:
                x = generator.reflection_pad(x)
            y = wide(x) + added
            chosen = blocks[level * kernels : (level + 1) * kernels]
            x = (sum(block(y, style) for block in chosen) / kernels).squeeze(2)
        x = generator.conv_post(F.leaky_relu(x.float()))
        bins = generator.post_n_fft // 2 + 1
        return generator.stft.inverse(torch.exp(x[:, :bins]), torch.sin(x[:, bins:]))

    generator.forward = generate
    for conv in [*decoder.encode.modules(), *decoder.decode.modules()]:
        if isinstance(conv, nn.Conv1d):
            conv.forward = _narrow(conv)
    albert = m.bert.forward

    def bert(*args: Any, **kwargs: Any) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return albert(*args, **kwargs).float()

    m.bert.forward = bert
    return model


def _narrow(conv: nn.Conv1d) -> Any:
    """A forward in bf16 for a convolution whose neighbours are fp32."""
    fast = _Conv(conv)

    def forward(x: Tensor) -> Tensor:
        x = x.bfloat16()[:, :, None].contiguous(memory_format=torch.channels_last)
        return fast(x).squeeze(2).float()

    return forward
