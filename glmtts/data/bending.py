"""Styles for recorded speech: pitch, tempo and loudness of clips are bent by rule. Read `bend`.

The rules are those that bend the teacher's curves (`glmtts.data.manner`); here WORLD (Morise 2016)
takes a recording apart into F0, envelope and noise, and puts it together again. So speech of any
source gets the styles, at a quarter of the teacher's cost.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from glmtts.audio import Audio
from glmtts.data.manifest import Utterance, read_clips, read_manifest, to_line, write_manifest
from glmtts.data.manner import MANNERS, Manner
from glmtts.data.pitch import world
from glmtts.errors import BadInput
from glmtts.text.styles import STYLES

PERIOD_MS = 5.0
LOUDER_DB = 9.0
"""Largest change of the level."""
FLOOR_DB = 50.0
"""Frames that lie further below the loudest one say nothing about the level of speech."""


def bend(samples: NDArray[np.float32], sample_rate: int, manner: Manner) -> NDArray[np.float32]:
    """(N,) samples said in another manner: (N / tempo,) float32.

    Raises:
        MissingExtra: pyworld is not installed.
    """
    kit: Any = world()
    wave = np.ascontiguousarray(samples, np.float64)
    f0, times = kit.dio(wave, sample_rate, f0_floor=60.0, f0_ceil=600.0, frame_period=PERIOD_MS)
    f0 = kit.stonemask(wave, f0, times, sample_rate)
    power: NDArray[np.float64] = kit.cheaptrick(wave, f0, times, sample_rate)
    noise: NDArray[np.float64] = kit.d4c(wave, f0, times, sample_rate)

    f0 = manner.bend_pitch(torch.from_numpy(f0)).numpy()
    power = power * 10.0 ** (gain_db(power, manner)[:, None] / 10.0)
    # Frames that are said twice, or not at all.
    at: list[int] = [round(i * manner.tempo) for i in range(int((len(f0) - 1) / manner.tempo))]
    made: Any = kit.synthesize(
        *(np.ascontiguousarray(x[at]) for x in (f0, power, noise)), sample_rate, PERIOD_MS
    )
    peak = float(np.abs(made).max())
    return (made * min(1.0, 0.98 / max(peak, 1e-9))).astype(np.float32)


def gain_db(power: NDArray[np.float64], manner: Manner) -> NDArray[np.float64]:
    """Change of the level of each frame in dB, (F,), from envelopes (F, bins)."""
    level = 10.0 * np.log10(power.mean(axis=1) + 1e-12)
    heard = level[level > level.max() - FLOOR_DB]
    deviation = np.clip(level, heard.min(), None) - heard.mean()
    gain = (manner.contrast - 1.0) * deviation + manner.energy * heard.std()
    return np.clip(gain, -LOUDER_DB, LOUDER_DB)


def add_styles(manifest: Path, out: Path, *, count: int, seed: int) -> int:
    """Say clips of a manifest in styles, into the folder `out`; plain clips are not copied.

    Clip and style depend on (manifest, count, seed); a run that was interrupted goes on.

    Args:
        manifest: Its clips are read, and not touched. Those with a style already are left out.
        out: Gets `manifest.jsonl` and the clips as FLAC.
        count: Clips, drawn evenly over the manifest; styles take turns.
        seed: Of the turns.

    Returns:
        Number of clips.

    Raises:
        BadInput: the manifest or a clip is missing, or it holds no plain clip.
        BadAudio: a clip cannot be decoded.
        MissingExtra: pyworld is not installed.
    """
    plain = [record for record in read_manifest(manifest) if not record.style]
    if not plain:
        raise BadInput(f"{manifest} holds no clip without a style. Give one of plain speech.")
    count = min(count, len(plain))
    chosen = [plain[i * len(plain) // count] for i in range(count)]
    order = np.random.default_rng(seed).permutation(count)
    (out / "clips").mkdir(parents=True, exist_ok=True)
    journal = out / "journal.jsonl"
    made = read_manifest(journal) if journal.exists() else []
    write_manifest(journal, made)  # a last line cut short by a kill is gone now
    bar = tqdm(read_clips(manifest.parent, chosen[len(made) :]), total=count, initial=len(made))
    with journal.open("a", encoding="utf-8") as lines:
        for index, (record, audio) in enumerate(bar, len(made)):
            style = STYLES[int(order[index]) % len(STYLES)]
            samples = bend(audio.samples.numpy(), audio.sample_rate, MANNERS[style])
            name = f"clips/{index:06d}.flac"
            Audio(torch.from_numpy(samples), audio.sample_rate).save(out / name)
            made.append(styled(record, style, name, len(samples) / audio.sample_rate))
            lines.write(to_line(made[-1]))
            lines.flush()
    write_manifest(out / "manifest.jsonl", made)
    return count


def styled(record: Utterance, style: str, name: str, seconds: float) -> Utterance:
    """What the manifest says of the clip after it was bent."""
    return replace(record, style=style, file=name, shard=None, seconds=round(seconds, 3))
