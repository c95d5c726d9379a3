r"""Carry a language model or a flow over to a speech tokenizer that was trained on.

More training moves the codes: the same sound gets other tokens. Sound encoded by both tokenizers
tells which old tokens stand where a new one stands now, and the new token's embedding starts as
their mean. Everything else of the component stays, so a short training mends the rest.

    python -m glmtts.convert.recode OUT --lm runs/lm/lm --old OLD_TOKENIZER --new NEW_TOKENIZER \
        --data data/nano/audio/train
"""

import argparse
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from glmtts import checkpoint
from glmtts.audio import Audio
from glmtts.data.shards import Corpus
from glmtts.errors import BadInput
from glmtts.flow import TokenToMel
from glmtts.lm import TextToSpeechTokens
from glmtts.speech_tokenizer import SpeechTokenizer

TOGETHER = 16
"""Clips encoded at once."""


def counts(old: SpeechTokenizer, new: SpeechTokenizer, corpus: Corpus, clips: int) -> Tensor:
    """How often each pair of tokens stands at the same place: (new codes, old codes) float32.

    Args:
        old: The tokenizer before.
        new: The tokenizer now, of the same rate.
        corpus: Shards with the array "audio" at the tokenizers' rate.
        clips: How many clips are encoded, spread over the corpus.

    Raises:
        BadInput: the tokenizers cut sound differently.
    """
    if old.samples_per_token != new.samples_per_token:
        raise BadInput(
            "The two tokenizers have different token rates; nothing can be carried over."
        )
    rate = new.config.sample_rate
    table = torch.zeros(new.config.codes, old.config.codes)
    count = min(clips, len(corpus))
    chosen = [number * len(corpus) // count for number in range(count)]
    for start in tqdm(range(0, len(chosen), TOGETHER), unit="batch", desc="encoding twice"):
        sounds = [
            Audio(torch.from_numpy(corpus.array("audio", i) / 32768.0).float(), rate)
            for i in chosen[start : start + TOGETHER]
        ]
        for before, now in zip(old.encode_all(sounds), new.encode_all(sounds), strict=True):
            table.index_put_((torch.tensor(now), torch.tensor(before)), torch.ones(1), True)
    return table


def recoded(embeddings: Tensor, table: Tensor, codes: Tensor) -> Tensor:
    """Embeddings of the new tokens.

    Args:
        embeddings: (old codes, D).
        table: (new codes, old codes) from `counts`.
        codes: (new codes, C) codebook; a token never met takes the row of the nearest one met.

    Returns:
        (new codes, D). Pairs count by their square: a rare pairing is mostly an accident.
    """
    weights = table.square()
    weights = weights / weights.sum(1, keepdim=True).clamp_min(1.0)
    out = weights @ embeddings.float()
    met = table.sum(1) > 0
    distance = torch.cdist(codes[~met].float(), codes[met].float())
    out[~met] = out[met][distance.argmin(1)]
    return out.to(embeddings)


@torch.no_grad()
def recode_lm(
    model: TextToSpeechTokens, table: Tensor, codes: Tensor, silent_share: float = 0.5
) -> TextToSpeechTokens:
    """The language model for the new tokens; a token is silence if mostly silent ones were."""
    start = model.config.speech_start
    weight = model.model.embed_tokens.weight
    weight[start : start + len(codes)] = recoded(
        weight[start : start + table.shape[1]], table, codes
    )
    silent = torch.zeros(table.shape[1])
    silent[list(model.config.silence_ids)] = 1.0
    share = (table @ silent) / table.sum(1).clamp_min(1.0)
    ids = tuple(int(i) for i in (share > silent_share).nonzero()[:, 0])
    out = TextToSpeechTokens(replace(model.config, silence_ids=ids))
    out.load_state_dict(model.state_dict())
    return out


@torch.no_grad()
def recode_flow(model: TokenToMel, table: Tensor, codes: Tensor) -> TokenToMel:
    """The flow for the new tokens, changed in place."""
    weight = model.estimator.text_emb_layer.text_embed.weight
    weight[: len(codes)] = recoded(weight[: table.shape[1]], table, codes)
    return model


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, help="folder that gets lm/ and flow/")
    parser.add_argument("--lm", type=Path, help="language model of the old tokens")
    parser.add_argument("--flow", type=Path, help="flow of the old tokens")
    parser.add_argument("--old", type=Path, required=True, help="tokenizer they were trained with")
    parser.add_argument("--new", type=Path, required=True, help="tokenizer they are to follow")
    parser.add_argument("--data", required=True, help="shards with sound")
    parser.add_argument("--clips", type=int, default=2_000, help="clips that are compared")
    args = parser.parse_args()
    old, new = (checkpoint.load(SpeechTokenizer, path) for path in (args.old, args.new))
    table = counts(old, new, Corpus(args.data), args.clips)
    codes = new.quantizer.weight
    same = float(table.diagonal().sum() / table.sum()) if len(table) == table.shape[1] else 0.0
    print(f"{100 * same:.0f} % of the tokens are as before")
    if args.lm:
        model = checkpoint.load(TextToSpeechTokens, args.lm)
        checkpoint.save(recode_lm(model, table, codes), args.out / "lm")
    if args.flow:
        checkpoint.save(
            recode_flow(checkpoint.load(TokenToMel, args.flow), table, codes), args.out / "flow"
        )


if __name__ == "__main__":
    main()
