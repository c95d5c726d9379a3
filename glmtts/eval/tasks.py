"""The tasks: which judges hear them, which figures come first. Read `TASKS`."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Task:
    """One kind of evaluation.

    Attributes:
        name: As on the command line.
        about: A sentence.
        judges: Asked for unless others are (`glmtts.judges.registry`).
        official: The same with the models of the published figures.
        first: The figures that matter, most important first.
        styled: Each case is spoken in its style, by control tags.
        paced: Spoken in growing blocks, as a stream, instead of whole sentences.
        builtin: There is a short list of this package's own for it.
    """

    name: str
    about: str
    judges: tuple[str, ...]
    first: tuple[str, ...]
    official: tuple[str, ...] = ()
    styled: bool = False
    paced: bool = False
    builtin: bool = False


TASKS = {
    task.name: task
    for task in (
        Task(
            "seed-tts", "Seed-TTS-eval: intelligibility and speaker similarity in cloned voices.",
            ("cer=whisper-base-seed", "sim=dvector", "mos", "pace"),
            ("error_rate", "similarity", "mos"),
            official=("cer=official", "sim=wavlm", "mos", "pace"),
        ),
        Task(
            "emotion", "CV3-Eval's emotions: does the style of the prompt come through?",
            ("emotion=head", "cer", "mos", "pitch"), ("emotion_accuracy", "emotion", "error_rate"),
            official=("emotion=emotion2vec", "cer=official", "mos", "pitch"),
        ),
        Task(
            "tags", "Are control tags obeyed? Each text neutrally and in every style.",
            ("emotion", "cer", "pitch", "pace"),
            ("emotion_accuracy", "error_rate", "pinyin_error", "runaways"),
            official=("emotion=emotion2vec", "cer=official", "pitch", "pace"),
            styled=True, builtin=True,
        ),
        Task(
            "laughter", "Are laughs heard where they are asked for, and only there?",
            ("laughter", "cer", "mos"),
            ("laughter_hits", "laughter_false_alarms", "laughter_offset_s"), builtin=True,
        ),
        Task(
            "long-form", "Paragraphs spoken at once: do they stay intelligible to the end?",
            ("cer", "mos", "pitch", "pace", "drift"), ("error_rate", "drift", "runaways"),
            builtin=True,
        ),
        Task(
            "phoneme", "Words with several readings: are the phonemes those that were meant?",
            ("per", "cer", "pace"), ("phoneme_error", "pinyin_error"), builtin=True,
        ),
        Task(
            "latency", "How long until the first sound, and how fast the rest?", ("pace",),
            ("first_sound_s", "real_time_factor"), paced=True, builtin=True,
        ),
        Task(
            "list", "A list of your own.", ("cer", "mos", "sim=dvector", "pitch", "pace"),
            ("error_rate", "pinyin_error", "mos", "similarity"),
        ),
    )
}  # fmt: skip
