"""`glmtts say`, `text` and `watermark`."""

import sys
from pathlib import Path
from typing import Any

import click

from glmtts.cli.options import (
    COMPONENT,
    DEVICE,
    JSON,
    LEXICON,
    MODEL,
    PATH,
    TRANSCRIBE,
    one_transcript,
    print_json,
)


@click.command()
@click.argument("text")
@click.option("-v", "--voice", help="Name of a voice, or a clip to clone; by language if absent.")
@click.option("--transcript", help="What the clip says; its manner of speaking is cloned too then.")
@TRANSCRIBE
@click.option("-o", "--output", help="Sound file (wav, flac, mp3, ogg, opus), - for stdout.")
@click.option("--play", is_flag=True, help="Play on the loudspeaker; writes no file without -o.")
@click.option("--watermark", metavar="KEY", help="Mark the sound, see `glmtts watermark`.")
@click.option("--seed", type=int, help="The same seed speaks the same way.")
@click.option("--speed", type=float, default=1.0, show_default=True, help="2 is twice as fast.")
@click.option(
    "--emotion",
    type=click.Choice(["neutral", "happy", "sad", "angry", "surprised"]),
    help="How it is said, by models that learnt it; [happy] in the text does it for what follows.",
)
@click.option("--steps", type=int, help="Steps of the flow; more is slower and cleaner.")
@LEXICON
@MODEL
@COMPONENT
@DEVICE
def say(text: str, output: str | None, play: bool, **flags: Any) -> None:
    """Speak TEXT, a .txt or .md file, or standard input (-).

    Writes out.wav unless told otherwise, sentence by sentence: an interrupted run keeps what it
    spoke. TEXT is a file only if it ends in .txt or .md.
    """
    from glmtts.commands import say as command

    one_transcript(flags)
    path = output or (None if play else "out.wav")
    command.say(command.Request(text, output=path, play=play, **flags))


@click.command()
@click.argument("text", required=False)
@click.option("--explain", is_flag=True, help="Tell which rule or lexicon entry decided.")
@JSON
@click.option("--lines", metavar="FILE", help="Read a text from each line of FILE, - for stdin.")
@LEXICON
@click.option(
    "--policy",
    type=click.Choice(["off", "auto", "all"]),
    default="all",
    show_default=True,
    help="What the hybrid text has as phonemes (with --explain).",
)
def text(text: str | None, **flags: Any) -> None:
    """Show how TEXT (- for standard input) will be read: sentences, words, readings.

    Readings may be given in it, 长[zhang3] or read[R EH1 D], and SSML.
    """
    from glmtts.commands.text import show

    show(text, **flags)


@click.group()
def watermark() -> None:
    """Mark sound so that it is not heard, and find the mark again."""


KEY = click.option("--key", help="Names the watermark; without one it is the public one.")


@watermark.command("add")
@click.argument("sound", type=PATH)
@click.argument("out", type=PATH)
@KEY
@click.option("--strength", default=1.0, show_default=True, help="In dB, 0.1 to 3.")
def watermark_add(sound: Path, out: Path, key: str | None, strength: float) -> None:
    """Write the sound file SOUND to OUT, with a watermark."""
    from glmtts.commands.watermark import add

    click.echo(f"{out}: {add(sound, out, key, strength):.1f} s with a watermark")


@watermark.command("detect")
@click.argument("sounds", nargs=-1, required=True, type=PATH)
@KEY
@JSON
def watermark_detect(sounds: tuple[Path, ...], key: str | None, as_json: bool) -> None:
    """Look for a watermark in the files SOUNDS; the exit status is 1 if one bears none.

    The score is in standard deviations above chance; of a million sounds without a watermark about
    one is taken for one with it. Four seconds of speech are usually enough.
    """
    from glmtts.commands.watermark import detect

    found = detect(sounds, key)
    if as_json:
        print_json(found)
    else:
        for each in found:
            verdict = "watermark" if each["found"] else "no watermark"
            click.echo(f"{each['file']}: {verdict} (score {each['score']:.1f})")
    sys.exit(0 if all(each["found"] for each in found) else 1)
