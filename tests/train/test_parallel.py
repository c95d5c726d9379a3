"""Two ranks train one model: other batches, the same weights, one writer, one end.

The test starts this file under torchrun; there it is a script that trains.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from glmtts import checkpoint
from glmtts.data.lm_batches import LMBatches
from glmtts.lm import LMBatch, TextToSpeechTokens
from glmtts.text.tokenizer import build_nano_tokenizer
from glmtts.train import lm as stage
from glmtts.train.common import Run
from tests.train.test_lm import SPEECH, config, write_clips

pytestmark = pytest.mark.slow  # two ranks, one signalled: sensitive to the machine's timing

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the reports of two ranks that trained in it."""
    folder = tmp_path_factory.mktemp("parallel")
    write_clips(folder / "shards", 60)
    build_nano_tokenizer(["你好世界我"], folder / "tokenizer", speech_count=SPEECH, merges=0)
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [sys.executable, *launch, __file__, str(folder)],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "destroy_process_group" not in done.stderr
    return folder


def reports(home: Path) -> list[dict]:
    return [json.loads((home / f"notes-{rank}.json").read_text()) for rank in range(2)]


def test_ranks_draw_other_batches_and_hold_the_same_weights(home: Path) -> None:
    first, second = reports(home)
    for step in range(3):
        assert first["batches"][str(step)] != second["batches"][str(step)]
    assert first["initial"] == second["initial"]
    assert first["weights"] == second["weights"]
    assert first["weights"]["model"] != first["initial"]


def test_a_signal_to_one_rank_ends_both_after_the_same_step(home: Path) -> None:
    first, second = reports(home)
    assert first["saved"] == second["saved"]
    assert 1 <= first["saved"] < 999


def test_only_rank_0_writes(home: Path) -> None:
    first, _ = reports(home)
    folder = f"step_{first['saved'] + 1:06d}"
    names = {path.name for path in (home / "out-0").iterdir()}
    assert {"run.json", "metrics.jsonl", folder} <= names
    assert list((home / "out-1").iterdir()) == []
    left = checkpoint.load(TextToSpeechTokens, home / "out-0" / folder)
    assert checksum(left) == first["weights"]["averaged"]
    lines = (home / "out-0" / "metrics.jsonl").read_text().splitlines()
    steps = [json.loads(line)["step"] for line in lines]
    assert steps == [*range(first["saved"] + 1), first["saved"]]  # validated once, at the end
    assert "valid_nll" in lines[-1]


# ----- what each rank runs ------------------------------------------------------------------------


def checksum(module: nn.Module) -> str:
    """The exact sum of all weights as integers."""
    return str(sum(int(v.contiguous().view(torch.int32).sum()) for v in module.parameters()))


def main(home: Path) -> None:
    """Train until rank 1 gets a signal, taking notes; each rank has an output folder of its own."""
    notes: dict = {"batches": {}}
    parallel, save, batch = Run.parallel, Run.save, LMBatches.batch

    def noted_parallel(run: Run, model: nn.Module) -> nn.Module:
        notes["initial"] = checksum(model)
        return parallel(run, model)

    def noted_save(run: Run, step: int, component: nn.Module, stateful: dict, *more) -> Path:
        averaged, model = checksum(component), checksum(stateful["model"])
        notes.update(saved=step, weights={"averaged": averaged, "model": model})
        return save(run, step, component, stateful, *more)

    def noted_batch(batches: LMBatches, step: int) -> LMBatch:
        made = batch(batches, step)
        if batches.world == 2:  # not a batch of the validation
            notes["batches"][step] = made.ids.tolist()
            if step == 2 and batches.rank == 1:
                os.kill(os.getpid(), signal.SIGTERM)
        return made

    Run.parallel, Run.save, LMBatches.batch = noted_parallel, noted_save, noted_batch
    sys.modules["torch.utils.tensorboard.writer"] = None  # type: ignore[assignment]  # slow
    rank = os.environ["RANK"]
    stage.main(config(home, home / f"out-{rank}", steps=1_000))
    (home / f"notes-{rank}.json").write_text(json.dumps(notes))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
