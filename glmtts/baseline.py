"""Inference loops as the official code writes them, for `glmtts bench` to compare with.

They use our modules' weights in float32 and do the work in the official order (spec §2, §3, §4):
logits of every position over the whole vocabulary, keys and values appended by concatenation, a
nucleus in plain Python; the token branch and all modulations at every step of the flow; 1-D
convolutions in the vocoder. They are slower and give the same speech, which the tests check.
"""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from unittest.mock import patch

import torch
from torch import Tensor
from torch.nn import functional as F

from glmtts.flow import FlowOptions, FlowPrompt, TokenToMel, draw_noise, seeded
from glmtts.lm import TextToSpeechTokens
from glmtts.nn.cache import KVCache
from glmtts.nn.conv import Conv
from glmtts.nn.hift import ResBlock
from glmtts.sampling import Sampling, repeated
from glmtts.voice import Voice


class _GrowingCache(KVCache):
    """Keys and values that are copied whole to gain a position."""

    def __init__(self, layers: int) -> None:
        """Hold nothing."""
        super().__init__(torch.empty(0), torch.empty(0))
        self._layers: list[tuple[Tensor, Tensor] | None] = [None] * layers

    def append(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Concatenate, see `KVCache.append`."""
        before = self._layers[layer]
        if before is not None:
            keys, values = torch.cat([before[0], keys], 2), torch.cat([before[1], values], 2)
        self._layers[layer] = keys, values
        return keys, values


class LanguageModelLoop:
    """Text ids to speech tokens, one utterance."""

    def __init__(self, lm: TextToSpeechTokens, sampling: Sampling = Sampling(seed=0)) -> None:
        """Use the weights of `lm`, which must not be packed."""
        self.lm, self.sampling = lm, sampling
        self.tokens: list[int] = []
        self._rng = lm.generator(sampling.seed)
        self._cache: KVCache | None = None
        self._logits = torch.empty(0)

    def read(self, ids: Sequence[int]) -> None:
        """Start with these ids."""
        self._cache, self.tokens = _GrowingCache(self.lm.config.layers), []
        self._forward(torch.tensor([ids], device=self.lm.device))

    def _forward(self, ids: Tensor) -> None:
        hidden, _ = self.lm.model(ids, cache=self._cache)
        head = self.lm.model.embed_tokens if self.lm.lm_head is None else self.lm.lm_head
        self._logits = F.linear(hidden, head.weight)[0, -1].float()  # every position, every id

    def draw(self) -> int:
        """The next class: a speech token, or `speech_count` for the end."""
        c = self.lm.config
        start, end = c.speech_start, c.speech_start + c.speech_count
        allowed = torch.full_like(self._logits, float("-inf"))
        allowed[start:end] = 0.0
        allowed[c.end_id] = 0.0
        scores = self._logits + allowed
        if self.sampling.temperature == 0:
            chosen = int(scores.argmax())
        else:
            probs = scores.softmax(0)
            ranked, order = probs.sort(descending=True, stable=True)
            kept, ids, total = list[Tensor](), list[Tensor](), 0.0
            for i in range(len(ranked)):
                if total < (self.sampling.top_p or 0.8) and len(kept) < self.sampling.top_k:
                    total += float(ranked[i])
                    kept.append(ranked[i])
                    ids.append(order[i])
                else:
                    break
            chosen = int(ids[int(torch.multinomial(torch.stack(kept), 1, generator=self._rng))])
            history = torch.tensor([self.tokens or [-1]])
            if bool(repeated(torch.tensor([chosen - start]), history, self.sampling)[0]):
                chosen = int(torch.multinomial(probs, 1, generator=self._rng))
        token = c.speech_count if chosen == c.end_id else chosen - start
        self.tokens.append(token)
        self._forward(torch.tensor([[chosen]], device=self.lm.device))
        return token


@torch.inference_mode()
def flow_loop(
    flow: TokenToMel, tokens: Sequence[int], voice: Voice, options: FlowOptions
) -> Tensor:
    """`TokenToMel.sample` with nothing computed once: (F, M) natural log-mel.

    Everything attends to everything, as it does in the official network.
    """
    config, network = flow.config, flow.estimator
    prompt = FlowPrompt.of(flow, voice, options)
    known, ids = len(prompt.mel), [*prompt.tokens, *tokens]
    frames = config.frames(len(ids))
    bins = config.network.n_mels
    noise = torch.cat((prompt.noise(bins), draw_noise(seeded(options.seed), frames - known, bins)))
    x = noise.to(prompt.mel) * options.temperature
    condition, rows = prompt.condition(0, frames), len(prompt.speaker)
    w = flow.guidance(options)
    spoken = prompt.ids(ids).expand(rows, -1)
    for time, step in flow.grid(options.steps):
        features, coarse = network.token_features(spoken, prompt.speaker, frames)
        times = torch.full((rows,), time, device=x.device)
        v = network(x.expand(rows, -1, -1), condition, features, coarse, times, prompt.speaker)
        mixed = v[0] if rows == 1 else (1 + w) * v[0] - w * v[1]
        x = x + step * mixed
    return x[known:] * config.mel_std + config.mel_mean


@contextmanager
def plain_convolutions() -> Generator[None]:
    """Run HiFT's convolutions as 1-D convolutions over the whole sound."""

    def conv1d(layer: Conv, x: Tensor) -> Tensor:
        out = F.conv1d(
            x.transpose(1, 2), layer.weight, layer.bias, layer.stride, layer.padding, layer.dilation
        )
        return out.transpose(1, 2)

    whole = ResBlock._whole  # pyright: ignore[reportPrivateUsage]
    with patch.object(Conv, "forward", conv1d), patch.object(ResBlock, "forward", whole):
        yield
