"""Two ranks train one model: other batches, the same weights, one writer, one end.

The test starts this file under torchrun; there it is a script that trains twice.
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

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the reports of two ranks that trained in it."""
    folder = tmp_path_factory.mktemp("parallel")
    write_clips(folder / "shards", 60)
    build_nano_tokenizer(["你好世界我"], folder / "tokenizer", speech_count=SPEECH, merges=0)
    launch = "-m torch.distributed.run --standalone --nproc-per-node 2".split()
    done = subprocess.run(
        [sys.executable, *launch, __file__, str(folder)],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "destroy_process_group" not in done.stderr
    return folder


def reports(home: Path, name: str) -> list[dict]:
    return [json.loads((home / f"{name}-{rank}.json").read_text()) for rank in range(2)]


def test_ranks_draw_other_batches_and_hold_the_same_weights(home: Path) -> None:
    first, second = reports(home, "whole")
    for step in range(3):
        assert first["batches"][str(step)] != second["batches"][str(step)]
    assert first["initial"] == second["initial"]
    assert first["weights"] == second["weights"]
    assert first["weights"]["model"] != first["initial"]
    left = checkpoint.load(TextToSpeechTokens, home / "whole-0" / "lm")
    assert checksum(left) == first["weights"]["averaged"]


def test_only_rank_0_writes(home: Path) -> None:
    names = {path.name for path in (home / "whole-0").iterdir()}
    assert {"run.json", "metrics.jsonl", "step_000003", "lm"} <= names
    assert list((home / "whole-1").iterdir()) == []
    lines = (home / "whole-0" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [0, 1, 2, 2]
    assert "valid_nll" in lines[-1]


def test_a_signal_to_one_rank_ends_both_after_the_same_step(home: Path) -> None:
    first, second = reports(home, "stopped")
    assert first["saved"] == second["saved"]
    assert 1 <= first["saved"] < 999
    assert first["weights"] == second["weights"]
    assert (home / "stopped-0" / f"step_{first['saved'] + 1:06d}").is_dir()
    assert not (home / "stopped-0" / "lm").exists()


# ----- what each rank runs ------------------------------------------------------------------------


def checksum(module: nn.Module) -> str:
    """The exact sum of all weights as integers."""
    return str(sum(int(v.contiguous().view(torch.int32).sum()) for v in module.parameters()))


class SpiedRun:
    """Replaces methods of `Run` and `LMBatches` by ones that also take notes."""

    def __init__(self, kill_at: int) -> None:
        self.notes: dict = {"batches": {}}
        parallel, save, batch = Run.parallel, Run.save, LMBatches.batch

        def noted_parallel(run: Run, model: nn.Module) -> nn.Module:
            self.notes["initial"] = checksum(model)
            return parallel(run, model)

        def noted_save(run: Run, step: int, component: nn.Module, stateful: dict, *more) -> Path:
            self.notes["saved"] = step
            self.notes["weights"] = {
                "averaged": checksum(component), "model": checksum(stateful["model"]),
            }  # fmt: skip
            return save(run, step, component, stateful, *more)

        def noted_batch(batches: LMBatches, step: int) -> LMBatch:
            made = batch(batches, step)
            if batches.world == 2:  # not a batch of the validation
                self.notes["batches"][step] = made.ids.tolist()
                if step == kill_at and batches.rank == 1:
                    os.kill(os.getpid(), signal.SIGTERM)
            return made

        self.methods = {
            (Run, "parallel"): (noted_parallel, parallel), (Run, "save"): (noted_save, save),
            (LMBatches, "batch"): (noted_batch, batch),
        }  # fmt: skip

    def __enter__(self) -> dict:
        for (owner, name), (noted, _) in self.methods.items():
            setattr(owner, name, noted)
        return self.notes

    def __exit__(self, *error: object) -> None:
        for (owner, name), (_, own) in self.methods.items():
            setattr(owner, name, own)


def main(home: Path) -> None:
    """Train three steps, then until rank 1 gets a signal; each rank has a folder of its own."""
    rank = os.environ["RANK"]
    for name, steps, kill_at in (("whole", 3, -1), ("stopped", 1_000, 2)):
        out = home / f"{name}-{rank}"
        with SpiedRun(kill_at) as notes:
            stage.main(config(home, out, steps=steps))
        (home / f"{name}-{rank}.json").write_text(json.dumps(notes))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
