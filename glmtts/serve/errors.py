"""Errors as OpenAI's API tells them: one shape, no inner detail, always a way on."""

from collections.abc import Mapping
from typing import Any

from fastapi.responses import JSONResponse

from glmtts.errors import (
    BadAudio,
    BadInput,
    BadText,
    Cancelled,
    GlmTtsError,
    MissingExtra,
    UnknownModel,
    UnknownVoice,
)
from glmtts.serve.engine import Busy, Closing, TooLate


class ApiError(GlmTtsError):
    """An answer that is no success.

    Attributes:
        status: HTTP status.
        kind: OpenAI's `type`.
        code: A word for programs.
        param: Field of the request that is wrong.
        headers: Of the response.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Hold it all."""
        self.status, self.kind, self.code, self.param = status, kind, code, param
        self.headers = dict(headers or {})
        super().__init__(message)

    @property
    def body(self) -> dict[str, Any]:
        """The JSON of the response."""
        said = {"message": str(self), "type": self.kind, "param": self.param, "code": self.code}
        return {"error": said}

    def response(self) -> JSONResponse:
        """The response."""
        return JSONResponse(self.body, self.status, headers=self.headers)


def as_api_error(error: BaseException, param: str | None = None) -> ApiError:
    """Any error as an answer; what is not meant for the caller becomes a plain 503."""
    if isinstance(error, ApiError):
        return error
    text = str(error)
    if isinstance(error, UnknownVoice):
        text = text.split(" Add one with:")[0]  # a command of the machine, not of the caller
        return ApiError(404, text, code="voice_not_found", param=param or "voice")
    if isinstance(error, UnknownModel):
        return ApiError(404, text, code="model_not_found", param=param or "model")
    if isinstance(error, BadAudio):
        return ApiError(400, text, code="bad_audio", param=param)
    if isinstance(error, BadText):
        return ApiError(400, text, code="bad_text", param=param or "input")
    if isinstance(error, BadInput):
        return ApiError(400, text, code="bad_input", param=param)
    if isinstance(error, MissingExtra):
        what = f"{error.what} is not installed on this server. Choose another."
        return ApiError(400, what, code="not_installed", param=param)
    if isinstance(error, Busy):
        wait = {"Retry-After": str(error.retry_after_s)}
        return ApiError(429, text, kind="rate_limit_error", code="busy", headers=wait)
    if isinstance(error, Closing):
        wait = {"Retry-After": "5"}
        return ApiError(503, text, kind="server_error", code="not_ready", headers=wait)
    if isinstance(error, TooLate):
        wait = {"Retry-After": "10"}
        return ApiError(503, text, kind="server_error", code="deadline", headers=wait)
    if isinstance(error, Cancelled):
        return ApiError(503, "The text was cancelled.", kind="server_error", code="cancelled")
    if isinstance(error, GlmTtsError):
        return ApiError(503, text, kind="server_error", code="speech_failed")
    return ApiError(
        503,
        "Something went wrong in the server; its log tells what, under this request's id.",
        kind="server_error",
        code="internal",
    )
