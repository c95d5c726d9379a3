#!/usr/bin/env bash
# Control tags for glmtts-nano: [happy] [sad] [angry] [surprised], from rule-made styled speech.
#
#   runs/styles.sh               on two CPU cores: some hours, most of them the teacher's
#
# Every step can be interrupted (Ctrl-C) and goes on where it was when this is started again.
# Environment: PYTHON (the interpreter of an environment with glmtts[train,teacher]), COUNT (texts a
# language), DATA, RUNS, CACHE.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

PYTHON=${PYTHON:-.venv/bin/python}
COUNT=${COUNT:-6000}
DATA=${DATA:-data/styles}
RUNS=${RUNS:-runs/styles}
CACHE=${CACHE:-data/packages}
NANO=glmtts/assets/nano
glmtts() { "$PYTHON" -m glmtts "$@"; }
mkdir -p "$DATA" "$RUNS" "$CACHE"

# 1. Other texts than those of nano (another seed); three in four are said in a style.
[ -f "$DATA/texts.jsonl" ] ||
  glmtts data texts "$DATA/texts.jsonl" --cache "$CACHE" --zh "$COUNT" --en "$COUNT" --mix 0 --seed 7
[ -f "$DATA/clips/manifest.jsonl" ] ||
  glmtts data speak "$DATA/texts.jsonl" "$DATA/clips" --cache "$CACHE" --seed 7 --styled 0.75

# 2. Sound to tokens with nano's own tokenizer; the tag is the first unit of a styled clip.
glmtts data encode "$DATA/clips/manifest.jsonl" "$DATA/audio" --stage audio
for split in train valid_text valid_speaker; do
  glmtts data encode "$DATA/audio/$split" "$DATA/tokens/$split" --stage tokens \
    --tokenizer "$NANO/speech_tokenizer" --speaker "$NANO/speaker"
done

# 3. The language model learns the tags, and says so in its configuration.
glmtts train lm --recipe styles --data "$DATA/tokens/train" --valid "$DATA/tokens/valid_text" \
  --out "$RUNS/lm"
glmtts say "What a day!" --component "lm=$RUNS/lm/lm" --emotion happy -o "$RUNS/happy.wav"

# 4. The flow is told styles: the guided flow of runs/nano.sh is trained on with them, and the unguided
# one learns from it what is said in a style, and from the one of before all else. Then it gets the
# adapter that takes its guidance out, for training voices.
latest() { ls -d "$1"/step_* | sort | tail -1; }
FLOWS=${FLOWS:-runs/nano}
HEARD=data/nano/tokens/train,$DATA/tokens/train
if [ -d "$FLOWS/flow_unguided" ]; then
  glmtts train flow --recipe unguided --styled --data "$HEARD" --valid "$DATA/tokens/valid_text" \
    --init "$(latest "$FLOWS/flow")" --steps 600 --lr 4e-4 --out "$RUNS/flow_styled"
  glmtts train flow --recipe unguided --styled --data "$HEARD" --valid "$DATA/tokens/valid_text" \
    --init "$(latest "$FLOWS/flow_unguided")" --guided-by "$(latest "$RUNS/flow_styled")" \
    --plain-by "$(latest "$FLOWS/flow")" --steps 500 --out "$RUNS/flow"
  glmtts train plain --recipe nano --flow "$(latest "$RUNS/flow")" --steps 200 --out "$RUNS/plain"
  cp -r "$RUNS/plain/plain" "$(latest "$RUNS/flow")/plain"
fi

# 5. Reinforcement pays for the style that is asked for; another judge tells what came of it, on 50
# texts in every style (docs/styles.md says how to give them voices that no training heard).
glmtts eval tags --component "lm=$RUNS/lm/lm" -o "$RUNS/before"
glmtts train grpo --recipe styles --texts "$DATA/tokens/train" --valid "$DATA/tokens/valid_text" \
  --init "$RUNS/lm/lm" --out "$RUNS/grpo"
glmtts eval tags --component "lm=$RUNS/grpo/lm" -o "$RUNS/after"
glmtts eval compare "$RUNS/before" "$RUNS/after"
