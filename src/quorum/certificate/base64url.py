"""Bytes in JSON: base64url without padding (RFC 4648, section 5), in the one spelling that there is of each."""

from __future__ import annotations

import base64

SHOWN_MAX = 40


def text_of(data: bytes) -> str:
    """The text that stands for these bytes."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def bytes_in(text: str) -> bytes:
    """The bytes that a text stands for. Raises ValueError for any other spelling than `text_of` makes."""
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except ValueError:
        raise ValueError(f"{text[:SHOWN_MAX]!r} is not base64url text without padding") from None
    if text_of(data) != text:
        raise ValueError(f"{text[:SHOWN_MAX]!r} is base64url text with bits too many")
    return data
