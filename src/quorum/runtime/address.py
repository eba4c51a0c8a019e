"""Where a node is reached: reading an address, and telling which machines it stands for."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import NamedTuple

from quorum.errors import ConfigurationError
from quorum.runtime import toml

_HOST_NAME = re.compile(
    r"(?=.{1,253}\Z)[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*"
)


class Address(NamedTuple):
    """Where a node is reached: an IP address or host name, and a TCP port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        try:
            return ip_address(canonical_host(self.host)).is_loopback
        except ValueError:
            return False

    @property
    def is_wildcard(self) -> bool:
        """Whether it stands for every interface: good to listen on, impossible to dial."""
        return canonical_host(self.host) in ("0.0.0.0", "::")


def parse_address(text: object, name: str = "address") -> Address:
    """Host and port of `127.0.0.1:7001`, `db-1.example:7001` or `[::1]:7001`. Raises ConfigurationError."""
    host, colon, port = text.rpartition(":") if isinstance(text, str) else ("", "", "")
    bracketed = host.startswith("[") and host.endswith("]")
    host = host[1:-1] if bracketed else host
    if not colon or not _is_host(host, bracketed) or re.fullmatch(r"[0-9]{1,5}", port) is None:
        raise ConfigurationError(
            f"{name} = {toml.shown(text)} was given, but an address is a host and a port. "
            'Write it like "127.0.0.1:7001", "db-1.example:7001" or "[::1]:7001".'
        )
    if not 1 <= int(port) <= 65_535:
        raise ConfigurationError(
            f"{name} = {toml.shown(text)} was given, but TCP ports run from 1 to 65535. Choose one of those."
        )
    return Address(host, int(port))


def _is_host(host: str, bracketed: bool) -> bool:
    try:
        return (ip_address(host).version == 6) == bracketed and "%" not in host
    except ValueError:
        numeric = host.replace(".", "").isdigit()  # a mistyped IPv4 address is no host name
        return not bracketed and not numeric and _HOST_NAME.fullmatch(host) is not None


def canonical_host(host: str) -> str:
    """The host in one spelling, so that the same one is the same text."""
    if host.lower() == "localhost":
        return "127.0.0.1"
    try:
        return str(ip_address(host))
    except ValueError:
        return host.lower()
