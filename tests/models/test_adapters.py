"""Adapters: PEFT's files, views that share weights, and many of them beside each other."""

from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from glmtts import adapters, checkpoint
from glmtts.adapters import Adapter, LowRank
from glmtts.engine import Engine
from glmtts.errors import BadInput, CheckpointError
from glmtts.lm import TextToSpeechTokens
from glmtts.nn.adapted import Rows, merge, view
from glmtts.nn.int8 import exact_kernels
from glmtts.train.lora import EMBEDDING, LM_LAYERS, Trained, parsed_budget, rank_for
from tests.models.test_lm_engine import JOBS, model

peft = pytest.importorskip("peft")


def random_adapter(
    lm: TextToSpeechTokens, seed: int, layers: tuple[str, ...] = LM_LAYERS, rank: int = 3
) -> Adapter:
    rng = torch.Generator().manual_seed(seed)
    sizes = {
        name: tuple(module.weight.shape)
        for name, module in lm.named_modules()
        if name.endswith(layers)
    }
    parts = {
        name: LowRank(
            0.3 * torch.randn(rank, columns, generator=rng),
            0.3 * torch.randn(rows, rank, generator=rng).roll(seed),
        )
        for name, (rows, columns) in sizes.items()
    }
    if layers[-1] == EMBEDDING:  # (vocabulary, D): down is (r, vocabulary), up (D, r)
        name, (rows, columns) = next(item for item in sizes.items() if item[0].endswith(EMBEDDING))
        parts[name] = LowRank(
            torch.randn(rank, rows, generator=rng), torch.randn(columns, rank, generator=rng)
        )
    return Adapter(parts)


def tokens(lm: TextToSpeechTokens, job: int) -> list[int]:
    text, prompt, sampling = JOBS[job]
    return list(lm.generate(text, prompt, sampling))


# ----- training and files -------------------------------------------------------------------------


def trained(tmp_path: Path, layers: tuple[str, ...], share: float = 0.4) -> Trained:
    checkpoint.save(model(), tmp_path / "lm")
    lm = checkpoint.load(TextToSpeechTokens, tmp_path / "lm")
    out = Trained.adapter_of("lm", lm, tmp_path / "lm", layers, share)
    with torch.no_grad():
        for parameter in out.learning:
            torch.nn.init.normal_(parameter, std=0.1)
    return out


@pytest.mark.parametrize("layers", [LM_LAYERS, (*LM_LAYERS, EMBEDDING)])
def test_what_peft_trained_is_what_is_spoken(tmp_path: Path, layers: tuple[str, ...]) -> None:
    out = trained(tmp_path, layers)
    ids = torch.tensor([[5, 6, 7, 2, 23, 29]])
    learnt = out.model.eval()
    with torch.no_grad():
        expected = learnt.logits(learnt.model(ids)[0])
        plain = model()
        twin = view(plain, Rows(out.adapter()))
        torch.testing.assert_close(twin.logits(twin.model(ids)[0]), expected)
        assert not torch.allclose(plain.logits(plain.model(ids)[0]), expected, atol=1e-3)

    out.save(tmp_path / "adapter")
    loaded = adapters.load(tmp_path / "adapter")
    assert loaded.base == adapters.fingerprint(tmp_path / "lm")
    assert loaded.rank == out.rank
    with torch.no_grad():
        twin = view(plain, Rows(loaded))
        torch.testing.assert_close(twin.logits(twin.model(ids)[0]), expected)


def test_a_part_of_what_was_learnt_speaks_and_is_saved(tmp_path: Path) -> None:
    out = trained(tmp_path, LM_LAYERS)
    whole = out.adapter()
    out.strength = 0.75
    out.save(tmp_path / "adapter")
    for adapter in (out.adapter(), adapters.load(tmp_path / "adapter")):
        for name, part in whole.parts.items():
            assert torch.equal(adapter.parts[name].down, part.down)
            torch.testing.assert_close(adapter.parts[name].up, 0.75 * part.up)


def test_the_files_are_those_of_peft(tmp_path: Path) -> None:
    out = trained(tmp_path, LM_LAYERS)
    out.save(tmp_path / "adapter")
    theirs = peft.PeftModel.from_pretrained(model(), tmp_path / "adapter")
    ids = torch.tensor([[5, 6, 7, 2, 23, 29]])
    with torch.no_grad():
        ours = out.model.eval()
        twin = theirs.base_model.model
        torch.testing.assert_close(twin.logits(twin.model(ids)[0]), ours.logits(ours.model(ids)[0]))


def test_the_rank_is_the_largest_within_the_budget(tmp_path: Path) -> None:
    lm = model()
    total = sum(p.numel() for p in lm.parameters())
    for share in (0.15, 0.4):
        rank = rank_for(lm, LM_LAYERS, share)
        each = sum(sum(m.weight.shape) for n, m in lm.named_modules() if n.endswith(LM_LAYERS))
        assert rank * each <= share * total < (rank + 1) * each
    assert rank_for(lm, (*LM_LAYERS, EMBEDDING), 0.4) < rank_for(lm, LM_LAYERS, 0.4)
    assert trained(tmp_path, LM_LAYERS, 0.15).share <= 0.15
    with pytest.raises(BadInput, match="Raise the budget"):
        rank_for(lm, LM_LAYERS, 0.001)
    assert parsed_budget("15%") == parsed_budget("0.15") == 0.15
    for text in ("much", "150%", "-1"):
        with pytest.raises(BadInput, match="no share"):
            parsed_budget(text)


def test_what_is_no_adapter_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="not an adapter"):
        adapters.load(tmp_path)
    whole = {"base_model.model.lm_head.weight": torch.zeros(2, 2)}
    with pytest.raises(CheckpointError, match="modules_to_save"):
        adapters.from_state(whole, {"r": 1, "lora_alpha": 1})
    half = {"base_model.model.x.lora_A.weight": torch.zeros(1, 2)}
    with pytest.raises(CheckpointError, match="one of its two"):
        adapters.from_state(half, {"r": 1, "lora_alpha": 1})
    foreign = Adapter({"model.layers.9.mlp.up_proj": LowRank(torch.zeros(1, 2), torch.zeros(2, 1))})
    with pytest.raises(CheckpointError, match="another model"):
        view(model(), Rows(foreign))


def test_other_weights_have_another_fingerprint(tmp_path: Path) -> None:
    checkpoint.save(model(), tmp_path / "a")
    checkpoint.save(model(), tmp_path / "b")
    changed = model()
    with torch.no_grad():
        changed.model.norm.weight[3] += 0.5
    checkpoint.save(changed, tmp_path / "c")
    prints = [adapters.fingerprint(tmp_path / name) for name in "abc"]
    assert prints[0] == prints[1] != prints[2]


# ----- views --------------------------------------------------------------------------------------


def test_a_view_shares_all_weights_and_leaves_the_original_alone() -> None:
    lm = model()
    before = [tokens(lm, job) for job in range(4)]
    one, two = random_adapter(lm, 1), random_adapter(lm, 2)
    views = [view(lm, Rows(adapter)) for adapter in (one, two)]
    spoken = [[tokens(twin, job) for job in range(4)] for twin in views]
    assert spoken[0] != spoken[1]
    assert before not in spoken
    assert [tokens(lm, job) for job in range(4)] == before
    own = {p.data_ptr() for p in lm.parameters()}
    assert {p.data_ptr() for twin in views for p in twin.parameters()} == own


def test_merging_gives_the_same_model() -> None:
    lm = model()
    adapter = random_adapter(lm, 3)
    twin = view(lm, Rows(adapter))
    merged = model()
    merge(merged, adapter)
    ids = torch.tensor([[5, 6, 7, 2, 23, 29]])
    with torch.no_grad():
        torch.testing.assert_close(
            twin.logits(twin.model(ids)[0]), merged.logits(merged.model(ids)[0]),
            rtol=1e-4, atol=1e-4,
        )  # fmt: skip


# ----- the engine ---------------------------------------------------------------------------------


def test_rows_of_one_adapter_do_not_depend_on_each_other() -> None:
    """Candidates of one voice, side by side, are what each is among texts of other voices."""
    torch.manual_seed(0)
    base = torch.nn.ModuleDict({"q_proj": torch.nn.Linear(320, 320)})
    part = LowRank(torch.randn(48, 320), torch.randn(320, 48))
    layer = view(base, Rows(Adapter({"q_proj": part})))["q_proj"]
    x = torch.randn(7, 1, 320)
    with torch.no_grad():
        added = layer(x) - base["q_proj"](x)
        for row in range(7):
            alone = base["q_proj"](x)[row] + F.linear(F.linear(x[row], part.down), part.up)
            assert torch.equal(layer(x)[row], alone)
    assert added.abs().max() > 1.0


@pytest.mark.parametrize("packed", [False, True])
def test_fifty_adapters_and_eight_at_once_sound_as_when_alone(packed: bool) -> None:
    if packed and not exact_kernels():
        pytest.skip("no 8-bit kernels here")
    lm = model(packed)
    base = model()
    wardrobe: list[Adapter | None] = [random_adapter(base, seed) for seed in range(50)]
    wardrobe.append(None)

    def submitted(engine: Engine, number: int):
        text, prompt, sampling = JOBS[number % len(JOBS)]
        adapter = wardrobe[number % len(wardrobe)]
        return engine.submit(text, prompt, sampling, adapter=adapter)

    numbers = [*range(0, 51, 4), 50, 50, 3, 3]
    alone: list[list[int]] = []
    for number in numbers:
        engine = Engine(lm, slots=8, adapters=True)
        request = submitted(engine, number)
        engine.run()
        alone.append(request.tokens)
    engine = Engine(lm, slots=8, adapters=True)
    requests = [submitted(engine, number) for number in numbers]
    engine.run()
    assert [request.tokens for request in requests] == alone
    unadapted = Engine(lm, slots=8)
    plain = [unadapted.submit(*JOBS[number % len(JOBS)]) for number in numbers]
    unadapted.run()
    same = [a == p.tokens for a, p in zip(alone, plain, strict=True)]
    assert [number for number, equal in zip(numbers, same, strict=True) if equal].count(50) == 2
    assert sum(same) < len(numbers) // 2
    if packed:  # exact kernels: as a view of its own too
        for number in numbers[:4]:
            text, prompt, sampling = JOBS[number % len(JOBS)]
            twin = view(lm, Rows(wardrobe[number]))
            assert list(twin.generate(text, prompt, sampling)) == alone[numbers.index(number)]


def test_memory_grows_by_adapters_alone() -> None:
    lm = model()
    adapter = random_adapter(lm, 1)
    engine = Engine(lm, slots=2, adapters=True)
    held = {p.data_ptr() for p in engine._decoder.model.parameters()}
    assert held <= {p.data_ptr() for p in lm.parameters()}
    assert adapter.parameters < 0.35 * sum(p.numel() for p in lm.parameters())


def test_an_engine_without_adapters_refuses_them() -> None:
    lm = model()
    with pytest.raises(BadInput, match="adapters=True"):
        Engine(lm, slots=1).submit(*JOBS[0], adapter=random_adapter(lm, 1))
    with pytest.raises(BadInput, match="static"):
        Engine(lm, slots=1, static=True, adapters=True)


def test_one_text_asked_for_with_two_adapters_at_once_is_read_twice() -> None:
    lm = model()
    text, prompt, sampling = JOBS[0]
    worn = [None, random_adapter(lm, 0), random_adapter(lm, 1), None]
    expected: list[list[int]] = []
    for adapter in worn:
        alone = lm if adapter is None else view(lm, Rows(adapter))
        expected.append(list(alone.generate(text, prompt, sampling)))
    engine = Engine(lm, slots=4, capacity=200, adapters=True)
    requests = [engine.submit(text, prompt, sampling, adapter=adapter) for adapter in worn]
    engine.run()
    assert [request.tokens for request in requests] == expected


def test_one_text_read_with_two_adapters_is_kept_twice() -> None:
    lm = model()
    engine = Engine(lm, slots=2, adapters=True)
    for adapter in (None, random_adapter(lm, 1)):
        for _ in range(2):
            engine.submit(*JOBS[0], adapter=adapter)
    engine.run()
    assert len(engine._prefixes.entries) == 2
