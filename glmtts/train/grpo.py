"""Let rewards shape the language model: group-relative policy optimisation. Read main first.

For each text the policy speaks several answers; rewards judge them; each answer is made likelier or
less likely by how it compares with the others of its group. Paper §2.4; the mathematics is in
`policy`, groups and dynamic sampling in `groups`, what ends a run that learns to cheat in `guards`.

On the command line: glmtts train grpo --recipe nano --texts texts.jsonl
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch.nn.utils import clip_grad_norm_

from glmtts import checkpoint, hub
from glmtts.judges.registry import make
from glmtts.lm import LMConfig, Rollouts, TextToSpeechTokens
from glmtts.model_folder import read_manifest
from glmtts.sampling import Sampling
from glmtts.synthesizer import Synthesizer
from glmtts.train import policy, sharding
from glmtts.train.cases import Case, Cases
from glmtts.train.common import Run, adamw, require, set_lr, setup
from glmtts.train.curves import draw_curves
from glmtts.train.groups import Group, answers_of, collect
from glmtts.train.guards import Guards, Limits, go_back, keep_steady, stop
from glmtts.train.lora import Lora, adapt, plain_weights
from glmtts.train.ray_actors import RayActors, RayOptions
from glmtts.train.rollouts import SCORE, Actor, Order, score_draws, scored
from glmtts.train.scoring import PhonemeError, Renderer, Scorer, Weight, Workers, scorer
from glmtts.train.tally import Tally, note, note_watched


@dataclass
class Config:
    """One run."""

    texts: str
    """What is said: a .txt file (a text a line), a .jsonl file (text, and perhaps voice and style),
    or folders of shards, separated by commas."""
    valid: str = ""
    """Texts that are not trained on; empty: no validation."""
    model: str = "glmtts-nano"
    """Name or folder of the model whose tokenizers, voices, flow and vocoder are used."""
    init: Path | None = None
    """Start from this language model instead of the model's own."""
    out: Path = Path("runs/grpo")
    """Where checkpoints and the log go; a run that is there is resumed."""
    rewards: tuple[str, ...] = ("reading@1",)
    """NAME@WEIGHT, or NAME@WEIGHT:SPREAD with the deviation below which the answers to a text count
    as equal (0.01; rewards that are mostly 0 or 1, such as emotion, want 0.05 or more). On tokens:
    reading, phonemes, laughs, ended, longer; all others are judges of sound, see docs/grpo.md."""
    token_credit: float = 0.0
    """Weight of credit for single tokens, added to the advantage of their answer; for rewards that
    know which tokens were wrong (reading, cer)."""
    voices: str = ""
    """Shards (tokens, mel, speaker) whose clips serve as voices; empty: the model's own voices."""
    voiceless: float = 0.0
    """Share of the texts for which the language model hears no voice."""
    longest: int = 80
    """Sentences of more text ids are left out."""
    steps: int = 1_000
    prompts: int = 4
    """Texts of a step (on each device)."""
    answers: int = 8
    """Answers to a text that are drawn at once."""
    top_p: float = 0.8
    """Nucleus of the answers."""
    top_k: int = 25
    """Largest nucleus; 0: no limit."""
    temperature: float = 1.0
    """Temperature of the answers at first; it falls to 1 by e^(-step / 200)."""
    temperature_steps: int = 1_000
    """Steps after which the temperature is 1."""
    ahead: int | None = None
    """Text ids beyond the present one that an aligned head may look at while answers are drawn and
    scored (`nn.gaze`); 0: any; None: as the model speaks."""
    rerolls: int = 2
    """Dynamic sampling: how often more answers are drawn where all are alike; 0: never."""
    updates: int = 1
    """Updates with the same answers; from the second on the ratio to the policy that drew them
    differs from 1 and is clipped."""
    clip_low: float = 0.2
    """How far a ratio may fall below 1 at first."""
    clip_low_end: float = 0.3
    """The same after `clip_steps`."""
    clip_high: float = 0.3
    """How far a ratio may rise above 1 at first."""
    clip_high_end: float = 0.5
    clip_steps: int = 1_000
    sequence_ratio: bool = False
    """One ratio an answer instead of one a token (GSPO)."""
    upstream_compat: bool = False
    """As the official trainer: ratios to the first policy, and the end is not learnt."""
    kl_weight: float = 0.0
    """Weight of the divergence from the first policy in the loss."""
    kl: policy.KL = "k3"
    """Estimator of that divergence."""
    lr: float = 1e-5
    warmup: int = 10
    weight_decay: float = 0.0
    clip: float = 1.0
    """Largest norm of the gradient."""
    shard: bool = False
    """With torchrun: weights, gradients and optimizer divided among the ranks (FSDP). The copy that
    speaks and the first policy stay whole on each."""
    lora: Lora = field(default_factory=Lora)
    """Train adapters instead of all weights (rank 0: all weights)."""
    guards: Limits = field(default_factory=Limits)
    """What must not drift, and how far."""
    watch: tuple[str, ...] = ()
    """Judges of sound that are not rewarded, for the guards: mos, sim."""
    watch_every: int = 20
    """Steps between their listening to one answer of each text."""
    judges: Workers = field(default_factory=Workers)
    """Where the judges of rewards work."""
    actor_dtype: str = "auto"
    """Weights of the copy that speaks: float32, bfloat16, int8; auto: the quickest."""
    ray: RayOptions = field(default_factory=RayOptions)
    """Let Ray actors draw the answers."""
    slots: int = 32
    """Answers that are spoken side by side."""
    log_every: int = 1
    kl_every: int = 5
    """Steps between measurements of the divergence from the first policy."""
    save_every: int = 50
    valid_every: int = 25
    valid_texts: int = 48
    sample_every: int = 50
    """Steps between audio samples."""
    seed: int = 0
    device: str = "auto"
    amp: bool = True
    """bfloat16 products, float32 weights."""
    threads: int = 0
    """CPU threads; 0 leaves the default."""

    def __post_init__(self) -> None:
        """Refuse settings that contradict each other."""
        require(self.steps > 0 and self.prompts > 0, "steps and prompts must be positive.")
        require(self.answers > 1, "A group needs at least two answers to compare (--answers).")
        require(self.updates > 0, "updates must be positive.")
        require(self.ahead is None or self.ahead >= 0, "ahead must be 0 (anywhere) or more.")
        require(0.0 < self.top_p <= 1.0, f"top_p must be within 0..1, got {self.top_p}.")
        require(self.temperature > 0.0, "Answers all alike teach nothing: temperature must be > 0.")
        require(not (self.shard and self.lora.rank), "Adapters are small: no --shard with --lora.")
        weights = self.weights()
        require(any(w.weight for w in weights), "Give at least one reward a weight.")
        require(len({w.name for w in weights}) == len(weights), "A reward is named twice.")

    def weights(self) -> list[Weight]:
        """The rewards, read."""
        return [Weight.parse(text) for text in self.rewards]

    def sampling(self, step: int) -> Sampling:
        """How answers are drawn at a step."""
        heat = policy.temperature_at(step, self.temperature, self.temperature_steps)
        return Sampling(
            top_p=self.top_p, top_k=self.top_k or 1_000_000, temperature=heat, ahead=self.ahead
        )


def main(config: Config) -> None:
    """Train, and leave the policy in `out/step_*` and `out/lm`.

    Raises:
        TrainingStopped: a guard's margin was left, or a reward judges nothing any more.
    """
    if config.ahead is None:
        config = replace(config, ahead=read_manifest(hub.resolve(config.model)).ahead)
    run = setup(
        config, config.out, config.seed,
        device=config.device, amp=config.amp, threads=config.threads,
    )  # fmt: skip

    synthesizer = Synthesizer.load(config.model, device=str(run.device))
    source = config.init or hub.resolve(config.model) / "lm"
    first = checkpoint.load(TextToSpeechTokens, source, device=run.device)
    first = first.float().requires_grad_(False).eval()
    lm = checkpoint.load(TextToSpeechTokens, source, device=run.device).float().eval()
    sizes = lm.config  # eval: dropout would make the answers look unlikely to their own policy
    adapt(lm, config.lora)
    if config.shard:
        run.shard(lm, lm.model.layers)
        sharding.give_method(lm, SCORE, score_draws)
    plain = TextToSpeechTokens(sizes).to(run.device).eval()
    optimizer, guards = adamw(lm, config.lr, config.weight_decay), Guards(config.guards)
    learner = Learner(lm, first, optimizer)
    stateful = {"model": lm, "optimizer": optimizer, "guards": guards}

    weights = config.weights()
    rewarded = [weight for weight in weights if weight.weight]
    render = Renderer(synthesizer)
    score = scorer(weights, synthesizer, render, config.judges)
    watch = Scorer({}, {name: make(name) for name in config.watch}, render)
    cases_of = partial(
        Cases, synthesizer=synthesizer, voices=config.voices, voiceless=config.voiceless,
        longest=config.longest, styles=sizes.styles,
    )  # fmt: skip
    texts = cases_of(config.texts, seed=config.seed)
    valid = cases_of(config.valid) if config.valid else None
    actor = actor_of(sizes, config, run.device)

    start = run.resume(stateful)
    plain.load_state_dict(whole_weights(run, lm))
    if not start:
        folder = run.save(-1, plain, stateful, config)
        if run.main:
            keep_steady(folder)
    learning = sum(p.numel() for p in lm.parameters() if p.requires_grad)
    if run.main:
        print(f"{learning / 1e6:.2f} M parameters learn from {len(texts.lines)} texts", flush=True)

    unjudged = 0
    for step in run.steps(start, config.steps):
        tally, began = Tally(), time.monotonic()
        sampling = config.sampling(step)
        set_lr(optimizer, guards.rate * config.lr * min(1.0, (step + 1) / max(1, config.warmup)))

        # 1. The policy speaks, rewards judge; where all answers are alike it speaks again.
        actor.follow(plain.state_dict())
        number = (step * run.world + run.rank) * config.prompts
        cases = [texts.at(number + i) for i in range(config.prompts)]
        groups = collect(
            cases, partial(speak, actor, sampling, run.device), score, rewarded,
            lambda i, roll, number=number: seeds_of(config, number + i, roll), config.rerolls,
        )  # fmt: skip
        tally.add("seconds_drawn", time.monotonic() - began)

        # 2. What differs within a group is learnt.
        began = time.monotonic()
        update(run, config, learner, groups, step, tally)
        tally.add("seconds_learnt", time.monotonic() - began)

        # 3. What happened, on all ranks, and whether it is still what is wanted.
        note(tally, groups, weights, rewarded)
        if config.watch and (step < config.guards.first or run.due(step, config.watch_every)):
            note_watched(tally, watch, groups)
        found = tally.results(run)
        breach = guards.check(found)
        plain.load_state_dict(whole_weights(run, lm))

        last = step + 1 == config.steps or run.stopping
        if run.due(step, config.log_every) or last or breach:
            low, high = clips(config, step)
            lr = guards.rate * config.lr
            found |= {"temperature": sampling.temperature, "lr": lr, "low": low, "high": high}
            run.log(step, **found)
        if valid and run.main and (step == 0 or run.due(step, config.valid_every) or last):
            run.log(step, **validate(run, step, plain, valid, score, synthesizer, render, config))
        if run.main and run.due(step, config.sample_every) and groups[0].rollouts.lengths[0]:
            run.log_audio(step, "answer", render(answers_of(groups[0])[0]))

        unjudged = 0 if found["judged"] else unjudged + 1
        if unjudged == 3:
            stop(run, step, "No answer could be judged in three steps: " + score.complaint)
        if breach:
            guards.breaches += 1
            if config.guards.action == "stop" or guards.breaches > 3:
                stop(run, step, breach)
            go_back(run, step, breach, stateful)
            plain.load_state_dict(whole_weights(run, lm))
        if run.due(step, config.save_every) or last:
            folder = run.save(step, plain, stateful, config)
            if run.main and guards.steady:
                keep_steady(folder)
        if run.main and (run.due(step, config.sample_every) or last):
            draw_curves(run.out)

    score.close()
    actor.close()
    if run.main and not run.stopping:
        checkpoint.save(plain, config.out / "lm")
    run.finish()


def whole_weights(run: Run, lm: TextToSpeechTokens) -> dict[str, torch.Tensor]:
    """The policy's weights as of a plain model; where they are divided all ranks must ask."""
    return sharding.weights(lm) if run.sharded else plain_weights(lm)


def actor_of(sizes: LMConfig, config: Config, device: torch.device) -> Actor | RayActors:
    """Who draws the answers: a copy of the policy in this process, or Ray actors."""
    if config.ray.actors:
        return RayActors(sizes, config.ray, dtype=config.actor_dtype, slots=config.slots)
    return Actor(sizes, device, config.actor_dtype, config.slots)


def speak(
    actor: Actor | RayActors,
    sampling: Sampling,
    device: torch.device,
    cases: Sequence[Case],
    seeds: Sequence[Sequence[int]],
) -> list[Rollouts]:
    """Answers to cases, one for each seed."""
    asked = zip(cases, seeds, strict=True)
    orders = [Order(c.text_ids, c.prompt, tuple(s)) for c, s in asked]
    return [group.to(device) for group in actor.draw(orders, sampling)]


def seeds_of(config: Config, case: int, roll: int) -> list[int]:
    """A seed for each answer: a function of the run's seed, the case's number and the roll."""
    sequence = np.random.SeedSequence([config.seed, case, roll])
    return [int(n) >> 1 for n in sequence.generate_state(config.answers, np.uint64)]


class Learner(NamedTuple):
    """The policy, the one it started as, and what changes it."""

    lm: TextToSpeechTokens
    first: TextToSpeechTokens
    optimizer: torch.optim.Optimizer


def update(
    run: Run,
    config: Config,
    learner: Learner,
    groups: Sequence[Group],
    step: int,
    tally: Tally,
) -> None:
    """Make better answers likelier, worse ones less likely: `config.updates` optimizer steps.

    The loss is a mean over all draws of all ranks, gathered group by group; groups whose answers
    are all alike have nothing to teach. Ranks that share their weights compute together: one that
    has fewer groups looks at some answers meanwhile and learns nothing from them.
    """
    lm, first, optimizer = learner
    weights = [weight for weight in config.weights() if weight.weight]
    batch: list[tuple[Rollouts, torch.Tensor]] = []
    for group in groups:
        if group.use(weights) != "useful":
            continue
        chosen = group.selected()
        advantages = group.advantages(weights)[0][:, None]
        if config.token_credit and (credit := group.token_credit(weights)) is not None:
            advantages = advantages + config.token_credit * credit[:, : chosen.masks.shape[1]]
        if config.upstream_compat:
            chosen = without_end(chosen)
        batch.append((chosen, advantages.to(run.device, torch.float32)))
    draws = torch.tensor(float(sum(int(chosen.masks.sum()) for chosen, _ in batch)))
    total = float(run.summed(draws))
    if not total:  # nothing to learn from, on any rank
        return

    passes = run.most(len(batch)) if run.sharded else len(batch)
    scale = (run.world if run.sharded else 1) / total  # divided gradients are averaged, not added
    low, high = clips(config, step)
    measured = config.kl_weight > 0 or run.due(step, config.kl_every)
    drawn: list[torch.Tensor] = []
    start: list[torch.Tensor] = []
    for number in range(config.updates):
        for i in range(passes):
            if i >= len(batch):
                with run.autocast():
                    (scored(lm, groups[0].rollouts).logprobs.sum() * 0.0).backward()
                continue
            chosen, advantages = batch[i]
            count = int(chosen.masks.sum())
            with run.autocast():
                now = scored(lm, chosen)
                if number == 0:  # these weights drew the answers
                    drawn.append(now.logprobs.detach())
                    tally.add("entropy", float(now.entropy), count)
                if number == 0 and (measured or config.upstream_compat):
                    with torch.no_grad():
                        start.append(scored(first, chosen).logprobs)
            result = policy.policy_loss(
                now.logprobs, (start if config.upstream_compat else drawn)[i], advantages,
                chosen.masks, clip_low=low, clip_high=high, sequence_ratio=config.sequence_ratio,
            )  # fmt: skip
            loss = result.loss
            if measured:
                gap = policy.kl_estimate(now.logprobs, start[i], config.kl)
                gap = policy.masked_mean(gap, chosen.masks)
                loss = loss + config.kl_weight * gap
                tally.add("kl", float(gap.detach()), count)
            (loss * (count * scale)).backward()
            tally.add("loss", float(loss.detach()), count)
            tally.add("clipped_low", float(result.clipped_low), count)
            tally.add("clipped_high", float(result.clipped_high), count)
        if not run.sharded:
            run.sum_gradients(lm)
        tally.add("grad_norm", sharding.number(clip_grad_norm_(lm.parameters(), config.clip)))
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


def clips(config: Config, step: int) -> tuple[float, float]:
    """Adaptive clipping: how far ratios may fall and rise at a step."""
    low = policy.clip_at(step, config.clip_low, config.clip_low_end, config.clip_steps)
    high = policy.clip_at(step, config.clip_high, config.clip_high_end, config.clip_steps)
    return low, high


def without_end(group: Rollouts) -> Rollouts:
    """The same answers, their ends not counted as drawn (as the official trainer has it)."""
    step = torch.arange(group.masks.shape[1], device=group.masks.device)
    return replace(group, masks=group.masks & (step < group.lengths[:, None]))


@torch.no_grad()
def validate(
    run: Run,
    step: int,
    plain: TextToSpeechTokens,
    valid: Cases,
    score: Scorer,
    synthesizer: Synthesizer,
    render: Renderer,
    config: Config,
) -> dict[str, float]:
    """Rewards on texts that are not trained on, spoken once as the model would; named valid_*."""
    cases = [valid.at(i) for i in range(config.valid_texts)]
    actor = Actor(plain.config, run.device, config.actor_dtype, config.slots)
    sampling = synthesizer.sampling(Sampling(ahead=config.ahead))
    actor.follow(plain.state_dict())
    groups = collect(
        cases, partial(speak, actor, sampling, run.device), score, (),
        lambda i, roll: seeds_of(replace(config, seed=0, answers=2), i, roll)[:1],
    )  # fmt: skip
    tally = Tally()
    note(tally, groups, [Weight(name) for name in score.names], ())
    wanted = {*score.names, *(f"{name}_failed" for name in score.names), "length", "ended"}
    wanted |= {"phoneme_errors"}
    if synthesizer.proofreader:
        misheard = PhonemeError(synthesizer.proofreader)
        for group in groups:
            for answer in answers_of(group) if group.case.phonemes else ():
                rate = float(misheard.rate(answer))
                tally.add("phoneme_errors", rate, len(group.case.phonemes))
    if run.due(step, config.sample_every) and groups[0].rollouts.lengths[0]:
        run.log_audio(step, "valid", render(answers_of(groups[0])[0]))
    found = tally.results(replace(run, world=1))
    return {f"valid_{name}": value for name, value in found.items() if name in wanted}
