"""Texts to training speech with the Kokoro teacher. Read `speak` first.

Every text becomes one clip: a speaker (timbre of one voice or of two, prosody of a native one), a
tempo, phonemes, sound, trimming, an Opus or FLAC file. What clip number `i` sounds like depends on
(text, seed, i) alone, so it does not matter how many processes share the work or how often they
were interrupted.

A process writes the clip first and its manifest line second, each whole or not at all; a clip is
done when its line is there. Needs the extra `teacher`.
"""

import io
import json
import random
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch

from glmtts.audio import Audio
from glmtts.data.kokoro import MAX_SYMBOLS, SAMPLE_RATE, Kokoro
from glmtts.data.laughing import Heard, Laughed, Laughing, with_laugh
from glmtts.data.manifest import HELD_OUT_TIMBRES, Utterance, utterance, write_manifest
from glmtts.data.manner import MANNERS
from glmtts.data.teacher_phonemes import phonemes
from glmtts.data.texts import Text
from glmtts.errors import BadInput, GlmTtsError
from glmtts.text.styles import untagged

LaughterJudge = Callable[[], Heard]
"""Makes what tells laughs."""

_NAMES = """
af_alloy af_aoede af_bella af_heart af_jessica af_kore af_nicole af_nova af_river af_sarah af_sky
am_adam am_echo am_eric am_fenrir am_liam am_michael am_onyx am_puck bf_alice bf_emma bf_isabella
bf_lily bm_daniel bm_fable bm_george bm_lewis ef_dora em_alex ff_siwis hf_alpha hf_beta hm_omega
hm_psi if_sara im_nicola jf_alpha jf_gongitsune jf_nezumi jf_tebukuro jm_kumo pf_dora pm_alex
zf_xiaobei zf_xiaoni zf_xiaoxiao zf_xiaoyi zm_yunjian zm_yunxi zm_yunxia zm_yunyang
"""
TIMBRES = tuple(_NAMES.split())
"""Timbres: first letter the language, second f or m."""
PROSODIES = {
    "zh": tuple(n for n in TIMBRES if n[0] == "z" and n != "zf_xiaoni"),
    "en": tuple(n for n in TIMBRES if n[0] in "ab"),
}
"""Native voices a language takes its prosody from. zf_xiaoni's Mandarin is not clear enough."""
BLENDS_PER_GENDER = 40
CLIPS_PER_ARCHIVE = 1_200


# ----- who says what ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Job:
    """One clip to make: text number `index` in the voice `speaker` at tempo `speed`.

    `style` is a key of `MANNERS`, or empty for neutral; `laughs`: a laugh is put into the clip.
    """

    index: int
    text: Text
    speaker: str
    speed: float
    lossless: bool
    style: str = ""
    laughs: bool = False


def blends(seed: int) -> dict[str, list[str]]:
    """For each gender the two-voice timbres in use; held-out timbres are in none of them."""
    out: dict[str, list[str]] = {}
    for gender in "fm":
        names = [n for n in TIMBRES if n[1] == gender and n not in HELD_OUT_TIMBRES]
        pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
        random.Random(f"{seed}-{gender}").shuffle(pairs)
        out[gender] = [f"{a}*0.5+{b}*0.5" for a, b in pairs[:BLENDS_PER_GENDER]]
    return out


def plan(
    texts: Sequence[Text],
    seed: int = 0,
    *,
    held_out: float = 0.04,
    lossless: float = 0.06,
    styled: float = 0.0,
    laughing: float = 0.0,
) -> list[Job]:
    """Give every text a speaker, a tempo and a file kind; each depends on (seed, index) alone.

    A quarter of the clips are native voices as they are; the rest combine a timbre (half of them a
    blend) with a native prosody of the same gender.

    Args:
        texts: The list to be spoken.
        seed: Same seed, same plan.
        held_out: Share of clips spoken by the timbres that no training sees.
        lossless: Share of clips stored as FLAC.
        styled: Share of clips in one of the styles of `MANNERS`; the others stay as they are
            without any.
        laughing: Share of the happy and of the unstyled clips that get a laugh.
    """
    mixed, jobs = blends(seed), list[Job]()
    usable = [n for n in TIMBRES if n not in HELD_OUT_TIMBRES]
    for index, text in enumerate(texts):
        rng = random.Random(f"{seed}-{index}")
        prosody = rng.choice([p for p in PROSODIES[text.lang] if p not in HELD_OUT_TIMBRES])
        gender = prosody[1]
        kind = rng.random()
        if kind < held_out:
            timbre = rng.choice([n for n in sorted(HELD_OUT_TIMBRES) if n[1] == gender])
        elif kind < held_out + 0.25:
            timbre = prosody
        elif kind < 0.65:
            timbre = rng.choice([n for n in usable if n[1] == gender])
        else:
            timbre = rng.choice(mixed[gender])
        speed = round(rng.uniform(0.85, 1.2), 2)
        flac = rng.random() < lossless
        style = rng.choice(sorted(MANNERS)) if rng.random() < styled else ""
        laughs = style in ("", "happy") and rng.random() < laughing
        jobs.append(Job(index, text, f"{timbre}|{prosody}", speed, flac, style, laughs))
    return jobs


# ----- one clip -----------------------------------------------------------------------------------


def trim(samples: np.ndarray, sample_rate: int = SAMPLE_RATE) -> np.ndarray:
    """Keep 80 ms before and 150 ms after speech (10 ms frames above 2 % of the loudest): (N,).

    Returns:
        A part of `samples`; empty when there is no sound.
    """
    hop = sample_rate // 100
    frames = samples[: len(samples) // hop * hop].reshape(-1, hop)
    level = np.sqrt(np.square(frames, dtype=np.float64).mean(axis=1))
    loud = np.flatnonzero(level > max(0.004, 0.02 * float(level.max(initial=0.0))))
    if not len(loud):
        return samples[:0]
    start = int(loud[0]) * hop - round(0.08 * sample_rate)
    stop = (int(loud[-1]) + 1) * hop + round(0.15 * sample_rate)
    return samples[max(0, start) : stop]


def make(
    job: Job, teacher: Kokoro, folder: Path, seed: int, laughing: Laughing | None = None
) -> Utterance:
    """Speak one job and write its file below `folder`.

    `laughing` puts the laughs in; a voice that gives none speaks without.

    Raises:
        BadInput: the text cannot be spoken in one piece, or nothing came out.
    """
    spoken, pinyin = phonemes(job.text, job.speaker)
    spoken = teacher.known(spoken)
    if not 3 <= len(spoken) <= MAX_SYMBOLS:
        raise BadInput(f"{len(spoken)} symbols; the teacher takes 3 to {MAX_SYMBOLS}.")
    torch.manual_seed(seed * 1_000_003 + job.index)  # phases and noise of the source
    manner = MANNERS[job.style] if job.style else None
    samples = trim(teacher.speak(spoken, job.speaker, job.speed, manner).numpy())
    seconds = len(samples) / SAMPLE_RATE
    if seconds < 0.3:
        raise BadInput(f"Only {seconds:.2f} s of sound.")
    samples = samples * min(1.0, 0.89 / float(np.abs(samples).max()))
    laughed: Laughed | None = None
    if job.laughs and laughing is not None:
        rng = np.random.default_rng([seed, job.index])
        laughed = laughing(job.text.text, samples, SAMPLE_RATE, rng)
    if laughed is not None:
        samples = laughed.samples
        seconds = len(samples) / SAMPLE_RATE
    name = f"{job.index:06d}.{'flac' if job.lossless else 'opus'}"
    target = folder / f"{job.index // 1000:04d}" / name
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{name}")
    audio = Audio(torch.from_numpy(np.ascontiguousarray(samples)), SAMPLE_RATE)
    audio.save(temporary, target.suffix[1:])
    temporary.replace(target)
    clip = Utterance(
        file=f"{folder.name}/{target.parent.name}/{name}", lang=job.text.lang,
        speaker=job.speaker, text=job.text.text, seconds=round(seconds, 3), speed=job.speed,
        pinyin=pinyin, phonemes=spoken, style=job.style,
    )  # fmt: skip
    return clip if laughed is None else with_laugh(clip, laughed, seconds)


# ----- all clips ----------------------------------------------------------------------------------


def _journal(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Entries of a journal, (index, record); a last line cut short by a kill is removed."""
    if not path.exists():
        return
    data = path.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if len(whole) < len(data):
        path.write_bytes(whole)
    for line in whole.decode().splitlines():
        record = json.loads(line)
        yield record.pop("index"), record


def finished(folder: Path) -> dict[int, Utterance | None]:
    """What earlier runs have done: the clip of each job, None for a text that cannot be spoken."""
    done: dict[int, Utterance | None] = {}
    for path in sorted(folder.glob("journal-*.jsonl")):
        for index, record in _journal(path):
            done[index] = None if "failed" in record else utterance(record)
    return done


def _is_of(clip: Utterance, job: Job) -> bool:
    """Whether the clip can be what became of the job; a laugh may be all that it says."""
    said = "".join(untagged(clip.text).split()), clip.speaker, clip.style
    wanted = "".join(job.text.text.split()), job.speaker, job.style
    if clip.laugh is None or said[0]:
        return said == wanted and (clip.laugh is None or job.laughs)
    return job.laughs and said[1:] == wanted[1:]


def _work(
    jobs: Sequence[Job],
    cache: str,
    folder: str,
    number: int,
    seed: int,
    compiled: bool,
    queue: Any,
    judge: LaughterJudge | None = None,
) -> None:
    """One process: speak its jobs in order, one journal line each, while its parent lives."""
    import warnings
    from multiprocessing import parent_process

    from glmtts.data.kokoro_bf16 import accelerate

    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    teacher = Kokoro(cache, fast=False)
    accelerate(teacher.model, compiled=compiled)
    laughing = Laughing(judge()) if judge is not None else None
    root = Path(folder)
    with (root / f"journal-{number}.jsonl").open("a", encoding="utf-8") as journal:
        parent = parent_process()
        for job in jobs:
            if parent is not None and not parent.is_alive():
                return  # it was killed: nobody waits for more
            try:
                record = asdict(make(job, teacher, root / "clips", seed, laughing))
            except (BadInput, ValueError) as error:
                record = {"failed": str(error), "text": job.text.text}
            line = json.dumps({"index": job.index, **record}, ensure_ascii=False)
            journal.write(line + "\n")
            journal.flush()
            queue.put(record.get("seconds", 0.0))


def speak(
    texts: Sequence[Text],
    folder: str | Path,
    cache: str | Path,
    *,
    processes: int = 2,
    seed: int = 0,
    compiled: bool = False,
    held_out: float = 0.04,
    styled: float = 0.0,
    laughing: float = 0.0,
    judge: LaughterJudge | None = None,
) -> tuple[int, float]:
    """Speak all texts into `folder`; an interrupted run goes on where it was.

    Ends with `folder/manifest.jsonl` and the clips in `folder/clips-NN.tar`.

    Args:
        texts: What to say; the same list when a run is continued.
        folder: Of this data set alone.
        cache: Folder of packages, see `Kokoro`.
        processes: Each uses one core and 1.2 GB.
        seed: Of speakers, tempi and the teacher's noise.
        compiled: Fuse the teacher's norms (a third faster, needs a C++ compiler).
        held_out: Share of clips by voices that no training sees.
        styled: Share of clips in a style (`glmtts.data.manner`), labelled with its name.
        laughing: Share of the happy and of the unstyled clips with a laugh made of their own voice
            (`glmtts.data.laughing`), `[laughter]` at its place in their texts.
        judge: Makes what tells laughs, in each process; an importable function.

    Returns:
        Number of clips and hours of speech in the whole folder.

    Raises:
        BadInput: `folder` holds clips of other texts or another seed, or there is no judge of the
            laughs that are asked for.
        MissingExtra: the extra `teacher` is not installed.
        PackageError: a package cannot be fetched.
        GlmTtsError: a process died.
    """
    from tqdm import tqdm

    if laughing and judge is None:
        raise BadInput("Laughs need a judge that tells them; give one, or laughing=0.")
    if laughing and judge is not None:
        judge()  # raises here what would be raised in every process
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    jobs = plan(texts, seed, held_out=held_out, styled=styled, laughing=laughing)
    done = finished(folder)
    for index, clip in done.items():
        if clip is not None and (index >= len(jobs) or not _is_of(clip, jobs[index])):
            raise BadInput(
                f"{folder} holds clips of other texts, styles or another seed (clip {index}: "
                f"{clip.text[:30]!r}). Continue with the same ones, or use another folder."
            )
    left = [job for job in jobs if job.index not in done]
    if left:
        Kokoro(cache, fast=False)  # fetch and convert once, before the processes start
        context = get_context("spawn")
        queue: Any = context.Queue()
        workers = [
            context.Process(
                target=_work,
                args=(
                    left[i::processes],
                    str(cache),
                    str(folder),
                    i,
                    seed,
                    compiled,
                    queue,
                    judge if laughing else None,
                ),
                daemon=True,
            )
            for i in range(min(processes, len(left)))
        ]
        for worker in workers:
            worker.start()
        try:
            _watch(workers, queue, tqdm(total=len(jobs), initial=len(done), unit="clip"), len(left))
        finally:
            for worker in workers:
                worker.terminate()
                worker.join()
    clips = [clip for _, clip in sorted(finished(folder).items()) if clip is not None]
    pack(folder, clips)
    return len(clips), sum(clip.seconds for clip in clips) / 3600


def _watch(workers: Sequence[Any], queue: Any, bar: Any, count: int) -> None:
    """Show progress until `count` jobs have reported.

    Raises:
        GlmTtsError: a process died before that.
    """
    from queue import Empty

    seconds = 0.0
    with bar:
        while count:
            try:
                seconds += queue.get(timeout=2.0)
            except Empty:
                dead = [w.exitcode for w in workers if w.exitcode not in (None, 0)]
                if dead or not any(w.is_alive() for w in workers):
                    raise GlmTtsError(
                        f"A teacher process ended early (exit code {dead}). Its message is above; "
                        "run the command again to continue."
                    ) from None
                continue
            count -= 1
            bar.update()
            bar.set_postfix_str(f"{seconds / 3600:.2f} h of speech")


def pack(folder: Path, clips: Sequence[Utterance]) -> None:
    """Put loose clips into `clips-NN.tar` and write `manifest.jsonl`, the format of `manifest.py`.

    The archives depend on the clips alone (no times, no owners). The loose files stay.
    """
    packed: list[Utterance] = []
    for number, start in enumerate(range(0, len(clips), CLIPS_PER_ARCHIVE)):
        name = f"clips-{number:02d}.tar"
        part = clips[start : start + CLIPS_PER_ARCHIVE]
        temporary = folder / f".{name}"
        with tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as archive:
            for clip in part:
                data = (folder / clip.file).read_bytes()
                entry = tarfile.TarInfo(Path(clip.file).name)
                entry.size = len(data)
                archive.addfile(entry, io.BytesIO(data))
        temporary.replace(folder / name)
        packed += [replace(clip, file=Path(clip.file).name, shard=name) for clip in part]
    write_manifest(folder / "manifest.jsonl", packed)
