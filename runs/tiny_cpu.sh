#!/usr/bin/env bash
# The story of nano.sh at a size for two minutes of one core: made-up sound instead of a teacher's,
# a few steps of every training, a model folder, a spoken file. It says nothing intelligible; it
# shows that every step takes what the one before leaves. Needs no network.
#
#   runs/tiny_cpu.sh [FOLDER]    by default a new folder under /tmp, removed at the end
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

PYTHON=${PYTHON:-.venv/bin/python}
if [ $# -gt 0 ]; then WORK=$1; else WORK=$(mktemp -d); trap 'rm -rf "$WORK"' EXIT; fi
glmtts() { "$PYTHON" -m glmtts "$@"; }
latest() { find "$1" -maxdepth 1 -name 'step_*' | sort | tail -n 1; }
AUDIO=(--data "$WORK/audio/train" --valid "$WORK/audio/valid_text" --device cpu --seed 0)
TOKENS=(--data "$WORK/tokens/train" --valid "$WORK/tokens/valid_text" --device cpu --seed 0)

# 1-2. Texts from templates; each syllable or word becomes a vowel-like buzz. A manifest as the
#      teacher would leave, a speaker encoder with random weights, a text tokenizer.
"$PYTHON" - "$WORK" <<'PY'
import random
import sys
import zlib
from pathlib import Path

import numpy as np
import torch

from glmtts import checkpoint
from glmtts.audio import Audio
from glmtts.data.manifest import Utterance, held_out_text, write_manifest
from glmtts.data.teacher_phonemes import arpabet_to_teacher
from glmtts.data.texts import from_templates, hanzi_pinyin
from glmtts.speaker import SpeakerConfig, SpeakerEncoder
from glmtts.text import english
from glmtts.text.tokenizer import build_nano_tokenizer

work, rng, rate = Path(sys.argv[1]), random.Random(0), 24_000
(work / "clips").mkdir(parents=True, exist_ok=True)


def buzz(sounds: list[str], pitch: float) -> np.ndarray:
    parts = []
    for sound in sounds:
        formants = np.random.default_rng(zlib.crc32(sound.encode())).uniform(300, 3_000, 2)
        time = np.arange(int(0.18 * rate)) / rate
        tone = sum(
            np.exp(-np.min(np.abs(formants - k * pitch)) / 200) * np.sin(2 * np.pi * k * pitch * time)
            for k in range(1, 30)
        )
        parts.append(tone * np.hanning(len(time)))
    sound = np.concatenate([np.zeros(rate // 10), *parts, np.zeros(rate // 10)])
    return (0.3 * sound / np.abs(sound).max()).astype(np.float32)


zh, en = (from_templates(f"{lang}_question", 200, rng) for lang in ("zh", "en"))
texts = [("zh", t) for t in zh] + [("en", t) for t in en]
kept = [t for t in texts if held_out_text(t[1])][:4] + [t for t in texts if not held_out_text(t[1])]
clips = []
for number, (lang, text) in enumerate(kept[:4] + rng.sample(kept[4:], 36)):
    words = text.strip("?").split()
    pinyin = tuple(hanzi_pinyin(text)) if lang == "zh" else None
    spoken = [arpabet_to_teacher(english.pronounce(w.strip(",'?"))) for w in words] if not pinyin else []
    timbre, pitch = rng.choice([("af_nova", 220.0), ("af_sky", 200.0), ("am_adam", 110.0)])
    if number < 4:
        timbre, pitch = "am_adam", 110.0
    audio = Audio(torch.from_numpy(buzz(list(pinyin or spoken), pitch)), rate)
    audio.save(work / "clips" / f"{number:03d}.wav")
    clips.append(
        Utterance(
            f"{number:03d}.wav", lang, f"{timbre}|{timbre}", text, round(audio.seconds, 3), None, 1.0,
            pinyin, " ".join(spoken),
        )
    )  # fmt: skip
write_manifest(work / "clips" / "manifest.jsonl", clips)
torch.manual_seed(0)
checkpoint.save(SpeakerEncoder(SpeakerConfig()), work / "speaker")
build_nano_tokenizer([text for _, text in texts], work / "text_tokenizer", speech_count=64, merges=50)
PY

# 3. Shards of sound and pitch.
glmtts data encode "$WORK/clips/manifest.jsonl" "$WORK/audio" --stage audio --workers 1

# 4-5. The speech tokenizer from random weights, then shards of tokens.
glmtts train tokenizer "${AUDIO[@]}" --out "$WORK/tokenizer" --steps 12 --vq-from 4 --warmup 2 \
  --seconds-per-batch 6 --frozen-layers -1 --save-every 6 --valid-every 12 --restart-every 4 \
  --model.dim 32 --model.heads 2 --model.ffn 64 --model.layers 1 --model.codes 64 \
  --model.code-dim 16 --heads.code-dim 16 --heads.dim 32 --heads.layers 1
for split in train valid_text valid_speaker; do
  glmtts data encode "$WORK/audio/$split" "$WORK/tokens/$split" --stage tokens \
    --tokenizer "$(latest "$WORK/tokenizer")" --speaker "$WORK/speaker"
done

# 6. Language model, flow, vocoder.
glmtts train lm "${TOKENS[@]}" --out "$WORK/lm" --tokenizer "$WORK/text_tokenizer" --steps 8 \
  --rows 2 --row-length 256 --warmup 2 --save-every 4 --valid-every 8 --valid-batches 1 \
  --model.speech-count 64 --model.hidden-size 32 --model.layers 2 --model.heads 2 \
  --model.kv-heads 2 --model.head-dim 16 --model.ffn-size 64 --model.align-layer 1
glmtts train flow "${TOKENS[@]}" --out "$WORK/flow" --steps 8 --frames-per-batch 400 \
  --max-frames 200 --warmup 2 --save-every 4 --valid-every 8 --valid-clips 1 \
  --model.network.vocab-size 64 --model.network.dim 32 --model.network.layers 2 \
  --model.network.heads 2 --model.network.ff-dim 64 --model.network.token-dim 16
glmtts train vocoder "${AUDIO[@]}" --out "$WORK/vocoder" --steps 4 --batch 2 --crop-seconds 0.4 \
  --warmup 1 --adversarial-from 2 --disc-channels 4 --save-every 2 --valid-every 4 --valid-clips 1 \
  --model.dims 32 --model.blocks 2 --model.hidden 64

# 7. The model folder, and a word from it.
"$PYTHON" -m glmtts.convert.assemble "$WORK/model" --name tiny --trained-by runs/tiny_cpu.sh \
  --text-tokenizer "$WORK/text_tokenizer" --speech-tokenizer "$(latest "$WORK/tokenizer")" \
  --speaker "$WORK/speaker" --lm "$(latest "$WORK/lm")" --flow "$(latest "$WORK/flow")" \
  --vocoder "$(latest "$WORK/vocoder")"
glmtts say "你好。" --model "$WORK/model" --voice "$WORK/clips/004.wav" -o "$WORK/hello.wav"
test -s "$WORK/hello.wav"
echo "ok"
