"""How good answers are: rewards on their tokens, and on their sound. Read `Scorer` first.

A reward on tokens is heard by the tokenizer's own phoneme head, at next to no cost; one on sound is
a judge (`glmtts.judges`), for which the answer goes through flow and vocoder first.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from glmtts.audio import Audio
from glmtts.errors import BadInput
from glmtts.flow import FlowOptions
from glmtts.judges.styles import TokenStyles, net_at
from glmtts.proofreader import Proofreader
from glmtts.rewards.actors import RayPool
from glmtts.rewards.base import Failed, Judge, Sample, Score, Verdict
from glmtts.rewards.pool import Pool, WorkerPool
from glmtts.rewards.shaped import WantedReward
from glmtts.runaway import Finish
from glmtts.synthesizer import Synthesizer
from glmtts.text.styles import LAUGHTER, NEUTRAL
from glmtts.train.cases import Case
from glmtts.train.policy import LEAST_SPREAD
from glmtts.voice import Voice


@dataclass(frozen=True)
class Answer:
    """One utterance of a case: its (S,) speech tokens and how they ended."""

    case: Case
    tokens: tuple[int, ...]
    finish: Finish


@dataclass(frozen=True)
class Weight:
    """How much a reward counts.

    Attributes:
        name: Of the reward, without its kind.
        weight: Its factor after standardisation.
        spread: Answers of one text whose values deviate by less are equally good. Rewards that are
            nearly always 0 or 1 (emotion) want 0.05 or more: else the last thousandth of a group
            that is right throughout would be blown up to full size.
    """

    name: str
    weight: float = 1.0
    spread: float = LEAST_SPREAD
    kind: str = ""
    """Which judge, where there are several: of `sim=ge2e` it is "ge2e"."""

    @property
    def asked(self) -> str:
        """The reward as it is asked for."""
        return f"{self.name}={self.kind}" if self.kind else self.name

    @classmethod
    def parse(cls, text: str) -> "Weight":
        """Read `NAME`, `NAME@WEIGHT` or `NAME@WEIGHT:SPREAD`; NAME may be SLOT=KIND.

        Raises:
            BadInput: it is none of them.
        """
        asked, at, numbers = text.rpartition("@")
        weight, _, spread = (numbers if at else "").partition(":")
        name, _, kind = (asked if at else text).strip().partition("=")
        try:
            found = cls(name, float(weight or 1.0), float(spread or LEAST_SPREAD), kind)
        except ValueError as error:
            raise BadInput(
                f"Cannot read the reward {text!r}. Expected NAME@WEIGHT or NAME@WEIGHT:SPREAD, "
                "such as reading@1 or emotion@0.5:0.05."
            ) from error
        if not found.name or found.spread < 0:
            raise BadInput(f"The reward {text!r} has no name, or a negative spread.")
        return found


TokenReward = Callable[[Answer], Score]
"""A reward on an answer's tokens."""


WORDS = frozenset({"phonemes", "per", "cer", "token-cer", "likelihood"})
"""Rewards that take a laugh for words: they would pay for leaving it out."""
MANNER_IDS = 10
"""Text ids from which on speech has a manner that can be told: a word is too short."""
UNASKED = Score(1.0, detail={"asked": False})
"""What a reward that is not asked says of every answer, so that none is better."""


def asked(name: str, case: Case) -> bool:
    """Whether a reward can judge answers to a case: a laugh is no word, a word has no manner."""
    if name == "emotion":
        return case.style != LAUGHTER and len(case.text_ids) >= MANNER_IDS
    if name == "laughs":
        return bool(case.laughs)
    return not (name in WORDS and case.laughs)


class Reading:
    """How well the phoneme head reads the text from the tokens: exp(-nat a phoneme), 0 to 1."""

    def __init__(self, proofreader: Proofreader) -> None:
        """Read with the head of this proofreader."""
        self._proofreader = proofreader

    def __call__(self, answer: Answer) -> Score:
        """Judge one answer; what it says nothing of, it reads as 0."""
        phonemes = answer.case.phonemes
        if not answer.tokens:
            return Score(0.0, np.zeros(0, np.float32))
        _require(phonemes)
        misread = self._proofreader.misread(answer.tokens, phonemes, answer.case.laughs)
        credit = self._proofreader.clarity(answer.tokens, phonemes)
        return Score(math.exp(-max(0.0, misread)), np.asarray(credit, np.float32))


class PhonemeError:
    """Share of phonemes that the head hears wrong: exp(-2.5 x error rate), as the official CER."""

    def __init__(self, proofreader: Proofreader) -> None:
        """Read with the head of this proofreader."""
        self._proofreader = proofreader

    def __call__(self, answer: Answer) -> Score:
        """Judge one answer."""
        rate = self.rate(answer)
        return Score(math.exp(-2.5 * rate), detail={"rate": rate})

    def rate(self, answer: Answer) -> float:
        """Phoneme errors for each phoneme meant."""
        meant = answer.case.phonemes
        _require(meant)
        heard = self._proofreader.heard(answer.tokens) if answer.tokens else []
        return distance(meant, heard) / len(meant)


class Laughs:
    """How much of the laughs that a text asks for is heard in the tokens, 0 to 1."""

    def __init__(self, proofreader: Proofreader) -> None:
        """Hear with the net of this proofreader; without one, the time that a laugh takes."""
        self._proofreader = proofreader

    def __call__(self, answer: Answer) -> Score:
        """Judge one answer; it is asked for texts with laughs alone (`asked`)."""
        case = answer.case
        return Score(self._proofreader.laughed(answer.tokens, case.phonemes, case.laughs))


def ended(answer: Answer) -> Score:
    """1 where the answer came to an end, 0 where it ran away or was cut."""
    return Score(float(answer.finish == "stop"))


def longer(answer: Answer) -> Score:
    """Speech tokens a text id: the longer the better.

    Nobody wants that; it is here to show that the guards see a policy that does what pays.
    """
    return Score(len(answer.tokens) / len(answer.case.text_ids))


def distance(one: Sequence[str], other: Sequence[str]) -> int:
    """Fewest insertions, deletions and substitutions between two sequences (Levenshtein)."""
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        last, row[0] = row[0], i
        for j, b in enumerate(other, 1):
            last, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, last + (a != b))
    return row[-1]


class Style:
    """How likely a small net hears the style asked for in the melody of the tokens, 0 to 1.

    A text that asks for none should sound neutral: it is the tag that makes the difference.
    """

    def __init__(self, proofreader: Proofreader, folder: str = "") -> None:
        """Hear with this package's net for tokens, or with that in a folder.

        Raises:
            GlmTtsError: there is none in the folder, or it hears something else.
        """
        self._classify = TokenStyles(net_at(folder, "tokens"), proofreader)

    def __call__(self, answer: Answer) -> Score:
        """Judge one answer; nothing said has no style."""
        style = answer.case.style or NEUTRAL
        if style not in self._classify.styles:
            raise BadInput(f"The style judge knows no {style!r}.")
        if not answer.tokens:
            return Score(0.0)
        return Score(self._classify.of_tokens(answer.tokens)[style])


def token_rewards(proofreader: Proofreader | None) -> dict[str, TokenReward]:
    """The rewards on tokens that a model has; those that read need its phoneme head."""
    known: dict[str, TokenReward] = {"ended": ended, "longer": longer}
    if proofreader is not None:
        known |= {"reading": Reading(proofreader), "phonemes": PhonemeError(proofreader)}
        known["laughs"] = Laughs(proofreader)
    return known


def style_rewards(
    weights: Sequence[Weight], proofreader: Proofreader | None
) -> dict[str, TokenReward]:
    """The reward `emotion` where it can be heard in the tokens: no sound has to be made for it.

    Raises:
        GlmTtsError: the judge of styles that is asked for is not there.
    """
    found: dict[str, TokenReward] = {}
    for weight in weights:
        kind, _, folder = weight.kind.partition(":")
        if weight.name == "emotion" and kind in ("", "tokens") and proofreader is not None:
            found[weight.name] = Style(proofreader, folder)
    return found


class Renderer:
    """Answers to sound, as the model would speak them."""

    def __init__(self, synthesizer: Synthesizer) -> None:
        """Speak with the flow and the vocoder of this model."""
        self._synthesizer = synthesizer
        self._prompts: dict[str, Audio] = {}

    @torch.inference_mode()
    def __call__(self, answer: Answer) -> Audio:
        """The sound of an answer."""
        synth, case = self._synthesizer, answer.case
        options: FlowOptions = synth.flow_options
        tokens = synth.telling(answer.tokens, case.phonemes, case.laughs, style=case.style)
        laughing = synth.laughing(answer.tokens, case.phonemes, case.laughs)
        mel = synth.flow.sample(  # (S,) -> (F, M)
            tokens, case.voice, options, laughing=laughing
        )
        samples = synth.vocoder.decode(mel)  # (F, M) -> (N,)
        return Audio(samples.float().cpu(), synth.sample_rate)

    @torch.inference_mode()
    def prompt(self, voice: Voice) -> Audio:
        """The clip of a voice, as the vocoder speaks its mel (a voice keeps no recording)."""
        if voice.name not in self._prompts:
            samples = self._synthesizer.vocoder.decode(voice.mel).float().cpu()
            if len(self._prompts) > 256:
                self._prompts.clear()
            self._prompts[voice.name] = Audio(samples, self._synthesizer.sample_rate)
        return self._prompts[voice.name]


@dataclass
class Scorer:
    """Verdicts of all rewards on answers.

    Attributes:
        on_tokens: Rewards on tokens by name.
        on_sound: Judges of sound by name.
        render: Makes sound of an answer; needed for judges only.
        reasons: The latest reason that each reward gave for a failure.
    """

    on_tokens: Mapping[str, TokenReward]
    on_sound: Mapping[str, Judge] = field(default_factory=dict[str, Judge])
    render: Renderer | None = None
    reasons: dict[str, str] = field(default_factory=dict[str, str])

    @property
    def names(self) -> list[str]:
        """All rewards."""
        return [*self.on_tokens, *self.on_sound]

    @property
    def complaint(self) -> str:
        """What went wrong last, reward by reward."""
        return "; ".join(f"{name}: {reason}" for name, reason in self.reasons.items())

    def close(self) -> None:
        """End the workers of judges that have any."""
        for judge in self.on_sound.values():
            if isinstance(judge, Pool):
                judge.close()

    def __call__(self, answers: Sequence[Answer]) -> list[dict[str, Verdict]]:
        """What each reward says of each answer; a reward that cannot judge says why."""
        verdicts: list[dict[str, Verdict]] = [{} for _ in answers]
        for name, reward in self.on_tokens.items():
            for answer, found in zip(answers, verdicts, strict=True):
                found[name] = _attempt(reward, answer) if asked(name, answer.case) else UNASKED
        if self.on_sound:
            self._listen(answers, verdicts)
        for found in verdicts:
            for name, verdict in found.items():
                if isinstance(verdict, Failed):
                    self.reasons[name] = verdict.reason
        return verdicts

    def _listen(self, answers: Sequence[Answer], verdicts: list[dict[str, Verdict]]) -> None:
        """Let the judges hear those answers they are asked of; no other is made a sound of."""
        assert self.render is not None, "judges of sound need a renderer"
        samples: dict[int, Sample] = {}
        for row, answer in enumerate(answers):
            unasked = [name for name in self.on_sound if not asked(name, answer.case)]
            verdicts[row].update(dict.fromkeys(unasked, UNASKED))
            if len(unasked) == len(self.on_sound):
                continue
            try:
                sound = self.render(answer)
            except (RuntimeError, ValueError) as error:
                for name in self.on_sound.keys() - unasked:
                    verdicts[row][name] = Failed(f"no sound: {error}")
                continue
            case = answer.case
            samples[row] = Sample(
                sound, case.text, case.language, self.render.prompt(case.voice), case.style
            )
        for name, judge in self.on_sound.items():
            rows = [row for row in samples if name not in verdicts[row]]
            heard = judge([samples[row] for row in rows]) if rows else []
            for row, verdict in zip(rows, heard, strict=True):
                verdicts[row][name] = verdict


def _attempt(reward: TokenReward, answer: Answer) -> Verdict:
    """A verdict; whatever a reward raises is a failure, but for a lack of memory."""
    try:
        score = reward(answer)
    except MemoryError:
        raise
    except Exception as error:
        return Failed(f"{type(error).__name__}: {error}")
    if not math.isfinite(score.value):
        return Failed(f"the reward is {score.value}, which is no number")
    return score


def _require(phonemes: Sequence[str]) -> None:
    if not phonemes:
        raise BadInput(
            "The text has no phonemes to compare with: this model reads plain text. Use a reward "
            "on sound, such as cer."
        )


@dataclass(frozen=True)
class Workers:
    """Where judges of sound work."""

    processes: int = 0
    """Processes of this machine for each judge; 0: in the training's own."""
    actors: int = 0
    """Actors of a Ray cluster for each judge; 0: none."""
    address: str = ""
    """Of the cluster (`ray://host:port`); empty: the one in the environment, or one made here."""
    gpus: float = 0.0
    """GPUs of each actor; shares such as 0.25 are fine."""
    threads: int = 1
    """CPU threads of each worker."""


def scorer(
    weights: Sequence[Weight],
    synthesizer: Synthesizer,
    render: Renderer,
    workers: Workers = Workers(),
) -> Scorer:
    """The rewards that are asked for.

    Raises:
        BadInput: there is none of a name, or the model has no phoneme head to read with.
        MissingExtra: a judge's packages are not installed.
    """
    known = token_rewards(synthesizer.proofreader)
    on_tokens = {w.name: known[w.name] for w in weights if w.name in known}
    on_tokens |= style_rewards(weights, synthesizer.proofreader)
    on_sound = {w.name: judge_named(w.asked, workers) for w in weights if w.name not in on_tokens}
    return Scorer(on_tokens, on_sound, render)


def judge_named(asked: str, workers: Workers = Workers()) -> Judge:
    """The reward on sound that is asked for by NAME or NAME=KIND, see `glmtts.rewards.shaped`.

    Raises:
        BadInput: there is none of that name.
        GlmTtsError: packages or weights of its judge are missing; the message says which.
    """
    if asked in ("reading", "phonemes"):
        raise BadInput(
            f"The reward {asked!r} reads with the heads of the speech tokenizer, which this model "
            "does not have. Use a reward on sound, such as cer."
        )
    try:
        wanted = WantedReward(asked)
    except BadInput as error:
        raise BadInput(f"{error} On tokens: reading, phonemes, laughs, ended, longer.") from error
    if workers.actors:
        return RayPool(
            wanted, workers.actors, address=workers.address or None, gpus=workers.gpus,
            threads=workers.threads,
        )  # fmt: skip
    if workers.processes:
        return WorkerPool(wanted, workers.processes, threads=workers.threads)
    return wanted()
