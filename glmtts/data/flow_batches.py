"""Batches for the flow: single clips in a few fixed lengths, or pairs of clips of one speaker.

Batch number `step` is a pure function of (seed, rank, step), so a resumed run sees what an
uninterrupted one would have seen.
"""

import numpy as np
import torch

from glmtts.data.shards import Corpus, dequantise_mel
from glmtts.errors import BadInput
from glmtts.nn.flow_batch import FlowBatch
from glmtts.text.phonemes import CTC_CLASS
from glmtts.text.styles import style_class, style_of


class FlowBatches:
    """`batches(step)` is the batch of that step.

    A share of the batches is joined: each row is a stretch of another clip of the same speaker (the
    prompt, a neutral one if there is any) and then the clip, as when a cloned voice speaks. The
    others hold single clips of similar length. All batches of one length have one shape, which
    compiled models like.
    """

    def __init__(
        self,
        corpus: Corpus,
        *,
        frames_per_batch: int,
        max_frames: int = 400,
        frames_per_token: int = 2,
        joined: float = 0.5,
        other_speaker_vector: float = 0.5,
        buckets: int = 3,
        vocabulary: int = 0,
        told: float = 0.0,
        told_prompts: float = 0.0,
        phonemes: int = 0,
        seed: int = 0,
        rank: int = 0,
    ) -> None:
        """Index `corpus`.

        Args:
            corpus: Needs the arrays tokens, mel and speaker.
            frames_per_batch: Frames of a batch, padding included.
            max_frames: Longest row; longer clips are cut at a random token.
            frames_per_token: Mel frames a token covers.
            joined: Share of joined batches.
            other_speaker_vector: Share of rows with the speaker vector of another clip of theirs.
            buckets: Number of lengths of single batches.
            vocabulary: Speech tokens there are, where some clips are told.
            told: Share of clips whose tokens tell their phonemes (`nn.dit.told`).
            told_prompts: That share among prompts of joined rows.
            phonemes: Classes of phonemes, where the style of a told clip is told, too.
            seed: Of the run.
            rank: Of this process.

        Raises:
            BadInput: a batch cannot hold one row of `max_frames`, a clip's tokens and mel differ by
                more than two tokens, or nobody knows the phonemes that should be told.
        """
        if frames_per_batch < max_frames:
            raise BadInput(
                f"A batch of {frames_per_batch} frames cannot hold a row of {max_frames}. "
                "Raise frames_per_batch or lower max_frames."
            )
        self.corpus, self.frames_per_batch = corpus, frames_per_batch
        self.frames_per_token, self.max_tokens = frames_per_token, max_frames // frames_per_token
        if (told or told_prompts) and not corpus.holds("alignment"):
            raise BadInput(
                "The shards hold no alignment of phonemes, so that no token can tell its own. "
                "Encode them with a tokenizer that has its heads, or set told to 0."
            )
        self.joined, self.other_speaker_vector = joined, other_speaker_vector
        self.vocabulary, self.told, self.told_prompts = vocabulary, told, told_prompts
        self.phonemes = phonemes
        self.seed, self.rank = seed, rank
        self.lengths = np.array([self._tokens_of(clip) for clip in range(len(corpus))])
        speakers = corpus.by_speaker()
        self.siblings = [speakers[clip.speaker] for clip in corpus]
        self.neutral = [style_of(clip.units) is None for clip in corpus]
        # Bucket edges at equal shares of the tokens; a bucket is drawn by its share of them.
        capped = np.minimum(self.lengths, self.max_tokens)
        ordered = np.sort(capped)
        shares = np.cumsum(ordered) / ordered.sum()
        inner = np.searchsorted(shares, np.arange(1, buckets) / buckets)
        self.edges = sorted({*(int(end) for end in ordered[inner]), int(ordered[-1])})
        bucket = np.searchsorted(self.edges, capped)
        self.members = [np.flatnonzero(bucket == k) for k in range(len(self.edges))]
        tokens = np.array([capped[members].sum() for members in self.members], dtype=np.float64)
        self.bucket_share = tokens / tokens.sum()
        self.clip_share = capped / capped.sum()

    def _tokens_of(self, clip: int) -> int:
        """Tokens of a clip that have all their frames."""
        tokens, frames = self.corpus.length("tokens", clip), self.corpus.length("mel", clip)
        if abs(tokens * self.frames_per_token - frames) > 2 * self.frames_per_token:
            raise BadInput(
                f"Clip {self.corpus.clips[clip].id} has {tokens} tokens but {frames} mel frames; "
                f"expected {self.frames_per_token} frames a token. Encode the shards again."
            )
        return min(tokens, frames // self.frames_per_token)

    def __call__(self, step: int) -> FlowBatch:
        """The batch of `step`."""
        rng = np.random.default_rng([self.seed, self.rank, step])
        joined = rng.random() < self.joined
        if joined:
            length = self.max_tokens
            rows = self._rows(length)
            clips = rng.choice(len(self.lengths), rows, p=self.clip_share)
        else:
            bucket = int(rng.choice(len(self.edges), p=self.bucket_share))
            length = self.edges[bucket]
            rows = self._rows(length)
            clips = rng.choice(self.members[bucket], rows)
        return self.collate([int(clip) for clip in clips], length, rng, joined=joined)

    def _rows(self, tokens: int) -> int:
        return max(1, self.frames_per_batch // (tokens * self.frames_per_token))

    def collate(
        self, clips: list[int], length: int, rng: np.random.Generator, *, joined: bool = False
    ) -> FlowBatch:
        """Put clips into rows of `length` tokens; `joined` fills each row's front with a prompt."""
        per = self.frames_per_token
        mels = self.corpus.array("mel", clips[0]).shape[-1]
        speakers = [self.corpus.array("speaker", self._speaker_of(clip, rng)) for clip in clips]
        batch = FlowBatch(
            tokens=torch.zeros(len(clips), length, dtype=torch.int64),
            mel=torch.zeros(len(clips), length * per, mels),
            frames=torch.zeros(len(clips), dtype=torch.int64),
            joint=torch.zeros(len(clips), dtype=torch.int64),
            speaker=torch.from_numpy(np.stack(speakers).astype(np.float32)),
        )
        for row, clip in enumerate(clips):
            at = 0
            others = [other for other in self.siblings[clip] if other != clip]
            others = [other for other in others if self.neutral[other]] or others
            # At least a fifth of the row is prompt where there is another clip to take it from.
            most = length * 4 // 5 if joined and others else length
            own = min(int(self.lengths[clip]), most)
            if joined and others:
                other = others[int(rng.integers(len(others)))]
                at = self._place(batch, row, 0, other, length - own, rng, self.told_prompts)
                batch.joint[row] = at * per
            at += self._place(batch, row, at, clip, own, rng, self.told)
            batch.frames[row] = at * per
        return batch

    def _speaker_of(self, clip: int, rng: np.random.Generator) -> int:
        """The clip whose speaker vector stands for `clip`."""
        siblings = self.siblings[clip]
        if rng.random() < self.other_speaker_vector:
            return siblings[int(rng.integers(len(siblings)))]
        return clip

    def _place(
        self, batch: FlowBatch, row: int, at: int, clip: int, most: int, rng: np.random.Generator,
        told: float,
    ) -> int:  # fmt: skip
        """Copy up to `most` tokens of `clip` into `row` from token `at`; how many they were."""
        per, have = self.frames_per_token, int(self.lengths[clip])
        count = min(have, most)
        first = int(rng.integers(have - count + 1))
        tokens = self.corpus.array("tokens", clip)[first : first + count].astype(np.int64)
        if told and rng.random() < told:
            tokens += self.vocabulary * phoneme_classes(self.corpus, clip)[first : first + count]
            if self.phonemes:
                style = style_class(style_of(self.corpus.clips[clip].units))
                tokens += self.vocabulary * (1 + self.phonemes) * style
        mel = self.corpus.array("mel", clip)[first * per : (first + count) * per]
        batch.tokens[row, at : at + count] = torch.from_numpy(tokens)
        batch.mel[row, at * per : (at + count) * per] = dequantise_mel(mel)
        return count


def phoneme_classes(corpus: Corpus, clip: int) -> np.ndarray:
    """(S,) the class of the phoneme that each token of a clip is part of, 0 = not known."""
    classes = [CTC_CLASS[phoneme] for phoneme in corpus.clips[clip].phonemes]
    owner = corpus.array("alignment", clip).astype(np.int64)
    return np.where(owner >= 0, np.array([*classes, 0])[owner], 0)
