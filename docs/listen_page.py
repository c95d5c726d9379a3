"""Write docs/listen/index.html: the same sentences by nano, its teacher and espeak-ng, to hear.

    python docs/listen_page.py RESULT [--out docs/listen] [--sentences 6]

RESULT is what `runs/side_by_side.py` left: nothing is spoken here. The page needs nothing but its
folder (MP3 and PNG files, at most 3 MB), no network and no server. Every sound is brought to the
same loudness; its picture is its mel spectrogram, 80 bands up to 8 kHz, all on one time scale and
each with its loudest point brightest.
"""

import argparse
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from glmtts.audio import Audio, AudioSpec, log_mel
from glmtts.data.files import read_json, write_text
from glmtts.errors import BadInput, GlmTtsError

SPEC = AudioSpec(hop_length=240)
RANGE = 9.0
"""Natural logarithms from the darkest to the brightest colour of a picture."""
COLOURS = 64
LOUDNESS, PEAK = 10 ** (-23 / 20), 0.95
LIMIT_MB = 3.0
TITLES = {
    "nano": "glmtts-nano", "kokoro": "Kokoro-82M", "piper": "piper", "espeak": "espeak-ng",
}  # fmt: skip
ABOUT = {
    "nano": "bundled", "kokoro": "teacher, int8", "piper": "VITS", "espeak": "rules, formants",
}  # fmt: skip
LANGUAGES = {"zh": "Mandarin", "en": "English"}


@dataclass(frozen=True)
class Clip:
    """One player.

    Attributes:
        title: Who speaks.
        about: What that is.
        sound: The MP3, relative to the page.
        picture: The mel, likewise.
        seconds: Length.
    """

    title: str
    about: str
    sound: str
    picture: str
    seconds: float


@dataclass(frozen=True)
class Said:
    """A sentence and all who say it."""

    text: str
    language: str
    clips: tuple[Clip, ...]


# ----- the page -----------------------------------------------------------------------------------

STYLE = """
:root{color-scheme:light dark;--ink:#1d2330;--soft:#5b6473;--line:#dfe3ea;--bg:#fff;--mark:#3555c0}
@media(prefers-color-scheme:dark){:root{--ink:#e7eaf0;--soft:#a3adbd;--line:#2e3543;--bg:#12151c;
--mark:#9db2ff}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:66rem;padding:1.5rem 1rem 4rem;color:var(--ink);background:var(--bg);
font:1rem/1.5 system-ui,sans-serif}
h1{font-size:1.7rem;margin:0 0 .5rem}h2{margin:2.5rem 0 .5rem;font-size:1.3rem}
h3{margin:0 0 .6rem;font-size:1.05rem;font-weight:600}
p{max-width:44rem}.soft{color:var(--soft)}a{color:var(--mark)}
nav{margin-top:1rem}nav a{display:inline-block;padding:.3rem 1rem .3rem 0}
article{border-top:1px solid var(--line);padding:1.1rem 0}
figure{display:grid;grid-template-columns:9rem 1fr 17rem;gap:.3rem 1rem;align-items:center;
margin:0 0 .6rem}
figcaption b{display:block}figcaption{font-size:.9rem;line-height:1.3}
.mel{position:relative;background:#000;border-radius:.2rem;overflow:hidden}
.mel img{display:block;width:100%;height:4.5rem}
.mel:after{content:"";position:absolute;inset:0 auto 0 calc(var(--at,0)*100%);width:2px;
background:#fff;opacity:var(--on,0)}
audio{width:100%;height:2.5rem}
.scroll{overflow-x:auto}table{border-collapse:collapse;font-variant-numeric:tabular-nums}
th,td{text-align:left;padding:.35rem .9rem .35rem 0;border-bottom:1px solid var(--line);
white-space:nowrap}
:focus-visible{outline:3px solid var(--mark);outline-offset:2px}
@media(max-width:44rem){figure{grid-template-columns:1fr;margin-bottom:1.1rem}
figcaption b{display:inline;margin-right:.4rem}.mel img{height:4rem}}
"""
SCRIPT = """
const players=[...document.querySelectorAll('audio')];
for(const player of players){const figure=player.closest('figure');
const follow=()=>{figure.style.setProperty('--at',player.currentTime/(player.duration||1));
figure.style.setProperty('--on',player.currentTime>0&&!player.ended?1:0);
if(!player.paused)requestAnimationFrame(follow)};
player.addEventListener('play',()=>{for(const other of players)if(other!==player)other.pause();
follow()});
player.addEventListener('seeked',follow);player.addEventListener('ended',follow)}
"""


def page(result: dict[str, Any], said: Sequence[Said], cloned: Sequence[Said] = ()) -> str:
    """The page as HTML.

    Args:
        result: `side_by_side.json`.
        said: The sentences, grouped by language here.
        cloned: The same for voices that no training heard: the clip first, then its clone.
    """
    longest = max((clip.seconds for one in (*said, *cloned) for clip in one.clips), default=1.0)
    languages = [code for code in LANGUAGES if any(one.language == code for one in said)]
    links = [f'<a href="#{code}">{LANGUAGES[code]}</a>' for code in languages]
    if cloned:
        links.append('<a href="#clones">Cloned voices</a>')
    parts = [
        '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width,initial-scale=1">',
        f"<title>glmtts-nano, side by side</title>\n<style>{STYLE}</style>\n<main>",
        "<h1>glmtts-nano, side by side</h1>",
        "<p>The same sentences by the bundled model, by the teacher it learnt from, and by others. "
        "No training saw these texts. The sounds were brought to the same loudness and were not "
        "chosen: they are spread evenly over the sentences of one run. The pictures are mel "
        "spectrograms on one time scale.</p>",
        f'<p class="soft">Spoken {escape(result["date"][:10])}. Figures of that run, with its '
        f"{len(result['sentences'])} sentences:</p>",
        figures(result),
        f'<nav aria-label="Languages">{"".join(links)}</nav>',
    ]
    for code in languages:
        parts.append(f'<section id="{code}"><h2>{LANGUAGES[code]}</h2>')
        parts += [article(one, longest) for one in said if one.language == code]
        parts.append("</section>")
    if cloned:
        parts.append(
            '<section id="clones"><h2>Cloned voices</h2><p class="soft">Speakers that no training '
            "heard: the clip that was given (it says something else), and glmtts-nano in its "
            "voice.</p>"
        )
        parts += [article(one, longest) for one in cloned]
        parts.append("</section>")
    return "\n".join([*parts, f"</main>\n<script>{SCRIPT}</script>\n</html>\n"])


def article(said: Said, longest: float) -> str:
    """One sentence with its players."""
    rows = [figure(clip, said, longest) for clip in said.clips]
    text = f'<h3 lang="{said.language}">{escape(said.text)}</h3>'
    return f"<article>{text}\n" + "\n".join(rows) + "</article>"


def figure(clip: Clip, said: Said, longest: float) -> str:
    """One player with its mel; the width of the picture is its time."""
    name, text = escape(clip.title), escape(said.text)
    described = f"Mel spectrogram of {name}, {clip.seconds:.1f} seconds: {text}"
    return (
        f'<figure><figcaption><b>{name}</b><span class="soft">{escape(clip.about)}, '
        f"{clip.seconds:.1f}&nbsp;s</span></figcaption>"
        f'<div><div class="mel" style="width:{100 * clip.seconds / longest:.1f}%">'
        f'<img src="{escape(clip.picture)}" alt="{described}" loading="lazy"></div></div>'
        f'<audio controls preload="none" src="{escape(clip.sound)}" '
        f'aria-label="{name}: {text}"></audio></figure>'
    )


def figures(result: dict[str, Any]) -> str:
    """The table of the run, in short."""
    rows = [
        f"<tr><td>{TITLES[engine['engine']]}</td><td>{LANGUAGES[code]}</td>"
        f"<td>{found['per']['mean']:.1%}</td><td>{found['mos']['mean']:.2f}</td>"
        f"<td>{found['rtf_cpu']:.3f}</td><td>{engine['weights_mb']:.0f} MB</td></tr>"
        for engine in result["engines"]
        for code, found in engine["languages"].items()
    ]
    names = ("engine", "language", "misheard", "MOS, guessed", "work per second", "weights")
    heads = "".join(f'<th scope="col">{name}</th>' for name in names)
    return (
        '<div class="scroll" tabindex="0" role="region" aria-label="Figures"><table><thead><tr>'
        f"{heads}</tr></thead><tbody>"
        f"{''.join(rows)}</tbody></table></div>"
    )


# ----- sounds and pictures ------------------------------------------------------------------------


def even(audio: Audio) -> Audio:
    """The sound at the loudness of all, or as near as its peak allows."""
    samples = audio.samples.float()
    level, peak = float(samples.square().mean().sqrt()), float(samples.abs().max())
    if not peak:
        raise BadInput("A sound of the run is silent; there is nothing to listen to.")
    return replace(audio, samples=samples * min(LOUDNESS / level, PEAK / peak))


def picture(audio: Audio, path: Path) -> None:
    """Its mel as a PNG of few colours, low bands at the bottom."""
    from matplotlib import colormaps
    from PIL import Image

    mel = log_mel(audio.resampled(SPEC.sample_rate).samples, SPEC).numpy()  # (F, M)
    level = np.clip((mel - mel.max()) / RANGE + 1.0, 0.0, 1.0)
    image = Image.fromarray((level.T[::-1] * (COLOURS - 1)).round().astype(np.uint8))
    colours = colormaps["magma"](np.linspace(0, 1, COLOURS))[:, :3]
    image.putpalette((colours * 255).astype(np.uint8).tobytes())
    image.save(path, optimize=True)


def clip(source: Path, name: str, out: Path, title: str, about: str) -> Clip:
    """Copy one sound of the run into the page's folder, with its picture.

    Raises:
        BadAudio: it is missing or no sound.
    """
    audio = even(Audio.load(source))
    sound, image = f"audio/{name}.mp3", f"mel/{name}.png"
    for path in (out / sound, out / image):
        path.parent.mkdir(parents=True, exist_ok=True)
    audio.resampled(SPEC.sample_rate).save(out / sound)
    picture(audio, out / image)
    return Clip(title, about, sound, image, audio.seconds)


def gather(
    result: dict[str, Any], folder: Path, out: Path, engines: Sequence[str], count: int
) -> tuple[list[Said], list[Said]]:
    """Sounds and pictures of so many sentences of each language, and of all clones.

    Raises:
        BadAudio: a sound is missing.
    """
    speaks = {e["engine"]: e["languages"] for e in result["engines"] if e["engine"] in engines}
    said: list[Said] = []
    for code in LANGUAGES:
        rows = [row for row in result["sentences"] if row["language"] == code]
        kept = min(count, len(rows))
        for row in (rows[number * len(rows) // kept] for number in range(kept)):
            clips = [
                clip(
                    folder / name / "audio" / f"{row['id']}.wav", f"{name}-{row['id']}", out,
                    TITLES[name], f"{ABOUT[name]}, {speaks[name][code]['voice']}",
                )
                for name in engines if name in speaks and code in speaks[name]
            ]  # fmt: skip
            said.append(Said(row["text"], code, tuple(clips)))
    cloned: list[Said] = []
    for row in result["clones"]:
        prompt = folder / "clones" / "prompts" / Path(row["prompt"]).name
        clone = folder / "clones" / "audio" / f"{row['id']}.wav"
        clips = (
            clip(prompt, f"clip-{row['id']}", out, "the clip", "held-out speaker"),
            clip(clone, f"clone-{row['id']}", out, TITLES["nano"], "cloned"),
        )
        cloned.append(Said(row["text"], row["language"], clips))
    return said, cloned


def main() -> None:
    """Read a run, write the folder."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("result", type=Path, help="folder of runs/side_by_side.py")
    parser.add_argument("--out", type=Path, default=Path("docs/listen"))
    parser.add_argument("--sentences", type=int, default=6, help="of each language")
    parser.add_argument("--engines", default="nano,kokoro,espeak")
    flags = parser.parse_args()
    result = read_json(flags.result / "side_by_side.json")
    if result is None:
        raise BadInput(
            f"{flags.result} holds no finished run. Make one: python runs/side_by_side.py "
            f"{flags.result}"
        )
    out: Path = flags.out
    if out.exists() and any(out.iterdir()) and not (out / "index.html").exists():
        raise BadInput(f"{out} holds something else. Choose another folder with --out.")
    for old in ("audio", "mel"):
        shutil.rmtree(out / old, ignore_errors=True)
    said, cloned = gather(result, flags.result, out, flags.engines.split(","), flags.sentences)
    write_text(out / "index.html", page(result, said, cloned))
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file()) / 1e6
    print(f"{out / 'index.html'}: {sum(len(one.clips) for one in said)} sounds, {size:.2f} MB")
    if size > LIMIT_MB:
        raise GlmTtsError(
            f"{out} has {size:.1f} MB, {LIMIT_MB:.0f} are allowed. Ask for fewer --sentences."
        )


if __name__ == "__main__":
    try:
        main()
    except GlmTtsError as error:
        raise SystemExit(f"{error}") from None
