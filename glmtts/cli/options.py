"""Options that several commands have, and what commands print."""

import json
from pathlib import Path
from typing import Any

import click

TRANSCRIBE = click.option(
    "--transcribe", is_flag=True, help="Write down what the clip says (extra eval)."
)
MODEL = click.option(
    "--model", default="glmtts-nano", show_default=True, help="Name or folder of a model."
)
COMPONENT = click.option(
    "--component",
    "components",
    multiple=True,
    metavar="NAME=FOLDER",
    help="Use this lm, flow, vocoder, … instead, such as a training checkpoint; repeatable.",
)
DEVICE = click.option("--device", default="auto", show_default=True, help="cpu, cuda, auto.")
PATH = click.Path(path_type=Path)
LEXICON = click.option(
    "--lexicon",
    type=PATH,
    help="Your words and their readings: a file in TSV or JSON lines.",
)
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
OUT = click.option("-o", "--out", type=PATH, required=True, help="Folder of the run.")
CACHE = click.option(
    "--cache",
    type=PATH,
    default=Path("data/packages"),
    show_default=True,
    help="Where downloaded packages are kept.",
)


def one_transcript(flags: dict[str, Any]) -> None:
    """Refuse a transcript that is given and asked for."""
    if flags["transcript"] and flags["transcribe"]:
        raise click.UsageError("--transcript and --transcribe exclude each other.")


def print_json(value: Any) -> None:
    """Print JSON for programs."""
    click.echo(json.dumps(value, ensure_ascii=False, indent=1, default=str))
