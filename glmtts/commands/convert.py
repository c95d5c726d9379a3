"""`glmtts convert`: foreign checkpoints to model folders."""

import sys
from pathlib import Path
from typing import Any

from tqdm import tqdm

from glmtts.commands.say import Stopped, stop_signals, tell
from glmtts.convert.glm_tts import Options, convert


def glm_tts(
    folder: Path,
    out: Path,
    *,
    vocoder: str = "hift",
    dtype: str = "float32",
    campplus: Path | None = None,
    name: str = "glm-tts",
) -> Path:
    """Convert the released GLM-TTS checkpoint, with a progress bar.

    Raises:
        GlmTtsError: it cannot be converted; nothing was left behind.
        SystemExit: 130 or 143 after SIGINT or SIGTERM; nothing was left behind.
    """
    options = Options(dtype=dtype, vocoder=vocoder, campplus=campplus, name=name)
    hidden = not sys.stderr.isatty()
    bar: tqdm[Any] = tqdm(unit="B", unit_scale=True, desc=out.name, disable=hidden, leave=False)

    def progress(done: int, total: int) -> None:
        bar.total = total
        bar.update(done - bar.n)

    try:
        with stop_signals(), bar:
            return convert(folder, out, options, progress=progress)
    except Stopped as stopped:
        tell("Stopped: nothing was left behind.")
        raise SystemExit(stopped.status) from None
