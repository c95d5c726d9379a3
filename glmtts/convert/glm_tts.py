"""The released GLM-TTS checkpoint to a model folder of this package. Read `convert` first.

The layout (spec §1) is that of the repository zai-org/GLM-TTS: a Llama in shards, two pickles of
tensors, a Whisper encoder with a codebook, a tiktoken vocabulary, a TorchScript vocoder, and from
the code's repository an ONNX speaker network. Nothing in it is executed: pickles are read as
tensors only, the YAML's class name and the tokenizer's Python file are ignored.

This is the only place that knows those files; names of tensors stand in `official_*`.
"""

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from glmtts import checkpoint
from glmtts.audio import AudioSpec
from glmtts.config import to_dict
from glmtts.convert.ckpt_files import (
    expected_tensors,
    json_mapping,
    open_shards,
    pickled,
    size_of,
    write_component,
    yaml_mapping,
)
from glmtts.convert.official_flow import official_flow_config, official_flow_state
from glmtts.convert.official_hift import official_hift_config, official_hift_state
from glmtts.convert.official_lm import official_lm_config, official_lm_state
from glmtts.convert.official_speaker import campplus_encoder
from glmtts.convert.official_tokenizer import official_tokenizer_config, official_tokenizer_state
from glmtts.convert.official_vocos import SPEC as VOCOS_SPEC
from glmtts.convert.official_vocos import torchscript_vocoder
from glmtts.errors import BadInput, CheckpointError
from glmtts.flow import FlowConfig, TokenToMel
from glmtts.hub import MODEL_FILE, read_receipt
from glmtts.lm import TextToSpeechTokens
from glmtts.model_folder import FORMAT, Manifest
from glmtts.speech_tokenizer import SpeechTokenizer
from glmtts.text import bpe_ranks
from glmtts.text.tokenizer import BOA, EOA, PAD, SpecialTokens, TextTokenizer
from glmtts.vocoder import Vocoder

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
VOCODER_FILES = {"hift": "hift/hift.pt", "vocos2d": "vocos2d/generator_jit.ckpt"}
SPECS = {"hift": AudioSpec(), "vocos2d": VOCOS_SPEC}
"""Rates and mel settings that go with each vocoder (spec §3.7)."""

TEXT_FOLDER = "vq32k-phoneme-tokenizer"
REQUIRED = (
    "llm/config.json", "flow/config.yaml", "flow/flow.pt", "speech_tokenizer/config.json",
    f"{TEXT_FOLDER}/tokenizer.model", f"{TEXT_FOLDER}/tokenizer_config.json",
)  # fmt: skip
CAMPPLUS = ("campplus.onnx", "frontend/campplus.onnx", "../frontend/campplus.onnx")
"""Where the speaker network may be: pulled with the rest, or `ckpt` in a checkout of the code."""

HEAD_DIM = 64
"""Width of the flow's attention heads at every size."""

CARD = """# GLM-TTS

Converted from {origin}: language model in {dtype}, vocoder {vocoder}. The weights are by Zhipu AI
under the MIT licence; the speaker network is CAM++ by Alibaba under Apache-2.0.

It has no voices of its own. Give a clip of 3 to 10 seconds and what it says:

    glmtts say "你好。" --model FOLDER --voice clip.wav --transcript "…"
"""

SPARE_BYTES = 64_000_000
"""Room asked for beyond the tensors: tokenizer, archives' headers, the file system."""


@dataclass(frozen=True)
class Options:
    """What is made of a checkpoint.

    Attributes:
        dtype: Type of the language model's weights: "float32" (as published), or "bfloat16" for
            half the size. The rest stays float32: a flow in bfloat16 hisses.
        vocoder: "hift" (24 kHz) or "vocos2d" (32 kHz).
        campplus: The speaker network, where it is not beside the checkpoint.
        name: Name that the model gets.
    """

    dtype: str = "float32"
    vocoder: str = "hift"
    campplus: Path | None = None
    name: str = "glm-tts"

    def __post_init__(self) -> None:
        """Refuse unknown names.

        Raises:
            BadInput: dtype or vocoder is unknown.
        """
        if self.dtype not in DTYPES:
            raise BadInput(f"Unknown dtype {self.dtype!r}. Known: {', '.join(DTYPES)}.")
        if self.vocoder not in VOCODER_FILES:
            raise BadInput(f"Unknown vocoder {self.vocoder!r}. Known: {', '.join(VOCODER_FILES)}.")


class Part(NamedTuple):
    """A component to be written tensor by tensor.

    `source` is what its tensors were read from, for messages; `tensors` reads them when their turn
    comes.
    """

    name: str
    source: str
    cls: type[nn.Module]
    config: Any
    tensors: Callable[[], Mapping[str, Tensor]]
    dtype: torch.dtype = torch.float32

    @property
    def bytes(self) -> int:
        """Its size on disk."""
        return size_of(expected_tensors(self.cls, self.config, self.dtype))


def convert(
    folder: str | Path,
    out: str | Path,
    options: Options | None = None,
    *,
    progress: Callable[[int, int], object] | None = None,
) -> Path:
    """Make a model folder of a released checkpoint.

    The folder appears when it is complete: it is written under another name beside `out`, which is
    removed after any failure and after Ctrl-C. One tensor of the large components is in memory at
    a time.

    Args:
        folder: The checkpoint, in the layout of the repository zai-org/GLM-TTS.
        out: The model folder; must not exist or be empty.
        options: What is made of it.
        progress: Told the bytes written and those to be written in all.

    Returns:
        `out`.

    Raises:
        BadInput: `out` cannot be written to: it is there already, or the disk is full or too small.
        CheckpointError: a file is missing or damaged, holds code, or does not hold the model; the
            first tensor that is missing or unexpected is named.
    """
    folder, out, options = Path(folder).expanduser(), Path(out).expanduser(), options or Options()
    campplus = find_files(folder, options)
    with built_beside(out) as work:
        special = write_text_tokenizer(folder, work / "text_tokenizer")
        parts = released_parts(folder, options, special)
        foreign = [campplus]
        if options.vocoder == "vocos2d":
            foreign.append(folder / VOCODER_FILES["vocos2d"])
        total = sum(part.bytes for part in parts) + sum(path.stat().st_size for path in foreign)
        refuse_small_disk(work, total + SPARE_BYTES)
        done = 0

        def advance(count: int) -> None:
            nonlocal done
            done += count
            if progress is not None:
                progress(done, total)

        for part in parts:
            write_component(
                part.source, part.cls, part.config, part.tensors(), work / part.name,
                dtype=part.dtype, progress=advance,
            )  # fmt: skip
        checkpoint.save(campplus_encoder(campplus), work / "speaker")
        if options.vocoder == "vocos2d":
            torchscript_vocoder(folder / VOCODER_FILES["vocos2d"], work / "vocoder")
        advance(sum(path.stat().st_size for path in foreign))
        write_about(folder, work, options)
    return out


# ----- before anything is written -----------------------------------------------------------------


def find_files(folder: Path, options: Options) -> Path:
    """Check that every file is there; the path of the speaker network.

    Raises:
        CheckpointError: the first missing file is named.
    """
    if not folder.is_dir():
        raise CheckpointError(
            f"{folder} is not a folder. Expected the checkpoint with llm, flow, hift, … in it; "
            "get it with: glmtts models pull zai-org/GLM-TTS"
        )
    for name in (*REQUIRED, VOCODER_FILES[options.vocoder]):
        if not (folder / name).is_file():
            raise CheckpointError(
                f"{folder / name} is missing. Is {folder} the whole checkpoint? "
                "Get it with: glmtts models pull zai-org/GLM-TTS"
            )
    for path in [options.campplus] if options.campplus else [folder / name for name in CAMPPLUS]:
        if path.is_file():
            return path
    wanted = f"{options.campplus} does not exist" if options.campplus else (
        "The speaker network campplus.onnx is not among the checkpoint's files; it is published "
        "with the code, not with the weights"
    )  # fmt: skip
    raise CheckpointError(
        f"{wanted}. Download frontend/campplus.onnx of github.com/zai-org/GLM-TTS and give it with "
        "--campplus FILE, or let it be fetched: glmtts models pull zai-org/GLM-TTS"
    )


def refuse_small_disk(folder: Path, needed: int) -> None:
    """Check the free space.

    Raises:
        BadInput: it is less than `needed` bytes.
    """
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise BadInput(
            f"The disk of {folder.parent} has {free / 1e9:.1f} GB free, the model takes "
            f"{needed / 1e9:.1f} GB. Free some space or choose another folder; nothing was written."
        )


@contextmanager
def built_beside(out: Path) -> Generator[Path, None, None]:
    """A folder beside `out` that becomes `out` when the block ends well, and else is removed.

    Raises:
        BadInput: `out` is there already, its parent is not, or the disk is full.
    """
    out = out.absolute()
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise BadInput(f"{out} exists already. Remove it, or choose another folder for the model.")
    try:
        work = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    except OSError as error:
        raise BadInput(
            f"Cannot write to {out.parent} ({error.strerror}). Choose a folder that exists."
        ) from error
    try:
        yield work
        work.chmod(0o755)
        if out.is_dir():
            out.rmdir()
        os.replace(work, out)
    except (OSError, SafetensorError) as error:
        full = getattr(error, "errno", None) == errno.ENOSPC or "No space left" in str(error)
        what = "is full" if full else f"cannot be written to ({error})"
        raise BadInput(
            f"The disk of {out.parent} {what}. Free some space or choose another folder, then "
            "convert again; nothing was left behind."
        ) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


# ----- what is written ----------------------------------------------------------------------------


def write_text_tokenizer(folder: Path, out: Path) -> SpecialTokens:
    """Make the text tokenizer; its named ids.

    Raises:
        CheckpointError: the vocabulary is damaged or is not one for speech.
    """
    source = folder / TEXT_FOLDER
    added = bpe_ranks.read_added_tokens(source / "tokenizer_config.json")
    codes = codebook_size(folder)
    for name in (PAD, EOA, BOA, "<|audio_0|>", f"<|audio_{codes - 1}|>"):
        if name not in added or added[name] < added.get(PAD, 0):
            raise CheckpointError(
                f"{source / 'tokenizer_config.json'} has no token {name} of its own. "
                "Is this the vocabulary of GLM-TTS?"
            )
    ranks = bpe_ranks.read_ranks(source / "tokenizer.model")
    bpe_ranks.build(ranks, added, out, speech_count=codes)
    return TextTokenizer.load(out).special


def codebook_size(folder: Path) -> int:
    """Number of speech tokens, as the speech tokenizer has it (released: 32,768)."""
    path = folder / "speech_tokenizer/config.json"
    size = json_mapping(path).get("quantize_vocab_size")
    if not isinstance(size, int) or size < 1:
        raise CheckpointError(f"{path} lacks quantize_vocab_size. Download the file again.")
    return size


def released_parts(folder: Path, options: Options, special: SpecialTokens) -> list[Part]:
    """Every component that is written tensor by tensor; names and shapes are checked here already.

    Raises:
        CheckpointError: a configuration is not known, or a tensor is missing, unexpected or of
            another shape.
    """
    parts = [
        language_model(folder / "llm", special, DTYPES[options.dtype]),
        speech_tokenizer(folder / "speech_tokenizer"),
        flow(folder / "flow"),
    ]
    if options.vocoder == "hift":
        parts.append(hift(folder / VOCODER_FILES["hift"]))
    return parts


def language_model(folder: Path, special: SpecialTokens, dtype: torch.dtype) -> Part:
    """The Llama; its shards are read one tensor at a time."""
    shards = open_shards(folder)
    tied, embedding = "lm_head.weight", "model.embed_tokens.weight"
    with said_of(folder):
        config = official_lm_config(
            json_mapping(folder / "config.json"), speech_start=special.ats,
            speech_end=special.ate, begin_audio_id=special.boa, end_id=special.eoa,
            pad_id=special.pad,
        )  # fmt: skip
        given = shards.shapes()
        if config.tied and tied in shards:  # which is compared by value
            given |= {key: shards[key] for key in (tied, embedding) if key in shards}
        official_lm_state(given, config)
    if config.tied:
        shards = shards.without(tied)
    return Part("lm", str(folder), TextToSpeechTokens, config, lambda: shards, dtype)


def speech_tokenizer(folder: Path) -> Part:
    """The Whisper encoder with its codebook."""
    shards = open_shards(folder)
    with said_of(folder):
        config = official_tokenizer_config(json_mapping(folder / "config.json"))
        official_tokenizer_state(shards.shapes(), config)
    return Part(
        "speech_tokenizer", str(folder), SpeechTokenizer, config,
        lambda: official_tokenizer_state(shards, config),
    )  # fmt: skip


def flow(folder: Path) -> Part:
    """The flow; its pickle stays on disk until it is read."""
    path, settings = folder / "flow.pt", folder / "config.yaml"
    released = pickled(path)
    with said_of(settings):
        config = flow_config(yaml_mapping(settings, "flow"), released)
    with said_of(path):
        state = official_flow_state(released, config)
    return Part("flow", str(path), TokenToMel, config, lambda: state)


def flow_config(settings: Mapping[str, Any], state: Mapping[str, Tensor]) -> FlowConfig:
    """The flow's configuration; the sizes of one that has not the released width are read off it.

    Raises:
        CheckpointError: a setting is not known.
    """
    config = official_flow_config(settings)
    shapes = {key.split("estimator.")[-1]: tuple(value.shape) for key, value in state.items()}
    width = shapes.get("proj_out.weight", (0, 0))[-1]
    if width in (0, config.network.dim):
        return config
    dim, feed = int(width), shapes.get("transformer_blocks.0.ff.ff.0.0.bias", (1,))
    rows, token_dim = shapes.get("text_emb_layer.text_embed.weight", (1, 1))
    network = replace(
        config.network, dim=dim, heads=max(1, dim // HEAD_DIM), ff_dim=int(feed[0]),
        layers=_count(shapes, "transformer_blocks."), token_dim=int(token_dim),
        vocab_size=int(rows) - 1, frame_blocks=_count(shapes, "text_emb_layer.text_blocks."),
    )  # fmt: skip
    return replace(config, network=network)


def hift(path: Path) -> Part:
    """The vocoder of 24 kHz."""
    released = pickled(path)
    with said_of(path):
        config = official_hift_config(released)
        state = official_hift_state(released, config)
    return Part("vocoder", str(path), Vocoder, config, lambda: state)


def _count(names: Iterable[str], prefix: str) -> int:
    """How many numbers follow `prefix` in `names`: the highest and one."""
    numbers = [name.removeprefix(prefix).split(".")[0] for name in names if name.startswith(prefix)]
    return max((int(number) for number in numbers if number.isdigit()), default=-1) + 1


@contextmanager
def said_of(path: Path) -> Generator[None, None, None]:
    """Put a path before what is said of its content."""
    try:
        yield
    except CheckpointError as error:
        if str(path) in str(error):
            raise
        raise CheckpointError(f"{path}: {error}") from error


def write_about(folder: Path, work: Path, options: Options) -> None:
    """The manifest with the official settings (spec §2, §3, §6), and where the weights are from."""
    receipt = read_receipt(folder)
    origin = f"{receipt.repo} at {receipt.revision}" if receipt else "zai-org/GLM-TTS"
    manifest = Manifest(
        FORMAT, options.name, "MIT", SPECS[options.vocoder], phonemes=False, history_tokens=750,
        prompt_tokens=750, foreign_prompts=True, sentence_length=60, top_p=0.8, candidates=1,
        flow_steps=10, flow_guidance=0.7, voice_dbfs=None, trained_by=f"converted from {origin}",
    )  # fmt: skip
    text = json.dumps(to_dict(manifest), indent=1, ensure_ascii=False)
    (work / MODEL_FILE).write_text(text + "\n", encoding="utf-8")
    (work / "voices").mkdir()
    (work / "README.md").write_text(
        CARD.format(origin=origin, vocoder=options.vocoder, dtype=options.dtype), encoding="utf-8"
    )
