"""Text to speech for Mandarin and English after GLM-TTS.

Open `glmtts/synthesizer.py` first: five imports from there is the whole path from text to waveform.
Everything not named in `__all__` can be imported by its path and may change.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from glmtts.audio import Audio
    from glmtts.errors import GlmTtsError
    from glmtts.hub import available_models
    from glmtts.options import SpeakOptions
    from glmtts.sampling import Sampling
    from glmtts.synthesizer import Synthesizer
    from glmtts.voice import Voice

__version__ = "0.1.0"

__all__ = [
    "Audio",
    "GlmTtsError",
    "Sampling",
    "SpeakOptions",
    "Synthesizer",
    "Voice",
    "available_models",
]

_HOMES = {
    "Audio": "glmtts.audio",
    "GlmTtsError": "glmtts.errors",
    "Sampling": "glmtts.sampling",
    "SpeakOptions": "glmtts.options",
    "Synthesizer": "glmtts.synthesizer",
    "Voice": "glmtts.voice",
    "available_models": "glmtts.hub",
}


def __getattr__(name: str) -> Any:
    """Import a public name on first use (PEP 562): `import glmtts` does not import torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'glmtts' has no attribute {name!r}; it has {__all__}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names, imported or not."""
    return sorted([*globals(), *_HOMES])
