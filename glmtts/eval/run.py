"""One evaluation from cases to files. Read `evaluate` first.

The folder of a run holds `run.json` (what was asked for), `audio/`, `results.jsonl` (a line for
each case and seed, written as they come), `summary.json` (figures) and `report.html`. An
interrupted run goes on where it stopped; a judge added later hears what is there.
"""

import hashlib
import json
import os
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from glmtts import __version__
from glmtts.audio import Audio
from glmtts.errors import BadInput, GlmTtsError
from glmtts.eval.cases import Case
from glmtts.eval.metrics import summarised
from glmtts.eval.obedience import obedience
from glmtts.eval.speaking import Source, Spoken
from glmtts.judges.base import Failed, Judge, Sample
from glmtts.judges.registry import Wanted, wanted
from glmtts.rewards.pool import Pool, WorkerPool

RUN_FILE, ROWS_FILE, SUMMARY_FILE = "run.json", "results.jsonl", "summary.json"
BATCH = 8
"""Cases spoken and judged together; what an interruption can cost."""


@dataclass(frozen=True)
class Plan:
    """What is evaluated.

    Attributes:
        task: Key of `tasks.TASKS`.
        cases: What is said.
        judges: Judges asked for, one a slot.
        out: Folder of the run.
        seeds: Each case is spoken once for each.
        workers: Processes for each judge; 0 judges in this process.
        source: Where the list is from, for the summary.
    """

    task: str
    cases: Sequence[Case]
    judges: Sequence[str]
    out: Path
    seeds: Sequence[int] = (0,)
    workers: int = 0
    source: str = ""
    wanted: dict[str, Wanted] = field(init=False)

    def __post_init__(self) -> None:
        """Refuse what cannot be run.

        Raises:
            BadInput: no cases or seeds, an unknown judge, or two judges in one slot.
        """
        if not self.cases or not self.seeds:
            raise BadInput("There is nothing to evaluate: no cases or no seeds.")
        found: dict[str, Wanted] = {}
        for asked in self.judges:
            one = wanted(asked)
            if one.slot in found:
                raise BadInput(f"Two judges for {one.slot}: {found[one.slot]} and {one}.")
            found[one.slot] = one
        object.__setattr__(self, "wanted", found)


def evaluate(
    plan: Plan,
    source: Source,
    *,
    tell: Callable[[int, int], None] = lambda done, total: None,
    make: Callable[[Wanted], Judge] | None = None,
) -> dict[str, Any]:
    """Speak or find every case, have it judged, write rows and summary; returns the summary.

    Args:
        plan: What to do.
        source: Gives the sounds.
        tell: Is told how many rows of how many are done.
        make: Makes a judge; for tests.

    Raises:
        BadInput: `out` holds another run.
        GlmTtsError: a judge cannot be made; the message says what it lacks.
    """
    claim(plan, source)
    wishes = [(case, seed) for case in plan.cases for seed in plan.seeds]
    rows = read_rows(plan.out)
    judges = {slot: (make or _maker(plan.workers))(one) for slot, one in plan.wanted.items()}
    try:
        versions = {slot: judge.version for slot, judge in judges.items()}
        with (plan.out / ROWS_FILE).open("a", encoding="utf-8") as stream:
            tell(0, len(wishes))
            for start in range(0, len(wishes), BATCH):
                batch = wishes[start : start + BATCH]
                for row in _batch(batch, rows, source, judges, versions, plan.out):
                    stream.write(json.dumps(row, ensure_ascii=False, default=_plain) + "\n")
                    stream.flush()
                    rows[(row["case"]["id"], row["seed"])] = row
                tell(min(start + BATCH, len(wishes)), len(wishes))
    finally:
        for judge in judges.values():
            if isinstance(judge, Pool):
                judge.close()
    ordered = [rows[(case.id, seed)] for case, seed in wishes]
    _write(plan.out / ROWS_FILE, "".join(
        json.dumps(row, ensure_ascii=False, default=_plain) + "\n" for row in ordered
    ))  # fmt: skip
    summary = summarise(plan, source, ordered, judges)
    _write(plan.out / SUMMARY_FILE, json.dumps(summary, ensure_ascii=False, indent=1) + "\n")
    return summary


def _maker(workers: int) -> Callable[[Wanted], Judge]:
    return (lambda one: WorkerPool(one, workers)) if workers else (lambda one: one())


def claim(plan: Plan, source: Source) -> None:
    """Make the folder of the run, or check that it is of this one.

    Raises:
        BadInput: it holds a run of other cases or another source, or a case's clip is missing.
        GlmTtsError: it cannot be written.
    """
    for case in plan.cases:
        if case.prompt and not Path(case.prompt).is_file():
            raise BadInput(f"The clip of {case.id} is missing: {case.prompt}.")
    texts = [case.to_dict() for case in plan.cases]
    digest = hashlib.sha256(json.dumps(texts, sort_keys=True).encode()).hexdigest()
    mine = {"task": plan.task, "cases_sha256": digest, "source": source.describe()}
    path = plan.out / RUN_FILE
    try:
        plan.out.mkdir(parents=True, exist_ok=True)
        if path.is_file():
            theirs: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            different = [key for key, value in mine.items() if theirs.get(key) != value]
            if different:
                raise BadInput(
                    f"{plan.out} holds another run ({different[0]} differs). "
                    "Choose another folder with --out, or delete that one."
                )
        _write(path, json.dumps({**mine, "list": plan.source}, indent=1) + "\n")
    except (OSError, ValueError) as error:
        if isinstance(error, GlmTtsError):
            raise
        raise GlmTtsError(f"Cannot use the folder {plan.out} ({error}).") from error


def read_rows(folder: Path) -> dict[tuple[str, int], dict[str, Any]]:
    """Rows of a run by case and seed; of two the later counts, a half-written last line does not.

    Raises:
        BadInput: a line that is not the last is damaged.
    """
    path = folder / ROWS_FILE
    rows: dict[tuple[str, int], dict[str, Any]] = {}
    if not path.is_file():
        return rows
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            rows[(row["case"]["id"], row["seed"])] = row
        except (ValueError, KeyError, TypeError) as error:
            if number == len(lines) and not text.endswith("\n"):
                path.write_text("".join(f"{one}\n" for one in lines[:-1]), encoding="utf-8")
                break
            raise BadInput(f"{path}, line {number} is damaged ({error}). Delete it.") from error
    return rows


def _batch(
    wishes: Sequence[tuple[Case, int]],
    rows: Mapping[tuple[str, int], dict[str, Any]],
    source: Source,
    judges: Mapping[str, Judge],
    versions: Mapping[str, str],
    out: Path,
) -> Iterator[dict[str, Any]]:
    """New or completed rows of some cases."""
    open_rows: list[dict[str, Any]] = []
    for case, seed in wishes:
        row = rows.get((case.id, seed))
        if row is None or not row["audio"] or not sound_of(row, out).is_file():
            row = _row(case, seed, source.sound(case, seed), out)
        lacking = [slot for slot in judges if not _judged(row, slot, versions[slot])]
        if row["missing"] or lacking or (case.id, seed) not in rows:
            open_rows.append(row)
    sounds = [None if row["missing"] else Audio.load(sound_of(row, out)) for row in open_rows]
    for slot, judge in judges.items():
        to_judge = [
            (row, sample(case_of(row), sound, row["finish_reason"]))
            for row, sound in zip(open_rows, sounds, strict=True)
            if sound is not None and not _judged(row, slot, versions[slot])
        ]
        verdicts = judge([one for _, one in to_judge])
        for (row, _), verdict in zip(to_judge, verdicts, strict=True):
            found: dict[str, Any] = {"version": versions[slot]}
            if isinstance(verdict, Failed):
                found["failed"] = verdict.reason
            else:
                found |= {"value": verdict.value, "detail": dict(verdict.detail)}
            row["judges"][slot] = found
    yield from open_rows


def _row(case: Case, seed: int, spoken: Spoken, out: Path) -> dict[str, Any]:
    readable = spoken.path is not None and _readable(spoken.path)
    error = spoken.error or ("" if readable else f"{spoken.path} cannot be read as sound")
    path = spoken.path.resolve() if spoken.path is not None and readable else None
    if path is not None and path.is_relative_to(out.resolve()):
        path = path.relative_to(out.resolve())
    return {
        "case": case.to_dict(), "seed": seed, "audio": None if path is None else path.as_posix(),
        "missing": not readable, "error": error, "timing": spoken.timing,
        "finish_reason": spoken.finish_reason, "judges": {},
    }  # fmt: skip


def sound_of(row: Mapping[str, Any], out: Path) -> Path:
    """The file of a row's sound; one that was spoken for a run lies inside its folder."""
    return out / row["audio"]


def _readable(path: Path) -> bool:
    try:
        Audio.load(path)
    except GlmTtsError:
        return False
    return True


def _judged(row: Mapping[str, Any], slot: str, version: str) -> bool:
    found = row["judges"].get(slot)
    return found is not None and found.get("version") == version and "failed" not in found


def case_of(row: Mapping[str, Any]) -> Case:
    """The case of a row."""
    kept = dict(row["case"])
    if "laugh" in kept:
        kept["laugh"] = tuple(kept["laugh"])
    return Case(**kept)


def sample(case: Case, audio: Audio, finish_reason: str | None = None) -> Sample:
    """What judges hear of a case."""
    return Sample(
        Audio(audio.samples, audio.sample_rate, finish_reason), case.text, case.language,
        _clip(case.prompt) if case.prompt else None, case.style or None,
        _clip(case.reference) if case.reference and Path(case.reference).is_file() else None,
    )  # fmt: skip


@lru_cache(maxsize=128)
def _clip(path: str) -> Audio:
    return Audio.load(path)


def summarise(
    plan: Plan, source: Source, rows: Sequence[Mapping[str, Any]], judges: Mapping[str, Judge]
) -> dict[str, Any]:
    """What `summary.json` holds."""
    failed: dict[str, Any] = {}
    for slot in judges:
        reasons = [row["judges"].get(slot, {}).get("failed") for row in rows]
        found = [reason for reason in reasons if reason]
        if found:
            failed[slot] = {"count": len(found), "reasons": list(dict.fromkeys(found))[:3]}
    return {
        "task": plan.task,
        "source": source.describe(),
        "list": plan.source,
        "cases": len(plan.cases),
        "seeds": list(plan.seeds),
        "missing": sum(bool(row["missing"]) for row in rows),
        "failed": failed,
        "judges": {
            slot: {"asked": str(plan.wanted[slot]), "name": judge.name, "version": judge.version}
            for slot, judge in judges.items()
        },
        "metrics": summarised(rows, list(judges)),
        "styles": obedience(rows),
        "hardware": hardware(),
        "glmtts": __version__,
        "finished": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def hardware() -> dict[str, Any]:
    """What times depend on."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "gpu": gpu, "cpu": _cpu(), "cores": os.cpu_count(), "threads": torch.get_num_threads(),
        "system": platform.platform(), "python": platform.python_version(),
        "torch": torch.__version__,
    }  # fmt: skip


def _cpu() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _plain(value: Any) -> Any:
    """Numpy's numbers as Python's."""
    return value.item() if hasattr(value, "item") else str(value)


def _write(path: Path, text: str) -> None:
    """Write beside and rename: whoever reads sees all of it."""
    draft = path.with_name(f".{path.name}.tmp")
    draft.write_text(text, encoding="utf-8")
    os.replace(draft, path)
