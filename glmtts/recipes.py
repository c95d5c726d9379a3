"""Named training configurations: functions that return a stage's `Config`, to be varied by flags.

`nano` makes a model like the bundled one from nothing, on the folders of `runs/nano.sh` (the
bundled one came to these settings in stages: see its card); `tiny` runs through every line of a
script in seconds, on any shards.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from glmtts.errors import BadInput

STAGES = {
    "tokenizer": "glmtts.train.speech_tokenizer",
    "lm": "glmtts.train.lm",
    "flow": "glmtts.train.flow",
    "plain": "glmtts.train.plain",
    "vocoder": "glmtts.train.vocoder",
    "grpo": "glmtts.train.grpo",
    "voice": "glmtts.train.voice",
    "style-judge": "glmtts.train.style_judge",
    "laugh-judge": "glmtts.train.laugh_judge",
    "flow-cycle": "glmtts.train.flow_cycle",
}
"""The script of each stage of `glmtts train`."""

AUDIO_TRAIN, AUDIO_VALID = "data/nano/audio/train", "data/nano/audio/valid_text"
TOKENS_TRAIN, TOKENS_VALID = "data/nano/tokens/train", "data/nano/tokens/valid_text"


def tokenizer_nano() -> Any:
    """Speech tokenizer of glmtts-nano, from Whisper-base's encoder."""
    from glmtts.speech_tokenizer import TokenizerHeadsConfig
    from glmtts.train.speech_tokenizer import Config

    return Config(
        AUDIO_TRAIN, AUDIO_VALID, whisper=Path("data/nano/whisper-base-encoder.safetensors"),
        heads=TokenizerHeadsConfig(features=512), frozen_layers=2, steps=3_400, vq_from=120,
        warmup=50, lr=1e-3,
    )  # fmt: skip


def tokenizer_tiny() -> Any:
    """Twenty steps with the quantiser from the tenth on."""
    from glmtts.train.speech_tokenizer import Config

    return Config(AUDIO_TRAIN, AUDIO_VALID, steps=20, vq_from=10, seconds_per_batch=10.0)


def lm_nano() -> Any:
    """Language model of glmtts-nano."""
    from glmtts.train.lm import Config, nano

    return Config(
        TOKENS_TRAIN, Path("data/nano/text_tokenizer"), TOKENS_VALID,
        model=replace(nano(), dropout=0.1), codebook=Path("data/nano/speech_tokenizer"),
        label_smoothing=0.15, token_noise=0.1,
        rows=8, steps=3_000, warmup=150, lr=1.2e-3, ema=0.998,
    )  # fmt: skip


def lm_tiny() -> Any:
    """Twenty steps of two rows."""
    from glmtts.train.lm import Config

    tokenizer = Path("data/nano/text_tokenizer")
    return Config(TOKENS_TRAIN, tokenizer, TOKENS_VALID, steps=20, rows=2, warmup=5, valid_every=10)


def lm_styles() -> Any:
    """Control tags for glmtts-nano: its language model trained on with the clips of runs/styles.sh.

    Neutral clips of the same teacher stay among them, so that without a tag nothing changes.
    """
    from glmtts import hub
    from glmtts.train.lm import Config, nano

    bundled = hub.resolve("glmtts-nano")
    return Config(
        "data/styles/tokens/train", bundled / "text_tokenizer", "data/styles/tokens/valid_text",
        init=bundled / "lm", codebook=bundled / "speech_tokenizer", out=Path("runs/styles/lm"),
        model=replace(nano(), dropout=0.1), label_smoothing=0.15, token_noise=0.1,
        rows=8, steps=1_500, warmup=100, lr=5e-4, ema=0.998,
    )  # fmt: skip


def flow_nano() -> Any:
    """Flow of glmtts-nano; `codebook` names the tokenizer trained before."""
    from glmtts.flow import FlowConfig
    from glmtts.nn.dit import DiTConfig
    from glmtts.train.flow import Config

    return Config(
        TOKENS_TRAIN, TOKENS_VALID, max_frames=480,
        model=FlowConfig(network=DiTConfig(layers=8), prompt_tokens=125),
        codebook=Path("data/nano/speech_tokenizer"), coarse_steps=1_000, steps=14_000,
        lr=1.2e-3, warmup=100, told=0.85,
    )  # fmt: skip


def flow_unguided() -> Any:
    """A flow that does without guidance; give it as `init` and `guided_by`."""
    from glmtts.train.flow import Config

    return Config(
        TOKENS_TRAIN, TOKENS_VALID, out=Path("runs/flow_unguided"), max_frames=480, guidance=1.3,
        told=0.85, steps=900, lr=3e-4, warmup=50, valid_every=300,
    )  # fmt: skip


def flow_cycle_nano() -> Any:
    """glmtts-nano's flow taught to be understood, half an hour of a core.

    The laughing clips of runs/laughs.sh stand twice beside the plain ones and the styled ones of
    runs/styles.sh, so that laughs and styles stay.
    """
    from glmtts import hub
    from glmtts.train.flow_cycle import Config

    bundled = hub.resolve("glmtts-nano")
    return Config(
        ",".join([TOKENS_TRAIN, "data/styles/tokens/train", *["data/laughs/tokens/train"] * 2]),
        bundled / "flow",
        bundled / "vocoder", bundled / "speech_tokenizer", TOKENS_VALID,
    )  # fmt: skip


def plain_nano() -> Any:
    """The adapter that takes the guidance out of glmtts-nano's flow: four minutes of a core."""
    from glmtts import hub
    from glmtts.train.plain import Config

    return Config(TOKENS_TRAIN, hub.resolve("glmtts-nano") / "flow")


def flow_laughs() -> Any:
    """Laughs for glmtts-nano's flow: trained on with the clips of runs/laughs.sh.

    The laughing clips stand ten times beside the plain ones, so that they are a third of what is
    heard; the plain ones are the prompts, and keep speech what it was.
    """
    from glmtts import hub
    from glmtts.train.flow import Config

    return Config(
        ",".join([*["data/laughs/tokens/train"] * 10, TOKENS_TRAIN]), TOKENS_VALID,
        out=Path("runs/laughs/flow"), init=hub.resolve("glmtts-nano") / "flow",
        frames_per_batch=1_000, steps=200, lr=4e-4, warmup=10, ema=0.97, log_every=10,
        valid_every=200, told=0.85,
    )  # fmt: skip


def flow_tiny() -> Any:
    """Twenty steps of one or two rows."""
    from glmtts.train.flow import Config

    return Config(TOKENS_TRAIN, TOKENS_VALID, steps=20, frames_per_batch=400, warmup=5)


def vocoder_nano() -> Any:
    """Vocoder of glmtts-nano."""
    from glmtts.train.vocoder import Config

    return Config(AUDIO_TRAIN, AUDIO_VALID, steps=2_600, batch=12, raised=0.3)


def vocoder_tiny() -> Any:
    """Twenty steps of two crops, the discriminator from the tenth on."""
    from glmtts.train.vocoder import Config

    return Config(AUDIO_TRAIN, AUDIO_VALID, steps=20, batch=2, warmup=5, adversarial_from=10)


def vocoder_refined() -> Any:
    """A refiner behind a harmonic vocoder, against discriminators that hear up to 6 kHz.

    A step takes 0.6 s of a CPU core.
    """
    from glmtts.nn.refiner import RefinerConfig
    from glmtts.train.vocoder import Config

    return Config(
        AUDIO_TRAIN, AUDIO_VALID, init=Path("runs/nano/vocoder/vocoder"), refiner=RefinerConfig(),
        steps=12_000, batch=12, lr=6e-4, phase_weight=0.5, adversarial_from=500, disc_share=0.5,
        disc_windows=(2048, 1024, 512, 256), ema=0.998, valid_every=1_000, raised=0.3,
    )  # fmt: skip


def grpo_nano() -> Any:
    """Reinforcement of glmtts-nano's language model by what its own phoneme head reads.

    A step of 32 answers takes 4 s of one CPU core to draw, judge and learn from, and another 1.5 s
    for the second update. After a hundred steps speech becomes quicker and nothing better.
    """
    from glmtts.train.grpo import Config

    return Config(
        AUDIO_TRAIN, AUDIO_VALID, rewards=("reading@1", "phonemes@1"), voiceless=0.25,
        steps=100, updates=2, lr=4e-5, clip_steps=250, temperature_steps=250, valid_texts=64,
    )  # fmt: skip


def grpo_clear() -> Any:
    """Reinforcement of glmtts-nano's language model by the sound of its answers.

    The phoneme head hears what flow and vocoder make of an answer, too, so that tokens are
    preferred which come out clearly. A step of 32 answers takes 15 s of one CPU core. Without the
    reward `reading` and the divergence in the loss English sentences began to say their last words
    twice.
    """
    from glmtts.train.grpo import Config

    return Config(
        TOKENS_TRAIN, TOKENS_VALID, voices=TOKENS_TRAIN, rewards=("per@1:0.02", "reading@1:0.05"),
        voiceless=0.25, steps=70, updates=2, lr=3e-5, kl_weight=0.05, kl_every=1, clip_steps=200,
        temperature_steps=250, valid_texts=16, save_every=20,
    )  # fmt: skip


def grpo_tiny() -> Any:
    """Four steps of two texts."""
    from glmtts.train.grpo import Config

    return Config(AUDIO_TRAIN, AUDIO_VALID, steps=4, prompts=2, answers=4, valid_texts=4)


def grpo_styles() -> Any:
    """Reinforcement of control tags: the asked style must be heard, and the words understood.

    Both are heard in the tokens, so no sound is made; texts are said neutrally as well, so that
    the tag makes the difference. The judge of an evaluation is another one (emotion=sound).
    """
    from glmtts.train.grpo import Config

    return Config(
        "data/styles/tokens/train", "data/styles/tokens/valid_text", init=Path("runs/styles/lm/lm"),
        rewards=("emotion=tokens@1:0.05", "reading@1"), out=Path("runs/styles/grpo"),
        voiceless=0.25, steps=300, updates=2, lr=2e-5, clip_steps=300, valid_texts=96,
    )  # fmt: skip


def grpo_manners() -> Any:
    """Styles, laughs and clear sound at once: what each alone costs the others, this keeps.

    Styled, laughing and plain texts together; `laughs` pays little, but sees that none is left out.
    """
    from glmtts.train.grpo import Config

    texts = ("data/styles/tokens/train", "data/laughs/tokens/train", TOKENS_TRAIN)
    return Config(
        ",".join(texts), TOKENS_VALID, voices=TOKENS_TRAIN, out=Path("runs/manners"),
        rewards=("emotion=tokens@1.2:0.05", "per@1:0.02", "reading@0.7:0.05", "laughs@1:0.05"),
        longest=140, voiceless=0.25, steps=80, updates=2, lr=4e-5, kl_weight=0.02, kl_every=1,
        clip_steps=200,
        temperature_steps=250, valid_texts=16, save_every=20,
    )  # fmt: skip


def style_judge_tokens() -> Any:
    """The judge that GRPO pays with: hears tokens, of one half of the speakers."""
    from glmtts.train.style_judge import Config

    return Config(
        "data/styles/tokens/train", "data/styles/tokens/valid_speaker", "tokens", 0,
        Path("runs/styles/judge_tokens"),
    )  # fmt: skip


def style_judge_sound() -> Any:
    """The judge of evaluations: hears sound, of the other half of the speakers."""
    from glmtts.train.style_judge import Config

    return Config(
        "data/styles/audio/train", "data/styles/audio/valid_speaker", "sound", 1,
        Path("runs/styles/judge_sound"),
    )  # fmt: skip


def laugh_judge_nano() -> Any:
    """The judge that tells laughs from pauses in speech tokens, for candidates and for GRPO."""
    from glmtts.train.laugh_judge import Config

    return Config("data/laughs")


def voice_tiny() -> Any:
    """Ten steps of each component, without a judge."""
    from glmtts.train.voice import Config

    return Config(Path("data/voice"), steps=10, flow_steps=10, judge_sentences=0, valid_every=5)


RECIPES: dict[str, dict[str, Callable[[], Any]]] = {
    "tokenizer": {"nano": tokenizer_nano, "tiny": tokenizer_tiny},
    "lm": {"nano": lm_nano, "styles": lm_styles, "tiny": lm_tiny},
    "flow": {
        "nano": flow_nano,
        "unguided": flow_unguided,
        "laughs": flow_laughs,
        "tiny": flow_tiny,
    },
    "flow-cycle": {"nano": flow_cycle_nano},
    "plain": {"nano": plain_nano},
    "vocoder": {"nano": vocoder_nano, "refined": vocoder_refined, "tiny": vocoder_tiny},
    "grpo": {
        "nano": grpo_nano,
        "clear": grpo_clear,
        "styles": grpo_styles,
        "manners": grpo_manners,
        "tiny": grpo_tiny,
    },
    "voice": {"tiny": voice_tiny},
    "style-judge": {"tokens": style_judge_tokens, "sound": style_judge_sound},
    "laugh-judge": {"nano": laugh_judge_nano},
}


def recipe(stage: str, name: str) -> Any:
    """The `Config` of `stage` that is called `name`.

    Raises:
        BadInput: there is none; the message lists those there are.
    """
    known = RECIPES[stage]
    if name not in known:
        raise BadInput(f"No recipe {name!r} for {stage}. Known recipes: {', '.join(known)}.")
    return known[name]()
