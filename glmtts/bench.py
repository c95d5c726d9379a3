"""How fast a model is on this machine: `glmtts bench`. Read `measure` first.

Each part (language model, flow, vocoder, tokenizer, speech as a whole) runs in its own process, so
that its peak memory is its own. With `baseline`, loops written like those of the official code
(float32, nothing kept from step to step) run beside ours on the same weights' shapes: a stand-in
for that code on the machine at hand.
"""

import json
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from glmtts import baseline, checkpoint, hub
from glmtts.audio import Audio
from glmtts.devices import resolve_device, resolve_dtype
from glmtts.doctor import peak_memory_mb
from glmtts.engine import Engine
from glmtts.errors import BadInput
from glmtts.flow import FlowConfig, FlowOptions, TokenToMel
from glmtts.lm import LMConfig, TextToSpeechTokens
from glmtts.model_folder import read_manifest
from glmtts.nn.packed import quick_dtype
from glmtts.options import Pace
from glmtts.sampling import Sampling
from glmtts.speech_tokenizer import SpeechTokenizer, SpeechTokenizerConfig
from glmtts.synthesizer import Synthesizer
from glmtts.vocoder import Vocoder, VocoderConfig
from glmtts.voice import Prompt, Voice

PARTS = ("lm", "flow", "vocoder", "tokenizer", "speech")
OFFICIAL_LM = LMConfig(speech_start=59_261, end_id=59_260, begin_audio_id=59_259, pad_id=0)
"""For random weights; where the ids lie makes no difference to the time."""


@dataclass(frozen=True)
class Plan:
    """What is measured.

    Attributes:
        model: Name or folder; None for random weights of the official sizes.
        device: Where.
        dtype: As for `Synthesizer.load`.
        quick: Fewer tokens, frames and requests: a first impression.
        baseline: Run the official loops too.
        threads: CPU threads; 0 leaves torch's choice.
        parts: Some of `PARTS`.
    """

    model: str | None = "glmtts-nano"
    device: str = "auto"
    dtype: str = "auto"
    quick: bool = False
    baseline: bool = False
    threads: int = 0
    parts: tuple[str, ...] = PARTS

    def __post_init__(self) -> None:
        """Refuse parts there are not.

        Raises:
            BadInput: an unknown part.
        """
        if unknown := [part for part in self.parts if part not in PARTS]:
            raise BadInput(f"Unknown part {unknown[0]!r}. Known: {', '.join(PARTS)}.")


@dataclass
class Stages:
    """The stages that a part needs; the others are None."""

    lm: TextToSpeechTokens | None = None
    flow: TokenToMel | None = None
    vocoder: Vocoder | None = None
    tokenizer: SpeechTokenizer | None = None
    options: FlowOptions = field(default_factory=FlowOptions)


@dataclass(frozen=True)
class Spent:
    """Seconds of a piece of work, by the clock and of the processor."""

    wall_s: float
    cpu_s: float

    @classmethod
    def on(cls, work: Callable[[], Any], times: int = 3) -> "Spent":
        """The median of several runs after one that warms up."""
        work()
        walls, cpus = [0.0] * times, [0.0] * times
        for i in range(times):
            _finish()
            wall, cpu = time.perf_counter(), time.process_time()
            work()
            _finish()
            walls[i], cpus[i] = time.perf_counter() - wall, time.process_time() - cpu
        return cls(statistics.median(walls), statistics.median(cpus))


def _finish() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


# ----- what is measured ---------------------------------------------------------------------------


def random_stage(kind: type[Any], config: Any, dtype: torch.dtype = torch.float32) -> Any:
    """A component of `config` with random weights, made in its final type at once."""
    with torch.device("meta"):
        component = kind(config)
    component = component.to(dtype).to_empty(device="cpu")
    torch.manual_seed(0)
    with torch.no_grad():
        for name, value in (*component.named_parameters(), *component.named_buffers()):
            if value.ndim >= 2:
                value.normal_(0.0, 0.02)
            else:
                value.fill_(0.0 if name.endswith("bias") else 1.0)
    return component.eval()


def stages(plan: Plan, part: str, *, plain: bool = False) -> Stages:
    """What `part` of `plan` runs, made ready as `Synthesizer.load` does, or `plain` in float32."""
    if plan.model is not None and plain:
        folder = hub.resolve(plan.model)
        manifest = read_manifest(folder)
        return Stages(
            checkpoint.load(TextToSpeechTokens, folder / "lm"),
            checkpoint.load(TokenToMel, folder / "flow"),
            checkpoint.load(Vocoder, folder / "vocoder"),
            checkpoint.load(SpeechTokenizer, folder / "speech_tokenizer"),
            FlowOptions(manifest.flow_steps, manifest.flow_guidance, manifest.flow_temperature),
        )
    if plan.model is not None:
        loaded = Synthesizer.load(plan.model, device=plan.device, dtype=plan.dtype)
        ears = loaded.encoder.speech_tokenizer
        assert isinstance(ears, SpeechTokenizer)
        return Stages(loaded.lm, loaded.flow, loaded.vocoder, ears, loaded.flow_options)
    where, kind = resolve_device(plan.device), resolve_dtype(plan.dtype, plan.device)
    made = Stages()
    if part in ("lm", "speech"):
        stored = torch.bfloat16 if kind is torch.int8 else kind
        stored = torch.float32 if plain else stored
        lm: TextToSpeechTokens = random_stage(TextToSpeechTokens, OFFICIAL_LM, stored).to(where)
        made.lm = lm.pack() if kind is torch.int8 and not plain else lm
    if part in ("flow", "speech"):
        flow: TokenToMel = random_stage(TokenToMel, FlowConfig.official()).to(where)
        if where.type == "cpu" and not plain:
            flow.packed(quick_dtype() if plan.dtype == "auto" else torch.float32)
        made.flow = flow
    if part in ("vocoder", "speech"):
        made.vocoder = random_stage(Vocoder, VocoderConfig(kind="hift")).to(where)
    if part == "tokenizer":
        config = SpeechTokenizerConfig.official()
        tokenizer: SpeechTokenizer = random_stage(SpeechTokenizer, config).to(where)
        made.tokenizer = tokenizer if plain or where.type != "cpu" else tokenizer.packed()
    return made


def text_ids(lm: TextToSpeechTokens, count: int) -> list[int]:
    """Some text."""
    return [(3 + 7 * i) % min(1_000, lm.config.vocab_size) for i in range(count)]


def speech_tokens(flow: TokenToMel, count: int) -> list[int]:
    """Some speech."""
    return [i % min(1_000, flow.config.network.vocab_size) for i in range(count)]


def voice_of(flow: TokenToMel, tokens: int) -> Voice:
    """A made-up voice with a prompt of so many tokens."""
    network, draw = flow.config.network, torch.Generator().manual_seed(0)
    mel = torch.randn(flow.config.frames(tokens), network.n_mels, generator=draw) - 5.0
    speaker = torch.nn.functional.normalize(torch.randn(network.speaker_dim, generator=draw), dim=0)
    ids = tuple(speech_tokens(flow, tokens))
    return Voice(
        name="", transcript="", prompt=Prompt(), mel=mel, speaker=speaker, speech_tokens=ids
    )


def part_lm(made: Stages, plan: Plan) -> dict[str, Any]:
    """Prefill of 300 ids, decoding alone, and side by side with a check that nothing changes."""
    lm = made.lm
    assert lm is not None
    count = 16 if plan.quick else 30
    ids = text_ids(lm, 300)

    def prefill() -> None:
        lm.decoder(1, 320).read(0, ids)

    spent = Spent.on(prefill)
    rows: dict[str, Any] = {"prefill_300": asdict(spent)}
    sampling = Sampling(seed=0)
    generation = lm.generate(text_ids(lm, 100), Prompt(), sampling)
    next(generation)
    wall, cpu = time.perf_counter(), time.process_time()
    drawn = sum(1 for _ in zip(range(count), generation, strict=False))
    decode = Spent((time.perf_counter() - wall) / drawn, (time.process_time() - cpu) / drawn)
    rows["decode_token"] = asdict(decode)
    alone = [speech(lm, seed, count) for seed in range(8)]
    curve: list[dict[str, Any]] = []
    for together in (1, 2, 4, 8) if plan.quick or lm.device.type == "cpu" else (1, 2, 4, 8, 16, 32):
        engine = Engine(lm, slots=together, capacity=min(1_024, lm.config.max_context))
        requests = [
            engine.submit(text_ids(lm, 40), Prompt(), Sampling(seed=seed))
            for seed in range(together)
        ]
        while any(not r.tokens and r.finish_reason is None for r in requests):
            engine.step()
        before = sum(len(r.tokens) for r in requests)
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(count):
            engine.step()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        tokens = sum(len(r.tokens) for r in requests) - before
        same = all(
            r.tokens[:count] == alone[i][: len(r.tokens)] for i, r in enumerate(requests[:8])
        )
        curve.append(
            {"requests": together, "audio_s_per_s": tokens / 25.0 / wall,
             "audio_s_per_cpu_s": tokens / 25.0 / cpu, "same_as_alone": same}
        )  # fmt: skip
    return {**rows, "throughput": curve}


def speech(lm: TextToSpeechTokens, seed: int, count: int) -> list[int]:
    """The first tokens of an utterance spoken alone."""
    generation = lm.generate(text_ids(lm, 40), Prompt(), Sampling(seed=seed))
    return [token for _, token in zip(range(count), generation, strict=False)]


def part_flow(made: Stages, plan: Plan) -> dict[str, Any]:
    """All steps for ten seconds (two when quick) after a prompt of six."""
    flow = made.flow
    assert flow is not None
    seconds = 2 if plan.quick else 10
    voice, tokens = voice_of(flow, 150), speech_tokens(flow, 25 * seconds)
    spent = Spent.on(lambda: flow.sample(tokens, voice, made.options), 1 if plan.quick else 2)
    return {"sample": {**asdict(spent), "audio_s": seconds, "steps": made.options.steps}}


def part_vocoder(made: Stages, plan: Plan) -> dict[str, Any]:
    """Ten seconds of mel (two when quick)."""
    vocoder = made.vocoder
    assert vocoder is not None
    seconds, spec = 2 if plan.quick else 10, vocoder.spec
    draw = torch.Generator().manual_seed(0)
    mel = torch.randn(seconds * spec.sample_rate // spec.hop_length, spec.n_mels, generator=draw)
    spent = Spent.on(lambda: vocoder.decode(mel - 5.0))
    return {"decode": {**asdict(spent), "audio_s": seconds}}


def part_tokenizer(made: Stages, plan: Plan) -> dict[str, Any]:
    """Five seconds of sound."""
    tokenizer = made.tokenizer
    assert tokenizer is not None
    rate = tokenizer.config.sample_rate
    noise = torch.randn(5 * rate, generator=torch.Generator().manual_seed(0)) * 0.1
    spent = Spent.on(lambda: tokenizer.encode(Audio(noise, rate)), 1 if plan.quick else 3)
    return {"encode": {**asdict(spent), "audio_s": 5}}


def part_speech(made: Stages, plan: Plan) -> dict[str, Any]:
    """Text ids to sound: a whole sentence, and in blocks until the first sound."""
    lm, flow, vocoder = made.lm, made.flow, made.vocoder
    assert lm is not None
    assert flow is not None
    assert vocoder is not None
    count = 50 if plan.quick else 150
    ids, voice = text_ids(lm, count // 5), voice_of(flow, 75)

    def tokens() -> list[int]:
        generation = lm.generate(ids, Prompt(), Sampling(seed=0))
        return [token for _, token in zip(range(count), generation, strict=False)]

    lengths: list[int] = []

    def speak() -> None:
        spoken = tokens()
        lengths.append(len(spoken))
        vocoder.decode(flow.sample(spoken, voice, made.options))

    whole = Spent.on(speak, 1)
    blocks = Pace.growing().blocks
    opened = flow.open(voice, replace(made.options, blocks=blocks))

    def start() -> None:
        mel, wave = opened.stream(), vocoder.stream()
        sound, spoken = 0, iter(tokens_one_by_one())
        while not sound:
            block = [token for _, token in zip(range(blocks[0]), spoken, strict=False)]
            sound = wave.push(mel.push(block, last=not block), last=not block).numel()

    def tokens_one_by_one() -> Any:
        return lm.generate(ids, Prompt(), Sampling(seed=0))

    first = Spent.on(start, 1)
    audio_s = lengths[-1] / 25.0
    return {"sentence": {**asdict(whole), "audio_s": audio_s}, "first_sound": asdict(first)}


OURS: dict[str, Callable[[Stages, Plan], dict[str, Any]]] = {
    "lm": part_lm, "flow": part_flow, "vocoder": part_vocoder, "tokenizer": part_tokenizer,
    "speech": part_speech,
}  # fmt: skip


def part_baseline(part: str, made: Stages, plan: Plan) -> dict[str, Any]:
    """The official loop of a part, on the work that ours is given."""
    if part == "lm":
        lm = made.lm
        assert lm is not None
        loop = baseline.LanguageModelLoop(lm)
        spent = Spent.on(lambda: loop.read(text_ids(lm, 300)), 1)
        loop.read(text_ids(lm, 101))
        loop.draw()
        count = 8 if plan.quick else 20
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(count):
            loop.draw()
        decode = Spent((time.perf_counter() - wall) / count, (time.process_time() - cpu) / count)
        return {"prefill_300": asdict(spent), "decode_token": asdict(decode)}
    if part == "flow":
        flow = made.flow
        assert flow is not None
        seconds = 2 if plan.quick else 10
        voice, tokens = voice_of(flow, 150), speech_tokens(flow, 25 * seconds)
        spent = Spent.on(lambda: baseline.flow_loop(flow, tokens, voice, made.options), 1)
        return {"sample": {**asdict(spent), "audio_s": seconds, "steps": made.options.steps}}
    if part == "vocoder":
        with baseline.plain_convolutions():
            return part_vocoder(made, plan)
    return part_tokenizer(made, plan)


# ----- all of it ----------------------------------------------------------------------------------


def run_part(plan: Plan, part: str, official: bool) -> dict[str, Any]:
    """One part in this process: its figures and the most memory the process had."""
    if plan.threads:
        torch.set_num_threads(plan.threads)
    with torch.inference_mode():
        made = stages(plan, part, plain=official)
        found = part_baseline(part, made, plan) if official else OURS[part](made, plan)
    memory: dict[str, float | None] = {"peak_memory_mb": peak_memory_mb()}
    if torch.cuda.is_available():
        memory["peak_gpu_mb"] = torch.cuda.max_memory_allocated() / 1e6
    return {**found, **memory}


def measure(
    plan: Plan,
    tell: Callable[[str], None] = lambda line: None,
    keep: Callable[[dict[str, Any]], None] = lambda results: None,
) -> dict[str, Any]:
    """All parts of `plan`, each in a fresh process.

    Args:
        plan: What to measure.
        tell: Is given a line when a part begins.
        keep: Is given the results so far when a part has ended.

    Returns:
        {"machine", "plan", "ours": {part: figures}, "official_loop": {part: figures}}.
    """
    results: dict[str, Any] = {
        "machine": machine(), "plan": asdict(plan), "ours": {}, "official_loop": {},
    }  # fmt: skip
    jobs = [(part, False) for part in plan.parts]
    if plan.baseline:
        jobs += [(part, True) for part in plan.parts if part != "speech"]
    for part, official in sorted(jobs):
        tell(f"{part}{', as in the official code' if official else ''} …")
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            found = pool.submit(run_part, plan, part, official).result()
        results["official_loop" if official else "ours"][part] = found
        keep(results)
    return results


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor()
    return {
        "device": name or platform.machine(), "threads": torch.get_num_threads(),
        "torch": torch.__version__, "cpu_bfloat16": quick_dtype() is torch.bfloat16,
        "python": platform.python_version(), "system": platform.platform(),
    }  # fmt: skip


ROWS: tuple[tuple[str, str, str, str], ...] = (
    ("lm", "prefill_300", "language model, 300 ids read", "ms"),
    ("lm", "decode_token", "language model, a token", "ms"),
    ("flow", "sample", "flow", "s per s"),
    ("vocoder", "decode", "vocoder", "s per s"),
    ("tokenizer", "encode", "speech tokenizer", "s per s"),
    ("speech", "sentence", "text ids to sound", "s per s"),
    ("speech", "first_sound", "first sound, in blocks", "ms"),
)


def to_markdown(results: dict[str, Any]) -> str:
    """The results as tables."""
    has = results["official_loop"]
    head = "| what | unit | by the clock | processor |" + (
        " official loop | gain (processor) |" if has else ""
    )
    lines = [head, "|---|---|---|---|" + ("---|---|" if has else "")]
    for part, key, name, unit in ROWS:
        ours = results["ours"].get(part, {}).get(key)
        if ours is None:
            continue
        scale = 1_000.0 if unit == "ms" else 1.0 / ours["audio_s"]
        line = f"| {name} | {unit} | {ours['wall_s'] * scale:.3g} | {ours['cpu_s'] * scale:.3g} |"
        theirs = has.get(part, {}).get(key)
        if theirs is not None:
            gain = theirs["cpu_s"] / ours["cpu_s"]
            line += f" {theirs['cpu_s'] * scale:.3g} | {gain:.2f} |"
        elif has:
            line += " – | – |"
        lines.append(line)
    lines += ["", "| part | peak memory, MB |" + (" official loop |" if has else "")]
    lines.append("|---|---|" + ("---|" if has else ""))
    for part, found in results["ours"].items():
        row = f"| {part} | {found['peak_memory_mb']} |"
        lines.append(row + (f" {has.get(part, {}).get('peak_memory_mb', '–')} |" if has else ""))
    curve = results["ours"].get("lm", {}).get("throughput", ())
    if curve:
        lines += ["", "| requests at once | seconds of speech a second | tokens as when alone |"]
        lines.append("|---|---|---|")
        for point in curve:
            same = "yes" if point["same_as_alone"] else "NO"
            lines.append(f"| {point['requests']} | {point['audio_s_per_s']:.2f} | {same} |")
    return "\n".join(lines)


def plot(results: dict[str, Any], path: Path) -> bool:
    """Draw the throughput of the language model; False without matplotlib (extra `train`)."""
    curve: Sequence[dict[str, Any]] = results["ours"].get("lm", {}).get("throughput", ())
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    if not curve:
        return False
    figure = Figure(figsize=(5, 3.5), layout="tight")
    axes = figure.add_subplot()
    axes.plot([p["requests"] for p in curve], [p["audio_s_per_s"] for p in curve], marker="o")
    axes.set_xlabel("requests at once")
    axes.set_ylabel("seconds of speech a second (language model)")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    figure.savefig(path)
    return True


def save(results: dict[str, Any], folder: Path) -> None:
    """Write results.json, results.md and, where matplotlib is installed, throughput.png."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    (folder / "results.md").write_text(to_markdown(results) + "\n", encoding="utf-8")
    plot(results, folder / "throughput.png")
