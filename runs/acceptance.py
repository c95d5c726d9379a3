"""Speech for the judge: held-out sentences, unheard voices, hard text, recordings as prompts.

    python runs/acceptance.py CORPUS/manifest.jsonl OUT [--model FOLDER] [--sets bundled hard ...]
    python JUDGE.py OUT/cases.jsonl > OUT/scores.jsonl
    python runs/acceptance.py --scores OUT/scores.jsonl

Sets, in both languages:

    bundled  100 + 100 held-out sentences of the corpus, the model's own voices in turn
    clones   50 + 50 held-out sentences, voices cloned from clips of held-out speakers
    hard     30 + 30: tongue twisters, repeated words, one to three characters, 500, numbers
    real     15 + 15 held-out sentences, cloned from the recordings in --real (FILE.wav with what
             it says in FILE.txt)

A sentence that is spoken already is not spoken again; one that cannot be is counted as missing,
which the judge takes for an error. The judge is any program that takes lines of {"wav", "text",
"lang", "prompt"} and gives them back with "per", "mos" and "sim".
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from held_out import held_out_sentences, speakers
from tqdm import tqdm

from glmtts import Sampling, SpeakOptions, Synthesizer
from glmtts.data.manifest import read_clips, read_manifest
from glmtts.errors import GlmTtsError
from glmtts.voice import Voice

TWISTERS = (
    ("zh", "四是四，十是十，十四是十四，四十是四十。"),
    ("zh", "吃葡萄不吐葡萄皮，不吃葡萄倒吐葡萄皮。"),
    ("zh", "红鲤鱼与绿鲤鱼与驴。"),
    ("zh", "黑化肥发灰，灰化肥发黑。"),
    ("zh", "牛郎恋刘娘，刘娘念牛郎。"),
    ("zh", "八百标兵奔北坡，炮兵并排北边跑。"),
    ("zh", "粉红墙上画凤凰，红凤凰，黄凤凰。"),
    ("en", "She sells sea shells by the sea shore."),
    ("en", "Peter Piper picked a peck of pickled peppers."),
    ("en", "How much wood would a woodchuck chuck if a woodchuck could chuck wood?"),
    ("en", "Red lorry, yellow lorry, red lorry, yellow lorry."),
    ("en", "Six sleek swans swam swiftly southwards."),
    ("en", "Betty bought some butter, but the butter was bitter."),
    ("en", "I scream, you scream, we all scream for ice cream."),
)
REPEATED = (
    ("zh", "好好好好好，我知道了。"), ("zh", "快点快点快点快点，车要开了。"),
    ("zh", "哈哈哈哈哈，太好笑了。"), ("zh", "不要不要不要不要。"),
    ("zh", "等等等等，我还没准备好。"),
    ("en", "No, no, no, no, no."), ("en", "Very very very very good."),
    ("en", "Go go go go, run to the door!"), ("en", "The the the the end."),
    ("en", "Well, well, well, look who is here."),
)  # fmt: skip
SHORT = (
    ("zh", "好。"), ("zh", "是"), ("zh", "走！"), ("zh", "谁？"), ("zh", "你好"), ("zh", "不行"),
    ("zh", "再见。"), ("zh", "为什么？"), ("zh", "对不起"), ("zh", "没关系"),
    ("en", "Yes."), ("en", "No"), ("en", "Go!"), ("en", "Why?"), ("en", "Hi."), ("en", "OK"),
    ("en", "Hello."), ("en", "Thank you."), ("en", "Good night"), ("en", "Come on in!"),
)  # fmt: skip
LONG = (
    ("zh", "我们今天要讲的是一个很长的故事，故事里有一座山，山上有一座老房子，"
     "房子里住着一位老人和他的小狗，"
     "他们每天早上都会沿着小路走到河边去看日出，然后再慢慢地走回来吃早饭，"),
    ("en", "and then we walked along the river until we reached the old bridge, where a man was "
     "selling apples and pears from a wooden cart, "),
)  # fmt: skip
NUMBERS = (
    ("zh", "一，二，三，四，五，六，七，八，九，十。"), ("zh", "我的电话是13800138000。"),
    ("zh", "3，6，9，12，15，18，21，24。"), ("zh", "2024年5月17日，气温23.5度。"),
    ("zh", "总共1234567元。"), ("zh", "百分之四十五，百分之六十七，百分之八十九。"),
    ("zh", "11，22，33，44，55，66，77。"),
    ("en", "One, two, three, four, five, six, seven, eight, nine, ten."),
    ("en", "3, 6, 9, 12, 15, 18, 21, 24."), ("en", "The total is 1,234,567 dollars."),
    ("en", "It happened on May 17th, 2024, at 9:45."), ("en", "11, 22, 33, 44, 55, 66, 77."),
    ("en", "Flight 2093 leaves from gate 17 at 6:30."), ("en", "45%, 67%, and 89%."),
)  # fmt: skip


def hard() -> list[tuple[str, str, str]]:
    """Kind, language and text of 60 texts."""
    (_, zh), (_, en) = LONG
    long = [
        ("zh", (zh * 8)[:500].rstrip("，") + "。"),
        ("en", (en * 5)[:500].rsplit(" ", 1)[0] + "."),
    ]
    kinds = {"twister": TWISTERS, "repeated": REPEATED, "short": SHORT, "numbers": NUMBERS}
    rows = [(kind, lang, text) for kind, texts in kinds.items() for lang, text in texts]
    return [*rows, *(("long", lang, text) for lang, text in long)]


def every(texts: list[str], count: int, offset: int = 0) -> list[str]:
    """So many of them, evenly spread."""
    return [texts[(offset + i * len(texts) // count) % len(texts)] for i in range(count)]


def cases(flags: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """What is asked, without sound: by a `voice` of that number, or as `prompt`."""
    clips = read_manifest(flags.manifest)
    prompts = flags.out / "prompts"
    for language in ("zh", "en"):
        texts = list(held_out_sentences(clips, language))
        if "bundled" in flags.sets:
            for number, text in enumerate(every(texts, 100)):
                yield {"set": "bundled", "id": f"bundled-{language}-{number}", "text": text,
                       "lang": language, "voice": number}  # fmt: skip
        if "clones" in flags.sets:
            prompts.mkdir(parents=True, exist_ok=True)
            heard = list[tuple[str, str]]()
            chosen = sorted(speakers(clips, language, 4), key=lambda clip: clip.shard or "")
            for clip, sound in read_clips(flags.manifest.parent, chosen):
                sound.save(prompts / f"{clip.id}.wav")
                heard.append((str(prompts / f"{clip.id}.wav"), clip.text))
            for number, text in enumerate(every(texts, 50, 1)):
                prompt, said = heard[number % len(heard)]
                yield {"set": "clones", "id": f"clones-{language}-{number}", "text": text,
                       "lang": language, "prompt": prompt, "prompt_text": said}  # fmt: skip
        if "real" in flags.sets:
            real = sorted(flags.real.glob("*.wav"))
            for number, text in enumerate(every(texts, 15, 2)):
                prompt = real[number % len(real)]
                yield {"set": "real", "id": f"real-{language}-{number}", "text": text,
                       "lang": language, "prompt": str(prompt),
                       "prompt_text": prompt.with_suffix(".txt").read_text("utf-8").strip(),
                       }  # fmt: skip
    if "hard" in flags.sets:
        for number, (kind, language, text) in enumerate(hard()):
            yield {"set": "hard", "kind": kind, "id": f"hard-{number}", "text": text,
                   "lang": language, "voice": number}  # fmt: skip


def speak(flags: argparse.Namespace) -> None:
    """Write OUT/*.wav and OUT/cases.jsonl."""
    model = Synthesizer.load(flags.model, device="cpu")
    names: dict[str, list[str]] = {}
    for name in model.voices.names():
        names.setdefault(model.voices.get(name).language, []).append(name)
    voices: dict[str, Voice] = {}
    done, seconds, busy = list[dict[str, Any]](), 0.0, time.process_time()
    flags.out.mkdir(parents=True, exist_ok=True)
    for case in tqdm(list(cases(flags)), unit="sentence"):
        wav = flags.out / f"{case['id']}.wav"
        done.append({**case, "wav": str(wav)})
        if wav.is_file():
            continue
        if "prompt" in case:
            key = str(case["prompt"])
            if key not in voices:
                voices[key] = model.voice(Path(key), case["prompt_text"])
        else:
            own, number = names[str(case["lang"])], int(case["voice"])
            key = own[number % len(own)]
            voices[key] = model.voices.get(key)
        options = SpeakOptions(sampling=Sampling(seed=flags.seed, candidates=flags.candidates))
        try:
            audio = model.speak(case["text"], voices[key], options)
        except GlmTtsError as problem:
            print(f"{case['id']}: {problem}", file=sys.stderr)
            continue
        audio.save(wav)
        done[-1]["finish"] = audio.finish_reason
        seconds += audio.seconds
    if seconds:
        used = (time.process_time() - busy) / seconds
        print(f"{seconds:.0f} s of speech, {used:.3f} s of processor time each")
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in done)
    (flags.out / "cases.jsonl").write_text(lines, encoding="utf-8")


def tell(scores: Path) -> None:
    """Means by set and language, and what went worst."""
    lines = scores.read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines if line.startswith("{")]
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(f"{row['set']} {row['lang']}", []).append(row)
        if "kind" in row:
            groups.setdefault(f"{row['set']} {row['lang']} {row['kind']}", []).append(row)
    for name, group in groups.items():
        mean = {
            key: statistics.fmean(row[key] for row in group)
            for key in ("per", "mos", "sim") if all(key in row for row in group)
        }  # fmt: skip
        worst = sum(row["per"] > 0.5 for row in group)
        figures = "  ".join(f"{key} {value:.3f}" for key, value in mean.items())
        print(f"{name:24} n {len(group):3}  {figures}  above a half {worst}")
    for row in sorted(rows, key=lambda row: -row["per"])[:30]:
        said, heard = row["text"][:70], row.get("heard", "")[:70]
        print(f"{row['per']:.2f} {row.get('id', ''):16} {said} | {heard}")


def main() -> None:
    """Speak, or tell what the judge found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("manifest", type=Path, nargs="?")
    parser.add_argument("out", type=Path, nargs="?")
    parser.add_argument("--model", default="glmtts-nano")
    parser.add_argument("--sets", nargs="+", default=["bundled", "clones", "hard"],
                        choices=["bundled", "clones", "hard", "real"])  # fmt: skip
    parser.add_argument("--real", type=Path, help="folder of recordings, for the set real")
    parser.add_argument("--candidates", type=int, help="default: the model's own number")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scores", type=Path, help="what the judge wrote; nothing is spoken")
    flags = parser.parse_args()
    if flags.scores is not None:
        tell(flags.scores)
    elif flags.manifest is None or flags.out is None or ("real" in flags.sets and not flags.real):
        parser.error("MANIFEST and OUT are needed, and --real for the set real.")
    else:
        speak(flags)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
