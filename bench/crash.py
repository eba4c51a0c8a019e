"""`python bench/crash.py`: our crash-tolerant engine beside etcd, ZooKeeper and PySyncObj, in one run.

Every system has three members on loopback on the same disk, gets the same values with the same number of puts in
flight, and says in the table what its acknowledgement promises. The peers' clients are lean ones of our own: their
CPU stands in the table, and a row is only worth reading where it is far below one core.
"""

from __future__ import annotations

import argparse
import signal
import sys

import machine
import ours
from load import BadRequest, PeerFailed, Report, as_json, table
from peers.side_by_side import PEERS
from peers.side_by_side import run as run_peers


def main() -> int:
    """Return the exit code: 0 done, 1 ours could not be measured, 2 asked wrongly."""
    parser = argparse.ArgumentParser(
        prog="python bench/crash.py", epilog="Example: python bench/crash.py --outstanding 1 1024 --seconds 5"
    )
    parser.add_argument("--only", nargs="*", choices=list(PEERS), default=list(PEERS), help="Peers to measure.")
    parser.add_argument("--outstanding", nargs="+", type=int, default=[1, 64, 256, 1024], help="Puts in flight.")
    parser.add_argument("--seconds", type=float, default=8.0, help="How long each row is measured.")
    parser.add_argument("--value-bytes", type=int, default=88, help="Bytes per value; the key has 12 more.")
    parser.add_argument("--failovers", type=int, default=5, help="How often the leader is killed.")
    parser.add_argument("--json", metavar="FILE", help="Also write one JSON object to FILE.")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # so that the servers are ended, too
    arguments = (options.outstanding, options.seconds, options.value_bytes, options.failovers)
    limits = machine.measure()
    try:
        reports = _ours(*arguments)
        reports += run_peers(options.only, *arguments, _say)
    except BadRequest as error:
        parser.error(str(error))
    limits_after = machine.measure()
    print(", ".join(f"{name} {value}" for name, value in limits.items()))
    print(f"fdatasync p50 after the run: {limits_after['fdatasync_p50_us']} us")
    print(table(reports))
    print(_ratios(reports, [limits, limits_after]))
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            file.write(as_json(limits | {"after": limits_after}, reports))
    return 1 if any(report.skipped for report in reports[:1]) else 0


def _ours(outstanding: list[int], seconds: float, value_bytes: int, failovers: int) -> list[Report]:
    if reason := ours.available():
        return [Report("quorum", skipped=reason)]
    _say(f"quorum: {3 * len(outstanding)} rows of {seconds:g} s, {failovers} failovers")
    try:
        return ours.run(outstanding, seconds, value_bytes, failovers)
    except PeerFailed as error:
        return [Report("quorum", skipped=str(error))]


def _ratios(reports: list[Report], limits: list[dict[str, object]]) -> str:
    """What this project is judged by: throughput beside each peer at equal load, serial latency in fdatasyncs,
    of one process alone and of three at once (the members share one disk here)."""
    lines = []
    own = {report.system: {row.outstanding: row for row in report.results} for report in reports[:3]}
    for report in reports[3:]:
        for row in report.results:
            parts = [
                f"{system} {rows[row.outstanding].ops_per_s / row.ops_per_s:.1f}x"
                for system, rows in own.items()
                if row.outstanding in rows and row.ops
            ]
            lines.append(f"throughput beside {row.name} at {row.outstanding} in flight: {', '.join(parts)}")
    for system, rows in own.items():
        if 1 in rows:
            alone_us, of_three_us = (
                min(float(str(measured[name])) for measured in limits)
                for name in ("fdatasync_p50_us", "fdatasync_of_three_p50_us")
            )
            put_us = rows[1].p50_ms * 1000
            lines.append(
                f"{system}: serial put p50 = {put_us / alone_us:.1f} fdatasync p50 alone, "
                f"{put_us / of_three_us:.1f} of three at once"
            )
    return "\n".join(lines)


def _say(line: str) -> None:
    print(line, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
