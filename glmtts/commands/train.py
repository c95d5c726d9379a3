"""`glmtts train STAGE`: flags over a recipe become the stage's Config; then its script runs."""

from collections.abc import Sequence
from importlib import import_module

from glmtts.errors import MissingExtra
from glmtts.recipes import STAGES, recipe


def train(stage: str, arguments: Sequence[str]) -> None:
    """Run the training script of `stage`.

    Args:
        stage: A key of `glmtts.recipes.STAGES`.
        arguments: Flags, one for each field of the script's `Config`; `--recipe NAME` first fills
            them all.

    Raises:
        MissingExtra: tyro, which makes the flags, is not installed.
        BadInput: the recipe is unknown, or the script refuses its configuration.
    """
    try:
        import tyro
    except ImportError as error:
        raise MissingExtra("The flags of `glmtts train`", "train") from error
    script = import_module(STAGES[stage])
    name, flags = split_recipe(arguments)
    config = tyro.cli(
        script.Config,
        args=flags,
        prog=f"glmtts train {stage}",
        description=f"{script.__doc__}\n\n--recipe NAME fills every flag first.",
        default=None if name is None else recipe(stage, name),
    )
    script.main(config)


def split_recipe(arguments: Sequence[str]) -> tuple[str | None, list[str]]:
    """Take `--recipe NAME` (or `--recipe=NAME`) out of the flags."""
    name, flags, rest = None, list[str](), iter(arguments)
    for argument in rest:
        if argument == "--recipe":
            name = next(rest, "")
        elif argument.startswith("--recipe="):
            name = argument.removeprefix("--recipe=")
        else:
            flags.append(argument)
    return name, flags
