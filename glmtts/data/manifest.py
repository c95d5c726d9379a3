"""The list of training clips, one JSON object a line, and the rule that holds some of them out.

A line is `{"file": ..., "shard": ..., "lang": ..., "speaker": ..., "speed": ..., "text": ...,
"pinyin": ..., "phonemes": ..., "seconds": ...}`; `file` is the name inside the tar archive `shard`,
or a path below the manifest's folder when there is no shard.

Held out of every training (`split_of`):

- 5 % of texts, by SHA-1 of the text without spaces, punctuation and case, so that near-copies and
  several readings of one text fall on the same side;
- the timbres of `HELD_OUT_TIMBRES`, wherever they occur: with any prosody, and in any blend.
"""

import hashlib
import json
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

from glmtts.audio import Audio
from glmtts.errors import BadInput
from glmtts.text.styles import untagged

Split = Literal["train", "valid_text", "valid_speaker"]

HELD_OUT_TEXT_PERCENT = 5
HELD_OUT_TIMBRES = frozenset(
    {"af_nova", "bf_alice", "jf_alpha", "im_nicola", "jm_kumo", "zm_yunxia"}
)
"""Three female and three male voices (American, British, Japanese; Italian, Japanese, Mandarin).

They are 6 of the teacher's 54 timbres; each speaks both languages, with the prosody of native
voices.
"""


@dataclass(frozen=True)
class Utterance:
    """One clip of training speech.

    Attributes:
        file: Name inside `shard`, or a path relative to the manifest.
        lang: "zh" or "en"; "mix" for a Mandarin sentence with English in it.
        speaker: `timbre|prosody`, where either may be a blend `a*0.5+b*0.5`; other corpora give any
            label that is the same for the same voice.
        text: What is said, as written.
        seconds: Length.
        shard: Tar archive beside the manifest, None for loose files.
        speed: Tempo the teacher was asked for.
        pinyin: One toned syllable (5 = neutral) for each Hanzi, in order; None for English.
        phonemes: The teacher's own symbols.
        style: The manner it is spoken in (`glmtts.text.styles`), empty for neutral.
        laugh: From when to when the laugh is heard that stands in the text as `[laughter]`.
    """

    file: str
    lang: str
    speaker: str
    text: str
    seconds: float
    shard: str | None = None
    speed: float = 1.0
    pinyin: tuple[str, ...] | None = None
    phonemes: str = ""
    style: str = ""
    laugh: tuple[float, float] | None = None

    @property
    def id(self) -> str:
        """Name without suffix, unique within a manifest."""
        return Path(self.file).stem

    @property
    def split(self) -> Split:
        """The part of the data the clip belongs to."""
        return split_of(self.text, self.speaker)


def timbres(speaker: str) -> frozenset[str]:
    """Voices that a speaker's timbre is made of: "a*0.5+b*0.5|c" -> {"a", "b"}."""
    timbre = speaker.split("|")[0]
    return frozenset(part.split("*")[0].strip() for part in timbre.split("+"))


def held_out_speaker(speaker: str) -> bool:
    """Whether any part of the speaker's timbre is one of `HELD_OUT_TIMBRES`."""
    return not timbres(speaker).isdisjoint(HELD_OUT_TIMBRES)


def held_out_text(text: str) -> bool:
    """Whether the text is among the 5 % of texts kept for validation; tags do not count."""
    core = "".join(c for c in untagged(text).casefold() if c.isalnum())
    digest = hashlib.sha1(core.encode(), usedforsecurity=False).digest()
    return int.from_bytes(digest[:8], "big") % 100 < HELD_OUT_TEXT_PERCENT


def split_of(text: str, speaker: str) -> Split:
    """Where a clip belongs. A held-out speaker weighs more than a held-out text."""
    if held_out_speaker(speaker):
        return "valid_speaker"
    return "valid_text" if held_out_text(text) else "train"


def read_manifest(path: str | Path) -> list[Utterance]:
    """Read a manifest; a last line cut off by a kill is left out.

    Raises:
        BadInput: the file is missing, or a line is not a clip (its number is given).
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise BadInput(
            f"Cannot read the manifest {path} ({error}). Make one with: glmtts data speak"
        ) from error
    whole = text.endswith("\n")
    lines = text.splitlines()
    clips: list[Utterance] = []
    for number, line in enumerate(lines, 1):
        try:
            clips.append(utterance(json.loads(line)))
        except (ValueError, TypeError) as error:
            if number == len(lines) and not whole:
                break
            raise BadInput(f"{path}, line {number}: not a clip ({error}).") from error
    return clips


def utterance(record: dict[str, Any]) -> Utterance:
    """One manifest record as a value; fields it does not know are ignored.

    Raises:
        TypeError: a field without a default is missing.
    """
    known = {field.name for field in fields(Utterance)}
    values = {key: value for key, value in record.items() if key in known}
    for key in ("pinyin", "laugh"):
        if values.get(key) is not None:
            values[key] = tuple(values[key])
    return Utterance(**values)


def to_line(clip: Utterance) -> str:
    """The manifest line of a clip, with its newline."""
    return json.dumps(asdict(clip), ensure_ascii=False) + "\n"


def write_manifest(path: str | Path, clips: Iterable[Utterance]) -> None:
    """Write a manifest; a reader sees the old or the new one, never a half."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("w", encoding="utf-8") as file:
        file.writelines(to_line(clip) for clip in clips)
    temporary.replace(path)


def read_clips(folder: str | Path, clips: Iterable[Utterance]) -> Iterator[tuple[Utterance, Audio]]:
    """Load the sound of clips, one after the other; an archive stays open while its clips last.

    Raises:
        BadInput: an archive or a file is missing.
        BadAudio: a clip cannot be decoded.
    """
    folder = Path(folder)
    archive: tarfile.TarFile | None = None
    name: str | None = None
    try:
        for clip in clips:
            if clip.shard is None:
                yield clip, Audio.load(folder / clip.file)
                continue
            if archive is None or clip.shard != name:
                if archive is not None:
                    archive.close()
                archive, name = tarfile.open(folder / clip.shard), clip.shard  # noqa: SIM115
            data = archive.extractfile(clip.file)
            assert data is not None, f"{clip.file} is not a plain file"
            yield clip, Audio.load(BytesIO(data.read()))
    except (OSError, KeyError, tarfile.TarError) as error:
        raise BadInput(f"{folder}: a clip of the manifest is missing ({error}).") from error
    finally:
        if archive is not None:
            archive.close()
