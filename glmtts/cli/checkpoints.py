"""`glmtts models` and `glmtts convert`."""

from pathlib import Path
from typing import Any

import click

from glmtts.cli.options import JSON, PATH, print_json


@click.group(invoke_without_command=True)
@JSON
@click.pass_context
def models(context: click.Context, as_json: bool) -> None:
    """List models, and download released ones; alone it lists."""
    if context.invoked_subcommand is None:
        _list_models(as_json)


@models.command("list")
@JSON
def models_list(as_json: bool) -> None:
    """List the models that load by name, and those that can be pulled."""
    _list_models(as_json)


def _list_models(as_json: bool) -> None:
    from glmtts.commands.models import describe

    rows = describe()
    if as_json:
        print_json(rows)
        return
    for row in rows:
        size = f"{row['bytes'] / 1e6:,.0f} MB" if row["bytes"] else "-"
        click.echo(f"{row['name']:16} {row['license']:11} {size:>9}  {row['about']}")
        click.echo(f"{'':16} {row['where']}")


VOCODER = click.option(
    "--vocoder",
    type=click.Choice(["hift", "vocos2d"]),
    default="hift",
    show_default=True,
    help="hift speaks at 24 kHz, vocos2d at 32 kHz.",
)
DTYPE = click.option(
    "--dtype",
    type=click.Choice(["float32", "bfloat16"]),
    default="float32",
    show_default=True,
    help="Of the language model's weights; bfloat16 halves its size.",
)


@models.command("pull")
@click.argument("name")
@click.option(
    "--source",
    type=click.Choice(["huggingface", "modelscope"]),
    default="huggingface",
    show_default=True,
)
@click.option("--revision", help="Branch, tag or commit; a folder stays at what it holds.")
@click.option("--into", type=PATH, help="Folder of the download; in the user's cache if absent.")
@click.option("--convert", is_flag=True, help="Make a model of it that loads by name.")
@click.option("--out", type=PATH, help="Folder of the model instead (with --convert).")
@VOCODER
@DTYPE
def models_pull(name: str, **flags: Any) -> None:
    """Download the released weights NAME, such as zai-org/GLM-TTS; an interrupted run goes on."""
    from glmtts.commands.models import pull

    click.echo(pull(name, **flags))


@click.group()
def convert() -> None:
    """Make model folders of other projects' checkpoints."""


@convert.command("glm-tts")
@click.argument("folder", metavar="CKPT_DIR", type=PATH)
@click.argument("out", metavar="OUT_DIR", type=PATH)
@VOCODER
@DTYPE
@click.option("--campplus", type=PATH, help="The file campplus.onnx, if it is not in CKPT_DIR.")
def convert_glm_tts(folder: Path, out: Path, **flags: Any) -> None:
    """Make the model folder OUT_DIR of CKPT_DIR, the files of zai-org/GLM-TTS.

    Nothing in the checkpoint is executed. OUT_DIR appears when it is complete.
    """
    from glmtts.commands.convert import glm_tts

    click.echo(f"{glm_tts(folder, out, **flags)} is a model: glmtts say --model {out} …")
