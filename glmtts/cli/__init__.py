"""The `glmtts` command: parse, call, print; the commands are one file for each family.

Commands import what they need inside their bodies, so that `glmtts --help` is instant.
"""

import sys
from collections.abc import Sequence

import click

from glmtts import __version__
from glmtts.cli.checkpoints import convert, models
from glmtts.cli.evaluating import evaluation
from glmtts.cli.machine import bench, doctor
from glmtts.cli.preparing import data
from glmtts.cli.serving import serve
from glmtts.cli.speaking import say, text, watermark
from glmtts.cli.training import train
from glmtts.cli.voices import voice
from glmtts.errors import GlmTtsError


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="glmtts", message="%(prog)s %(version)s")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def app(debug: bool) -> None:
    """Text to speech for Mandarin and English: speak, clone a voice, train every stage."""


for command in (
    say, text, voice, models, convert, doctor, bench, watermark, serve, train, evaluation, data,
):  # fmt: skip
    app.add_command(command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit.

    The exit status is 0, 2 after an error (one sentence on standard error; `--debug` adds the
    traceback), 130 after Ctrl-C, 143 after SIGTERM.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        status = app.main(arguments, prog_name="glmtts", standalone_mode=False)
        sys.exit(status if isinstance(status, int) else 0)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.Abort:
        click.echo("Stopped.", err=True)
        sys.exit(130)
    except BrokenPipeError:  # the program that read our output has gone
        sys.stderr.close()
        sys.exit(1)
    except GlmTtsError as error:
        if arguments[:1] == ["--debug"]:
            raise
        click.echo(f"glmtts: {error}", err=True)
        sys.exit(2)
