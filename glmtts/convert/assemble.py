"""Put trained components together as a model folder that `Synthesizer.load` takes.

python -m glmtts.convert.assemble OUT --lm runs/lm/lm --flow runs/flow/step_030000 ...
"""

import argparse
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from glmtts import adapters, checkpoint
from glmtts.adapters import PLAIN
from glmtts.config import to_dict
from glmtts.data.manifest import Utterance, read_clips, read_manifest
from glmtts.errors import BadInput
from glmtts.flow import TokenToMel
from glmtts.hub import MODEL_FILE
from glmtts.lm import TextToSpeechTokens
from glmtts.model_folder import FORMAT, Manifest
from glmtts.speaker import SpeakerEncoder
from glmtts.speech_tokenizer import SpeechTokenizer, TokenizerHeads
from glmtts.synthesizer import Synthesizer
from glmtts.vocoder import Vocoder

COMPONENTS: dict[str, tuple[type[Any], torch.dtype]] = {
    "lm": (TextToSpeechTokens, torch.int8),
    "flow": (TokenToMel, torch.int8),
    "speech_tokenizer": (SpeechTokenizer, torch.int8),
    "vocoder": (Vocoder, torch.int8),
    "speaker": (SpeakerEncoder, torch.bfloat16),
}
"""Class of each component, and what its weights are stored in."""


@dataclass(frozen=True)
class BundledVoice:
    """A voice to bundle: its name, and the label of its speaker in the manifest."""

    name: str
    speaker: str

    @classmethod
    def parse(cls, text: str) -> "BundledVoice":
        """Read `name=speaker`.

        Raises:
            BadInput: another form.
        """
        name, equals, speaker = text.partition("=")
        if not (name and equals and speaker):
            raise BadInput(
                f"{text!r} is not NAME=SPEAKER, such as xiaoxiao=zf_xiaoxiao|zf_xiaoxiao."
            )
        return cls(name, speaker)


def _take_plain(source: Path, out: Path) -> None:
    """Keep a flow's adapter for training (`glmtts.train.plain`) beside its weights, now rounded.

    Raises:
        CheckpointError: it was made for another flow.
    """
    adapter = adapters.load_plain(source)
    state: dict[str, torch.Tensor] = {}
    scale = float(adapter.config["lora_alpha"]) / int(adapter.config["r"])
    for name, part in adapter.parts.items():
        state[f"{adapters.PREFIX}{name}.lora_A.weight"] = part.down.bfloat16()
        state[f"{adapters.PREFIX}{name}.lora_B.weight"] = (part.up / scale).bfloat16()
    adapters.save(state, adapter.config, out / PLAIN, adapters.fingerprint(out))


def reference_clip(clips: Sequence[Utterance], speaker: str) -> Utterance:
    """The clip of a speaker nearest to six seconds, lossless ones first.

    Raises:
        BadInput: the speaker has no clip of 3 to 10 seconds.
    """
    usable = [clip for clip in clips if clip.speaker == speaker and 3.0 <= clip.seconds <= 10.0]
    if not usable:
        raise BadInput(f"No clip of 3 to 10 s by {speaker!r} in the manifest.")
    return min(usable, key=lambda clip: (clip.file.endswith(".opus"), abs(clip.seconds - 6.0)))


def assemble(
    out: Path,
    parts: Mapping[str, Path],
    *,
    name: str = "glmtts-nano",
    manifest: Path | None = None,
    voices: Sequence[BundledVoice] = (),
    trained_by: str = "",
    guidance: float = 1.3,
) -> Synthesizer:
    """Write the model folder `out` and load it.

    Args:
        out: Written anew, but for the files that are none of a model's parts (its card).
        parts: Folder of each of `COMPONENTS` and of "text_tokenizer".
        name: Name of the model.
        manifest: Manifest of the clips that voices are made from.
        voices: Voices to bundle; the first of a language is its default.
        trained_by: How the model was made, in a word.
        guidance: Of the flow; 0 for one that learnt to do without.

    Raises:
        BadInput: a part or a voice's clip is missing.
        CheckpointError: a component does not load.
    """
    if missing := [part for part in (*COMPONENTS, "text_tokenizer") if part not in parts]:
        raise BadInput(f"A model needs {missing[0]!r} too. Give its folder.")
    loaded = {part: checkpoint.load(kind, parts[part]) for part, (kind, _) in COMPONENTS.items()}
    for part, component in loaded.items():
        checkpoint.save(component, out / part, COMPONENTS[part][1])
    heads = parts["speech_tokenizer"] / "heads"
    if heads.is_dir():  # they align new speech to its phonemes, should the model be trained further
        kept = checkpoint.load(TokenizerHeads, heads)
        checkpoint.save(kept, out / "speech_tokenizer" / "heads", torch.int8)
    for judge in ("styles", "laughs"):  # tell whether a candidate is said as it was asked for
        if (folder := parts["speech_tokenizer"] / judge).is_dir():
            shutil.copytree(folder, out / "speech_tokenizer" / judge, dirs_exist_ok=True)
    if (parts["flow"] / PLAIN).is_dir():
        _take_plain(parts["flow"], out / "flow")
    shutil.copytree(parts["text_tokenizer"], out / "text_tokenizer", dirs_exist_ok=True)
    clips = read_manifest(manifest) if manifest is not None and voices else []
    chosen = [reference_clip(clips, voice.speaker) for voice in voices]
    defaults = {
        clip.lang: voice.name for voice, clip in reversed([*zip(voices, chosen, strict=True)])
    }
    model = Manifest(
        FORMAT, name, "Apache-2.0", loaded["vocoder"].config.spec,
        history_tokens=0, foreign_prompts=False, tagged_prompts=False, prompt_tokens=250,
        sequence_length=384, list_pause_s=0.24, lead_s=0.2, least_s=1.4,
        sentence_length=32, top_p=0.3, candidates=2, styled_candidates=8, ahead=3, flow_steps=3,
        flow_guidance=guidance, flow_temperature=0.3, laugh_temperature=1.0,
        default_voices=tuple(defaults.values()), trained_by=trained_by,
    )  # fmt: skip
    text = json.dumps(to_dict(model), indent=1, ensure_ascii=False)
    (out / MODEL_FILE).write_text(text + "\n", encoding="utf-8")
    (out / "voices").mkdir(exist_ok=True)
    synthesizer = Synthesizer.load(out, device="cpu")
    genders = {"f": "female", "m": "male"}
    for voice, clip in zip(voices, chosen, strict=True):
        assert manifest is not None
        ((_, audio),) = read_clips(manifest.parent, [clip])
        made = synthesizer.encoder(
            audio, clip.text, voice.name, clip.lang, genders.get(voice.speaker[1:2], "")
        )
        made.save(out / "voices" / f"{voice.name}.safetensors")
    return synthesizer


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    for part in (*COMPONENTS, "text_tokenizer"):
        parser.add_argument(f"--{part.replace('_', '-')}", type=Path, required=True, dest=part)
    parser.add_argument("--name", default="glmtts-nano")
    parser.add_argument("--trained-by", default="")
    parser.add_argument("--manifest", type=Path, help="clips that voices are made from")
    parser.add_argument("--guidance", type=float, default=1.3, help="of the flow; default 1.3")
    parser.add_argument("--voice", action="append", default=[], help="NAME=SPEAKER, repeatable")
    args = parser.parse_args()
    parts = {part: getattr(args, part) for part in (*COMPONENTS, "text_tokenizer")}
    voices = [BundledVoice.parse(text) for text in args.voice]
    assemble(
        args.out, parts, name=args.name, manifest=args.manifest, voices=voices,
        trained_by=args.trained_by, guidance=args.guidance,
    )  # fmt: skip
    size = sum(path.stat().st_size for path in args.out.rglob("*") if path.is_file())
    print(f"{args.out}: {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
