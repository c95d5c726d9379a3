"""A whole model with random weights, small enough for every test: the fixture everything shares."""

import json
from pathlib import Path

import torch

from glmtts import checkpoint
from glmtts.audio import Audio, AudioSpec
from glmtts.config import to_dict
from glmtts.flow import FlowConfig, TokenToMel
from glmtts.lm import LMConfig, TextToSpeechTokens
from glmtts.model_folder import FORMAT, Manifest
from glmtts.nn.dit import DiTConfig
from glmtts.proofreader import Proofreader
from glmtts.speaker import SpeakerConfig, SpeakerEncoder
from glmtts.speech_tokenizer import (
    SpeechTokenizer,
    SpeechTokenizerConfig,
    TokenizerHeads,
    TokenizerHeadsConfig,
)
from glmtts.synthesizer import Synthesizer
from glmtts.text.phonemes import CTC_CLASS
from glmtts.text.tokenizer import TextTokenizer, build_nano_tokenizer
from glmtts.train.lm import with_ids
from glmtts.vocoder import Vocoder, VocoderConfig

CODES = 32
TOKENIZER = SpeechTokenizerConfig(dim=16, heads=2, ffn=32, layers=1, codes=CODES, code_dim=8)
FLOW = FlowConfig(
    network=DiTConfig(
        vocab_size=CODES, dim=32, layers=1, heads=2, ff_dim=32, token_dim=16, token_blocks=1,
        frame_blocks=1, conv_groups=4,
    )
)  # fmt: skip
LANGUAGE_MODEL = LMConfig(
    speech_start=0, end_id=0, begin_audio_id=0, pad_id=0, hidden_size=16, layers=2, heads=2,
    kv_heads=1, head_dim=8, ffn_size=32, min_ratio=0.5, max_ratio=3.0, max_context=1_024,
)  # fmt: skip
VOCODER = VocoderConfig(dims=16, blocks=1, hidden=16)


def build(folder: Path, **manifest: object) -> Path:
    """Write a model folder with one voice for each language."""
    torch.manual_seed(0)
    build_nano_tokenizer(["你好世界"], folder / "text_tokenizer", speech_count=CODES, merges=0)
    sizes = with_ids(LANGUAGE_MODEL, TextTokenizer.load(folder / "text_tokenizer"))
    checkpoint.save(TextToSpeechTokens(sizes), folder / "lm")
    checkpoint.save(TokenToMel(FLOW), folder / "flow")
    checkpoint.save(Vocoder(VOCODER), folder / "vocoder")
    checkpoint.save(SpeechTokenizer(TOKENIZER), folder / "speech_tokenizer")
    checkpoint.save(SpeakerEncoder(SpeakerConfig(hidden=32)), folder / "speaker")
    data = to_dict(Manifest(FORMAT, "tiny", "Apache-2.0", AudioSpec(), prompt_tokens=100))
    (folder / "glmtts.json").write_text(json.dumps({**data, **manifest}))
    (folder / "voices").mkdir()
    synthesizer = Synthesizer.load(folder, device="cpu", voices=folder / "stored")
    for name, language, transcript in (("mei", "zh", "你好。"), ("tom", "en", "Hello.")):
        voice = synthesizer.encoder(buzz(2.0), transcript, name, language)
        voice.save(folder / "voices" / f"{name}.safetensors")
    return folder


def proofreader(synthesizer: Synthesizer) -> Proofreader:
    """One that hears at random, but always the same."""
    torch.manual_seed(1)
    config = TokenizerHeadsConfig(code_dim=8, dim=16, classes=1 + len(CTC_CLASS), layers=1)
    tokenizer = synthesizer.encoder.speech_tokenizer
    assert isinstance(tokenizer, SpeechTokenizer)
    return Proofreader(tokenizer, TokenizerHeads(config).eval())


def buzz(seconds: float, pitch: float = 140.0, rate: int = 24_000) -> Audio:
    """A vowel-like sound with syllables, loud enough to pass for speech."""
    time = torch.arange(int(seconds * rate)) / rate
    tone = sum(torch.sin(2 * torch.pi * pitch * k * time) / k for k in range(1, 20))
    syllables = 0.5 - 0.5 * torch.cos(2 * torch.pi * 4 * time)
    assert isinstance(tone, torch.Tensor)
    return Audio(0.2 * tone * syllables, rate)
