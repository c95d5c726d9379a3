"""What is said of a text, as JSON: sentences, readings, what decided them."""

from collections.abc import Iterable
from typing import Any

from glmtts.text.frontend import Said, Sentence
from glmtts.text.hybrid import Policy


def described(
    text: str, sentences: Iterable[Sentence], policy: Policy, *, explain: bool = False
) -> dict[str, Any]:
    """Sentences as JSON.

    Returns:
        `{"input", "sentences": [{"normalized", "readings": [{"index", "text", "reading"}]}]}`:
        `index` counts the characters of the input and is None where a character was not in it.
        With `explain` a reading has its `rule`, and a sentence `hybrid`, `pause_s` and
        `rewritten`.
    """
    return {
        "input": text,
        "sentences": [_sentence(s, policy, explain) for s in sentences if s.text or explain],
    }


def _sentence(sentence: Sentence, policy: Policy, explain: bool) -> dict[str, Any]:
    readings = [_reading(item, explain) for item in sentence.said if item.unit.phonemes]
    found: dict[str, Any] = {"normalized": sentence.text, "readings": readings}
    if explain:
        found["hybrid"] = sentence.hybrid(policy)
        found["pause_s"] = round(sentence.pause_s, 3)
        found["rewritten"] = [
            {"text": r.written, "spoken": r.spoken, "rule": r.rule} for r in sentence.rewritings
        ]
    return found


def _reading(item: Said, explain: bool) -> dict[str, Any]:
    found: dict[str, Any] = {
        "index": item.index, "text": item.unit.surface, "reading": item.reading,
    }  # fmt: skip
    return found | {"rule": item.rule} if explain else found
