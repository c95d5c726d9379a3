"""Two ranks that hold half of everything train what two that hold all of it do.

The test starts this file under torchrun; there it is a script that trains.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from glmtts import checkpoint
from glmtts.lm import TextToSpeechTokens
from glmtts.text.tokenizer import build_nano_tokenizer
from glmtts.train import lm as stage
from tests.train.test_lm import SPEECH, config, write_clips

pytestmark = pytest.mark.slow  # starts two ranks four times

ROOT = Path(__file__).parent.parent.parent


def train(home: Path, out: str, steps: int, *, shard: bool) -> Path:
    """Train with two ranks up to a step; the folder of the run."""
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        ["timeout", "120", sys.executable, *launch, __file__, home, out, str(steps), str(+shard)],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    # Gloo may abort or hang when all is done and written (LOG.md).
    assert (home / out / "lm" / "model.safetensors").exists(), done.stderr[-2_000:]
    return home / out


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sharding")
    write_clips(folder / "shards", 60)
    build_nano_tokenizer(["你好世界我"], folder / "tokenizer", speech_count=SPEECH, merges=0)
    return folder


def test_a_divided_model_learns_the_same_and_resumes(home: Path) -> None:
    copied = train(home, "copied", 6, shard=False)
    divided = train(home, "divided", 6, shard=True)
    one, other = (checkpoint.load(TextToSpeechTokens, run / "lm") for run in (copied, divided))
    for key, value in one.state_dict().items():
        torch.testing.assert_close(other.state_dict()[key], value, atol=2e-5, rtol=1e-4)
    assert other.config == one.config
    rows = [
        [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        for run in (copied, divided)
    ]
    valid = [[row["valid_nll"] for row in found if "valid_nll" in row] for found in rows]
    assert valid[0]
    assert valid[1] == pytest.approx(valid[0], abs=1e-3)
    assert [row["grad_norm"] for row in rows[1] if "grad_norm" in row] == pytest.approx(
        [row["grad_norm"] for row in rows[0] if "grad_norm" in row], rel=1e-2
    )

    (divided / "step_000006").rename(home / "gone")  # as if killed after the third step
    (divided / "lm").rename(home / "left")
    train(home, "divided", 6, shard=True)
    again = checkpoint.load(TextToSpeechTokens, divided / "lm")
    for key, value in other.state_dict().items():
        torch.testing.assert_close(again.state_dict()[key], value, atol=1e-6, rtol=1e-5)


def main(home: Path, out: str, steps: int, shard: bool) -> None:
    """Train on one of two ranks."""
    sys.modules["torch.utils.tensorboard.writer"] = None  # type: ignore[assignment]  # slow
    stage.main(
        config(
            home, home / out, steps=steps, shard=shard, save_every=3, valid_every=3, log_every=1,
            amp=False,
        )
    )  # fmt: skip


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4] == "1")
