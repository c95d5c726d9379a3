"""`glmtts train`: stages parse their own flags."""

from typing import Any

import click

FLAGS: dict[str, Any] = {"ignore_unknown_options": True, "help_option_names": []}
STAGE = click.argument("flags", nargs=-1, type=click.UNPROCESSED)


@click.group()
def train() -> None:
    """Train a component; each stage is one script with its own flags.

    `glmtts train lm --help` lists them; `--recipe nano` fills them all first. Several GPUs:
    torchrun --nproc-per-node 8 -m glmtts train lm …
    """


def _stage(name: str, about: str) -> None:
    @train.command(name, context_settings=FLAGS, help=about)
    @STAGE
    def run(flags: tuple[str, ...]) -> None:  # pyright: ignore[reportUnusedFunction]
        from glmtts.commands.train import train as command

        command(name, flags)


_stage("tokenizer", "Sound to speech tokens: VQ under speech recognition and pitch estimation.")
_stage("lm", "Text ids to speech tokens: next-token training.")
_stage("flow", "Speech tokens to mel: conditional flow matching.")
_stage("flow-cycle", "A flow that is understood: its sound is heard as the tokens it was made of.")
_stage("plain", "The adapter that takes out the guidance a flow learnt, for training voices.")
_stage("vocoder", "Mel to samples: spectral losses, then a multi-resolution discriminator.")
_stage("voice", "One speaker: adapters on language model and flow, from minutes of recordings.")
_stage("grpo", "Let rewards shape the language model: group-relative policy optimisation.")
_stage("style-judge", "A small judge of styles, to reward or to examine control tags with.")
_stage("laugh-judge", "A small judge of laughs in speech tokens, to choose and to reward with.")
