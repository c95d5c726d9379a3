"""Print docs/cli.md: the help of every command, in one page. `make docs` writes it."""

from collections.abc import Iterator

import click

from glmtts.cli import app


def commands(command: click.Command, context: click.Context) -> Iterator[click.Context]:
    """Every context of the tree that can show help, parents first."""
    yield context
    if isinstance(command, click.Group):
        for name in sorted(command.commands):
            child = command.commands[name]
            yield from commands(child, click.Context(child, info_name=name, parent=context))


def page() -> str:
    """The whole page as Markdown."""
    parts = [
        "# The command line\n",
        "Written by `make docs` from the commands' own help; a test compares the two.\n",
    ]
    root = click.Context(
        app, info_name="glmtts", terminal_width=96, help_option_names=["-h", "--help"]
    )
    for context in commands(app, root):
        if context.parent is not None and context.parent.info_name == "train":
            continue  # a stage's flags are its script's Config, listed by its own --help
        level = "##" if context.parent in (None, root) else "###"
        parts.append(f"{level} {context.command_path}\n\n```text\n{context.get_help()}\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    print(page(), end="")
