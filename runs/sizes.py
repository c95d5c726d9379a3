"""What size buys at nano's scale: `python runs/sizes.py lm|flow|vocoder [--steps N] [--clips N]`.

One component in several sizes, from nothing, with the same data, seed and steps; all else is the
bundled model's. Of each held-out clip:

lm       nat a token of its speech, and how one draw of its text reads
flow     its true tokens made into sound by the bundled vocoder: distance of the mels, and how the
         sound reads
vocoder  its mel made into sound: log-spectral distance below and above 4 kHz

Beside them the parameters, and the processor's seconds a second of speech of the whole model with
that component, one thread. Trainings are done once and kept under runs/claims (as those of
runs/claims.py); intervals are bootstraps over the clips (95 %), differences are paired.
"""

import argparse
import time
from pathlib import Path

import claims
import numpy as np
import torch
from torch import nn

from glmtts import checkpoint
from glmtts.audio import log_mel
from glmtts.data.shards import Corpus, dequantise_mel
from glmtts.flow import TokenToMel
from glmtts.lm import TextToSpeechTokens
from glmtts.options import SpeakOptions
from glmtts.sampling import Sampling
from glmtts.speech_tokenizer import SpeechTokenizer, TokenizerHeads
from glmtts.synthesizer import Synthesizer
from glmtts.train.scoring import distance
from glmtts.vocoder import Vocoder

ASSETS = Path("glmtts/assets/nano")
TEXTS = (
    "他把钥匙放在桌子上就出门了。", "这趟列车开往南京，中途停靠五站。", "我们明天再谈这件事吧。",
    "He left the key on the table and went out.", "The train stops five times on its way north.",
    "We can talk about it tomorrow afternoon.",
)  # fmt: skip
"""What the speed is measured on."""

LM = {
    "128 x 4": ["--model.hidden-size", "128", "--model.layers", "4", "--model.heads", "2",
                "--model.kv-heads", "2", "--model.ffn-size", "352"],
    "192 x 6": claims.SMALL,
    "256 x 8": ["--model.hidden-size", "256", "--model.layers", "8", "--model.heads", "4",
                "--model.kv-heads", "4", "--model.ffn-size", "704"],
    "320 x 8 (nano)": [],
}  # fmt: skip
FLOW = {
    "128 x 4": ["--model.network.dim", "128", "--model.network.layers", "4",
                "--model.network.heads", "2", "--model.network.ff-dim", "512"],
    "192 x 6": ["--model.network.dim", "192", "--model.network.layers", "6",
                "--model.network.heads", "3", "--model.network.ff-dim", "768"],
    "256 x 8 (nano)": [],
}  # fmt: skip
VOCODER = {
    "160 x 4": ["--model.dims", "160", "--model.blocks", "4", "--model.hidden", "480"],
    "224 x 6": ["--model.dims", "224", "--model.hidden", "672"],
    "320 x 6 (nano)": [],
}


def speed(component: str, folder: Path) -> float:
    """Processor's seconds a second of speech, the whole model with this component."""
    synthesizer = Synthesizer.load(ASSETS, device="cpu", components={component: folder})
    options = SpeakOptions(sampling=Sampling(candidates=1, seed=0))
    spent, spoken = 0.0, 0.0
    for number, text in enumerate((TEXTS[0], *TEXTS)):  # the first one warms up
        began = time.process_time()
        sound = synthesizer.speak(text, options=options)
        if number:
            spent, spoken = spent + time.process_time() - began, spoken + sound.seconds
    return spent / spoken


def measured(name: str, component: str, folder: Path, module: nn.Module) -> dict[str, float]:
    """Size and speed of a variant."""
    count = sum(p.numel() for p in module.parameters()) / 1e6
    found = {"million parameters": round(count, 2), "RTF": round(speed(component, folder), 3)}
    print(name, found, flush=True)
    return found


def lm(steps: int, clips: int) -> None:
    """Language models."""
    rows: claims.Rows = {}
    about: dict[str, object] = {"steps": steps, "clips": clips}
    for name, flags in LM.items():
        out = claims.OUT / "sizes" / f"lm_{name.split(' (')[0]}"
        folder = claims.lm_trained(out, steps, Path(claims.TOKENS), *flags)
        rows[name] = {"nat a token": claims.surprise(folder, clips)}
        rows[name] |= claims.lm_figures(folder, clips, lambda clip: [True] * len(clip.units))
        module = checkpoint.load(TextToSpeechTokens, folder)
        checkpoint.save(module, folder / "int8", torch.int8)  # as nano's is stored
        about[name] = measured(name, "lm", folder / "int8", module)
    claims.keep("sizes_lm", rows, "320 x 8 (nano)", about)


def flow(steps: int, clips: int) -> None:
    """Flows, told the phonemes as nano's: `steps` of the coarse mel, three times as many of all."""
    rows: claims.Rows = {}
    about: dict[str, object] = {"steps": steps, "clips": clips}
    for name, flags in FLOW.items():
        folder = claims.train(
            "flow", claims.OUT / "sizes" / f"flow_{name.split(' (')[0]}", "--recipe", "nano",
            "--data", claims.TOKENS, "--valid", claims.HELD, "--steps", str(4 * steps),
            "--coarse-steps", str(steps), "--codebook", str(ASSETS / "speech_tokenizer"),
            "--save-every", "100", "--valid-every", "1000", "--threads", "1", *flags,
        )  # fmt: skip
        rows[name] = flow_figures(folder, clips)
        about[name] = measured(name, "flow", folder, checkpoint.load(TokenToMel, folder))
    claims.keep("sizes_flow", rows, "256 x 8 (nano)", about)


@torch.no_grad()
def flow_figures(folder: Path, clips: int) -> dict[str, list[float]]:
    """Of each clip from its true tokens: distance of the mels, phoneme error of the sound."""
    model = Synthesizer.load(ASSETS, device="cpu", components={"flow": folder})
    tokenizer = checkpoint.load(SpeechTokenizer, ASSETS / "speech_tokenizer")
    heads = checkpoint.load(TokenizerHeads, ASSETS / "speech_tokenizer" / "heads")
    reader = claims.Proofreader(tokenizer, heads)
    rows: dict[str, list[float]] = {"mel distance (nat)": [], "phoneme error": []}
    corpus = Corpus(claims.HELD)
    for index, clip in enumerate(corpus.clips[:clips]):
        ids = [int(token) for token in corpus.array("tokens", index)]
        tokens = model.telling(ids, clip.phonemes, ())
        mel = model.flow.sample(tokens, model.default_voice(clip.text), model.flow_options)
        target = dequantise_mel(np.array(corpus.array("mel", index)))
        frames = min(len(mel), len(target))
        here, there = mel[:frames].float(), target[:frames].float()
        rows["mel distance (nat)"].append(float((here - there).abs().mean()))
        sound = claims.Audio(model.vocoder.decode(mel).float(), model.sample_rate)
        heard = reader.heard(tokenizer.encode(sound))
        wrong = distance(clip.phonemes, heard) / len(clip.phonemes)
        rows["phoneme error"].append(min(1.0, wrong))
    return rows


def vocoder(steps: int, clips: int) -> None:
    """Vocoders, from the spectral and mel losses alone."""
    rows: claims.Rows = {}
    about: dict[str, object] = {"steps": steps, "clips": clips}
    for name, flags in VOCODER.items():
        folder = claims.train(
            "vocoder", claims.OUT / "sizes" / f"vocoder_{name.split(' (')[0]}", "--recipe", "nano",
            "--data", claims.AUDIO, "--valid", claims.VALID, "--batch", "6", "--steps", str(steps),
            "--save-every", "100", "--threads", "1", *flags,
        )  # fmt: skip
        model = checkpoint.load(Vocoder, folder).eval()
        rows[name] = vocoder_figures(model, clips)
        about[name] = measured(name, "vocoder", folder, model)
    claims.keep("sizes_vocoder", rows, "320 x 6 (nano)", about)


@torch.no_grad()
def vocoder_figures(model: Vocoder, clips: int) -> dict[str, list[float]]:
    """Distances (dB) of copies."""
    rows: dict[str, list[float]] = {"LSD below 4 kHz (dB)": [], "LSD above 4 kHz (dB)": []}
    corpus, hop, rate = Corpus(claims.VALID), model.spec.hop_length, model.spec.sample_rate
    for clip in range(min(clips, len(corpus))):
        sound = corpus.array("audio", clip).astype(np.float32) / 32768.0
        target = torch.from_numpy(sound[: len(sound) // hop * hop])
        found = claims.distances(model.decode(log_mel(target, model.spec)), target, rate)
        rows["LSD below 4 kHz (dB)"].append(found["valid_lsd_low"])
        rows["LSD above 4 kHz (dB)"].append(found["valid_lsd_high"])
    return rows


STUDIES = {"lm": lm, "flow": flow, "vocoder": vocoder}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", choices=STUDIES)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--clips", type=int, default=100)
    flags = parser.parse_args()
    torch.set_num_threads(1)
    STUDIES[flags.name](flags.steps, flags.clips)


if __name__ == "__main__":
    main()
