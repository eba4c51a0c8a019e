"""What a run against one system measured, and how it is printed: a table for people, JSON for programs."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

OUTSTANDING_MAX = 20_000
VALUE_BYTES_MAX = 8192  # one HTTP/2 frame, one socket buffer: larger values measure something else


class PeerFailed(RuntimeError):
    """A system under measurement did not start, answer or recover within its bound."""


class BadRequest(ValueError):
    """The benchmark was asked for something it cannot measure."""


@dataclass(frozen=True)
class Result:
    """One row: a closed loop that kept `outstanding` operations in flight for `seconds`.

    `ops` counts acknowledged operations, `failed` the refused ones. CPU figures are seconds of user and system
    time per 10,000 acknowledged operations; `client_cpu_s_per_10k` is None where the client runs inside a server
    process. `durable` says what an acknowledgement promises. `rss_mb` is one figure per member, in MB.
    """

    name: str
    outstanding: int
    ops: int
    seconds: float
    p50_ms: float
    p99_ms: float
    server_cpu_s_per_10k: float
    client_cpu_s_per_10k: float | None
    durable: str
    rss_mb: list[float]
    failed: int = 0

    @property
    def ops_per_s(self) -> float:
        return self.ops / self.seconds


@dataclass(frozen=True)
class Report:
    """All rows of one system, its failover times in seconds, and the settings it ran with.

    `skipped` is the reason why there are no figures, or None.
    """

    system: str
    settings: str = ""
    results: list[Result] = field(default_factory=list)
    failover_s: list[float] = field(default_factory=list)
    skipped: str | None = None


def percentile(values: Sequence[float], fraction: float) -> float:
    """Return the nearest-rank percentile of sorted `values`, e.g. `fraction=0.99`; 0.0 if there are none."""
    if not values:
        return 0.0
    return values[min(len(values) - 1, int(len(values) * fraction))]


def check_request(outstanding: Sequence[int], seconds: float, value_bytes: int, failovers: int) -> None:
    """Raise BadRequest unless the four arguments of a peer's `run` make sense."""
    if not outstanding or min(outstanding) < 1 or max(outstanding) > OUTSTANDING_MAX:
        raise BadRequest(
            f"{list(outstanding)} outstanding operations cannot be measured. "
            f"Give one or more counts from 1 to {OUTSTANDING_MAX}."
        )
    if seconds <= 0:
        raise BadRequest(f"A run of {seconds} s measures nothing. Give a positive number of seconds.")
    if not 1 <= value_bytes <= VALUE_BYTES_MAX:
        raise BadRequest(f"Values of {value_bytes} B do not fit one frame. Choose 1 to {VALUE_BYTES_MAX} B.")
    if failovers < 0:
        raise BadRequest(f"{failovers} failovers cannot be tried. Give 0 or more.")


def table(reports: Sequence[Report]) -> str:
    """Return the rows of every report as plain text, then the failover times, then what was skipped and why."""
    heads = ("system", "in flight", "ops/s", "p50 ms", "p99 ms", "server", "client", "RSS MB", "failed", "durable")
    rows = [heads, *(_cells(result) for report in reports for result in report.results)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(heads))]
    lines = [
        "  ".join(
            cell.ljust(width) if column in (0, len(heads) - 1) else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths))
        ).rstrip()
        for row in rows
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    lines.append("server, client: CPU seconds per 10,000 operations.")
    lines = lines if len(rows) > 1 else []
    for report in reports:
        if report.failover_s:
            trials = ", ".join(f"{seconds:.3f}" for seconds in report.failover_s)
            lines.append(
                f"{report.system}: kill -9 of the leader to the next successful put: "
                f"median {statistics.median(report.failover_s):.3f} s ({trials})"
            )
    lines += [f"{report.system}: {report.settings}" for report in reports if report.settings]
    lines += [f"{report.system}: skipped, {report.skipped}" for report in reports if report.skipped]
    return "\n".join(lines)


def as_json(machine: dict[str, object], reports: Sequence[Report]) -> str:
    """Return one JSON object: `machine`, and under `systems` each report with `ops_per_s` added to its rows."""
    systems = []
    for report in reports:
        entry = asdict(report)
        entry["results"] = [
            asdict(result) | {"ops_per_s": round(result.ops_per_s, 1)} for result in report.results
        ]
        systems.append(entry)
    return json.dumps({"machine": machine, "systems": systems}, indent=2)


def _cells(result: Result) -> tuple[str, ...]:
    client = "inside" if result.client_cpu_s_per_10k is None else f"{result.client_cpu_s_per_10k:.2f}"
    return (
        result.name,
        str(result.outstanding),
        f"{result.ops_per_s:.0f}",
        f"{result.p50_ms:.2f}",
        f"{result.p99_ms:.2f}",
        f"{result.server_cpu_s_per_10k:.2f}",
        client,
        "/".join(f"{megabytes:.0f}" for megabytes in result.rss_mb),
        str(result.failed),
        result.durable,
    )
