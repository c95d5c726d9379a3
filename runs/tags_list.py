"""The list of `glmtts eval tags` in voices that no training has heard, and texts of nobody.

    python runs/tags_list.py data/nano/audio/valid_speaker runs/tags
    glmtts eval tags runs/tags/list.jsonl --component lm=runs/styles/lm/lm -o runs/tags/before

Each text of the built-in list gets a neutral clip of a held-out speaker of its language to be
cloned; the clips go beside the list. Shards need `audio` (glmtts data encode --stage audio).
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch

from glmtts.audio import Audio, AudioSpec
from glmtts.data.shards import Corpus
from glmtts.errors import BadInput
from glmtts.eval.cases import builtin
from glmtts.text.styles import style_of

SHORTEST_S, LONGEST_S = 3.0, 8.0


def main(shards: str, out: Path) -> None:
    """Write `out/list.jsonl` and `out/prompts`.

    Raises:
        BadInput: the shards hold no fitting clip of a language.
    """
    corpus, rng, rows = Corpus(shards), np.random.default_rng(0), list[dict[str, str]]()
    (out / "prompts").mkdir(parents=True, exist_ok=True)
    for case in builtin("tags"):
        fit = [
            i for i, clip in enumerate(corpus.clips)
            if clip.lang == case.language and style_of(clip.units) is None
            and SHORTEST_S <= clip.seconds <= LONGEST_S
        ]  # fmt: skip
        if not fit:
            raise BadInput(f"{shards} holds no neutral clip of 3 to 8 s in {case.language}.")
        index = int(rng.choice(fit))
        samples = torch.from_numpy(np.float32(corpus.array("audio", index)) / 32768)
        path = Path("prompts") / f"{case.id}.wav"
        Audio(samples, AudioSpec().sample_rate).save(out / path)
        clip = corpus.clips[index]
        rows.append({"id": case.id, "text": case.text, "language": case.language,
                     "prompt": str(path), "prompt_text": clip.text})  # fmt: skip
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (out / "list.jsonl").write_text(lines, encoding="utf-8")
    print(f"{out / 'list.jsonl'}: {len(rows)} texts")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
