"""Several ranks learn what one would; Ray actors draw what this process would, even when killed.

The first test starts this file under torchrun; there it is a script that trains.
"""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from glmtts import checkpoint
from glmtts.lm import Rollouts, TextToSpeechTokens
from glmtts.train import grpo as stage
from glmtts.train import scoring
from glmtts.train.guards import Limits
from glmtts.train.ray_actors import RayActors, RayOptions
from glmtts.train.rollouts import Actor
from tests.models.test_lm_engine import TINY, model
from tests.tiny import build
from tests.train.test_rollouts import ORDERS, SAMPLING

pytestmark = pytest.mark.slow  # processes of their own

ROOT = Path(__file__).parent.parent.parent
TEXTS = ["你好。", "世界。", "你好世界。", "世界你好。", "你好你好。", "世界世界。", "好世界。"]


def train(home: Path, out: Path, prompts: int, *, shard: bool = False) -> None:
    known = scoring.token_rewards

    def wanted(answer: scoring.Answer) -> scoring.Score:
        if answer.case.text == TEXTS[1]:  # all alike: the other rank has more to learn from
            return scoring.Score(0.5)
        return scoring.Score(sum(t % 7 == 3 for t in answer.tokens) / max(1, len(answer.tokens)))

    scoring.token_rewards = lambda proofreader: {**known(proofreader), "wanted": wanted}
    sys.modules["torch.utils.tensorboard.writer"] = None  # type: ignore[assignment]  # slow
    stage.main(
        stage.Config(
            texts=str(home / "texts.txt"), model=str(home / "model"), out=out, steps=3,
            rewards=("wanted@1",), prompts=prompts, answers=6, lr=1e-3, warmup=1, updates=2,
            kl_weight=0.05, kl_every=1, save_every=0, sample_every=0, device="cpu", amp=False,
            actor_dtype="float32", shard=shard, rerolls=0, guards=Limits(length=0.0, entropy=0.0),
        )
    )  # fmt: skip


@pytest.mark.parametrize("shard", [False, True])
def test_two_ranks_learn_what_one_learns_from_all_their_texts(tmp_path: Path, shard: bool) -> None:
    build(tmp_path / "model")
    (tmp_path / "texts.txt").write_text("\n".join(TEXTS))
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        ["timeout", "200", sys.executable, *launch, __file__, str(tmp_path), str(+shard)],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    # Gloo may abort or hang when all is done and written (LOG.md).
    assert (tmp_path / "two" / "lm" / "model.safetensors").exists(), done.stderr[-2_000:]
    train(tmp_path, tmp_path / "one", 4)
    one, two = (checkpoint.load(TextToSpeechTokens, tmp_path / n / "lm") for n in ("one", "two"))
    start = checkpoint.load(TextToSpeechTokens, tmp_path / "model" / "lm").state_dict()
    for name, weight in one.state_dict().items():
        torch.testing.assert_close(two.state_dict()[name], weight, rtol=1e-3, atol=1e-5)
    moved = max(float((v - start[n]).abs().max()) for n, v in one.state_dict().items())
    assert moved > 1e-3
    rows = [
        (tmp_path / n / "metrics.jsonl").read_text().count('"answers": 24.0')
        for n in ("one", "two")
    ]
    assert rows == [3, 3]


# ----- Ray ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def actors() -> Iterator[RayActors]:
    ray = pytest.importorskip("ray")
    made = RayActors(TINY, RayOptions(actors=2), dtype="float32", slots=4)
    made.follow(model().state_dict())
    yield made
    made.close()
    ray.shutdown()


@pytest.fixture(scope="module")
def here() -> list[Rollouts]:
    actor = Actor(TINY, dtype="float32", slots=4)
    actor.follow(model().state_dict())
    return actor.draw(ORDERS, SAMPLING)


def speech(groups: list[Rollouts]) -> list[list[int]]:
    return [group.speech(row) for group in groups for row in range(len(group.finish))]


@pytest.mark.filterwarnings("default")
def test_ray_actors_draw_what_this_process_draws(actors: RayActors, here: list[Rollouts]) -> None:
    assert speech(actors.draw(ORDERS, SAMPLING)) == speech(here)
    other = TextToSpeechTokens(TINY).eval()
    actors.follow(other.state_dict())
    assert speech(actors.draw(ORDERS, SAMPLING)) != speech(here)
    actors.follow(model().state_dict())
    assert speech(actors.draw(ORDERS, SAMPLING)) == speech(here)


@pytest.mark.filterwarnings("default")
def test_an_actor_that_is_killed_loses_no_answer(actors: RayActors, here: list[Rollouts]) -> None:
    import ray

    def kill() -> None:
        time.sleep(0.1)
        ray.kill(actors.actors[0], no_restart=False)

    many = [*ORDERS] * 20
    killer = threading.Thread(target=kill)
    killer.start()
    drawn = actors.draw(many, SAMPLING)
    killer.join()
    assert speech(drawn) == speech(here) * 20


if __name__ == "__main__":
    home, divided = Path(sys.argv[1]), sys.argv[2] == "1"
    train(home, home / ("two" if os.environ["RANK"] == "0" else "other"), 2, shard=divided)
