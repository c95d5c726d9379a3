"""The README does what it says: its Python runs with the bundled model, its commands parse."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

from glmtts.cli import app
from glmtts.recipes import STAGES

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page, flags=re.MULTILINE | re.DOTALL)


def commands(page: str) -> list[list[str]]:
    """The `glmtts …` lines of the shell blocks of a page, as argument lists."""
    text = "\n".join(blocks(page, "sh") + blocks(page, "console")).replace("\\\n", " ")
    lines = [shlex.split(line, comments=True) for line in text.splitlines()]
    found: list[list[str]] = []
    for line in lines:
        line = line[: line.index("|")] if "|" in line else line
        if "glmtts" in line and line[0] in ("glmtts", "torchrun"):
            found.append(line[line.index("glmtts") + 1 :])
    return found


EVERY_COMMAND = [
    pytest.param(command, id=f"{page.stem}: {' '.join(command)}")
    for page in PAGES
    for command in commands(page.read_text(encoding="utf-8"))
]


def test_it_is_short() -> None:
    assert len(README.splitlines()) < 150


def test_its_python_runs(tmp_path: Path) -> None:
    found = blocks(README, "python")
    assert len(found) >= 2
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", "\n".join(found)],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for name in ("hello.wav", "cloned.wav", "anna.safetensors"):
        assert (tmp_path / name).stat().st_size > 1_000


@pytest.mark.parametrize("command", EVERY_COMMAND)
def test_its_commands_parse(command: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    group: click.Command = app
    context = app.make_context("glmtts", list(command))
    while isinstance(group, click.Group):
        _, subcommand, rest = group.resolve_command(
            context, [*context._protected_args, *context.args]
        )
        assert subcommand is not None
        context = subcommand.make_context(subcommand.name, rest, parent=context)
        group = subcommand
    if command[0] == "train" and "--help" not in command:
        from glmtts.commands.train import train

        runs: list[object] = []
        monkeypatch.setattr(f"{STAGES[command[1]]}.main", runs.append)
        train(command[1], context.params["flags"])
        assert len(runs) == 1


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    missing = [link for link in links if not (page.parent / link).exists()]
    assert missing == []


def test_the_make_targets_it_names_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for page in PAGES:
        for target in re.findall(r"make (demo|test|check|format|docs)\b", page.read_text()):
            assert f"\n{target}:" in makefile
