"""docs/cli.md is the commands' own help."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_the_page_is_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, "docs/cli_reference.py"],
        cwd=ROOT, capture_output=True, text=True, check=True, env={"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    assert page == done.stdout, "docs/cli.md is out of date: run `make docs`"
