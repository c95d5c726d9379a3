from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from glmtts import checkpoint
from glmtts.config import from_dict, to_dict
from glmtts.errors import CheckpointError, MissingExtra


@dataclass(frozen=True)
class Sizes:
    width: int = 64
    rates: tuple[float, ...] = (1.0, 2.5)
    note: str | None = None


@dataclass(frozen=True)
class Outer:
    inner: Sizes
    name: str = "x"


class Part(torch.nn.Module):
    config_type = Sizes

    def __init__(self, config: Sizes) -> None:
        super().__init__()
        self.config = config
        self.linear = torch.nn.Linear(config.width, config.width)
        self.norm = torch.nn.LayerNorm(config.width)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    checkpoint.save(Part(Sizes()), tmp_path / "part")
    return tmp_path / "part"


def test_what_is_saved_is_loaded(saved: Path) -> None:
    torch.manual_seed(0)
    part, again = Part(Sizes()), checkpoint.load(Part, saved)
    assert again.config == Sizes()
    assert not again.training
    assert all(
        torch.equal(a, b) for a, b in zip(part.parameters(), again.parameters(), strict=True)
    )


def test_eight_bits_a_weight_are_close_and_small(tmp_path: Path) -> None:
    torch.manual_seed(0)
    part = Part(Sizes(width=256))
    sizes: dict[str, int] = {}
    for name, dtype in (("full", None), ("half", torch.bfloat16), ("int8", torch.int8)):
        checkpoint.save(part, tmp_path / name, dtype)
        sizes[name] = (tmp_path / name / "model.safetensors").stat().st_size
    assert sizes["half"] < 0.55 * sizes["full"]
    assert sizes["int8"] < 0.3 * sizes["full"]
    again = checkpoint.load(Part, tmp_path / "int8")
    error = (again.linear.weight - part.linear.weight).abs().amax(1)
    assert (error <= 0.51 * part.linear.weight.abs().amax(1) / 127).all()


@pytest.mark.parametrize("damage", ["missing", "extra", "shape", "scale", "cut", "config"])
def test_damage_is_named(saved: Path, damage: str) -> None:
    path = saved / "model.safetensors"
    tensors = load_file(path)
    message = "linear.bias"
    if damage == "missing":
        del tensors["linear.bias"]
    elif damage == "extra":
        tensors["more"] = torch.zeros(1)
        message = "more"
    elif damage == "shape":
        tensors["linear.bias"] = torch.zeros(3)
    elif damage == "scale":
        tensors["lost::scale"] = torch.zeros(3)
        message = "lost"
    save_file(tensors, path)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:100])
        message = "Cannot read the weights"
    elif damage == "config":
        (saved / "config.json").write_text('{"width": 64, "depth": 2}')
        message = "depth"
    with pytest.raises(CheckpointError, match=message):
        checkpoint.load(Part, saved)


def test_a_foreign_file_is_kept_beside_the_tensors(tmp_path: Path) -> None:
    part = Part(Sizes())
    part.blob_name, part.blob = "net.bin", b"\x00net"
    checkpoint.save(part, tmp_path)
    assert (tmp_path / "net.bin").read_bytes() == b"\x00net"

    class WithFile(Part):
        blob_name = "net.bin"

    assert checkpoint.load(WithFile, tmp_path).blob == b"\x00net"
    (tmp_path / "net.bin").unlink()
    with pytest.raises(CheckpointError, match=r"net\.bin"):
        checkpoint.load(WithFile, tmp_path)
    part.blob = b""
    with pytest.raises(CheckpointError, match=r"no net\.bin to save"):
        checkpoint.save(part, tmp_path / "empty")
    assert not (tmp_path / "empty").exists()
    for name in ("..", "../net.bin", "/net.bin", "config.json"):
        part.blob_name, part.blob = name, b"x"
        with pytest.raises(CheckpointError, match="plain name"):
            checkpoint.save(part, tmp_path)


def test_configurations_survive_json_and_refuse_strangers() -> None:
    outer = Outer(Sizes(rates=(3.0,), note="n"))
    assert from_dict(Outer, to_dict(outer)) == outer
    with pytest.raises(CheckpointError, match="'inner' is missing"):
        from_dict(Outer, {})
    with pytest.raises(CheckpointError, match=r"inner.*unknown setting 'wide'"):
        from_dict(Outer, {"inner": {"wide": 1}})


def test_a_missing_extra_crosses_process_borders() -> None:
    import pickle

    error = pickle.loads(pickle.dumps(MissingExtra("Singing", "train")))
    assert "glmtts[train]" in str(error)
    assert error.extra == "train"
