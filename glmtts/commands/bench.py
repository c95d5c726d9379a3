"""`glmtts bench`: how fast a model is on this machine."""

from pathlib import Path
from typing import Any

from glmtts.bench import PARTS, Plan, measure, save, to_markdown
from glmtts.commands.say import tell


def bench(
    out: Path | None, *, model: str, random_weights: str | None, parts: tuple[str, ...], **more: Any
) -> tuple[dict[str, Any], str]:
    """Measure, with a line on standard error for each part; the results and their tables.

    Raises:
        BadInput: an unknown part.
        UnknownModel: no such model.
    """
    plan = Plan(model=None if random_weights else model, parts=parts or PARTS, **more)
    results = measure(plan, tell, lambda found: save(found, out) if out is not None else None)
    return results, to_markdown(results)
