"""What is imported when, and who may import whom."""

import pkgutil
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

import pytest

import glmtts

ROOT = Path(__file__).parent.parent


def modules(package: str) -> list[str]:
    found = pkgutil.walk_packages(import_module(package).__path__, f"{package}.")
    return [item.name for item in found if not item.name.endswith("__main__")]


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "code",
    [
        "import glmtts; glmtts.__version__; dir(glmtts)",
        "import glmtts.cli; glmtts.cli.app(['--help'], standalone_mode=False)",
        "import glmtts.cli; glmtts.cli.app(['models'], standalone_mode=False)",
        "from glmtts import GlmTtsError, available_models",
        "from importlib import import_module\n"
        f"for name in {modules('glmtts.text')!r}: import_module(name)",
    ],
)
def test_torch_is_not_imported_by(code: str) -> None:
    heavy = run(
        f"{code}\nimport sys; print([n for n in ('torch', 'transformers') if n in sys.modules])"
    )
    assert heavy.strip().endswith("[]")


def test_help_is_instant() -> None:
    times: list[float] = []
    for _ in range(3):
        started = time.monotonic()
        subprocess.run([sys.executable, "-m", "glmtts", "--help"], cwd=ROOT, check=True,
                       stdout=subprocess.DEVNULL)  # fmt: skip
        times.append(time.monotonic() - started)
    assert min(times) < 1.0, f"--help took {min(times):.2f} s at best; importing torch takes longer"


def test_a_model_is_loaded_without_the_compiler_of_torch() -> None:
    code = "from glmtts import Synthesizer; Synthesizer.load('glmtts-nano', device='cpu')"
    assert run(f"{code}; import sys; print('torch._dynamo' in sys.modules)").strip() == "False"


@pytest.mark.parametrize("name", modules("glmtts"))
def test_every_module_imports_and_says_what_it_is_for(name: str) -> None:
    module = import_module(name)
    assert module.__doc__, f"{name} has no docstring"


def test_imports_point_down() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()"],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert "0 broken" in done.stdout


def test_the_package_is_installed_from_here() -> None:
    assert Path(glmtts.__file__).parent == ROOT / "glmtts"
