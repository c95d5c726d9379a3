#!/usr/bin/env bash
# glmtts-nano from nothing: texts, a teacher's speech, shards, four trainings, a model folder.
#
#   runs/nano.sh                 on two CPU cores: about a day; on a GPU the trainings take an hour
#
# Every step can be interrupted (Ctrl-C) and goes on where it was when this is started again.
# Environment: PYTHON (the interpreter of an environment with glmtts[train,teacher]), DATA, RUNS, OUT.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

PYTHON=${PYTHON:-.venv/bin/python}
DATA=${DATA:-data/nano}
RUNS=${RUNS:-runs/nano}
OUT=${OUT:-glmtts/assets/nano}
CACHE=${CACHE:-data/packages}
glmtts() { "$PYTHON" -m glmtts "$@"; }
latest() { find "$1" -maxdepth 1 -name 'step_*' | sort | tail -n 1; }
mkdir -p "$DATA" "$RUNS" "$CACHE"

# The recipes of `glmtts train` read data/nano; elsewhere the folders are given as flags.
AUDIO=(--data "$DATA/audio/train" --valid "$DATA/audio/valid_text")
TOKENS=(--data "$DATA/tokens/train" --valid "$DATA/tokens/valid_text")

# 1. What is said: 26,000 texts out of packages and templates, and 1,200 that are no sentences (1 minute).
[ -f "$DATA/texts.jsonl" ] ||
  glmtts data texts "$DATA/texts.jsonl" --cache "$CACHE" --bare 600

# 2. Who says it: the Kokoro teacher in some hundred voices (about 25 hours of speech; a core makes
#    two to five hours of speech an hour). 5 % of texts and six timbres stay out of every training.
[ -f "$DATA/clips/manifest.jsonl" ] ||
  glmtts data speak "$DATA/texts.jsonl" "$DATA/clips" --cache "$CACHE" --compile

# 3. Sound and pitch in shards, for the speech tokenizer and the vocoder.
glmtts data encode "$DATA/clips/manifest.jsonl" "$DATA/audio" --stage audio

# 4. What is there already: Whisper's encoder to start from, the speaker encoder, the text tokenizer.
[ -f "$DATA/whisper-base-encoder.safetensors" ] ||
  glmtts data whisper "$DATA/whisper-base-encoder.safetensors" --cache "$CACHE"
if [ ! -d "$DATA/speaker" ]; then
  "$PYTHON" -m pip download --quiet --no-deps -d "$CACHE" resemblyzer==0.1.4
  "$PYTHON" -m glmtts.convert.resemblyzer "$CACHE"/*esemblyzer-0.1.4*.whl "$DATA/speaker"
fi
[ -d "$DATA/text_tokenizer" ] || "$PYTHON" - "$DATA" <<'PY'
import sys
from pathlib import Path

from glmtts.data.texts import read_texts
from glmtts.text.tokenizer import build_nano_tokenizer

data = Path(sys.argv[1])
texts = [text.text for text in read_texts(data / "texts.jsonl")]
build_nano_tokenizer(texts, data / "text_tokenizer")
PY

# 5. Sound to tokens. Everything after this depends on the ids it settles on.
glmtts train tokenizer --recipe nano "${AUDIO[@]}" --out "$RUNS/tokenizer" \
  --whisper "$DATA/whisper-base-encoder.safetensors"
TOKENIZER=$(latest "$RUNS/tokenizer")
for split in train valid_text valid_speaker; do
  glmtts data encode "$DATA/audio/$split" "$DATA/tokens/$split" --stage tokens \
    --tokenizer "$TOKENIZER" --speaker "$DATA/speaker"
done
for speed in 0.9 1.12; do # the same texts by other, made-up speakers, for the language model
  glmtts data encode "$DATA/audio/train" "$DATA/tokens/train_x$speed" --stage tokens \
    --tokenizer "$TOKENIZER" --speaker "$DATA/speaker" --speed "$speed"
done
glmtts data encode "$DATA/audio/train" "$DATA/tokens/train_recorded" --stage tokens \
  --tokenizer "$TOKENIZER" --speaker "$DATA/speaker" --as-recorded

# 6. The other three depend on nothing of each other; with cores to spare run them side by side.
SPOKEN=$DATA/tokens/train
glmtts train lm --recipe nano --data "$SPOKEN,${SPOKEN}_x0.9,${SPOKEN}_x1.12,${SPOKEN}_recorded" \
  --valid "$DATA/tokens/valid_text" --out "$RUNS/lm" --codebook "$TOKENIZER" \
  --tokenizer "$DATA/text_tokenizer"
glmtts train flow --recipe nano "${TOKENS[@]}" --out "$RUNS/flow" --codebook "$TOKENIZER"
glmtts train flow --recipe unguided "${TOKENS[@]}" --init "$(latest "$RUNS/flow")" \
  --guided-by "$(latest "$RUNS/flow")" --out "$RUNS/flow_unguided"
glmtts train vocoder --recipe nano "${AUDIO[@]}" --out "$RUNS/vocoder"
glmtts train vocoder --recipe refined "${AUDIO[@]}" --init "$(latest "$RUNS/vocoder")" \
  --out "$RUNS/vocoder_refined"
# The flow once more, with the vocoder and the tokenizer that will hear it.
glmtts train flow-cycle --recipe nano "${TOKENS[@]}" --init "$(latest "$RUNS/flow_unguided")" \
  --vocoder "$(latest "$RUNS/vocoder_refined")" --tokenizer "$TOKENIZER" --out "$RUNS/flow_cycle"

# 7. A model folder with twelve voices: six of each language, three of each gender.
"$PYTHON" -m glmtts.convert.assemble "$OUT" --trained-by runs/nano.sh \
  --text-tokenizer "$DATA/text_tokenizer" --speech-tokenizer "$TOKENIZER" \
  --speaker "$DATA/speaker" --lm "$(latest "$RUNS/lm")" --flow "$(latest "$RUNS/flow_cycle")" --guidance 0 \
  --vocoder "$(latest "$RUNS/vocoder_refined")" --manifest "$DATA/clips/manifest.jsonl" \
  --voice 'mei=zf_xiaoxiao|zf_xiaoxiao' --voice 'lin=af_sarah|zf_xiaobei' \
  --voice 'bo=zm_yunxi|zm_yunxi' --voice 'jun=zm_yunjian|zm_yunjian' \
  --voice 'xue=zf_xiaobei|zf_xiaobei' --voice 'yang=zm_yunyang|zm_yunyang' \
  --voice 'anna=af_heart|af_heart' --voice 'emma=bf_emma|bf_emma' \
  --voice 'jack=am_michael|am_michael' --voice 'tom=bm_george|bm_george' \
  --voice 'nora=af_kore|af_kore' --voice 'max=am_fenrir|am_fenrir'
glmtts say "你好，世界。" --model "$OUT" -o "$RUNS/hello.wav"
