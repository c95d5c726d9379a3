"""A checkpoint folder in the released layout (spec §1), with random weights of any size."""

import base64
import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from glmtts.text.phonemes import MANDARIN, token

Shapes = dict[str, tuple[int, ...]]
TEXTS = (
    "今天天气不错，我们去公园吧。",
    "hello world, hello there.",
    "你好你好世界。",
    "the the then",
)


@dataclass(frozen=True)
class Sizes:
    """Every size that may differ; the defaults are tiny."""

    vocab: int = 768
    hidden: int = 32
    ffn: int = 64
    layers: int = 2
    heads: int = 2
    kv_heads: int = 1
    head_dim: int = 16
    codes: int = 32
    whisper_dim: int = 32
    whisper_ffn: int = 64
    whisper_heads: int = 2
    whisper_layers: int = 2
    """Layers that are used; the file has one more."""
    mels: int = 128
    positions: int = 1_500
    flow_dim: int = 64
    flow_layers: int = 2
    flow_codes: int = 40
    token_dim: int = 32
    token_blocks: int = 1
    speaker: int = 192
    hift_base: int = 64
    hift_f0: int = 32
    merges: int = 40


FULL = Sizes(
    vocab=98_304, hidden=2_048, ffn=6_144, layers=28, heads=16, kv_heads=4, head_dim=128,
    codes=32_768, whisper_dim=1_280, whisper_ffn=5_120, whisper_heads=20, whisper_layers=16,
    flow_dim=768, flow_layers=18, flow_codes=100_000, token_dim=512, token_blocks=4,
    hift_base=512, hift_f0=512,
)  # fmt: skip
"""The released sizes."""


# ----- names and shapes ---------------------------------------------------------------------------


def llm_shapes(s: Sizes) -> Shapes:
    shapes: Shapes = {"model.embed_tokens.weight": (s.vocab, s.hidden)}
    wide, narrow = s.heads * s.head_dim, s.kv_heads * s.head_dim
    for i in range(s.layers):
        layer = f"model.layers.{i}"
        shapes |= {
            f"{layer}.self_attn.q_proj.weight": (wide, s.hidden),
            f"{layer}.self_attn.k_proj.weight": (narrow, s.hidden),
            f"{layer}.self_attn.v_proj.weight": (narrow, s.hidden),
            f"{layer}.self_attn.o_proj.weight": (s.hidden, wide),
            f"{layer}.mlp.gate_proj.weight": (s.ffn, s.hidden),
            f"{layer}.mlp.up_proj.weight": (s.ffn, s.hidden),
            f"{layer}.mlp.down_proj.weight": (s.hidden, s.ffn),
            f"{layer}.input_layernorm.weight": (s.hidden,),
            f"{layer}.post_attention_layernorm.weight": (s.hidden,),
        }
    return {**shapes, "model.norm.weight": (s.hidden,)}


def flow_shapes(s: Sizes) -> Shapes:
    d, t, c = s.flow_dim, s.token_dim, s.flow_dim + s.speaker
    linears: Shapes = {
        "time_embed.time_mlp.0": (d, 256), "time_embed.time_mlp.2": (d, d),
        "emb_concator.proj": (d, 160 + t), "norm_out.linear": (2 * d, c), "proj_out": (80, d),
        "emb_concator.conv_pos_embed.conv1d.0": (d, d // 16, 31),
        "emb_concator.conv_pos_embed.conv1d.2": (d, d // 16, 31),
    }  # fmt: skip
    for i in range(s.token_blocks):
        block = f"text_emb_layer.text_blocks.{i}"
        linears |= {
            f"{block}.dwconv": (t, 1, 7), f"{block}.norm": (t,),
            f"{block}.pwconv1": (2 * t, t), f"{block}.pwconv2": (t, 2 * t),
        }  # fmt: skip
    for i in range(s.flow_layers):
        block = f"transformer_blocks.{i}"
        linears |= {
            f"{block}.attn_norm.linear": (6 * d, c), f"{block}.attn.to_q": (d, d),
            f"{block}.attn.to_k": (d, d), f"{block}.attn.to_v": (d, d),
            f"{block}.attn.to_out.0": (d, d), f"{block}.ff.ff.0.0": (2 * d, d),
            f"{block}.ff.ff.2": (d, 2 * d),
        }  # fmt: skip
    shapes: Shapes = {"text_emb_layer.text_embed.weight": (s.flow_codes + 1, t)}
    shapes["rotary_embed.inv_freq"] = (32,)
    for name, shape in linears.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    for i in range(s.token_blocks):
        grn = f"text_emb_layer.text_blocks.{i}.grn"
        shapes |= {f"{grn}.gamma": (1, 1, 2 * t), f"{grn}.beta": (1, 1, 2 * t)}
    return {f"estimator.{name}": shape for name, shape in shapes.items()}


def whisper_shapes(s: Sizes, layers: int) -> Shapes:
    d, f = s.whisper_dim, s.whisper_ffn
    shapes: Shapes = {
        "ema_count": (s.codes,), "ema_weight": (s.codes, d), "codebook.weight": (s.codes, d),
        "conv1.weight": (d, s.mels, 3), "conv1.bias": (d,), "conv2.weight": (d, d, 3),
        "conv2.bias": (d,), "embed_positions.weight": (s.positions, d),
        "embed_positions2.weight": (s.positions // 2, d),
    }  # fmt: skip
    for i in range(layers):
        layer = f"layers.{i}"
        shapes[f"{layer}.self_attn.k_proj.weight"] = (d, d)
        linears: Shapes = {
            "self_attn.q_proj": (d, d), "self_attn.v_proj": (d, d), "self_attn.out_proj": (d, d),
            "self_attn_layer_norm": (d,), "final_layer_norm": (d,), "fc1": (f, d), "fc2": (d, f),
        }  # fmt: skip
        for name, shape in linears.items():
            shapes |= {f"{layer}.{name}.weight": shape, f"{layer}.{name}.bias": shape[:1]}
    return shapes


def hift_shapes(s: Sizes) -> Shapes:
    shapes: Shapes = {"m_source.l_linear.weight": (1, 9), "m_source.l_linear.bias": (1,)}

    def conv(name: str, out: int, into: int, kernel: int, *, bias: int | None = None) -> None:
        shapes[f"{name}.bias"] = (out if bias is None else bias,)
        shapes[f"{name}.parametrizations.weight.original0"] = (out, 1, 1)
        shapes[f"{name}.parametrizations.weight.original1"] = (out, into, kernel)

    def block(name: str, channels: int, kernel: int) -> None:
        for i in range(3):
            conv(f"{name}.convs1.{i}", channels, channels, kernel)
            conv(f"{name}.convs2.{i}", channels, channels, kernel)
            shapes[f"{name}.activations1.{i}.alpha"] = (channels,)
            shapes[f"{name}.activations2.{i}.alpha"] = (channels,)

    base = s.hift_base
    conv("conv_pre", base, 80, 7)
    downs = (30, 6, 1)
    for i, kernel in enumerate((16, 11, 7)):
        channels = base >> (i + 1)
        conv(f"ups.{i}", base >> i, channels, kernel, bias=channels)
        shapes[f"source_downs.{i}.weight"] = (channels, 18, downs[i])
        shapes[f"source_downs.{i}.bias"] = (channels,)
        block(f"source_resblocks.{i}", channels, (7, 7, 11)[i])
        for j, width in enumerate((3, 7, 11)):
            block(f"resblocks.{3 * i + j}", channels, width)
    conv("conv_post", 18, base >> 3, 7)
    for i in range(5):
        conv(f"f0_predictor.condnet.{2 * i}", s.hift_f0, s.hift_f0 if i else 80, 3)
    shapes["f0_predictor.classifier.weight"] = (1, s.hift_f0)
    shapes["f0_predictor.classifier.bias"] = (1,)
    return shapes


# ----- an ONNX file, byte by byte -----------------------------------------------------------------


def field(number: int, value: int | bytes | str) -> bytes:
    """A field of a protobuf message."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def campplus_bytes(dims: int = 192, mels: int = 80) -> bytes:
    """A graph of CAM++'s form, (1, T, mels) -> (1, dims): loudest of each bin, a matrix."""

    def value_info(name: str, *shape: int | str) -> bytes:
        dims = b"".join(field(1, field(1 if isinstance(d, int) else 2, d)) for d in shape)
        return field(1, name) + field(2, field(1, field(1, 1) + field(2, dims)))

    weights = torch.randn(mels, dims, generator=torch.Generator().manual_seed(5)).numpy().tobytes()
    axes = field(1, "axes") + field(8, 1) + field(20, 7)
    keep = field(1, "keepdims") + field(3, 0) + field(20, 2)
    loudest = (
        field(1, "x") + field(2, "y") + field(4, "ReduceMax") + field(5, axes) + field(5, keep)
    )
    matrix = field(1, mels) + field(1, dims) + field(2, 1) + field(8, "w") + field(9, weights)
    product = field(1, "y") + field(1, "w") + field(2, "z") + field(4, "MatMul")
    graph = field(1, loudest) + field(1, product) + field(2, "speaker") + field(5, matrix)
    graph += field(11, value_info("x", 1, "T", mels)) + field(12, value_info("z", 1, dims))
    return field(1, 8) + field(8, field(1, "") + field(2, 13)) + field(7, graph)


# ----- files --------------------------------------------------------------------------------------


def random_state(shapes: Mapping[str, tuple[int, ...]], seed: int = 0) -> dict[str, Tensor]:
    """Norms near one, the rest small."""
    rng = torch.Generator().manual_seed(seed)
    state: dict[str, Tensor] = {}
    for name, shape in shapes.items():
        value = torch.randn(shape, generator=rng).mul_(0.05)
        near_one = "norm" in name and name.endswith("weight") and len(shape) == 1
        state[name] = value + 1 if near_one or "original0" in name or "alpha" in name else value
    return state


def ranks(merges: int, texts: tuple[str, ...] = TEXTS) -> dict[bytes, int]:
    """A small rank table as byte-pair encoding of `texts` makes it; one rank is left out."""
    table = {bytes([byte]): byte for byte in range(256)}
    words = [[bytes([byte]) for byte in text.encode()] for text in texts]
    for number in range(merges):
        pairs = Counter(pair for word in words for pair in pairwise(word))
        if not pairs:
            break
        left, right = pairs.most_common(1)[0][0]
        table[left + right] = 257 + number
        for word in words:
            for i in range(len(word) - 1, 0, -1):
                if (word[i - 1], word[i]) == (left, right):
                    word[i - 1 : i + 1] = [left + right]
    return table


def added_tokens(first: int, codes: int) -> dict[str, int]:
    """Names and ids in the released order: specials, the phonemes of spec §6.6, speech."""
    names = (
        "<|endoftext|>", "[MASK]", "[gMASK]", "[sMASK]", "<sop>", "<eop>", "<|system|>",
        "<|user|>", "<|assistant|>", "<|observation|>", "<|begin_of_image|>", "<|end_of_image|>",
        "<|begin_of_video|>", "<|end_of_video|>", "<|begin_of_audio|>", "<|end_of_audio|>",
        *(token(symbol) for symbol in MANDARIN if not symbol.startswith("ER")),
        *(f"<|audio_{i}|>" for i in range(codes)),
    )  # fmt: skip
    return {name: first + i for i, name in enumerate(names)}


def write_text_tokenizer(folder: Path, s: Sizes) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    table = ranks(s.merges)
    lines = (f"{base64.b64encode(token).decode()} {rank}\n" for token, rank in table.items())
    (folder / "tokenizer.model").write_text("".join(lines))
    added = added_tokens(max(table.values()) + 1, s.codes)
    assert max(added.values()) < s.vocab, "the vocabulary is too small for the tokens"
    decoder = {
        str(i): {"content": name, "lstrip": False, "normalized": False, "special": True}
        for name, i in added.items()
    }
    text = json.dumps({"added_tokens_decoder": decoder, "tokenizer_class": "ChatGLM4Tokenizer"})
    (folder / "tokenizer_config.json").write_text(text)
    (folder / "tokenization_chatglm.py").write_text("raise SystemExit('remote code was run')\n")


def write_shards(folder: Path, state: dict[str, Tensor], count: int) -> None:
    """One model.safetensors, or several with an index."""
    folder.mkdir(parents=True, exist_ok=True)
    if count == 1:
        save_file(state, folder / "model.safetensors")
        return
    keys = list(state)
    where: dict[str, str] = {}
    for i in range(count):
        name = f"model-{i + 1:05}-of-{count:05}.safetensors"
        part = keys[len(keys) * i // count : len(keys) * (i + 1) // count]
        save_file({key: state[key] for key in part}, folder / name)
        where |= dict.fromkeys(part, name)
    size = sum(value.nbytes for value in state.values())
    index = {"metadata": {"total_size": size}, "weight_map": where}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def llm_config(s: Sizes) -> dict[str, object]:
    return {
        "architectures": ["LlamaForCausalLM"], "attention_bias": False, "attention_dropout": 0.0,
        "bos_token_id": 1, "eos_token_id": 2, "head_dim": s.head_dim, "hidden_act": "silu",
        "hidden_size": s.hidden, "initializer_range": 0.02, "intermediate_size": s.ffn,
        "max_position_embeddings": 8_192, "mlp_bias": False, "model_type": "llama",
        "num_attention_heads": s.heads, "num_hidden_layers": s.layers,
        "num_key_value_heads": s.kv_heads, "pretraining_tp": 1, "rms_norm_eps": 1e-5,
        "rope_scaling": None, "rope_theta": 10_000.0, "tie_word_embeddings": True,
        "torch_dtype": "float32", "transformers_version": "4.47.1", "use_cache": True,
        "vocab_size": s.vocab,
    }  # fmt: skip


def whisper_config(s: Sizes) -> dict[str, object]:
    return {
        "activation_function": "gelu", "architectures": ["WhisperVQForConditionalGeneration"],
        "d_model": s.whisper_dim, "encoder_layers": s.whisper_layers + 1,
        "encoder_attention_heads": s.whisper_heads, "encoder_ffn_dim": s.whisper_ffn,
        "encoder_causal_attention": False, "encoder_causal_convolution": False,
        "max_source_positions": s.positions, "model_type": "whisper", "num_mel_bins": s.mels,
        "pooling_kernel_size": 2, "pooling_position": s.whisper_layers, "pooling_type": "avg",
        "quantize_causal_block_size": 200, "quantize_causal_encoder": False,
        "quantize_position": s.whisper_layers, "quantize_vocab_size": s.codes,
        "quantize_encoder_only": False, "quantize_hidden_dim": None, "scale_embedding": False,
        "skip_language_detection": True, "torch_dtype": "float32", "vocab_size": 51_866,
    }  # fmt: skip


FLOW_YAML = """flow: !new:flow.flow.Flow
    spkr_emb_adaLN: True
    speech_token_cfg: False
    remove_spkr_concat_condition: True
    mel_dim: 80
    mel_framerate: 50
    input_frame_rate: 25
"""

PREPROCESSOR = {
    "chunk_length": 30, "feature_extractor_type": "WhisperFeatureExtractor", "feature_size": 128,
    "hop_length": 160, "n_fft": 400, "n_samples": 480_000, "nb_max_frames": 3_000,
    "sampling_rate": 16_000,
}  # fmt: skip


def build(
    folder: Path,
    s: Sizes = Sizes(),
    *,
    campplus: bytes = b"",
    vocos: Callable[[Path], None] | None = None,
) -> Path:
    """Write the whole folder.

    Args:
        folder: Created.
        s: Sizes.
        campplus: The ONNX file, which the released folder lacks.
        vocos: Writes the TorchScript vocoder to a path.
    """
    write_shards(folder / "llm", random_state(llm_shapes(s), 1), 2)
    (folder / "llm/config.json").write_text(json.dumps(llm_config(s)))
    for name in ("flow", "hift", "vocos2d"):
        (folder / name).mkdir()
    torch.save({"model": random_state(flow_shapes(s), 2), "epoch": 3}, folder / "flow/flow.pt")
    (folder / "flow/config.yaml").write_text(FLOW_YAML)
    torch.save(random_state(hift_shapes(s), 3), folder / "hift/hift.pt")
    whisper = random_state(whisper_shapes(s, s.whisper_layers + 1), 4)
    rest = {"model.encoder.layer_norm.weight": torch.ones(s.whisper_dim)}
    rest |= {"model.decoder.layer_norm.weight": torch.ones(s.whisper_dim)}
    tensors = {f"model.encoder.{key}": value for key, value in whisper.items()}
    write_shards(folder / "speech_tokenizer", {**tensors, **rest}, 1)
    (folder / "speech_tokenizer/config.json").write_text(json.dumps(whisper_config(s)))
    (folder / "speech_tokenizer/preprocessor_config.json").write_text(json.dumps(PREPROCESSOR))
    write_text_tokenizer(folder / "vq32k-phoneme-tokenizer", s)
    if campplus:
        (folder / "campplus.onnx").write_bytes(campplus)
    if vocos is not None:
        vocos(folder / "vocos2d/generator_jit.ckpt")
    return folder
