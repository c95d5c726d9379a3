"""`glmtts eval`."""

from pathlib import Path
from typing import Any

import click

from glmtts.cli.options import COMPONENT, DEVICE, JSON, MODEL, OUT, PATH, print_json


@click.group(name="eval")
def evaluation() -> None:
    """Measure a model, or a folder of sounds: figures, intervals, a report to listen to.

    An interrupted run goes on where it stopped. Judges: `glmtts eval judges`.
    """


def _task(name: str, about: str, cases: str, *, needs_cases: bool, subset: str = "") -> None:
    @evaluation.command(name, help=about)
    @click.argument("cases", metavar=cases, type=PATH, required=needs_cases)
    @OUT
    @MODEL
    @COMPONENT
    @click.option("--audio", type=PATH, help="Judge the sounds CASE.wav in this folder instead.")
    @click.option(
        "--judge",
        "judges",
        multiple=True,
        metavar="SLOT[=KIND]",
        help="Add a judge, or another kind of one; repeatable.",
    )
    @click.option("--only", is_flag=True, help="No judges but those given with --judge.")
    @click.option("--official", is_flag=True, help="The judges of published figures.")
    @click.option("--subset", default=subset, help="zh, en or hard (seed-tts).", hidden=not subset)
    @click.option("--seed", "seeds", type=int, multiple=True, help="Repeatable; 0 if absent.")
    @click.option("--limit", default=0, help="Only so many cases, evenly over the list.")
    @click.option("-v", "--voice", default="", help="Voice of cases that ask for none.")
    @click.option(
        "--candidates",
        type=click.IntRange(min=1),
        help="Utterances drawn for each sentence, of which the best is kept; the model's own "
        "number if absent.",
    )
    @click.option(
        "--top-p",
        type=click.FloatRange(0.0, 1.0, min_open=True),
        help="Nucleus that speech tokens are drawn from; the model's own if absent.",
    )
    @click.option("--workers", default=0, help="Processes for each judge; 0: in this one.")
    @click.option("--players", default=24, show_default=True, help="Sounds in the report.")
    @DEVICE
    @JSON
    def run(as_json: bool, **flags: Any) -> None:  # pyright: ignore[reportUnusedFunction]
        from glmtts.commands.evaluation import run as command

        summary, text = command(name, **flags)
        if as_json:
            print_json(summary)
        else:
            click.echo(text)


_task(
    "seed-tts",
    "Seed-TTS-eval: cloned voices say LIST (.lst, or the folder seedtts_testset with --subset).",
    "LIST",
    needs_cases=True,
    subset="zh",
)
_task(
    "emotion",
    "Is the style heard? FOLDER is of CV3-Eval (emotion_zeroshot/zh), or a list with styles.",
    "FOLDER",
    needs_cases=True,
)
_task(
    "tags",
    "Are control tags obeyed? Each text of LIST is spoken neutrally and in every style.",
    "[LIST]",
    needs_cases=False,
)
_task(
    "laughter",
    "Are laughs heard where they are asked for, and only there?",
    "[LIST]",
    needs_cases=False,
)
_task(
    "long-form",
    "Do paragraphs stay intelligible, and the voice the same?",
    "[LIST]",
    needs_cases=False,
)
_task("phoneme", "Are words with several readings read as meant?", "[LIST]", needs_cases=False)
_task("latency", "Time to the first sound of a stream, and speed.", "[LIST]", needs_cases=False)
_task("list", "A LIST of your own: .txt with a text a line, or .jsonl.", "LIST", needs_cases=True)


@evaluation.command("compare")
@click.argument("a", type=PATH)
@click.argument("b", type=PATH, nargs=-1, required=True)
@JSON
def eval_compare(a: Path, b: tuple[Path, ...], as_json: bool) -> None:
    """Compare run B with run A case by case: paired bootstrap, Wilcoxon's signed-rank test.

    Of several runs B, such as the seeds of a training, the mean of each case is compared.
    """
    from glmtts.commands.evaluation import compare

    result, text = compare(a, b)
    if as_json:
        print_json(result)
    else:
        click.echo(text)


@evaluation.command("report")
@click.argument("folder", type=PATH)
@click.option("--players", default=24, show_default=True, help="Sounds in the report.")
def eval_report(folder: Path, players: int) -> None:
    """Write FOLDER/report.html of a finished run again."""
    from glmtts.commands.evaluation import report

    click.echo(report(folder, players))


@evaluation.command("judges")
def eval_judges() -> None:
    """List the judges and the rewards."""
    from glmtts.commands.evaluation import judges

    click.echo(judges())
