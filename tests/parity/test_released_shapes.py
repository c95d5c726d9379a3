"""Names and shapes of the released files at full size: the test checkpoint has them, and our
components at the released configuration take every one. Compared with shapes_full.json.
"""

from pathlib import Path

import torch

from glmtts.convert.glm_tts import flow_config
from glmtts.convert.official_flow import official_flow_state
from glmtts.convert.official_hift import official_hift_config, official_hift_state
from glmtts.convert.official_lm import official_lm_config, official_lm_state
from glmtts.convert.official_tokenizer import official_tokenizer_config, official_tokenizer_state
from tests import official
from tests.parity.goldens import names, needs_goldens, read_json

pytestmark = needs_goldens
FILES = names("shapes_full*.json") or ["shapes_full.json"]
TIED = "lm_head.weight"


def meta(shapes: dict[str, list[int]]) -> dict[str, torch.Tensor]:
    return {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}


def test_the_test_checkpoint_has_the_released_names_and_shapes() -> None:
    released = read_json("shapes_full.json")
    for name, ours in (
        ("llm", official.llm_shapes(official.FULL)),
        ("flow", official.flow_shapes(official.FULL)),
        ("whispervq", official.whisper_shapes(official.FULL, official.FULL.whisper_layers)),
        ("hift", official.hift_shapes(official.FULL)),
    ):
        theirs = {key: tuple(shape) for key, shape in released[name].items() if key != TIED}
        assert ours == theirs, name


def test_our_components_take_every_released_tensor(tmp_path: Path) -> None:
    for file in FILES:
        released = read_json(file)
        configs = released["configs"]
        state = meta({key: shape for key, shape in released["llm"].items() if key != TIED})
        lm = official_lm_config(
            configs["llm"], speech_start=61_000, speech_end=61_000 + 32_767,
            begin_audio_id=59_260, end_id=59_253, pad_id=59_246,
        )  # fmt: skip
        assert official_lm_state(state, lm).keys() == state.keys()
        state = meta(released["flow"])
        taken = official_flow_state(state, flow_config(configs["flow"], state))
        assert taken.keys() == state.keys() - {"estimator.rotary_embed.inv_freq"}
        tokenizer = official_tokenizer_config(configs["speech_tokenizer"])
        taken = official_tokenizer_state(meta(released["whispervq"]), tokenizer)
        assert len(taken) == len(released["whispervq"]) - 1  # all but embed_positions2
        state = meta(released["hift"])
        assert official_hift_state(state, official_hift_config(state))
