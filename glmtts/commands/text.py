"""`glmtts text`: what will be said, and why, without a model. Read `show` first."""

import io
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import click

from glmtts.errors import BadInput, GlmTtsError
from glmtts.text.described import described
from glmtts.text.frontend import Frontend, Said, Sentence
from glmtts.text.hybrid import Policy, is_plain
from glmtts.text.lexicon import Lexicon
from glmtts.text.readings import IS_HANZI


def show(
    text: str | None,
    *,
    lines: str | None = None,
    lexicon: Path | None = None,
    policy: Policy = "all",
    explain: bool = False,
    as_json: bool = False,
) -> None:
    """Print sentences and readings of a text, or of every line of a file.

    Args:
        text: The text, "-" for all of standard input; None with `lines`.
        lines: A file of one text a line, "-" for standard input. A line that cannot be read is
            reported in its place, and the others go on.
        lexicon: The user's words.
        policy: Which units the hybrid text of `explain` has as phonemes.
        explain: Tell what decided each reading, and what was rewritten.
        as_json: Print JSON, with `lines` an object on each line.

    Raises:
        BadInput: neither a text nor lines, or both; a file cannot be read.
        BadText: nothing in the text can be spoken, or its markup is wrong.
    """
    if (text is None) == (lines is None):
        raise BadInput(
            "Expected a text, or a file of texts: glmtts text --lines FILE (- for stdin)"
        )
    frontend = Frontend(Lexicon.load(lexicon) if lexicon else None)
    if lines is not None:
        for line, error in _lines(lines):
            _show_line(frontend, line, error, policy, explain=explain, as_json=as_json)
        return
    if text == "-":
        text = sys.stdin.buffer.read().decode("utf-8", "replace")
    sentences = frontend(text or "")
    if as_json:
        click.echo(_dumped(described(text or "", sentences, policy, explain=explain), indent=1))
    else:
        click.echo("\n".join(_view(sentences, policy, explain=explain)))


def _lines(source: str) -> Iterator[tuple[str, str]]:
    """The lines of a file, each with what is wrong with it or ""."""
    try:
        file = sys.stdin.buffer if source == "-" else io.FileIO(source)
    except OSError as error:
        raise BadInput(f"Cannot read {source} ({error}). Expected a text file in UTF-8.") from error
    with file:
        for raw in file:
            line = raw.rstrip(b"\r\n")
            try:
                yield line.decode(), ""
            except UnicodeDecodeError as error:
                yield line.decode(errors="replace"), f"This line is not UTF-8 ({error})."


def _show_line(
    frontend: Frontend, line: str, error: str, policy: Policy, *, explain: bool, as_json: bool
) -> None:
    sentences: list[Sentence] = []
    try:
        sentences = [] if error else frontend(line)
    except GlmTtsError as refused:
        error = str(refused)
    if as_json:
        found = described(line, sentences, policy, explain=explain)
        click.echo(_dumped({"input": line, "error": error} if error else found))
    elif error:
        click.echo(f"{click.style('✗', fg='red')} {line[:60]}: {error}")
    else:
        click.echo("\n".join(_view(sentences, policy, explain=explain)))
    sys.stdout.flush()


def _dumped(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


# ----- for people ---------------------------------------------------------------------------------


def _view(sentences: Iterable[Sentence], policy: Policy, *, explain: bool) -> Iterator[str]:
    """The lines that show sentences; colours are dropped where the output is no terminal."""
    for sentence in sentences:
        if sentence.text:
            yield click.style(sentence.text, bold=True)
            yield "  " + " ".join(_coloured(item) for item in sentence.said)
        if explain:
            yield from _explained(sentence, policy)
        if sentence.pause_s:
            yield click.style(f"  (silence, {sentence.pause_s:g} s)", fg="blue")


def _coloured(item: Said) -> str:
    """A reading: green where the user gave it, yellow where there are several."""
    if not item.unit.phonemes:
        return item.unit.surface
    reading = item.reading
    if not IS_HANZI.match(item.unit.surface) and not item.unit.surface.startswith("<|"):
        reading = f"{item.unit.surface}[{reading}]"
    if item.forced:
        return click.style(reading, fg="green")
    several = bool(IS_HANZI.match(item.unit.surface)) and not is_plain(item.unit.surface)
    return click.style(reading, fg="yellow") if several else reading


def _explained(sentence: Sentence, policy: Policy) -> Iterator[str]:
    for rewriting in sentence.rewritings:
        if rewriting.written != rewriting.spoken:
            yield f"  {rewriting.written!r} -> {rewriting.spoken!r}  " + click.style(
                rewriting.rule, fg="cyan"
            )
    for item in sentence.said:
        if item.unit.phonemes:
            place = "-" if item.index is None else str(item.index)
            rule = click.style(item.rule, fg="cyan")
            colour = "green" if item.forced else None
            reading = click.style(item.reading, fg=colour)
            yield f"  {place:>5}  {item.unit.surface}\t{reading}\t{rule}"
    if sentence.said:
        yield f"  {policy}: {sentence.hybrid(policy)}"
