"""A list for `glmtts eval laughter` out of one for `glmtts eval list`: half of it laughs, half not.

    python runs/laughs_list.py runs/heldout/held_out.jsonl runs/heldout/laughs.jsonl [--count 100]

Cases are taken evenly from the list. Every second one gets `[laughter]`: in turn before its first
word, after its last, and after a mark within (or before, where it has none).
"""

import argparse
import json
import os
from pathlib import Path

from glmtts.data.laughing import INNER_MARK

TAG = "[laughter]"


def main() -> None:
    """Choose and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--count", type=int, default=100, help="of cases (default: 100)")
    flags = parser.parse_args()
    rows = [json.loads(line) for line in flags.cases.read_text(encoding="utf-8").splitlines()]
    chosen = [rows[i * len(rows) // flags.count] for i in range(min(flags.count, len(rows)))]
    clips = flags.cases.parent.resolve()
    for number, row in enumerate(chosen):
        laughs = number % 2 == 0
        row["subset"] = "laughter" if laughs else "plain"
        row["prompt"] = os.path.relpath(clips / row["prompt"], flags.out.parent.resolve())
        if laughs:
            row["style"], row["text"] = "laughter", laughing(row["text"], number // 2 % 3)
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in chosen)
    flags.out.write_text(lines, encoding="utf-8")
    print(f"{len(chosen)} cases in {flags.out}")


def laughing(text: str, place: int) -> str:
    """A text with one laugh: 0 before it, 1 after it, 2 after its first mark."""
    if place == 1:
        return text + TAG
    mark = INNER_MARK.search(text) if place == 2 else None
    return text[: mark.end()] + TAG + text[mark.end() :] if mark else TAG + text


if __name__ == "__main__":
    main()
