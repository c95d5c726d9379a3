"""Figures of streaming and serving that take minutes: `python runs/serve_figures.py NAME [MODEL]`.

first    first sound and real-time factor of sentences asked for one after the other
memory   resident memory of a server while one client hears ten minutes of speech
seams    50 sentences streamed in blocks against the same tokens at once: log-mel distance at seams,
         elsewhere, and in the last 300 ms
cost     processor time of a minute of text beside that of six seconds, as the server speaks them
"""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch

from glmtts.audio import log_mel
from glmtts.options import Pace, SpeakOptions
from glmtts.sampling import Sampling
from glmtts.serve.service import PACES
from glmtts.serve.shared import SharedLM, shared
from glmtts.synthesizer import Synthesizer

STORY = (
    "春天来了，公园里的花都开了。", "孩子们在草地上跑来跑去，笑声传得很远。",
    "老人们坐在长椅上聊天，说着过去的事情。", "一只小猫躲在树下，看着飞来飞去的蝴蝶。",
    "下午的时候，天空忽然下起了小雨。", "人们撑着伞，慢慢地走回家。",
    "商店的老板站在门口，向每一位客人问好。", "街角的咖啡馆里飘出一阵香味。",
    "两个学生一边走一边讨论明天的考试。", "公共汽车停在路边，等最后一位乘客上车。",
    "晚上，月亮从山后面慢慢升起来了。", "河边的灯一盏一盏地亮了起来。",
    "远处传来火车的声音，越来越近。", "妈妈在厨房里准备全家人的晚饭。",
    "爸爸把报纸放下，走到窗前看了看。", "弟弟趴在桌子上，认真地画一张地图。",
    "他说长大以后要去很远的地方旅行。", "姐姐笑着问他，路上打算吃些什么。",
    "大家都笑了，屋子里变得很热闹。", "夜深了，整个城市慢慢安静下来。",
    "只有远处的几扇窗户还亮着灯。", "明天又会是忙碌而平常的一天。",
    "我们约好了早上八点在车站见面。", "如果下雨，就改成去博物馆参观。",
    "那里正在展出几百年前的书和画。",
)  # fmt: skip
TALE = (
    "The morning train was late again, so we waited on the platform.",
    "A woman was reading a newspaper beside her suitcase.",
    "Nobody seemed to be in a hurry today.", "The station clock showed a quarter past nine.",
    "When the train finally came, everyone found a seat by the window.",
    "We watched the fields go by until the city was far behind us.",
    "A small boy asked his mother how fast we were going.",
    "She smiled and said that it was faster than a horse.",
    "At the next stop a man came in with a large brown dog.",
    "The dog slept under the table for the rest of the journey.",
    "By noon the clouds had gone and the sun was warm.",
    "We bought some bread and cheese from a shop near the harbour.",
    "The fishermen were mending their nets and talking quietly.",
    "One of them told us a story about a winter storm.",
    "It had lasted three days and nobody could leave the house.",
    "After lunch we walked along the beach as far as the lighthouse.",
    "The keeper showed us the lamp and the stairs leading up to it.",
    "From the top we could see ships waiting to enter the port.",
    "Later in the evening there was music in the square.",
    "Old friends met and danced until the lights went out.",
    "We took the last train home and arrived after midnight.",
    "My brother had left a letter for me on the kitchen table.",
    "He wanted to know whether I could help him on Saturday.",
    "I wrote back that I would come as early as possible.",
    "Then I made a cup of tea and went to bed.",
)  # fmt: skip


@contextmanager
def serving(model: str) -> Generator[tuple[str, "subprocess.Popen[bytes]"]]:
    """A server in a process of its own: its address, and the process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        server = subprocess.Popen(
            [sys.executable, "-m", "glmtts", "serve", "--port", str(port), "--data", folder,
             "--model", model], stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            wait_ready(f"http://127.0.0.1:{port}/ready", server)
            yield f"http://127.0.0.1:{port}", server
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(60)


def asked(address: str, text: str, seed: int = 1) -> urllib.request.Request:
    """A request for PCM of 24,000 16-bit samples a second."""
    body = {"input": text, "response_format": "pcm", "seed": seed}
    return urllib.request.Request(
        f"{address}/v1/audio/speech", json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )  # fmt: skip


def first(model: str) -> None:
    """One listener: from the request to the first bytes, and to the last."""
    with serving(model) as (address, _):
        for story in (STORY, TALE):
            waits, factors = list[float](), list[float]()
            for index, text in enumerate(story[:20]):
                began = time.monotonic()
                with urllib.request.urlopen(asked(address, text, index), timeout=60) as answer:
                    heard = len(answer.read(1024))
                    waits.append(time.monotonic() - began)
                    heard += len(answer.read())
                factors.append((time.monotonic() - began) / (heard / 48_000))
            waits, factors = sorted(waits), sorted(factors)
            print(f"{len(waits)} sentences: first sound {waits[len(waits) // 2] * 1e3:.0f} ms "
                  f"(median; second slowest {waits[-2] * 1e3:.0f}), real-time factor "
                  f"{factors[len(factors) // 2]:.2f} (median)", flush=True)  # fmt: skip


def memory(model: str) -> None:
    """Resident memory while the sound comes."""
    with serving(model) as (address, server):
        began, heard, minute = time.monotonic(), 0, 0
        print(f"ready: {resident(server.pid):.0f} MB", flush=True)
        text = "".join(STORY) * 8
        with urllib.request.urlopen(asked(address, text[:4096]), timeout=600) as answer:
            while piece := answer.read(48_000):
                heard += len(piece)
                if heard / 48_000 >= 60 * minute:
                    print(f"{heard / 48_000:.0f} s of sound: {resident(server.pid):.0f} MB "
                          f"(after {time.monotonic() - began:.0f} s)", flush=True)  # fmt: skip
                    minute += 1
        print(f"end, {heard / 48_000:.0f} s of sound: {resident(server.pid):.0f} MB, "
              f"{processor(server.pid):.0f} s of processor in all")  # fmt: skip


def wait_ready(address: str, server: "subprocess.Popen[bytes]") -> None:
    """Wait until the model is loaded; RuntimeError if the server ends instead."""
    while server.poll() is None:
        try:
            urllib.request.urlopen(address, timeout=5).close()
            return
        except OSError:
            time.sleep(0.2)
    raise RuntimeError(f"The server ended with {server.returncode}.")


def resident(pid: int) -> float:
    """Resident memory in MB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) / 1e3


def processor(pid: int) -> float:
    """Processor time of a process in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def seams(model: str) -> None:
    """Tokens drawn once, then sound in blocks and at once."""
    synth, rows = Synthesizer.load(model, device="cpu"), list[tuple[float, float, float, float]]()
    spec = synth.manifest.audio
    for text in (*STORY, *TALE):
        voice = synth.default_voice(text)
        reading = synth.reader().ids(text)
        prompt = synth.audible(voice.prompt, voice, text)
        sampling = synth.sampling(Sampling(seed=len(rows), candidates=1, retries=0))
        tokens = list(synth.lm.generate(reading, prompt, sampling))
        options = replace(synth.flow_options, blocks=Pace.quick_start().blocks)
        mel, wave = synth.flow.stream(voice, options), synth.vocoder.stream()
        parts, places = list[torch.Tensor](), list[int]()
        for block, last in Pace.quick_start().cut(iter(tokens)):
            parts.append(wave.push(mel.push(block, last=last), last=last))
            places.append(sum(map(len, parts)) // spec.hop_length)
        streamed = torch.cat(parts)
        whole = synth.vocoder.decode(synth.flow.sample(tokens, voice, synth.flow_options))
        assert streamed.shape == whole.shape, (streamed.shape, whole.shape)
        distance = (log_mel(streamed, spec) - log_mel(whole, spec)).abs().mean(-1)
        seam = torch.zeros(len(distance), dtype=torch.bool)
        for place in places[:-1]:
            seam[max(0, place - 2) : place + 2] = True
        end = 3 * spec.sample_rate // 10
        energy = [float(x[-end:].square().mean().clamp(min=1e-9).log10() * 10)
                  for x in (streamed, whole)]  # fmt: skip
        rows.append((
            float(distance[seam].mean()), float(distance[~seam].mean()),
            float(distance[-end // spec.hop_length :].mean()), energy[0] - energy[1],
        ))  # fmt: skip
    at, other, last, louder = (torch.tensor(column) for column in zip(*rows, strict=True))
    print(f"{len(rows)} pairs, log-mel distance (nat): at seams {at.mean():.3f}, elsewhere "
          f"{other.mean():.3f}, last 300 ms {last.mean():.3f}; at seams higher in "
          f"{int((at > other).sum())}; last 300 ms streamed minus whole {louder.mean():+.2f} dB "
          f"(least {louder.min():+.2f}, most {louder.max():+.2f})")  # fmt: skip


def cost(model: str) -> None:
    """Processor time a second of sound, as the server speaks them."""
    torch.set_num_threads(1)
    alone = Synthesizer.load(model, device="cpu")
    together = shared(alone, slots=8 * max(1, alone.manifest.candidates))
    options = SpeakOptions(sampling=Sampling(seed=1), pace=PACES["quick"])
    together.speak("你好，世界。", options=options)
    for story, joint in ((STORY, ""), (TALE, " ")):
        short = [story[i] + joint + story[i + 1] for i in range(0, 24, 2)]
        spoken = [_timed(together, text, options) for text in short]
        seconds, work = (sum(column) for column in zip(*spoken, strict=True))
        long_seconds, long_work = _timed(together, joint.join(story), options)
        growth = (long_work / long_seconds * 60) / (work / seconds * 6)
        print(f"{len(short)} texts of {seconds / len(short):.2f} s: {work / seconds:.3f} s of "
              f"processor a second; one of {long_seconds:.1f} s: {long_work / long_seconds:.3f}; "
              f"60 s cost {growth:.1f} x 6 s", flush=True)  # fmt: skip
    assert isinstance(together.shared_lm, SharedLM)
    together.shared_lm.close()


def _timed(synth: Synthesizer, text: str, options: SpeakOptions) -> tuple[float, float]:
    before = time.process_time()
    return synth.speak(text, options=options).seconds, time.process_time() - before


if __name__ == "__main__":
    name, model = sys.argv[1], [*sys.argv[2:], "glmtts-nano"][0]
    {"first": first, "memory": memory, "seams": seams, "cost": cost}[name](model)
