"""A question by HTTP: JSON by POST, and the JSON of the answer."""

from __future__ import annotations

import asyncio
import time
from typing import Any
from urllib.parse import urlsplit

import msgspec

from quorum.errors import ConfigurationError, QuorumError

ANSWER_BYTES_MAX = 64 * 1024
NO_CONTENT = 204
TIMEOUT_S_MAX = 3600


class Webhook:
    """A URL that answers questions, within `timeout` seconds. Raises ConfigurationError for one that is neither
    http nor https, and for what is no such time."""

    def __init__(self, url: str, timeout: float = 10.0) -> None:
        if not _is_url(url):
            raise ConfigurationError(
                f"{url[:100]!r} was to be asked, but it is no URL of http or https. Write it like "
                "http://127.0.0.1:8080/vote."
            )
        if not 0 < timeout <= TIMEOUT_S_MAX:
            raise ConfigurationError(
                f"{timeout:g} s were given for an answer, but that is no time. Give 0.1 to {TIMEOUT_S_MAX}."
            )
        self.url = url
        self._timeout_s = timeout

    async def ask(self, question: object) -> Any:
        """What it answers; None for an empty answer. Raises QuorumError where it answers nothing of use, or not
        all of it within the timeout."""
        asking = asyncio.to_thread(self._ask, msgspec.json.encode(question))
        try:
            return await asyncio.wait_for(asking, self._timeout_s)
        except TimeoutError:
            raise self._useless(f"it took more than {self._timeout_s:g} s") from None

    def _ask(self, body: bytes) -> Any:
        from http.client import HTTPException
        from urllib.error import HTTPError
        from urllib.request import Request, build_opener

        request = Request(self.url, body, {"Content-Type": "application/json", "Accept": "application/json"})
        try:
            with build_opener(_no_redirect()).open(request, timeout=self._timeout_s) as response:
                if response.status == NO_CONTENT:
                    return None
                data, until_s = b"", time.monotonic() + self._timeout_s
                while len(data) <= ANSWER_BYTES_MAX and time.monotonic() < until_s:
                    part = response.read1(ANSWER_BYTES_MAX + 1 - len(data))
                    if not part:
                        break
                    data += part
        except HTTPError as error:
            error.close()
            raise self._useless(str(error)) from None
        except (OSError, HTTPException, ValueError) as error:
            raise self._useless(str(error)) from None
        if len(data) > ANSWER_BYTES_MAX:
            raise self._useless(f"its answer has more than {ANSWER_BYTES_MAX} bytes")
        try:
            return msgspec.json.decode(data) if data.strip() else None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise self._useless(f"its answer is no JSON: {error}") from None

    def _useless(self, why: str) -> QuorumError:
        return QuorumError(f"{self.url} was asked, but {why[:200]}. See that it runs and answers with JSON.")


def _is_url(text: str) -> bool:
    """Whether it names a host by http or https, in ASCII as requests have it."""
    try:
        parts = urlsplit(text)
        return (
            parts.scheme in ("http", "https")
            and bool(parts.hostname)
            and text.isascii()
            and text.isprintable()
            and " " not in text
        )
    except ValueError:
        return False


def _no_redirect() -> Any:
    """Whoever was told to ask one place asks no other."""
    from urllib.request import HTTPRedirectHandler

    class NoRedirect(HTTPRedirectHandler):
        def redirect_request(self, *_: Any) -> None:
            return None

    return NoRedirect
