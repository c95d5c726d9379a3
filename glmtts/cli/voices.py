"""`glmtts voice`."""

from pathlib import Path
from typing import Any

import click

from glmtts.cli.options import (
    DEVICE,
    JSON,
    MODEL,
    PATH,
    TRANSCRIBE,
    one_transcript,
    print_json,
)


@click.group()
def voice() -> None:
    """Add, list, show and remove voices."""


@voice.command("add")
@click.argument("name")
@click.argument("clip", required=False)
@click.option("--adapter", type=PATH, help="Instead of CLIP: what `glmtts train voice` left.")
@click.option("--transcript", default="", help="What the clip says; the clone is better with it.")
@TRANSCRIBE
@click.option("--language", type=click.Choice(["zh", "en"]), help="By the transcript if absent.")
@click.option("--gender", type=click.Choice(["female", "male"]))
@click.option("--trim-long", is_flag=True, help="Take the best 10 s of a clip over 30 s.")
@click.option("--force", is_flag=True, help="Replace a voice of this name.")
@MODEL
@DEVICE
def voice_add(name: str, clip: str | None, adapter: Path | None, **flags: Any) -> None:
    """Clone the speaker of CLIP (4 to 10 s, one person) as the voice NAME, or keep a trained."""
    from glmtts.commands.voices import add, add_adapted

    if (clip is None) == (adapter is None):
        raise click.UsageError("Give a CLIP, or --adapter with the folder of a trained voice.")
    if adapter is not None:
        chosen = {key: flags[key] for key in ("gender", "force", "model")}
        click.echo(f"Stored {name} in {add_adapted(name, adapter, **chosen)}")
        return
    assert clip is not None
    one_transcript(flags)
    click.echo(f"Stored {name} in {add(name, clip, **flags)}")


@voice.command("merge")
@click.argument("folder", metavar="VOICE", type=PATH)
@click.argument("out", type=PATH)
@MODEL
def voice_merge(folder: Path, out: Path, model: str) -> None:
    """Make the model OUT of VOICE, what `glmtts train voice` left: no adapters, no base needed."""
    from glmtts.commands.voices import merge

    path = merge(folder, out, model=model)
    click.echo(f"{path} is a model: glmtts say --model {path} …")


@voice.command("list")
@MODEL
@JSON
def voice_list(model: str, as_json: bool) -> None:
    """List the voices of the model and your own."""
    from glmtts.commands.voices import library

    voices = library(model).describe()
    if as_json:
        print_json([{k: v[k] for k in ("name", "language", "gender")} for v in voices])
        return
    for item in voices:
        where = "bundled" if item["bundled"] else "yours"
        about = item["problem"] or f"{item['language']:3} {item['gender']:7} {where}"
        click.echo(f"{item['name']:20} {about}")


@voice.command("show")
@click.argument("name")
@MODEL
@JSON
def voice_show(name: str, model: str, as_json: bool) -> None:
    """Say what is known of the voice NAME."""
    from glmtts.commands.voices import describe

    known = describe(name, model)
    if as_json:
        print_json(known)
        return
    for key, value in known.items():
        click.echo(f"{key:11} {value}")


@voice.command("remove")
@click.argument("name")
@MODEL
def voice_remove(name: str, model: str) -> None:
    """Delete the voice NAME, one of your own."""
    from glmtts.commands.voices import library

    library(model).remove(name)
    click.echo(f"Removed {name}")
