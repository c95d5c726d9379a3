"""`glmtts data …`: from packages and a teacher to training shards, one function a command."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from glmtts.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Callable

    from glmtts.audio import Audio
    from glmtts.data.report import Report


def texts(out: Path, cache: Path, *, zh: int, en: int, mix: int, bare: int, seed: int) -> int:
    """Write the texts that are to be spoken; returns their number."""
    from glmtts.data.texts import build, write_texts

    made = build(cache, zh=zh, en=en, mix=mix, bare=bare, seed=seed)
    write_texts(out, made)
    return len(made)


def speak(
    texts: Path,
    out: Path,
    cache: Path,
    *,
    processes: int,
    seed: int,
    compiled: bool,
    styled: float = 0.0,
    laughing: float = 0.0,
) -> str:
    """Let the teacher say the texts; returns a line about the clips."""
    from glmtts.data.teacher import speak
    from glmtts.data.texts import read_texts

    count, hours = speak(
        read_texts(texts),
        out,
        cache,
        processes=processes,
        seed=seed,
        compiled=compiled,
        styled=styled,
        laughing=laughing,
        judge=laughter_judge,
    )
    return f"{count} clips, {hours:.2f} hours, are in {out}"


def laughter_judge() -> "Callable[[Audio], float]":
    """Tells how surely somebody laughs in a sound.

    Raises:
        MissingPackage: the detector is not installed.
    """
    from glmtts.judges.laughter import Laughter

    judge = Laughter()
    return lambda audio: float(judge.curve(audio)[0].max())


def laugh(manifest: Path, out: Path, *, share: float, seed: int) -> str:
    """Copies of clips with laughs in them; returns a line about them."""
    from glmtts.data.laughing import add_laughs

    count = add_laughs(manifest, out, laughter_judge(), share=share, seed=seed)
    return f"{count} clips with a laugh are in {out}"


def style(manifest: Path, out: Path, *, count: int, seed: int) -> str:
    """Clips said in styles; returns a line about them."""
    from glmtts.data.bending import add_styles

    made = add_styles(manifest, out, count=count, seed=seed)
    return f"{made} clips in styles are in {out}"


def whisper(out: Path, cache: Path) -> None:
    """Write the encoder weights that the nano speech tokenizer starts from."""
    from safetensors.numpy import save_file  # pyright: ignore[reportUnknownVariableType]

    from glmtts.data.whisper import whisper_base_encoder

    out.parent.mkdir(parents=True, exist_ok=True)
    save_file(whisper_base_encoder(cache), out)


def encode_audio(manifest: Path, out: Path, workers: int) -> str:
    """Manifest to shards of sound and pitch; returns a line about what was written."""
    from glmtts.data.encode import encode_audio

    counts = encode_audio(manifest, out, workers=workers)
    return ", ".join(f"{split}: {count} clips" for split, count in counts.items())


def encode_tokens(
    source: Path,
    out: Path,
    tokenizer: Path | None,
    speaker: Path | None,
    *,
    speed: float = 1.0,
    as_recorded: bool = False,
) -> str:
    """Shards of sound to shards of tokens, mels and speaker vectors."""
    from glmtts import checkpoint
    from glmtts.data.encode import encode_tokens
    from glmtts.speaker import SpeakerEncoder
    from glmtts.speech_tokenizer import SpeechTokenizer, TokenizerHeads

    if tokenizer is None or speaker is None:
        raise BadInput(
            "Encoding tokens needs --tokenizer and --speaker, the folders of the two components. "
            "Train the first with: glmtts train tokenizer"
        )
    encode_tokens(
        source,
        out,
        checkpoint.load(SpeechTokenizer, tokenizer),
        checkpoint.load(TokenizerHeads, tokenizer / "heads"),
        checkpoint.load(SpeakerEncoder, speaker),
        speed=speed,
        as_recorded=as_recorded,
    )
    return f"Shards are in {out}"


def prepare(raw: Path, out: Path, **flags: Any) -> "Report":
    """Recordings to training data; the flags are those of the command."""
    from glmtts.data import prepare as stages
    from glmtts.data.clips import CutSettings
    from glmtts.data.listening import ListenSettings
    from glmtts.data.quality import Limits
    from glmtts.data.selection import SelectSettings

    limits = Limits(snr_db=flags["snr"], bandwidth_hz=flags["bandwidth"], mos=flags["mos"])
    settings = stages.Settings(
        model=flags["model"],
        cut=CutSettings(
            longest=flags["longest"], lufs=flags["loudness"], limits=limits,
            separate=flags["separate"], denoise=flags["denoise"], diarize=flags["diarize"],
        ),
        listen=ListenSettings(
            language=flags["language"] or "",
            recognizer="" if flags["no_whisper"] else flags["recognizer"], second=flags["second"],
            per=flags["per"], written_per=flags["written_per"], wer=flags["wer"],
        ),
        select=SelectSettings(flags["speakers"], not flags["keep_punctuation"]),
    )  # fmt: skip
    if flags["fresh"]:
        stages.emptied(out)
    workers = stages.Workers(flags["workers"], flags["engine"], flags["gpus"])
    return stages.prepare(raw, out, settings, workers)
