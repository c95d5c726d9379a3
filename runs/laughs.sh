#!/usr/bin/env bash
# [laughter] for glmtts-nano, from laughs that are made of the speakers' own voices.
#
#   runs/laughs.sh               on two CPU cores: about an hour
#
# Every step can be interrupted (Ctrl-C) and goes on where it was when this is started again.
# Environment: PYTHON (the interpreter of an environment with glmtts[train,eval] and the packages of
# the judge of laughter, docs/evaluate.md), SPEECH (a manifest of plain clips), COUNT, DATA, RUNS.
# Needs the shards of runs/nano.sh beside them (data/nano/tokens).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

PYTHON=${PYTHON:-.venv/bin/python}
SPEECH=${SPEECH:-data/nano/clips/manifest.jsonl}
COUNT=${COUNT:-400}
DATA=${DATA:-data/laughs}
RUNS=${RUNS:-runs/laughs}
NANO=glmtts/assets/nano
glmtts() { "$PYTHON" -m glmtts "$@"; }
mkdir -p "$DATA" "$RUNS"

# 1. Short clips of as many speakers as there are, half of them Mandarin; those with a mark inside
#    first, since people also laugh between their words.
[ -f "$DATA/source.jsonl" ] || "$PYTHON" - "$SPEECH" "$DATA/source.jsonl" "$COUNT" <<'PY'
import os
import random
import sys
from dataclasses import replace
from pathlib import Path

from glmtts.data.laughing import INNER_MARK
from glmtts.data.manifest import read_manifest, write_manifest

speech, out, count = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
clips = [clip for clip in read_manifest(speech) if 1.2 <= clip.seconds <= 4.2 and not clip.style]
rng = random.Random(0)
rng.shuffle(clips)
clips.sort(key=lambda clip: not (INNER_MARK.search(clip.text) and rng.random() < 0.8))
seen: dict[str, int] = {}
rank = []
for clip in clips:  # the first clip of every speaker, then the second ...
    rank.append(seen.setdefault(clip.speaker, 0))
    seen[clip.speaker] += 1
order = [clip for _, clip in sorted(zip(rank, clips), key=lambda pair: pair[0])]
half = [[c for c in order if (c.lang == "en") == english][: count // 2] for english in (False, True)]
up = Path(os.path.relpath(speech.parent, out.parent))
chosen = [
    replace(c, shard=str(up / c.shard)) if c.shard else replace(c, file=str(up / c.file))
    for c in sorted(half[0] + half[1], key=lambda c: (c.shard or "", c.file))
]
write_manifest(out, chosen)
PY

# 2. A laugh in each, where the judge of laughter is sure of it.
[ -f "$DATA/clips/manifest.jsonl" ] ||
  glmtts data laugh "$DATA/source.jsonl" "$DATA/clips"

# 3. Sound to tokens with nano's own tokenizer; [laughter] is a unit of its clip.
glmtts data encode "$DATA/clips/manifest.jsonl" "$DATA/audio" --stage audio
for split in train valid_text valid_speaker; do
  glmtts data encode "$DATA/audio/$split" "$DATA/tokens/$split" --stage tokens \
    --tokenizer "$NANO/speech_tokenizer" --speaker "$NANO/speaker"
done

# 4. A small net learns to tell laughs from pauses, for the choice among candidates and for GRPO.
[ -d "$NANO/speech_tokenizer/laughs" ] || {
  glmtts train laugh-judge --recipe nano --data "$DATA" --out "$RUNS/judge"
  cp -r "$RUNS/judge/judge" "$NANO/speech_tokenizer/laughs"
}

# 5. The flow learns what laughs sound like: without it they come out in the pitch of speech.
glmtts train flow --recipe laughs --out "$RUNS/flow"

# 6. The language model learns where they stand, together with the styles of runs/styles.sh if any.
LM_DATA="$DATA/tokens/train,data/nano/tokens/train"
[ ! -d data/styles/tokens/train ] || LM_DATA="$LM_DATA,data/styles/tokens/train"
glmtts train lm --recipe styles --data "$LM_DATA" --valid "$DATA/tokens/valid_text" \
  --out "$RUNS/lm"
glmtts say "That was funny. [laughter]" --component "lm=$RUNS/lm/lm" \
  --component "flow=$RUNS/flow/flow" -o "$RUNS/laugh.wav"
