"""The examples run with the bundled model."""

import subprocess
import sys
from pathlib import Path

from glmtts import Audio

EXAMPLES = Path(__file__).parent.parent / "examples"


def run(folder: Path, script: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLES / script), *arguments],
        cwd=folder, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_voice_is_cloned_from_what_was_said(tmp_path: Path) -> None:
    text = "今天天气很好，我们一起去公园散步吧。"
    assert "clip.wav" in run(tmp_path, "say.py", text, "clip.wav")
    assert Audio.load(tmp_path / "clip.wav").seconds > 1.0
    run(tmp_path, "clone_voice.py", "clip.wav", text, "很高兴认识你。", "cloned.wav")
    assert Audio.load(tmp_path / "cloned.wav").seconds > 0.5
