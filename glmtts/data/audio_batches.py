"""Batches of whole clips for the speech tokenizer, of similar length to need little padding."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from glmtts.data.shards import Corpus
from glmtts.text.phonemes import CTC_CLASS


@dataclass(frozen=True)
class TokenizerBatch:
    """Clips for the tokenizer.

    Attributes:
        samples: (B, N) float32, zero-padded to a multiple of the token length.
        lengths: (B,) samples.
        f0: (B, 2S) Hz at 50 Hz, 0 unvoiced or padding.
        labels: (sum of label lengths,) CTC classes, concatenated.
        label_lengths: (B,).
    """

    samples: Tensor
    lengths: Tensor
    f0: Tensor
    labels: Tensor
    label_lengths: Tensor

    def to(self, device: torch.device) -> "TokenizerBatch":
        """The same batch on another device."""
        parts = (self.samples, self.lengths, self.f0, self.labels, self.label_lengths)
        return TokenizerBatch(*(part.to(device) for part in parts))


class TokenizerBatches:
    """Batch `step` is a pure function of (seed, rank, step)."""

    def __init__(
        self,
        corpus: Corpus,
        seconds: float,
        sample_rate: int,
        seed: int,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        """Group clips into batches of about `seconds` of sound."""
        self.corpus, self.rate = corpus, sample_rate
        self.seed, self.rank, self.world = seed, rank, world
        order = sorted(range(len(corpus)), key=lambda i: corpus.length("audio", i))
        self.groups: list[list[int]] = [[]]
        for index in order:
            longest = corpus.length("audio", index) / sample_rate
            if self.groups[-1] and longest * (len(self.groups[-1]) + 1) > seconds:
                self.groups.append([])
            self.groups[-1].append(index)

    def __getitem__(self, step: int) -> TokenizerBatch:
        """The batch of this rank at `step`."""
        position = step * self.world + self.rank
        epoch, place = divmod(position, len(self.groups))
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self.groups))
        return self.collate(self.groups[int(order[place])])

    def collate(self, indices: list[int]) -> TokenizerBatch:
        """Load clips into one padded batch."""
        token = self.rate // 25
        arrays = [self.corpus.array("audio", i) for i in indices]
        width = -(-max(map(len, arrays)) // token) * token
        samples = np.zeros((len(arrays), width), np.float32)
        f0 = np.zeros((len(arrays), width * 50 // self.rate), np.float32)
        labels: list[int] = []
        label_lengths: list[int] = []
        for row, index in enumerate(indices):
            samples[row, : len(arrays[row])] = arrays[row] / np.float32(32768.0)
            curve = self.corpus.array("f0", index)
            f0[row, : len(curve)] = curve
            classes = [CTC_CLASS[p] for _, phones in self.corpus.clips[index].units for p in phones]
            labels += classes
            label_lengths.append(len(classes))
        return TokenizerBatch(
            torch.from_numpy(samples),
            torch.tensor([len(a) for a in arrays]),
            torch.from_numpy(f0),
            torch.tensor(labels, dtype=torch.long),
            torch.tensor(label_lengths),
        )
