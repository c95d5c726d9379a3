"""Tokenizers of the tiktoken kind as a folder that `TextTokenizer.load` takes. Read `build` first.

Such a tokenizer is a table of byte strings with ranks, a pattern that cuts text into pieces, and
added tokens. A piece's bytes are merged pair by pair, the pair of the lowest joint rank first
(github.com/openai/tiktoken); here the table becomes the vocabulary and the merges of the
`tokenizers` library, which gives the same ids. Nothing of the published tokenizer's own code runs.
"""

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from glmtts.errors import CheckpointError

GLM4_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
    r"|[^\r\n\p{L}\p{N}]?\p{L}+"
    r"|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+"
    r"|\s+(?!\S)"
    r"|\s+"
)
"""How GLM-4 cuts text: contractions, words with one leading sign, up to three digits, signs with
the line ends after them, line ends, spaces (spec §1.4)."""


def read_ranks(path: str | Path) -> dict[bytes, int]:
    """Read a rank table: a line for each token, its bytes in base64 and its rank.

    Raises:
        CheckpointError: the file is missing or no such table; a byte, token or rank is missing or
            there twice.
    """
    path = Path(path)
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise CheckpointError(f"Cannot read the text vocabulary {path} ({error}).") from error
    ranks: dict[bytes, int] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            written, rank = line.split()
            token = base64.b64decode(written, validate=True)
            value = int(rank)
        except (ValueError, binascii.Error) as error:
            raise CheckpointError(
                f"{path}: line {number} is not a token in base64 and its rank ({error}). "
                "Is this the file tokenizer.model, downloaded whole?"
            ) from error
        if not token or token in ranks or value < 0:
            raise CheckpointError(
                f"{path}: line {number} holds an empty, double or negative entry."
            )
        ranks[token] = value
    if len(set(ranks.values())) != len(ranks):
        raise CheckpointError(f"{path}: two tokens have the same rank. Download the file again.")
    if missing := [byte for byte in range(256) if bytes([byte]) not in ranks]:
        raise CheckpointError(
            f"{path}: the byte 0x{missing[0]:02X} has no token, so some text has no ids. "
            "Is this the file tokenizer.model, downloaded whole?"
        )
    return ranks


def read_added_tokens(path: str | Path) -> dict[str, int]:
    """Names and ids of the added tokens in a Hugging Face `tokenizer_config.json`.

    Raises:
        CheckpointError: the file is missing, damaged or lists none, or a name or id is there twice.
    """
    path = Path(path)
    try:
        listed: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))[
            "added_tokens_decoder"
        ]
        pairs = [(str(entry["content"]), int(i)) for i, entry in listed.items()]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"Cannot read the added tokens of {path} ({type(error).__name__}: {error}). Expected "
            "JSON with added_tokens_decoder."
        ) from error
    added = dict(pairs)
    if not added or len(added) != len(pairs) or len(set(added.values())) != len(pairs):
        raise CheckpointError(f"{path}: added_tokens_decoder is empty or names a token twice.")
    return added


def build(
    ranks: Mapping[bytes, int],
    added: Mapping[str, int],
    folder: str | Path,
    *,
    speech_count: int,
    pattern: str = GLM4_PATTERN,
) -> Path:
    """Write the tokenizer folder of a rank table.

    Args:
        ranks: Rank, which is the id, of each byte string; all 256 bytes are among them.
        added: Ids of the tokens that are found in the text before anything is merged.
        folder: Created when missing.
        speech_count: Number of speech ids (`<|audio_0|>` ...).
        pattern: What a piece is.

    Returns:
        `folder`.

    Raises:
        CheckpointError: an added token has the id of a ranked one.
    """
    taken = set(ranks.values())
    for name, i in added.items():
        if i in taken:
            raise CheckpointError(
                f"The added token {name} has id {i}, which tokenizer.model gives to other text. "
                "Do the two files belong together?"
            )
    written = {token: "".join(_BYTES[byte] for byte in token) for token in ranks}
    vocabulary = {written[token]: rank for token, rank in ranks.items()} | dict(added)
    merges = [[written[left], written[right]] for left, right in merges_of(ranks)]
    data: dict[str, Any] = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": i, "content": name, "single_word": False, "lstrip": False, "rstrip": False,
                "normalized": False, "special": True,
            }
            for name, i in sorted(added.items(), key=lambda item: item[1])
        ],
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                {
                    "type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated",
                    "invert": False,
                },
                {
                    "type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False,
                    "use_regex": False,
                },
            ],
        },
        "post_processor": None,
        "decoder": {
            "type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False,
            "use_regex": False,
        },
        "model": {
            "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
            "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False,
            # A piece that is a token as a whole is that token, reachable by merges or not.
            "ignore_merges": True,
            "vocab": vocabulary,
            "merges": merges,
        },
    }  # fmt: skip
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_text(json.dumps(data, ensure_ascii=False), encoding="utf-8")
    (folder / "special.json").write_text(json.dumps({"speech_count": speech_count}) + "\n")
    return folder


def merges_of(ranks: Mapping[bytes, int]) -> Sequence[tuple[bytes, bytes]]:
    """Every pair of tokens that joins to a token, in the order in which pairs are merged.

    A table tells no pairs, and two neighbours are merged whenever their bytes together have a rank,
    whichever way that token once came to be; so a token gets all its pairs, not one.
    """
    merges: list[tuple[bytes, bytes]] = []
    for token in sorted(ranks, key=ranks.__getitem__):
        pairs = [(token[:cut], token[cut:]) for cut in range(1, len(token))]
        known = [pair for pair in pairs if pair[0] in ranks and pair[1] in ranks]
        merges += sorted(known, key=lambda pair: (ranks[pair[0]], ranks[pair[1]]))
    return merges


def _byte_characters() -> list[str]:
    """A printable character for each byte as in GPT-2's vocabulary: its own, or from U+0100 on."""
    own = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in own]
    characters = {byte: chr(byte) for byte in own}
    characters |= {byte: chr(0x100 + index) for index, byte in enumerate(others)}
    return [characters[byte] for byte in range(256)]


_BYTES = _byte_characters()
