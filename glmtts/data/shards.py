"""Encoded training data on disk: flat arrays with offsets, a few large files, read by memory map.

A folder holds pairs `shard-00000.safetensors` (arrays) and `shard-00000.jsonl` (one record a clip).
Arrays are concatenated over the clips of the shard; `<name>_offsets` (n + 1,) int64 cuts them:

    tokens     (sum S,)     int16   speech tokens, 25 a second
    alignment  (sum S,)     int16   for each token the index of the phoneme spoken then, -1 unknown
    mel        (sum F, M)   uint8   log-mel, quantised: value / 255 * (MEL_HIGH - MEL_LOW) + MEL_LOW
    audio      (sum N,)     int16   samples at the rate of the model (tokenizer, vocoder)
    f0         (sum F,)     float16 F0 in Hz at the centre of each mel frame, 0 unvoiced
    laugh      (0 or 2,)    int16   first token of the laugh in a clip, and one past its last
    speaker    (n, E)       float16 unit-length speaker vectors, one row a clip

Every array but those a stage needs may be absent.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.numpy import save_file  # pyright: ignore[reportUnknownVariableType]
from torch import Tensor

from glmtts.errors import BadInput

SHARDS = "shard-*.jsonl"
MEL_LOW, MEL_HIGH = -11.6, 2.9
"""Range of the 8-bit mel: ln(1e-5) and just above the loudest frames of full-scale speech."""

DTYPES = {
    "tokens": "int16",
    "alignment": "int16",
    "mel": "uint8",
    "audio": "int16",
    "f0": "float16",
    "laugh": "int16",
}


@dataclass(frozen=True)
class Clip:
    """What a shard knows of one clip besides its arrays.

    Attributes:
        id: Unique name.
        lang: "zh" or "en" (the main language of a mixed sentence).
        speaker: Speaker label; same label = same voice.
        text: What is said, as written.
        units: What is said, unit by unit: a Hanzi, a word or a punctuation mark with its phonemes
            (none for punctuation).
        seconds: Length.
    """

    id: str
    lang: str
    speaker: str
    text: str
    units: tuple[tuple[str, tuple[str, ...]], ...]
    seconds: float

    @property
    def phonemes(self) -> tuple[str, ...]:
        """(T,) phoneme tokens of all units."""
        return tuple(phoneme for _, phonemes in self.units for phoneme in phonemes)


def quantise_mel(mel: Tensor) -> np.ndarray:
    """(F, M) log-mel -> uint8."""
    scaled = (mel - MEL_LOW) / (MEL_HIGH - MEL_LOW) * 255.0
    return scaled.round().clamp(0, 255).to(torch.uint8).cpu().numpy()


def dequantise_mel(mel: np.ndarray) -> Tensor:
    """uint8 -> (F, M) float32 log-mel; the error is at most 0.03 nat."""
    return torch.from_numpy(mel.astype(np.float32) * ((MEL_HIGH - MEL_LOW) / 255.0) + MEL_LOW)


def write_shard(
    folder: Path,
    index: int,
    clips: Sequence[Clip],
    arrays: Mapping[str, Sequence[np.ndarray]],
) -> None:
    """Write one shard: `arrays[name][i]` belongs to `clips[i]`. The .jsonl comes last."""
    folder.mkdir(parents=True, exist_ok=True)
    flat: dict[str, np.ndarray] = {}
    for name, parts in arrays.items():
        assert len(parts) == len(clips), f"{name}: {len(parts)} arrays for {len(clips)} clips"
        if name == "speaker":
            flat[name] = np.stack(parts).astype(np.float16)
            continue
        flat[name] = np.concatenate(parts).astype(DTYPES[name])
        flat[f"{name}_offsets"] = np.cumsum([0, *map(len, parts)], dtype=np.int64)
    # safetensors writes memory as it lies: a transposed mel would come back scrambled.
    flat = {name: np.ascontiguousarray(array) for name, array in flat.items()}
    save_file(flat, folder / f"shard-{index:05d}.safetensors")
    lines = [json.dumps(asdict(clip), ensure_ascii=False) for clip in clips]
    temporary = folder / f"shard-{index:05d}.tmp"
    temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
    temporary.rename(folder / f"shard-{index:05d}.jsonl")


def read_clips(folder: str | Path) -> list[Clip]:
    """What a folder of shards (or several, separated by commas) says of its clips, arrays unread.

    Raises:
        BadInput: no complete shard is there.
    """
    paths = [p for part in str(folder).split(",") for p in sorted(Path(part).glob(SHARDS))]
    if not paths:
        raise BadInput(f"No shards in {folder}. Make them with: glmtts data encode")
    return [clip for path in paths for clip in _read_clips(path)]


def _read_clips(path: Path) -> list[Clip]:
    clips: list[Clip] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        data = json.loads(line)
        data["units"] = tuple((surface, tuple(p)) for surface, p in data["units"])
        clips.append(Clip(**data))
    return clips


class Corpus:
    """The clips of a folder of shards by number: `corpus.array("tokens", i)`, `corpus.clips[i]`."""

    def __init__(self, folder: str | Path) -> None:
        """Index the folder (or several, separated by commas).

        Raises:
            BadInput: no complete shard is in one of them.
        """
        self.clips: list[Clip] = []
        self._where: list[tuple[int, int]] = []
        self._arrays: list[dict[str, np.ndarray]] = []
        for part in str(folder).split(","):
            before = len(self.clips)
            for path in sorted(Path(part).glob(SHARDS)):
                self._read(path)
            if len(self.clips) == before:
                raise BadInput(f"No shards in {part}. Make them with: glmtts data encode")

    def _read(self, path: Path) -> None:
        shard = len(self._arrays)
        with safe_open(str(path.with_suffix(".safetensors")), "np") as file:  # pyright: ignore
            self._arrays.append({k: file.get_tensor(k) for k in file.keys()})  # pyright: ignore # noqa: SIM118
        clips = _read_clips(path)
        self.clips += clips
        self._where += [(shard, row) for row in range(len(clips))]

    def __len__(self) -> int:
        """Number of clips."""
        return len(self.clips)

    def array(self, name: str, index: int) -> np.ndarray:
        """The array `name` of clip `index` (a view where possible)."""
        shard, row = self._where[index]
        arrays = self._arrays[shard]
        if name not in arrays:
            raise BadInput(f"These shards hold no {name!r}; they hold {sorted(arrays)}.")
        if name == "speaker":
            return arrays[name][row]
        start, stop = arrays[f"{name}_offsets"][row : row + 2]
        return arrays[name][start:stop]

    def holds(self, name: str) -> bool:
        """Whether every shard has the array `name`."""
        return all(name in arrays for arrays in self._arrays)

    def length(self, name: str, index: int) -> int:
        """Length of the array `name` of clip `index`, without reading it."""
        shard, row = self._where[index]
        start, stop = self._arrays[shard][f"{name}_offsets"][row : row + 2]
        return int(stop - start)

    def by_speaker(self) -> dict[str, list[int]]:
        """Clip indices of each speaker."""
        speakers: dict[str, list[int]] = {}
        for index, clip in enumerate(self.clips):
            speakers.setdefault(clip.speaker, []).append(index)
        return speakers

    def __iter__(self) -> Iterator[Clip]:
        """Iterate over the clip records."""
        return iter(self.clips)
