"""`glmtts doctor` and `glmtts bench`: this machine."""

from pathlib import Path
from typing import Any

import click

from glmtts.cli.options import DEVICE, JSON, MODEL, PATH, print_json


@click.command()
@MODEL
@DEVICE
@JSON
def doctor(as_json: bool, **flags: Any) -> None:
    """Check this installation: what is installed, and how fast one sentence is spoken."""
    from glmtts.doctor import examine

    report = examine(**flags)
    if as_json:
        print_json(report.to_dict())
    else:
        click.echo(report.to_text())


@click.command()
@click.option("--model", default="glmtts-nano", show_default=True, help="Name or folder.")
@click.option(
    "--random",
    "random_weights",
    type=click.Choice(["official"]),
    help="Random weights of the official sizes instead of a model.",
)
@DEVICE
@click.option("--dtype", default="auto", show_default=True, help="As for `glmtts say`.")
@click.option("--part", "parts", multiple=True, help="Only this part; repeatable.")
@click.option("--baseline", is_flag=True, help="Run loops as in the official code beside ours.")
@click.option("--quick", is_flag=True, help="Less of everything: a first impression.")
@click.option("--threads", default=0, help="CPU threads; 0 leaves torch's choice.")
@click.option("-o", "--out", type=PATH, help="Folder for results.json, results.md and a plot.")
@JSON
def bench(out: Path | None, as_json: bool, **flags: Any) -> None:
    """Measure speed and memory of a model, stage by stage, and side by side.

    Parts: lm, flow, vocoder, tokenizer, speech (text ids to sound). Each runs in a process of its
    own. Full size takes minutes on a CPU and up to 8 GB with --baseline.
    """
    from glmtts.commands.bench import bench as command

    results, table = command(out, **flags)
    if as_json:
        print_json(results)
    else:
        click.echo(table)
