import pytest

from glmtts.convert.assemble import BundledVoice, assemble, reference_clip
from glmtts.data.manifest import Utterance
from glmtts.errors import BadInput


def clip(file: str, seconds: float, speaker: str = "zf_a|zf_a") -> Utterance:
    return Utterance(file, "zh", speaker, "你好。", seconds)


def test_a_voice_takes_the_lossless_clip_nearest_to_six_seconds():
    clips = [clip("a.opus", 6.0), clip("b.flac", 9.0), clip("c.flac", 5.0), clip("d.flac", 2.0)]
    assert reference_clip(clips, "zf_a|zf_a").file == "c.flac"
    assert reference_clip(clips[:1], "zf_a|zf_a").file == "a.opus"
    with pytest.raises(BadInput, match="3 to 10 s"):
        reference_clip(clips, "zf_a|zf_b")


def test_voices_are_named_on_the_command_line():
    assert BundledVoice.parse("xiaoyi=zf_xiaoyi|zf_xiaoyi") == BundledVoice(
        "xiaoyi", "zf_xiaoyi|zf_xiaoyi"
    )
    with pytest.raises(BadInput, match="NAME=SPEAKER"):
        BundledVoice.parse("xiaoyi")


def test_a_missing_part_is_named(tmp_path):
    with pytest.raises(BadInput, match="'lm'"):
        assemble(tmp_path, {})
