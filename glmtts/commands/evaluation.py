"""`glmtts eval`: cases, a source and judges out of flags; then a run, its report and its table."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from glmtts.commands.say import component_folders
from glmtts.errors import BadInput
from glmtts.eval import cases as lists
from glmtts.eval import compare as comparing
from glmtts.eval import obedience
from glmtts.eval import report as reporting
from glmtts.eval.cases import Case
from glmtts.eval.metrics import wanted as wanted_metrics
from glmtts.eval.run import Plan, evaluate
from glmtts.eval.speaking import Folder, Source, Speaker
from glmtts.eval.tasks import TASKS, Task
from glmtts.judges.registry import SLOTS, wanted
from glmtts.rewards.shaped import REWARDS


def run(
    name: str,
    *,
    cases: Path | None,
    out: Path,
    model: str,
    audio: Path | None,
    judges: Sequence[str],
    only: bool,
    official: bool,
    subset: str,
    seeds: Sequence[int],
    limit: int,
    voice: str,
    workers: int,
    players: int,
    device: str,
    components: Sequence[str] = (),
    candidates: int | None = None,
    top_p: float | None = None,
) -> tuple[dict[str, Any], str]:
    """Run a task; its summary, and a table for people.

    Raises:
        BadInput: the list cannot be read, or flags contradict each other.
        GlmTtsError: the model or a judge cannot be loaded.
    """
    task = TASKS[name]
    said = spread(read_cases(task, cases, subset), limit)
    if task.styled:  # the limit is one of texts: every text is said in every style
        said = lists.in_every_style(said)
    if audio is not None and len(seeds) > 1:
        raise BadInput(
            "A folder holds one sound a case: give no more than one --seed with --audio."
        )
    asked = chosen(task, said, judges, only=only, official=official)
    plan = Plan(
        name, said, asked, out, tuple(dict.fromkeys(seeds)) or (0,), workers,
        source=str(cases or "built in"),
    )  # fmt: skip
    source: Source = Folder(audio) if audio is not None else Speaker(
        model, out / "audio", device=device, voice=voice, paced=task.paced, styled=task.styled,
        components=component_folders(components), candidates=candidates, top_p=top_p,
    )  # fmt: skip
    with tqdm(total=len(said) * len(plan.seeds), unit="case", desc=name) as bar:

        def tell(done: int, total: int) -> None:
            bar.update(done - bar.n)

        summary = evaluate(plan, source, tell=tell)
    path = reporting.write(out, players)
    return summary, f"{table(summary)}\n{path}"


def read_cases(task: Task, path: Path | None, subset: str) -> list[Case]:
    """The cases of a task from its kind of list.

    Raises:
        BadInput: it cannot be read, or none is given and none is built in.
    """
    if path is None:
        return lists.builtin(task.name)
    if task.name == "seed-tts":
        return lists.seed_tts(path, subset)
    if task.name == "emotion" and path.is_dir():
        return lists.cv3_emotion(path)
    return lists.own(path)


def spread(said: list[Case], limit: int) -> list[Case]:
    """`limit` cases evenly over a list; all of them for 0."""
    if not 0 < limit < len(said):
        return said
    return [said[i * len(said) // limit] for i in range(limit)]


def chosen(
    task: Task, said: Sequence[Case], judges: Sequence[str], *, only: bool, official: bool
) -> list[str]:
    """The judges of a run: those of the task, replaced and joined by those asked for.

    Raises:
        BadInput: --only without a judge.
    """
    if only and not judges:
        raise BadInput("--only wants at least one --judge.")
    usual = () if only else (task.official or task.judges) if official else task.judges
    slots = {wanted(one).slot: one for one in (*usual, *judges)}
    prompts = any(case.prompt for case in said)
    if not prompts and "sim" in slots and not any(wanted(j).slot == "sim" for j in judges):
        del slots["sim"]  # nobody's voice was asked for
    return list(slots.values())


def table(summary: dict[str, Any]) -> str:
    """The figures of a run for a terminal."""
    lines: list[str] = []
    for metric in wanted_metrics(list(summary["judges"])):
        found = summary["metrics"].get(metric.name)
        if found is None:
            continue
        mean = reporting.shown(found["mean"], metric)
        bounds = reporting.interval_shown(found, metric)
        groups = "  ".join(
            f"{name} {reporting.shown(one['mean'], metric)}"
            for name, one in found["groups"].items()
        )
        lines.append(f"{metric.name:22} {mean:>9}  {bounds:22} n={found['n']:<5} {groups}".rstrip())
    if summary.get("styles"):
        lines.append(obedience.text(summary["styles"]))
    if summary["missing"]:
        lines.append(f"{summary['missing']} without sound, counted as errors")
    for slot, found in summary["failed"].items():
        lines.append(f"{slot} failed on {found['count']}, left out: {'; '.join(found['reasons'])}")
    return "\n".join(lines)


def compare(a: Path, b: Sequence[Path]) -> tuple[dict[str, Any], str]:
    """Two finished runs (B may be several) compared; the result, and a table for people.

    Raises:
        BadInput: a folder holds no finished run, or nothing can be compared.
    """
    result = comparing.compare(a, *b)
    return result, comparing.to_text(result)


def report(folder: Path, players: int) -> Path:
    """Write the report of a finished run.

    Raises:
        BadInput: the folder holds none.
    """
    return reporting.write(folder, players)


def judges() -> str:
    """All judges and rewards, for people."""
    lines = ["Judges (--judge SLOT=KIND[:ARGUMENT]; the first kind of a slot is its default)"]
    for slot, kinds in SLOTS.items():
        for name, kind in kinds.items():
            takes = f" [:{kind.takes}]" if kind.takes else ""
            lines.append(f"  {slot + '=' + name + takes:38} {kind.about}")
    lines += ["", f"Rewards: {', '.join(REWARDS)}"]
    return "\n".join(lines)
