"""Processors that stay awake while requests come, through the kernel's power-management quality of service.

A processor that sleeps between two messages takes 20 to 100 us to wake, and a commit waits for four messages.
Whoever holds a latency of 0 in /dev/cpu_dma_latency keeps every processor of the machine out of idle states, for
more power (Linux, Documentation/power/pm_qos_interface.rst).
"""

from __future__ import annotations

import os
import struct

from quorum.errors import ConfigurationError

DEVICE = "/dev/cpu_dma_latency"
PERIOD_S = 0.1
"""`look` wants to be called so often."""
QUIET_PERIODS = 10
"""After so many looks at which nothing had happened, processors may sleep again."""
_LATENCY = struct.Struct("=i")
_ANY_US = 2_000_000_000


class Awake:
    """Holds processors awake while something happens. Raises ConfigurationError where the system forbids it."""

    def __init__(self, device: str = DEVICE) -> None:
        try:
            self._handle = os.open(device, os.O_WRONLY | os.O_CLOEXEC)
        except OSError as error:
            raise ConfigurationError(
                f"awake = true asks to keep processors awake, but {device} cannot be opened ({error.strerror}). "
                "Let the user that runs the node write to it, or leave awake out."
            ) from None
        self._seen = 0
        self._quiet = QUIET_PERIODS
        self._write(_ANY_US)

    @property
    def is_held(self) -> bool:
        """Whether processors are held awake now."""
        return self._quiet < QUIET_PERIODS

    def look(self, happened: int) -> None:
        """`happened` is a count that grows with everything that happens."""
        was_held = self.is_held
        self._quiet = 0 if happened != self._seen else min(self._quiet + 1, QUIET_PERIODS)
        self._seen = happened
        if self.is_held != was_held:
            self._write(0 if self.is_held else _ANY_US)

    def close(self) -> None:
        """Let processors sleep."""
        os.close(self._handle)

    def _write(self, latency_us: int) -> None:
        os.pwrite(self._handle, _LATENCY.pack(latency_us), 0)
