"""Every error the package raises on purpose. Catch `GlmTtsError` to catch them all.

The message of each says what happened, what was expected and what to do next; the command line
prints it as one line and exits with status 2.
"""


class GlmTtsError(Exception):
    """Base of every deliberate error of this package."""


class BadInput(GlmTtsError, ValueError):
    """The caller passed something that cannot be spoken, cloned or read."""


class BadText(BadInput):
    """The text holds nothing that can be spoken, or a pronunciation that does not exist."""


class BadAudio(BadInput):
    """An audio file or clip cannot be read, or is unfit for its purpose."""


class SpeechError(GlmTtsError, RuntimeError):
    """The model gave no usable speech."""


class Cancelled(GlmTtsError):
    """The work was given up because nobody waits for it."""


class UnknownVoice(GlmTtsError, LookupError):
    """No voice of that name is bundled or stored."""


class UnknownModel(GlmTtsError, LookupError):
    """No model of that name is known, and no such folder exists."""


class CheckpointError(GlmTtsError):
    """A checkpoint folder is incomplete, damaged or of another shape than its configuration."""


class TrainingStopped(GlmTtsError, RuntimeError):
    """A training ended itself: what it learns is no longer what is wanted."""


class MissingWeights(GlmTtsError, LookupError):
    """A model of another project that is asked for is not on this machine."""


class MissingExtra(GlmTtsError, ImportError):
    """A feature needs an optional dependency that is not installed."""

    def __init__(self, what: str, extra: str) -> None:
        """Name the feature `what` and the `extra` of this package that brings it."""
        self.what, self.extra = what, extra
        super().__init__(
            f"{what} needs the optional dependencies '{extra}', which are not installed. "
            f"Install them with: pip install 'glmtts[{extra}]'"
        )

    def __reduce__(self) -> tuple[type["MissingExtra"], tuple[str, str]]:
        """Cross process borders whole: the default would call the constructor with the message."""
        return MissingExtra, (self.what, self.extra)


class MissingPackage(GlmTtsError, ImportError):
    """A feature needs a package that has to be installed without its dependencies."""

    def __init__(self, what: str, packages: list[str]) -> None:
        """Name the feature `what` and all `packages` of its kind."""
        self.what, self.packages = what, packages
        super().__init__(
            f"{what} needs a package that is not installed. Install it and its like, without their "
            f"dependencies, which are not used: pip install --no-deps {' '.join(packages)}"
        )

    def __reduce__(self) -> tuple[type["MissingPackage"], tuple[str, list[str]]]:
        """Cross process borders whole."""
        return MissingPackage, (self.what, self.packages)
