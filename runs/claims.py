"""The report's claims at nano's scale: `python runs/claims.py NAME [--steps N] [--clips N]`.

tokenizer  25 or 12.5 Hz, with or without pitch supervision, whole or block-causal: phoneme error
           through the codes, what a probe hears of the pitch in them, of laughs and of breaths
vocoder    Vocos and Vocos2D, equal parameters and steps: log-spectral distance below and above
           4 kHz, MOS of copies
hours      the language model from a half to all hours of speech, equal steps: how its tokens read
           (--data: other tokens, such as those of runs/many_hours.py; --hours: how much of them)
hybrid     the bundled language model without its phonemes, trained on with texts alone or with
           texts with some readings: how Mandarin reads, and its characters that are rare or have
           several readings
page       docs/claims.md from what has been measured

All trainings of a claim have the same seed and steps; they are short and tell differences, not
what such a model can become. Each is done once and kept under runs/claims. Intervals are
bootstraps over the held-out clips (95 %); differences are paired.
"""

import argparse
import functools
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import numpy as np
import torch
from breaths import breathing
from torch import Tensor, nn
from torch.nn import functional as F

from glmtts import checkpoint
from glmtts.audio import Audio, log_mel
from glmtts.data.audio_batches import TokenizerBatches
from glmtts.data.shards import Clip, Corpus, write_shard
from glmtts.judges.base import Sample
from glmtts.judges.naturalness import Mos
from glmtts.lm import TextToSpeechTokens
from glmtts.proofreader import Proofreader
from glmtts.sampling import Sampling
from glmtts.speech_tokenizer import ConvBlock, SpeechTokenizer, TokenizerHeads
from glmtts.text import hybrid as hybrid_text
from glmtts.text.phonemes import PHONEME_TOKENS
from glmtts.text.tokenizer import TextTokenizer
from glmtts.train.scoring import distance
from glmtts.train.speech_tokenizer import Config as TokenizerConfig
from glmtts.train.speech_tokenizer import TokenizerTraining, phoneme_errors
from glmtts.train.vocoder import distances
from glmtts.vocoder import Vocoder
from glmtts.voice import Prompt

Rows = dict[str, dict[str, list[float]]]
"""Of each variant, figures by name: one of each held-out clip."""

OUT = Path("runs/claims")
AUDIO, VALID = "data/nano/audio/train", "data/nano/audio/valid_text"
LAUGHS = "data/laughs/audio/train"
TOKENS, HELD = "data/nano/tokens/train", "data/nano/tokens/valid_text"

TOKENIZERS = {
    "as nano": [],
    "12.5 Hz": ["--model.pooling", "4", "--heads.upsample", "2"],
    "no pitch": ["--pitch-weight", "0"],
    "block-causal": ["--model.causal-block", "25"],
}
VOCODERS = {
    "vocos": ["--model.kind", "vocos", "--model.dims", "320", "--model.hidden", "960"],
    "vocos2d": ["--model.kind", "vocos2d"],
}
HOURS = (0.5, 1.0, 2.0, 4.0, 7.0)
LM = ["--recipe", "nano", "--save-every", "100", "--valid-every", "1000", "--threads", "1"]
SMALL = [
    "--model.hidden-size", "192", "--model.layers", "6", "--model.heads", "3",
    "--model.kv-heads", "3", "--model.ffn-size", "512",
]  # fmt: skip
"""A quarter of nano's language model, so that many can be trained."""
HYBRIDS = {
    "text alone": ["--text.phonemes", "0", "--text.surface", "1"],
    "hybrid": ["--text.phonemes", "0", "--text.surface", "0.8", "--text.ordinary"],
}
"""How texts are written in training; the second is the report's (§2.6)."""


def train(stage: str, out: Path, *flags: str) -> Path:
    """Run `glmtts train STAGE` unless that was done; the newest checkpoint."""
    out = out.with_name(out.name.replace(" ", "_"))
    if not (out / "done").exists():
        subprocess.run(
            [sys.executable, "-m", "glmtts", "train", stage, "--out", str(out), *flags], check=True
        )
        (out / "done").touch()
    return max(out.glob("step_*"))


def interval(values: Sequence[float], weights: Sequence[float] | None = None) -> list[float]:
    """Mean and its 95 % interval by the bootstrap over clips, each with its weight."""
    v = np.asarray(values, dtype=np.float64)
    w = np.ones_like(v) if weights is None else np.asarray(weights, dtype=np.float64)
    rng = np.random.default_rng(0)
    drawn = rng.integers(len(v), size=(2_000, len(v)))
    means = (v * w)[drawn].sum(1) / w[drawn].sum(1)
    return [float((v * w).sum() / w.sum()), *np.percentile(means, [2.5, 97.5]).tolist()]


def differences(rows: Rows, base: str) -> Rows:
    """Of each other variant to `base`, clip by clip."""
    return {
        name: {
            key: interval(np.subtract(values, rows[base][key]).tolist())
            for key, values in found.items()
            if len(values) == len(rows[base][key])
        }
        for name, found in rows.items()
        if name != base
    }  # fmt: skip


def keep(name: str, rows: Rows, base: str, about: dict[str, object]) -> None:
    """Write and print what was measured."""
    means = {who: {key: interval(v) for key, v in found.items()} for who, found in rows.items()}
    result: dict[str, Any] = {
        "about": about,
        "base": base,
        "means": means,
        "differences": differences(rows, base),
    }
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / f"{name}.json").write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    print(table(result))


# ----- speech tokens ------------------------------------------------------------------------------


def tokenizer(steps: int, clips: int, variants: Sequence[str] = tuple(TOKENIZERS)) -> None:
    """Tokenizers from Whisper's encoder."""
    rows: Rows = {}
    for name, flags in TOKENIZERS.items():
        if name not in variants:
            continue
        folder = train(
            "tokenizer", OUT / "tokenizer" / name, "--recipe", "nano", "--data", AUDIO,
            "--valid", VALID,
            "--steps", str(steps), "--save-every", "200", "--valid-every", "1000",
            "--threads", "1", *flags,
        )  # fmt: skip
        rows[name] = tokenizer_figures(folder, clips)
        print(name, {key: round(float(np.mean(v)), 4) for key, v in rows[name].items()})
    keep("tokenizer", rows, "as nano", {"steps": steps, "clips": clips, "data": AUDIO})


@torch.no_grad()
def tokenizer_figures(folder: Path, clips: int) -> dict[str, list[float]]:
    """Of each clip: phoneme error, error of a pitch probe; of each laugh: whether it is told."""
    model = checkpoint.load(SpeechTokenizer, folder)
    heads = checkpoint.load(TokenizerHeads, folder / "heads")
    saved = json.loads((folder / "run.json").read_text())
    config = TokenizerConfig(
        AUDIO, VALID, model=model.config, heads=heads.config, frozen_layers=saved["frozen_layers"]
    )
    training = TokenizerTraining(model, heads, config).eval()
    batches = TokenizerBatches(Corpus(VALID), 40.0, model.config.sample_rate, 0)
    errors: list[float] = []
    for clip in range(min(clips, len(batches.corpus))):
        batch = batches.collate([clip])
        wrong, labels = phoneme_errors(training(batch, True), batch)
        errors.append(wrong / max(1, labels))
    pitch = pitch_probe(model, clips)
    laughs = event_probe(model, *laughing())
    breaths = event_probe(model, *breathers())
    return {
        "phoneme error": errors, "pitch error (semitones)": pitch,
        "laughs told": laughs, "breaths told": breaths,
    }  # fmt: skip


def sound_of(corpus: Corpus, clip: int) -> np.ndarray:
    """(N,) float32 samples of a clip."""
    return corpus.array("audio", clip).astype(np.float32) / 32768.0


def codes_of(model: SpeechTokenizer, sound: np.ndarray) -> Tensor:
    """(S, code dimensions) the codes of (N,) samples."""
    ids = model.encode(Audio(torch.from_numpy(sound), 24_000))
    return F.embedding(torch.as_tensor(ids), model.quantizer.weight).float()


class Probe(nn.Module):
    """Codes (1, S, C) to `outputs` values of `often` frames a code: (S x often, outputs)."""

    def __init__(self, codes: int, often: int, outputs: int) -> None:
        """Fresh weights."""
        super().__init__()
        self.often = often
        self.open, self.close = nn.Linear(codes, 128), nn.Linear(128, outputs * often)
        self.blocks = nn.Sequential(ConvBlock(128), ConvBlock(128))

    def forward(self, codes: Tensor) -> Tensor:
        """See the class."""
        y = self.close(self.blocks(self.open(codes)))
        return y.reshape(codes.shape[1] * self.often, -1)


def fit(probe: Probe, loss: Callable[[int], Tensor], clips: int, steps: int = 1_500) -> None:
    """Train a probe on clips drawn at random."""
    rng = np.random.default_rng(0)
    optimizer = torch.optim.AdamW(probe.parameters(), lr=1e-3)
    with torch.enable_grad():
        for _ in range(steps):
            loss(int(rng.integers(clips))).backward()
            nn.utils.clip_grad_norm_(probe.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()


def pitch_probe(model: SpeechTokenizer, clips: int, most: int = 400) -> list[float]:
    """Mean error of log F0 (from the clip's mean) in voiced frames, in semitones, of each clip."""

    def pairs(corpus: Corpus, count: int) -> list[tuple[Tensor, Tensor]]:
        found: list[tuple[Tensor, Tensor]] = []
        for clip in range(min(count, len(corpus))):
            codes, f0 = (
                codes_of(model, sound_of(corpus, clip)),
                torch.from_numpy(np.array(corpus.array("f0", clip), dtype=np.float32)),
            )
            size = min(len(codes) * model.config.pooling, len(f0))
            if int((f0[:size] > 0).sum()) > 10:
                found.append((codes[None], f0[:size]))
        return found

    def missed(probe: Probe, pair: tuple[Tensor, Tensor]) -> Tensor:
        codes, f0 = pair
        voiced = f0 > 0
        wanted = f0[voiced].log()
        told = probe(codes)[: len(f0), 0][voiced]
        return (told - (wanted - wanted.mean())).abs().mean()

    known, held = pairs(Corpus(AUDIO), most), pairs(Corpus(VALID), clips)
    torch.manual_seed(0)
    probe = Probe(model.quantizer.weight.shape[1], model.config.pooling, 1)
    fit(probe, lambda clip: missed(probe, known[clip]), len(known))
    return [12.0 / np.log(2.0) * float(missed(probe, pair)) for pair in held]


Events = list[tuple[np.ndarray, float, float]]
"""Sounds in which something happens, and from when to when, in seconds."""


def laughing() -> tuple[Events, Events]:
    """Clips with laughs: three quarters to learn from, the rest."""
    corpus, found = Corpus(LAUGHS), Events()
    for clip in range(len(corpus)):
        span = np.array(corpus.array("laugh", clip), dtype=np.float64).ravel()
        if len(span) == 2 and span[1] > span[0]:
            found.append((sound_of(corpus, clip), float(span[0]), float(span[1])))
    return found[: len(found) * 3 // 4], found[len(found) * 3 // 4 :]


@functools.lru_cache
def breathers() -> tuple[Events, Events]:
    """Clips with breaths: of the training to learn from, and held-out ones."""
    known, held = (
        [(clip.samples, clip.start_s, clip.end_s) for clip in breathing(Corpus(data), count, 0)]
        for data, count in ((AUDIO, 300), (VALID, 100))
    )
    return known, held


def event_probe(model: SpeechTokenizer, known: Events, held: Events) -> list[float]:
    """Balanced accuracy of "is this token of an event?", of each held-out clip."""

    def pairs(events: Events) -> list[tuple[Tensor, Tensor]]:
        found: list[tuple[Tensor, Tensor]] = []
        for sound, start, end in events:
            codes = codes_of(model, sound)
            when = (torch.arange(len(codes)) + 0.5) / model.config.tokens_per_second
            inside = (when >= start) & (when < end)
            if 3 < int(inside.sum()) < len(codes) - 3:
                found.append((codes[None], inside))
        return found

    def missed(pair: tuple[Tensor, Tensor]) -> Tensor:
        return F.binary_cross_entropy_with_logits(probe(pair[0])[:, 0], pair[1].float())

    torch.manual_seed(0)
    probe = Probe(model.quantizer.weight.shape[1], 1, 1)
    learnt = pairs(known)
    fit(probe, lambda clip: missed(learnt[clip]), len(learnt))
    found: list[float] = []
    for codes, inside in pairs(held):
        said = probe(codes)[:, 0] > 0
        found.append(0.5 * float(said[inside].float().mean() + (~said[~inside]).float().mean()))
    return found


# ----- vocoders -----------------------------------------------------------------------------------


def vocoder(steps: int, clips: int) -> None:
    """Vocos and Vocos2D, from the spectral and mel losses alone."""
    rows: Rows = {}
    sizes: dict[str, int] = {}
    for name, flags in VOCODERS.items():
        folder = train(
            "vocoder", OUT / "vocoder" / name, "--recipe", "nano", "--data", AUDIO,
            "--valid", VALID,
            "--batch", "6", "--steps", str(steps), "--save-every", "200", "--threads", "1", *flags,
        )  # fmt: skip
        model = checkpoint.load(Vocoder, folder).eval()
        sizes[name] = sum(p.numel() for p in model.parameters())
        rows[name] = vocoder_figures(model, clips)
        print(
            name, sizes[name], {key: round(float(np.mean(v)), 3) for key, v in rows[name].items()}
        )
    keep("vocoder", rows, "vocos", {"steps": steps, "clips": clips, "parameters": sizes})


@torch.no_grad()
def vocoder_figures(model: Vocoder, clips: int) -> dict[str, list[float]]:
    """Distances (dB) and MOS of copies."""
    corpus, judge = Corpus(VALID), Mos()
    rows: dict[str, list[float]] = {
        "LSD below 4 kHz (dB)": [],
        "LSD above 4 kHz (dB)": [],
        "MOS": [],
    }
    hop, rate = model.spec.hop_length, model.spec.sample_rate
    for clip in range(min(clips, len(corpus))):
        sound = sound_of(corpus, clip)
        target = torch.from_numpy(sound[: len(sound) // hop * hop])
        output = model.decode(log_mel(target, model.spec))
        found = distances(output, target, rate)
        rows["LSD below 4 kHz (dB)"].append(found["valid_lsd_low"])
        rows["LSD above 4 kHz (dB)"].append(found["valid_lsd_high"])
        rows["MOS"].append(judge.judge(Sample(Audio(output, rate), "", "en")).value)
    return rows


# ----- hours of speech ----------------------------------------------------------------------------


def hours(steps: int, clips: int, data: str = TOKENS, amounts: Sequence[float] = HOURS) -> None:
    """A small language model from ever more speech."""
    rows: Rows = {}
    kept = "hours" if data == TOKENS else f"hours_of_{Path(data).name}"
    for much in amounts:
        part = subset(Corpus(data), much, OUT / kept / f"data_{much:g}")
        name = f"{much:g} h"
        folder = lm_trained(OUT / kept / f"{much:g}", steps, part, *SMALL)
        rows[name] = {"nat a token": surprise(folder, clips)}
        rows[name] |= lm_figures(folder, clips, lambda clip: [True] * len(clip.units))
        print(name, {key: round(float(np.mean(v)), 3) for key, v in rows[name].items()})
    keep(kept, rows, f"{amounts[-1]:g} h", {"steps": steps, "clips": clips, "data": data})


def lm_trained(out: Path, steps: int, data: Path, *more: str) -> Path:
    """A language model of recipe nano, as the further flags say."""
    assets = Path("glmtts/assets/nano")
    return train(
        "lm", out, *LM, *more, "--data", str(data), "--valid", HELD, "--steps", str(steps),
        "--tokenizer", str(assets / "text_tokenizer"),
        "--codebook", str(assets / "speech_tokenizer"),
    )  # fmt: skip


def without_phonemes(out: Path) -> Path:
    """The bundled language model, the embeddings of its phonemes drawn anew."""
    assets = Path("glmtts/assets/nano")
    model = checkpoint.load(TextToSpeechTokens, assets / "lm").float()
    texts = TextTokenizer.load(assets / "text_tokenizer")
    ids = [texts.encode(name)[0] for name in PHONEME_TOKENS if texts.knows([name])]
    with torch.no_grad():
        rows = model.model.embed_tokens.weight
        known = rows[ids]
        torch.manual_seed(0)
        rows[ids] = known.mean(0) + torch.randn_like(known) * known.std(0)
    checkpoint.save(model, out)
    return out


def subset(corpus: Corpus, much: float, out: Path) -> Path:
    """A random part of the clips, as a shard of its own."""
    if out.is_dir():
        return out
    order = np.random.default_rng(0).permutation(len(corpus))
    seconds, chosen = 0.0, list[int]()
    for clip in map(int, order):
        if seconds < much * 3_600:
            chosen.append(clip)
            seconds += corpus.clips[clip].seconds
    names = [name for name in ("tokens", "alignment", "speaker") if corpus.holds(name)]
    arrays = {name: [np.array(corpus.array(name, clip)) for clip in chosen] for name in names}
    write_shard(out, 0, [corpus.clips[clip] for clip in chosen], arrays)
    return out


@torch.no_grad()
def surprise(folder: Path, clips: int) -> list[float]:
    """Of each held-out clip, written in phonemes: nat a token of its speech, end included."""
    model = checkpoint.load(TextToSpeechTokens, folder).eval()
    texts = TextTokenizer.load(Path("glmtts/assets/nano/text_tokenizer"))
    corpus, found = Corpus(HELD), list[float]()
    for index, clip in enumerate(corpus.clips[:clips]):
        ids, _ = texts.encode_units(clip.units, [True] * len(clip.units))
        sequence = model.sequence(ids, Prompt())
        speech = torch.from_numpy(np.array(corpus.array("tokens", index), dtype=np.int64))
        row = torch.cat([torch.tensor(sequence), speech + model.config.speech_start])[None]
        steps = torch.arange(row.shape[1])
        visible = steps[None, :] <= steps[:, None]
        hidden, _ = model.model(row, positions=steps[None], mask=visible[None])
        scores = model.logits(hidden[0, len(sequence) - 1 :]).float()
        target = torch.cat([speech, torch.tensor([model.config.speech_count])])
        found.append(float(F.cross_entropy(scores, target)))
    return found


@torch.no_grad()
def lm_figures(
    folder: Path, clips: int, written: Callable[[Clip], list[bool]], language: str = ""
) -> dict[str, list[float]]:
    """How one draw of each held-out text reads, by the tokenizer's phoneme head.

    Args:
        folder: Of the language model.
        clips: Texts.
        written: For each unit of a text, whether the model is given its phonemes.
        language: "zh" leaves out what is not Mandarin, and counts hard units, too.
    """
    assets = Path("glmtts/assets/nano")
    model = checkpoint.load(TextToSpeechTokens, folder).eval()
    tokenizer = checkpoint.load(SpeechTokenizer, assets / "speech_tokenizer")
    heads = checkpoint.load(TokenizerHeads, assets / "speech_tokenizer" / "heads")
    reader, texts = Proofreader(tokenizer, heads), TextTokenizer.load(assets / "text_tokenizer")
    rows: dict[str, list[float]] = {"phoneme error": [], "sentences lost": []}
    for clip in [clip for clip in Corpus(HELD) if language in ("", clip.lang)][:clips]:
        ids, _ = texts.encode_units(clip.units, written(clip))
        spoken = list(model.generate(ids, Prompt(), Sampling(seed=0, top_p=0.3)))
        heard = reader.heard(spoken) if spoken else []
        wrong = min(1.0, distance(clip.phonemes, heard) / len(clip.phonemes))
        rows["phoneme error"].append(wrong)
        rows["sentences lost"].append(float(wrong > 0.5))
        if language == "zh" and (missed := hard_units_missed(clip, heard)) is not None:
            rows.setdefault("hard characters wrong", []).append(missed)
    return rows


def hard(clip: Clip) -> list[bool]:
    """For each unit, whether it is rare or has several readings."""
    return [bool(phones) and not hybrid_text.is_plain(text) for text, phones in clip.units]


def hard_units_missed(clip: Clip, heard: Sequence[str]) -> float | None:
    """Share of a clip's hard units of which a phoneme was not heard; None where it has none."""
    matched = np.zeros(len(clip.phonemes), dtype=bool)
    for block in SequenceMatcher(None, clip.phonemes, heard, autojunk=False).get_matching_blocks():
        matched[block.a : block.a + block.size] = True
    ends = np.cumsum([len(phones) for _, phones in clip.units])
    missed = [
        float(not matched[end - len(phones) : end].all())
        for end, (_, phones), is_hard in zip(ends, clip.units, hard(clip), strict=True)
        if is_hard
    ]
    return float(np.mean(missed)) if missed else None


# ----- hybrid text --------------------------------------------------------------------------------


def hybrid(steps: int, clips: int) -> None:
    """Texts alone against texts with some readings; the second model is also given readings.

    Both start from the bundled language model without its embeddings of phonemes. It speaks, but
    has rarely read ordinary text, and has to learn what phonemes are written as.
    """
    start = without_phonemes(OUT / "hybrid" / "start")
    flags = ("--init", str(start), "--lr", "4e-4", "--warmup", "50")
    folders = {
        name: lm_trained(OUT / "hybrid" / name, steps, Path(TOKENS), *flags, *text)
        for name, text in HYBRIDS.items()
    }
    rows: Rows = {}
    for name, folder in {"start": start, **folders}.items():
        rows[f"{name}, given text"] = lm_figures(
            folder, clips, lambda clip: [False] * len(clip.units), "zh"
        )
    rows["hybrid, given hard readings"] = lm_figures(folders["hybrid"], clips, hard, "zh")
    rows["hybrid, given half of the readings"] = lm_figures(
        folders["hybrid"], clips, lambda clip: [bool(i % 2) for i in range(len(clip.units))], "zh"
    )
    keep("hybrid", rows, "text alone, given text", {"steps": steps, "clips": clips})


# ----- the page -----------------------------------------------------------------------------------


def table(result: dict[str, Any]) -> str:
    """Means with intervals, and differences, as Markdown."""
    keys = list(next(iter(result["means"].values())))
    lines = ["| | " + " | ".join(keys) + " |", "|---" * (len(keys) + 1) + "|"]
    for who, found in result["means"].items():
        cells = [f"{v[0]:.3f} [{v[1]:.3f}, {v[2]:.3f}]" for v in (found[key] for key in keys)]
        lines.append(f"| {who} | " + " | ".join(cells) + " |")
    for who, found in result["differences"].items():
        cells = [
            f"{found[key][0]:+.3f} [{found[key][1]:+.3f}, {found[key][2]:+.3f}]"
            if key in found
            else "–"
            for key in keys
        ]
        lines.append(f"| {who} less {result['base']} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def page(steps: int, clips: int) -> None:
    """Print the tables that docs/claims.md holds."""
    for path in sorted(OUT.glob("*.json")):
        result = json.loads(path.read_text())
        print(f"\n## {path.stem}\n\n{json.dumps(result['about'])}\n\n{table(result)}")


CLAIMS = {
    "tokenizer": tokenizer,
    "vocoder": vocoder,
    "hours": hours,
    "hybrid": hybrid,
    "page": page,
}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", choices=CLAIMS)
    parser.add_argument("--steps", type=int, default=1_000)
    parser.add_argument("--clips", type=int, default=150)
    parser.add_argument("--variants", nargs="+", choices=TOKENIZERS, default=list(TOKENIZERS),
                        help="for tokenizer")  # fmt: skip
    parser.add_argument("--data", default=TOKENS, help="folder of tokens, for hours")
    parser.add_argument("--hours", type=float, nargs="+", default=HOURS, help="for hours")
    flags = parser.parse_args()
    torch.set_num_threads(1)
    if flags.name == "hours":
        hours(flags.steps, flags.clips, flags.data, flags.hours)
    elif flags.name == "tokenizer":
        tokenizer(flags.steps, flags.clips, flags.variants)
    else:
        CLAIMS[flags.name](flags.steps, flags.clips)


if __name__ == "__main__":
    main()
