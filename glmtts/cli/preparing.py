"""`glmtts data`."""

from pathlib import Path
from typing import Any

import click

from glmtts.cli.options import CACHE, JSON, MODEL, PATH, print_json


@click.group()
def data() -> None:
    """Make training data: texts, teacher speech, shards."""


@data.command("texts")
@click.argument("out", type=PATH)
@CACHE
@click.option("--zh", default=12_000, show_default=True, help="Mandarin texts.")
@click.option("--en", default=12_000, show_default=True, help="English texts.")
@click.option("--mix", default=2_000, show_default=True, help="Mandarin texts with English words.")
@click.option(
    "--bare",
    default=0,
    show_default=True,
    help="Texts of each language that are no sentences: words alone, repetitions, lists, twisters.",
)
@click.option("--seed", default=0, show_default=True)
def data_texts(out: Path, cache: Path, **counts: int) -> None:
    """Write OUT (.jsonl), the texts to be spoken, from public packages."""
    from glmtts.commands.data import texts

    click.echo(f"{texts(out, cache, **counts)} texts are in {out}")


@data.command("speak")
@click.argument("texts", type=PATH)
@click.argument("out", type=PATH)
@CACHE
@click.option("--processes", default=2, show_default=True, help="Each takes a core and 1.2 GB.")
@click.option("--seed", default=0, show_default=True)
@click.option("--compile", "compiled", is_flag=True, help="A third faster; needs a C++ compiler.")
@click.option(
    "--styled",
    type=click.FloatRange(0.0, 1.0),
    default=0.0,
    show_default=True,
    help="Share of clips said happy, sad, angry or surprised, by rule.",
)
@click.option(
    "--laughing",
    type=click.FloatRange(0.0, 1.0),
    default=0.0,
    show_default=True,
    help="Share of clips with a laugh made of their own voice (needs the judge of laughter).",
)
def data_speak(texts: Path, out: Path, cache: Path, **flags: Any) -> None:
    """Let the teacher say TEXTS into the folder OUT; an interrupted run goes on where it was."""
    from glmtts.commands.data import speak

    click.echo(speak(texts, out, cache, **flags))


@data.command("laugh")
@click.argument("manifest", type=PATH)
@click.argument("out", type=PATH)
@click.option(
    "--share",
    type=click.FloatRange(0.0, 1.0),
    default=1.0,
    show_default=True,
    help="Share of clips that get a laugh.",
)
@click.option("--seed", default=0, show_default=True)
def data_laugh(manifest: Path, out: Path, share: float, seed: int) -> None:
    """Copy the clips of MANIFEST into the folder OUT, with laughs made of their own voices.

    Each text has [laughter] where its laugh is heard. A laugh is kept when the judge of laughter
    calls it one; a clip whose voice gives none stays as it was.
    """
    from glmtts.commands.data import laugh

    click.echo(laugh(manifest, out, share=share, seed=seed))


@data.command("style")
@click.argument("manifest", type=PATH)
@click.argument("out", type=PATH)
@click.option("--count", type=click.IntRange(min=1), default=1000, show_default=True)
@click.option("--seed", default=0, show_default=True)
def data_style(manifest: Path, out: Path, count: int, seed: int) -> None:
    """Say COUNT clips of MANIFEST happily, sadly, angrily or surprised, by rule, into OUT.

    Pitch, tempo and loudness of the recordings are bent. Plain clips are not copied: train with
    both folders. An interrupted run goes on where it was.
    """
    from glmtts.commands.data import style

    click.echo(style(manifest, out, count=count, seed=seed))


@data.command("whisper")
@click.argument("out", type=PATH)
@CACHE
def data_whisper(out: Path, cache: Path) -> None:
    """Write OUT (.safetensors), the encoder that the speech tokenizer starts from."""
    from glmtts.commands.data import whisper

    whisper(out, cache)
    click.echo(f"Whisper-base's encoder is in {out}")


@data.command("encode")
@click.argument("source", type=PATH)
@click.argument("out", type=PATH)
@click.option(
    "--stage",
    type=click.Choice(["audio", "tokens"]),
    required=True,
    help="audio: SOURCE is a manifest; tokens: SOURCE is a folder of audio shards.",
)
@click.option("--tokenizer", type=PATH, help="Folder of the speech tokenizer (tokens).")
@click.option("--speaker", type=PATH, help="Folder of the speaker encoder (tokens).")
@click.option(
    "--speed",
    default=1.0,
    show_default=True,
    help="Play faster and higher, as other speakers (tokens).",
)
@click.option("--as-recorded", is_flag=True, help="Add everyday noise and codecs (tokens).")
@click.option("--workers", default=2, show_default=True, help="Processes (audio).")
def data_encode(
    source: Path,
    out: Path,
    stage: str,
    tokenizer: Path | None,
    speaker: Path | None,
    speed: float,
    as_recorded: bool,
    workers: int,
) -> None:
    """Encode SOURCE into the shards of OUT; complete shards are kept."""
    from glmtts.commands.data import encode_audio, encode_tokens

    if stage == "audio":
        click.echo(encode_audio(source, out, workers))
    else:
        line = encode_tokens(source, out, tokenizer, speaker, speed=speed, as_recorded=as_recorded)
        click.echo(line)


@data.command("prepare")
@click.argument("raw", metavar="RAW_DIR", type=PATH)
@click.argument("out", type=PATH)
@MODEL
@click.option("--language", type=click.Choice(["zh", "en"]), help="Leave out any other language.")
@click.option(
    "--speakers",
    default="main",
    show_default=True,
    help="main keeps who speaks longest, all labels everybody, another word is the only speaker.",
)
@click.option("--longest", default=20.0, show_default=True, help="Seconds of a clip, at most 40.")
@click.option("--loudness", default=-24.0, show_default=True, help="Of the clips, in LUFS.")
@click.option("--separate", default="", help="Take speech out of music: demucs, roformer.")
@click.option("--denoise", default="", help="Take noise away first: rnnoise, noisereduce.")
@click.option("--diarize", default="", help="Who tells who speaks when: pyannote.")
@click.option("--snr", default=20.0, show_default=True, help="Least dB of speech over its pauses.")
@click.option("--bandwidth", default=4_500.0, show_default=True, help="Least bandwidth in Hz.")
@click.option("--mos", default=2.5, show_default=True, help="Least naturalness, 0 does not judge.")
@click.option("--per", default=0.35, show_default=True, help="Most phonemes the ear may dispute.")
@click.option(
    "--written-per", default=0.5, show_default=True,
    help="The same for what a recogniser wrote.",
)  # fmt: skip
@click.option("--wer", default=0.15, show_default=True, help="Most words recognisers may dispute.")
@click.option(
    "--recognizer", default="whisper", show_default=True,
    help="Who writes words: whisper, paraformer, sensevoice.",
)  # fmt: skip
@click.option("--second", default="", help="Who must agree with them: one of these, else the ear.")
@click.option("--no-whisper", is_flag=True, help="Only the ear listens; needs transcripts.")
@click.option("--keep-punctuation", is_flag=True, help="Write no commas where pauses are.")
@click.option("--workers", default=1, show_default=True, help="Processes, or Ray actors.")
@click.option(
    "--engine", type=click.Choice(["local", "ray"]), default="local", show_default=True,
    help="ray joins the cluster of RAY_ADDRESS, or starts one here.",
)  # fmt: skip
@click.option("--gpus", default=0.0, help="Share of a GPU for each Ray actor that listens.")
@click.option("--fresh", is_flag=True, help="Begin anew: forget what OUT holds.")
@JSON
def data_prepare(raw: Path, out: Path, as_json: bool, **flags: Any) -> None:
    """Make training data in OUT of the recordings in RAW_DIR, of any format and length.

    Cuts at pauses, keeps one speaker, checks or writes transcripts, drops what is noisy, clipped or
    not what its transcript says. OUT/report.html tells and plays what was dropped, and why. An
    interrupted run goes on where it was.
    """
    from glmtts.commands.data import prepare

    report = prepare(raw, out, **flags)
    if as_json:
        print_json(report.to_dict())
        return
    for line in report.lines():
        click.echo(line)
    click.echo(f"Training data is in {out}, the report in {out / 'report.html'}")
