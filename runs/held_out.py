"""A list for `glmtts eval list`: held-out texts in held-out voices.

    python runs/held_out.py CORPUS/manifest.jsonl OUT [--voices 4]

Writes OUT/held_out.jsonl with every text of the split `valid_text` of 2 to 9 s once, and the clips
of the speakers of `valid_speaker` that say them: a few of each language, in turn.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from glmtts.data.manifest import Utterance, read_clips, read_manifest


def main() -> None:
    """Choose, cut out the clips, write the list."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--voices", type=int, default=4, help="of each language (default: 4)")
    flags = parser.parse_args()
    flags.out.mkdir(parents=True, exist_ok=True)
    clips = read_manifest(flags.manifest)
    rows: list[dict[str, str]] = []
    for language in ("zh", "en"):
        prompts = speakers(clips, language, flags.voices)
        for clip, sound in read_clips(flags.manifest.parent, sorted(prompts, key=place)):
            sound.save(flags.out / f"{language}-{clip.id}.wav")
        for index, (text, clip) in enumerate(held_out_sentences(clips, language).items()):
            prompt = prompts[index % len(prompts)]
            rows.append({
                "id": f"{language}-{clip.id}", "text": text, "language": language,
                "prompt": f"{language}-{prompt.id}.wav", "prompt_text": prompt.text,
                "subset": language,
            })  # fmt: skip
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (flags.out / "held_out.jsonl").write_text(lines, encoding="utf-8")
    print(f"{len(rows)} cases in {flags.out / 'held_out.jsonl'}")


def held_out_sentences(clips: Sequence[Utterance], language: str) -> dict[str, Utterance]:
    """Every text of `language` that no training heard, which took 2 to 9 s; and a clip of it."""
    return {
        clip.text: clip
        for clip in clips
        if clip.split == "valid_text" and clip.lang == language and 2 < clip.seconds < 9
    }


def speakers(clips: list[Utterance], language: str, count: int) -> list[Utterance]:
    """One clip of 4 to 8 s of each of `count` held-out speakers, spread over all there are."""
    first: dict[str, Utterance] = {}
    for clip in clips:
        if clip.split == "valid_speaker" and clip.lang == language and 4 <= clip.seconds <= 8:
            first.setdefault(clip.speaker, clip)
    found = list(first.values())
    return found[:: max(1, len(found) // count)][:count]


def place(clip: Utterance) -> str:
    """Clips of a shard are read together."""
    return clip.shard or ""


if __name__ == "__main__":
    main()
