"""The `glmtts` command: parse, call, print.

Commands import what they need inside their bodies, so that `glmtts --help` is instant.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from glmtts import __version__
from glmtts.errors import GlmTtsError

TRANSCRIBE = click.option(
    "--transcribe", is_flag=True, help="Write down what the clip says (extra eval)."
)
MODEL = click.option(
    "--model", default="glmtts-nano", show_default=True, help="Name or folder of a model."
)
COMPONENT = click.option(
    "--component",
    "components",
    multiple=True,
    metavar="NAME=FOLDER",
    help="Use this lm, flow, vocoder, … instead, such as a training checkpoint; repeatable.",
)
DEVICE = click.option("--device", default="auto", show_default=True, help="cpu, cuda, auto.")
PATH = click.Path(path_type=Path)
LEXICON = click.option(
    "--lexicon",
    type=PATH,
    help="Your words and their readings: a file in TSV or JSON lines.",
)
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
FLAGS: dict[str, Any] = {"ignore_unknown_options": True, "help_option_names": []}
STAGE = click.argument("flags", nargs=-1, type=click.UNPROCESSED)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="glmtts", message="%(prog)s %(version)s")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def app(debug: bool) -> None:
    """Text to speech for Mandarin and English: speak, clone a voice, train every stage."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit.

    The exit status is 0, 2 after an error (one sentence on standard error; `--debug` adds the
    traceback), 130 after Ctrl-C, 143 after SIGTERM.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        status = app.main(arguments, prog_name="glmtts", standalone_mode=False)
        sys.exit(status if isinstance(status, int) else 0)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.Abort:
        click.echo("Stopped.", err=True)
        sys.exit(130)
    except BrokenPipeError:  # the program that read our output has gone
        sys.stderr.close()
        sys.exit(1)
    except GlmTtsError as error:
        if arguments[:1] == ["--debug"]:
            raise
        click.echo(f"glmtts: {error}", err=True)
        sys.exit(2)


@app.command()
@click.argument("text")
@click.option("-v", "--voice", help="Name of a voice, or a clip to clone; by language if absent.")
@click.option("--transcript", help="What the clip says; its manner of speaking is cloned too then.")
@TRANSCRIBE
@click.option("-o", "--output", help="Sound file (wav, flac, mp3, ogg, opus), - for stdout.")
@click.option("--play", is_flag=True, help="Play on the loudspeaker; writes no file without -o.")
@click.option("--watermark", metavar="KEY", help="Mark the sound, see `glmtts watermark`.")
@click.option("--seed", type=int, help="The same seed speaks the same way.")
@click.option("--speed", type=float, default=1.0, show_default=True, help="2 is twice as fast.")
@click.option(
    "--emotion",
    type=click.Choice(["neutral", "happy", "sad", "angry", "surprised"]),
    help="How it is said, by models that learnt it; [happy] in the text does it for what follows.",
)
@click.option("--steps", type=int, help="Steps of the flow; more is slower and cleaner.")
@LEXICON
@MODEL
@COMPONENT
@DEVICE
def say(text: str, output: str | None, play: bool, **flags: Any) -> None:
    """Speak TEXT, a .txt or .md file, or standard input (-).

    Writes out.wav unless told otherwise, sentence by sentence: an interrupted run keeps what it
    spoke. TEXT is a file only if it ends in .txt or .md.
    """
    from glmtts.commands import say as command

    _one_transcript(flags)
    path = output or (None if play else "out.wav")
    command.say(command.Request(text, output=path, play=play, **flags))


@app.command()
@click.argument("text", required=False)
@click.option("--explain", is_flag=True, help="Tell which rule or lexicon entry decided.")
@JSON
@click.option("--lines", metavar="FILE", help="Read a text from each line of FILE, - for stdin.")
@LEXICON
@click.option(
    "--policy",
    type=click.Choice(["off", "auto", "all"]),
    default="all",
    show_default=True,
    help="What the hybrid text has as phonemes (with --explain).",
)
def text(text: str | None, **flags: Any) -> None:
    """Show how TEXT (- for standard input) will be read: sentences, words, readings.

    Readings may be given in it, 长[zhang3] or read[R EH1 D], and SSML.
    """
    from glmtts.commands.text import show

    show(text, **flags)


@app.group()
def voice() -> None:
    """Add, list, show and remove voices."""


@voice.command("add")
@click.argument("name")
@click.argument("clip", required=False)
@click.option("--adapter", type=PATH, help="Instead of CLIP: what `glmtts train voice` left.")
@click.option("--transcript", default="", help="What the clip says; the clone is better with it.")
@TRANSCRIBE
@click.option("--language", type=click.Choice(["zh", "en"]), help="By the transcript if absent.")
@click.option("--gender", type=click.Choice(["female", "male"]))
@click.option("--trim-long", is_flag=True, help="Take the best 10 s of a clip over 30 s.")
@click.option("--force", is_flag=True, help="Replace a voice of this name.")
@MODEL
@DEVICE
def voice_add(name: str, clip: str | None, adapter: Path | None, **flags: Any) -> None:
    """Clone the speaker of CLIP (4 to 10 s, one person) as the voice NAME, or keep a trained."""
    from glmtts.commands.voices import add, add_adapted

    if (clip is None) == (adapter is None):
        raise click.UsageError("Give a CLIP, or --adapter with the folder of a trained voice.")
    if adapter is not None:
        chosen = {key: flags[key] for key in ("gender", "force", "model")}
        click.echo(f"Stored {name} in {add_adapted(name, adapter, **chosen)}")
        return
    assert clip is not None
    _one_transcript(flags)
    click.echo(f"Stored {name} in {add(name, clip, **flags)}")


@voice.command("merge")
@click.argument("folder", metavar="VOICE", type=PATH)
@click.argument("out", type=PATH)
@MODEL
def voice_merge(folder: Path, out: Path, model: str) -> None:
    """Make the model OUT of VOICE, what `glmtts train voice` left: no adapters, no base needed."""
    from glmtts.commands.voices import merge

    path = merge(folder, out, model=model)
    click.echo(f"{path} is a model: glmtts say --model {path} …")


@voice.command("list")
@MODEL
@JSON
def voice_list(model: str, as_json: bool) -> None:
    """List the voices of the model and your own."""
    from glmtts.commands.voices import library

    voices = library(model).describe()
    if as_json:
        _print_json([{k: v[k] for k in ("name", "language", "gender")} for v in voices])
        return
    for item in voices:
        where = "bundled" if item["bundled"] else "yours"
        about = item["problem"] or f"{item['language']:3} {item['gender']:7} {where}"
        click.echo(f"{item['name']:20} {about}")


@voice.command("show")
@click.argument("name")
@MODEL
@JSON
def voice_show(name: str, model: str, as_json: bool) -> None:
    """Say what is known of the voice NAME."""
    from glmtts.commands.voices import describe

    known = describe(name, model)
    if as_json:
        _print_json(known)
        return
    for key, value in known.items():
        click.echo(f"{key:11} {value}")


@voice.command("remove")
@click.argument("name")
@MODEL
def voice_remove(name: str, model: str) -> None:
    """Delete the voice NAME, one of your own."""
    from glmtts.commands.voices import library

    library(model).remove(name)
    click.echo(f"Removed {name}")


@app.group(invoke_without_command=True)
@JSON
@click.pass_context
def models(context: click.Context, as_json: bool) -> None:
    """List models, and download released ones; alone it lists."""
    if context.invoked_subcommand is None:
        _list_models(as_json)


@models.command("list")
@JSON
def models_list(as_json: bool) -> None:
    """List the models that load by name, and those that can be pulled."""
    _list_models(as_json)


def _list_models(as_json: bool) -> None:
    from glmtts.commands.models import describe

    rows = describe()
    if as_json:
        _print_json(rows)
        return
    for row in rows:
        size = f"{row['bytes'] / 1e6:,.0f} MB" if row["bytes"] else "-"
        click.echo(f"{row['name']:16} {row['license']:11} {size:>9}  {row['about']}")
        click.echo(f"{'':16} {row['where']}")


VOCODER = click.option(
    "--vocoder",
    type=click.Choice(["hift", "vocos2d"]),
    default="hift",
    show_default=True,
    help="hift speaks at 24 kHz, vocos2d at 32 kHz.",
)
DTYPE = click.option(
    "--dtype",
    type=click.Choice(["float32", "bfloat16"]),
    default="float32",
    show_default=True,
    help="Of the language model's weights; bfloat16 halves its size.",
)


@models.command("pull")
@click.argument("name")
@click.option(
    "--source",
    type=click.Choice(["huggingface", "modelscope"]),
    default="huggingface",
    show_default=True,
)
@click.option("--revision", help="Branch, tag or commit; a folder stays at what it holds.")
@click.option("--into", type=PATH, help="Folder of the download; in the user's cache if absent.")
@click.option("--convert", is_flag=True, help="Make a model of it that loads by name.")
@click.option("--out", type=PATH, help="Folder of the model instead (with --convert).")
@VOCODER
@DTYPE
def models_pull(name: str, **flags: Any) -> None:
    """Download the released weights NAME, such as zai-org/GLM-TTS; an interrupted run goes on."""
    from glmtts.commands.models import pull

    click.echo(pull(name, **flags))


@app.group()
def convert() -> None:
    """Make model folders of other projects' checkpoints."""


@convert.command("glm-tts")
@click.argument("folder", metavar="CKPT_DIR", type=PATH)
@click.argument("out", metavar="OUT_DIR", type=PATH)
@VOCODER
@DTYPE
@click.option("--campplus", type=PATH, help="The file campplus.onnx, if it is not in CKPT_DIR.")
def convert_glm_tts(folder: Path, out: Path, **flags: Any) -> None:
    """Make the model folder OUT_DIR of CKPT_DIR, the files of zai-org/GLM-TTS.

    Nothing in the checkpoint is executed. OUT_DIR appears when it is complete.
    """
    from glmtts.commands.convert import glm_tts

    click.echo(f"{glm_tts(folder, out, **flags)} is a model: glmtts say --model {out} …")


@app.command()
@MODEL
@DEVICE
@JSON
def doctor(as_json: bool, **flags: Any) -> None:
    """Check this installation: what is installed, and how fast one sentence is spoken."""
    from glmtts.doctor import examine

    report = examine(**flags)
    if as_json:
        _print_json(report.to_dict())
    else:
        click.echo(report.to_text())


@app.command()
@click.option("--model", default="glmtts-nano", show_default=True, help="Name or folder.")
@click.option(
    "--random",
    "random_weights",
    type=click.Choice(["official"]),
    help="Random weights of the official sizes instead of a model.",
)
@DEVICE
@click.option("--dtype", default="auto", show_default=True, help="As for `glmtts say`.")
@click.option("--part", "parts", multiple=True, help="Only this part; repeatable.")
@click.option("--baseline", is_flag=True, help="Run loops as in the official code beside ours.")
@click.option("--quick", is_flag=True, help="Less of everything: a first impression.")
@click.option("--threads", default=0, help="CPU threads; 0 leaves torch's choice.")
@click.option("-o", "--out", type=PATH, help="Folder for results.json, results.md and a plot.")
@JSON
def bench(out: Path | None, as_json: bool, **flags: Any) -> None:
    """Measure speed and memory of a model, stage by stage, and side by side.

    Parts: lm, flow, vocoder, tokenizer, speech (text ids to sound). Each runs in a process of its
    own. Full size takes minutes on a CPU and up to 8 GB with --baseline.
    """
    from glmtts.commands.bench import bench as command

    results, table = command(out, **flags)
    if as_json:
        _print_json(results)
    else:
        click.echo(table)


@app.group()
def watermark() -> None:
    """Mark sound so that it is not heard, and find the mark again."""


KEY = click.option("--key", help="Names the watermark; without one it is the public one.")


@watermark.command("add")
@click.argument("sound", type=PATH)
@click.argument("out", type=PATH)
@KEY
@click.option("--strength", default=1.0, show_default=True, help="In dB, 0.1 to 3.")
def watermark_add(sound: Path, out: Path, key: str | None, strength: float) -> None:
    """Write the sound file SOUND to OUT, with a watermark."""
    from glmtts.commands.watermark import add

    click.echo(f"{out}: {add(sound, out, key, strength):.1f} s with a watermark")


@watermark.command("detect")
@click.argument("sounds", nargs=-1, required=True, type=PATH)
@KEY
@JSON
def watermark_detect(sounds: tuple[Path, ...], key: str | None, as_json: bool) -> None:
    """Look for a watermark in the files SOUNDS; the exit status is 1 if one bears none.

    The score is in standard deviations above chance; of a million sounds without a watermark about
    one is taken for one with it. Four seconds of speech are usually enough.
    """
    from glmtts.commands.watermark import detect

    found = detect(sounds, key)
    if as_json:
        _print_json(found)
    else:
        for each in found:
            verdict = "watermark" if each["found"] else "no watermark"
            click.echo(f"{each['file']}: {verdict} (score {each['score']:.1f})")
    sys.exit(0 if all(each["found"] for each in found) else 1)


@app.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8000, show_default=True)
@MODEL
@DEVICE
@click.option("--dtype", default="auto", show_default=True, help="As for `Synthesizer.load`.")
@click.option("--running", default=8, show_default=True, help="Texts spoken at once.")
@click.option("--waiting", default=32, show_default=True, help="Texts that may wait; then 429.")
@click.option("--per-key", default=8, show_default=True, help="Texts of one key at once.")
@click.option("--per-minute", default=0, show_default=True, help="Of one key; 0 for any number.")
@click.option("--deadline", default=600.0, show_default=True, help="Seconds a text may take.")
@click.option("--drain", default=30.0, show_default=True, help="Seconds for the rest on SIGTERM.")
@click.option("--workers", default=1, show_default=True, help="Sounds computed at once.")
@click.option("--data", type=PATH, help="Folder of database, voices, jobs and keys.")
@click.option("--key-file", type=PATH, help="File of keys; keys in the data folder if absent.")
@click.option("--add-key", metavar="NAME", help="Make a key, print it once, and exit.")
@click.option("--remove-key", metavar="NAME", help="Take a key away, and exit.")
@click.option("--host-name", "hosts", multiple=True, help="Name it may be called by; repeatable.")
@click.option("--origin", "origins", multiple=True, help="Web origin that may use it; repeatable.")
@click.option("--fetch-host", "fetch", multiple=True, help="Host clips may be fetched from.")
@click.option("--wyoming", type=int, metavar="PORT", help="Speak the Wyoming protocol too.")
@click.option("--page/--no-page", default=True, show_default=True, help="Serve the web page.")
@click.option("--mark/--no-mark", default=True, show_default=True,
              help="Say in the metadata of sound that a machine made it.")  # fmt: skip
@click.option("--watermark", metavar="KEY", envvar="GLMTTS_WATERMARK",
              help="Watermark all sound with KEY, see `glmtts watermark`.")  # fmt: skip
def serve(
    host: str, port: int, model: str, device: str, dtype: str, data: Path | None,
    key_file: Path | None, add_key: str | None, remove_key: str | None, wyoming: int | None,
    workers: int, **limits: Any,
) -> None:  # fmt: skip
    """Serve speech to many: OpenAI's API, WebSocket, ElevenLabs, Wyoming, a web page.

    Beyond this machine (--host) it needs a key: `glmtts serve --add-key NAME`, or GLMTTS_API_KEY.
    """
    from glmtts.commands import serve as command

    path = command.key_path(key_file, data)
    if add_key:
        click.echo(command.add_key(add_key, path))
        return
    if remove_key:
        command.remove_key(remove_key, path)
        click.echo(f"Removed {remove_key}; restart a running server.")
        return
    settings = command.Settings(
        running=limits["running"], waiting=limits["waiting"], running_per_key=limits["per_key"],
        requests_per_minute=limits["per_minute"], deadline_s=limits["deadline"],
        drain_s=limits["drain"], data=data, hosts=limits["hosts"], origins=limits["origins"],
        fetch_hosts=limits["fetch"], page=limits["page"], mark=limits["mark"],
        watermark=limits["watermark"],
    )  # fmt: skip
    command.serve(
        command.Request(host, port, model, device, dtype, settings, key_file, wyoming, workers)
    )


@app.group()
def train() -> None:
    """Train a component; each stage is one script with its own flags.

    `glmtts train lm --help` lists them; `--recipe nano` fills them all first. Several GPUs:
    torchrun --nproc-per-node 8 -m glmtts train lm …
    """


def _stage(name: str, about: str) -> None:
    @train.command(name, context_settings=FLAGS, help=about)
    @STAGE
    def run(flags: tuple[str, ...]) -> None:  # pyright: ignore[reportUnusedFunction]
        from glmtts.commands.train import train as command

        command(name, flags)


_stage("tokenizer", "Sound to speech tokens: VQ under speech recognition and pitch estimation.")
_stage("lm", "Text ids to speech tokens: next-token training.")
_stage("flow", "Speech tokens to mel: conditional flow matching.")
_stage("flow-cycle", "A flow that is understood: its sound is heard as the tokens it was made of.")
_stage("plain", "The adapter that takes out the guidance a flow learnt, for training voices.")
_stage("vocoder", "Mel to samples: spectral losses, then a multi-resolution discriminator.")
_stage("voice", "One speaker: adapters on language model and flow, from minutes of recordings.")
_stage("grpo", "Let rewards shape the language model: group-relative policy optimisation.")
_stage("style-judge", "A small judge of styles, to reward or to examine control tags with.")
_stage("laugh-judge", "A small judge of laughs in speech tokens, to choose and to reward with.")


OUT = click.option("-o", "--out", type=PATH, required=True, help="Folder of the run.")


@app.group(name="eval")
def evaluation() -> None:
    """Measure a model, or a folder of sounds: figures, intervals, a report to listen to.

    An interrupted run goes on where it stopped. Judges: `glmtts eval judges`.
    """


def _task(name: str, about: str, cases: str, *, needs_cases: bool, subset: str = "") -> None:
    @evaluation.command(name, help=about)
    @click.argument("cases", metavar=cases, type=PATH, required=needs_cases)
    @OUT
    @MODEL
    @COMPONENT
    @click.option("--audio", type=PATH, help="Judge the sounds CASE.wav in this folder instead.")
    @click.option(
        "--judge",
        "judges",
        multiple=True,
        metavar="SLOT[=KIND]",
        help="Add a judge, or another kind of one; repeatable.",
    )
    @click.option("--only", is_flag=True, help="No judges but those given with --judge.")
    @click.option("--official", is_flag=True, help="The judges of published figures.")
    @click.option("--subset", default=subset, help="zh, en or hard (seed-tts).", hidden=not subset)
    @click.option("--seed", "seeds", type=int, multiple=True, help="Repeatable; 0 if absent.")
    @click.option("--limit", default=0, help="Only so many cases, evenly over the list.")
    @click.option("-v", "--voice", default="", help="Voice of cases that ask for none.")
    @click.option(
        "--candidates",
        type=click.IntRange(min=1),
        help="Utterances drawn for each sentence, of which the best is kept; the model's own "
        "number if absent.",
    )
    @click.option(
        "--top-p",
        type=click.FloatRange(0.0, 1.0, min_open=True),
        help="Nucleus that speech tokens are drawn from; the model's own if absent.",
    )
    @click.option("--workers", default=0, help="Processes for each judge; 0: in this one.")
    @click.option("--players", default=24, show_default=True, help="Sounds in the report.")
    @DEVICE
    @JSON
    def run(as_json: bool, **flags: Any) -> None:  # pyright: ignore[reportUnusedFunction]
        from glmtts.commands.evaluation import run as command

        summary, text = command(name, **flags)
        if as_json:
            _print_json(summary)
        else:
            click.echo(text)


_task(
    "seed-tts",
    "Seed-TTS-eval: cloned voices say LIST (.lst, or the folder seedtts_testset with --subset).",
    "LIST",
    needs_cases=True,
    subset="zh",
)
_task(
    "emotion",
    "Is the style heard? FOLDER is of CV3-Eval (emotion_zeroshot/zh), or a list with styles.",
    "FOLDER",
    needs_cases=True,
)
_task(
    "tags",
    "Are control tags obeyed? Each text of LIST is spoken neutrally and in every style.",
    "[LIST]",
    needs_cases=False,
)
_task(
    "laughter",
    "Are laughs heard where they are asked for, and only there?",
    "[LIST]",
    needs_cases=False,
)
_task(
    "long-form",
    "Do paragraphs stay intelligible, and the voice the same?",
    "[LIST]",
    needs_cases=False,
)
_task("phoneme", "Are words with several readings read as meant?", "[LIST]", needs_cases=False)
_task("latency", "Time to the first sound of a stream, and speed.", "[LIST]", needs_cases=False)
_task("list", "A LIST of your own: .txt with a text a line, or .jsonl.", "LIST", needs_cases=True)


@evaluation.command("compare")
@click.argument("a", type=PATH)
@click.argument("b", type=PATH, nargs=-1, required=True)
@JSON
def eval_compare(a: Path, b: tuple[Path, ...], as_json: bool) -> None:
    """Compare run B with run A case by case: paired bootstrap, Wilcoxon's signed-rank test.

    Of several runs B, such as the seeds of a training, the mean of each case is compared.
    """
    from glmtts.commands.evaluation import compare

    result, text = compare(a, b)
    if as_json:
        _print_json(result)
    else:
        click.echo(text)


@evaluation.command("report")
@click.argument("folder", type=PATH)
@click.option("--players", default=24, show_default=True, help="Sounds in the report.")
def eval_report(folder: Path, players: int) -> None:
    """Write FOLDER/report.html of a finished run again."""
    from glmtts.commands.evaluation import report

    click.echo(report(folder, players))


@evaluation.command("judges")
def eval_judges() -> None:
    """List the judges and the rewards."""
    from glmtts.commands.evaluation import judges

    click.echo(judges())


CACHE = click.option(
    "--cache",
    type=PATH,
    default=Path("data/packages"),
    show_default=True,
    help="Where downloaded packages are kept.",
)


@app.group()
def data() -> None:
    """Make training data: texts, teacher speech, shards."""


@data.command("texts")
@click.argument("out", type=PATH)
@CACHE
@click.option("--zh", default=12_000, show_default=True, help="Mandarin texts.")
@click.option("--en", default=12_000, show_default=True, help="English texts.")
@click.option("--mix", default=2_000, show_default=True, help="Mandarin texts with English words.")
@click.option(
    "--bare",
    default=0,
    show_default=True,
    help="Texts of each language that are no sentences: words alone, repetitions, lists, twisters.",
)
@click.option("--seed", default=0, show_default=True)
def data_texts(out: Path, cache: Path, **counts: int) -> None:
    """Write OUT (.jsonl), the texts to be spoken, from public packages."""
    from glmtts.commands.data import texts

    click.echo(f"{texts(out, cache, **counts)} texts are in {out}")


@data.command("speak")
@click.argument("texts", type=PATH)
@click.argument("out", type=PATH)
@CACHE
@click.option("--processes", default=2, show_default=True, help="Each takes a core and 1.2 GB.")
@click.option("--seed", default=0, show_default=True)
@click.option("--compile", "compiled", is_flag=True, help="A third faster; needs a C++ compiler.")
@click.option(
    "--styled",
    type=click.FloatRange(0.0, 1.0),
    default=0.0,
    show_default=True,
    help="Share of clips said happy, sad, angry or surprised, by rule.",
)
@click.option(
    "--laughing",
    type=click.FloatRange(0.0, 1.0),
    default=0.0,
    show_default=True,
    help="Share of clips with a laugh made of their own voice (needs the judge of laughter).",
)
def data_speak(texts: Path, out: Path, cache: Path, **flags: Any) -> None:
    """Let the teacher say TEXTS into the folder OUT; an interrupted run goes on where it was."""
    from glmtts.commands.data import speak

    click.echo(speak(texts, out, cache, **flags))


@data.command("laugh")
@click.argument("manifest", type=PATH)
@click.argument("out", type=PATH)
@click.option(
    "--share",
    type=click.FloatRange(0.0, 1.0),
    default=1.0,
    show_default=True,
    help="Share of clips that get a laugh.",
)
@click.option("--seed", default=0, show_default=True)
def data_laugh(manifest: Path, out: Path, share: float, seed: int) -> None:
    """Copy the clips of MANIFEST into the folder OUT, with laughs made of their own voices.

    Each text has [laughter] where its laugh is heard. A laugh is kept when the judge of laughter
    calls it one; a clip whose voice gives none stays as it was.
    """
    from glmtts.commands.data import laugh

    click.echo(laugh(manifest, out, share=share, seed=seed))


@data.command("style")
@click.argument("manifest", type=PATH)
@click.argument("out", type=PATH)
@click.option("--count", type=click.IntRange(min=1), default=1000, show_default=True)
@click.option("--seed", default=0, show_default=True)
def data_style(manifest: Path, out: Path, count: int, seed: int) -> None:
    """Say COUNT clips of MANIFEST happily, sadly, angrily or surprised, by rule, into OUT.

    Pitch, tempo and loudness of the recordings are bent. Plain clips are not copied: train with
    both folders. An interrupted run goes on where it was.
    """
    from glmtts.commands.data import style

    click.echo(style(manifest, out, count=count, seed=seed))


@data.command("whisper")
@click.argument("out", type=PATH)
@CACHE
def data_whisper(out: Path, cache: Path) -> None:
    """Write OUT (.safetensors), the encoder that the speech tokenizer starts from."""
    from glmtts.commands.data import whisper

    whisper(out, cache)
    click.echo(f"Whisper-base's encoder is in {out}")


@data.command("encode")
@click.argument("source", type=PATH)
@click.argument("out", type=PATH)
@click.option(
    "--stage",
    type=click.Choice(["audio", "tokens"]),
    required=True,
    help="audio: SOURCE is a manifest; tokens: SOURCE is a folder of audio shards.",
)
@click.option("--tokenizer", type=PATH, help="Folder of the speech tokenizer (tokens).")
@click.option("--speaker", type=PATH, help="Folder of the speaker encoder (tokens).")
@click.option(
    "--speed",
    default=1.0,
    show_default=True,
    help="Play faster and higher, as other speakers (tokens).",
)
@click.option("--as-recorded", is_flag=True, help="Add everyday noise and codecs (tokens).")
@click.option("--workers", default=2, show_default=True, help="Processes (audio).")
def data_encode(
    source: Path,
    out: Path,
    stage: str,
    tokenizer: Path | None,
    speaker: Path | None,
    speed: float,
    as_recorded: bool,
    workers: int,
) -> None:
    """Encode SOURCE into the shards of OUT; complete shards are kept."""
    from glmtts.commands.data import encode_audio, encode_tokens

    if stage == "audio":
        click.echo(encode_audio(source, out, workers))
    else:
        line = encode_tokens(source, out, tokenizer, speaker, speed=speed, as_recorded=as_recorded)
        click.echo(line)


@data.command("prepare")
@click.argument("raw", metavar="RAW_DIR", type=PATH)
@click.argument("out", type=PATH)
@MODEL
@click.option("--language", type=click.Choice(["zh", "en"]), help="Leave out any other language.")
@click.option(
    "--speakers",
    default="main",
    show_default=True,
    help="main keeps who speaks longest, all labels everybody, another word is the only speaker.",
)
@click.option("--longest", default=20.0, show_default=True, help="Seconds of a clip, at most 40.")
@click.option("--loudness", default=-24.0, show_default=True, help="Of the clips, in LUFS.")
@click.option("--separate", default="", help="Take speech out of music: demucs, roformer.")
@click.option("--denoise", default="", help="Take noise away first: rnnoise, noisereduce.")
@click.option("--diarize", default="", help="Who tells who speaks when: pyannote.")
@click.option("--snr", default=20.0, show_default=True, help="Least dB of speech over its pauses.")
@click.option("--bandwidth", default=4_500.0, show_default=True, help="Least bandwidth in Hz.")
@click.option("--mos", default=2.5, show_default=True, help="Least naturalness, 0 does not judge.")
@click.option("--per", default=0.35, show_default=True, help="Most phonemes the ear may dispute.")
@click.option(
    "--written-per", default=0.5, show_default=True,
    help="The same for what a recogniser wrote.",
)  # fmt: skip
@click.option("--wer", default=0.15, show_default=True, help="Most words recognisers may dispute.")
@click.option(
    "--recognizer", default="whisper", show_default=True,
    help="Who writes words: whisper, paraformer, sensevoice.",
)  # fmt: skip
@click.option("--second", default="", help="Who must agree with them: one of these, else the ear.")
@click.option("--no-whisper", is_flag=True, help="Only the ear listens; needs transcripts.")
@click.option("--keep-punctuation", is_flag=True, help="Write no commas where pauses are.")
@click.option("--workers", default=1, show_default=True, help="Processes, or Ray actors.")
@click.option(
    "--engine", type=click.Choice(["local", "ray"]), default="local", show_default=True,
    help="ray joins the cluster of RAY_ADDRESS, or starts one here.",
)  # fmt: skip
@click.option("--gpus", default=0.0, help="Share of a GPU for each Ray actor that listens.")
@click.option("--fresh", is_flag=True, help="Begin anew: forget what OUT holds.")
@JSON
def data_prepare(raw: Path, out: Path, as_json: bool, **flags: Any) -> None:
    """Make training data in OUT of the recordings in RAW_DIR, of any format and length.

    Cuts at pauses, keeps one speaker, checks or writes transcripts, drops what is noisy, clipped or
    not what its transcript says. OUT/report.html tells and plays what was dropped, and why. An
    interrupted run goes on where it was.
    """
    from glmtts.commands.data import prepare

    report = prepare(raw, out, **flags)
    if as_json:
        _print_json(report.to_dict())
        return
    for line in report.lines():
        click.echo(line)
    click.echo(f"Training data is in {out}, the report in {out / 'report.html'}")


def _one_transcript(flags: dict[str, Any]) -> None:
    if flags["transcript"] and flags["transcribe"]:
        raise click.UsageError("--transcript and --transcribe exclude each other.")


def _print_json(value: Any) -> None:
    click.echo(json.dumps(value, ensure_ascii=False, indent=1, default=str))
