"""`cd bench && python -m peers`: the machine's limits and the peers' figures, without our own engine."""

from __future__ import annotations

import argparse
import signal
import sys

import machine
from load import BadRequest, as_json, table
from peers.side_by_side import PEERS, run


def main() -> int:
    """Return the exit code: 0 done, 1 some peer was skipped, 2 asked wrongly."""
    parser = argparse.ArgumentParser(
        prog="python -m peers", epilog="Example: python -m peers --only etcd --outstanding 1 256 --seconds 5"
    )
    parser.add_argument(
        "--only", nargs="+", choices=list(PEERS), default=list(PEERS), help="Which peers to measure."
    )
    parser.add_argument("--outstanding", nargs="+", type=int, default=[1, 64, 256, 1000], help="Puts in flight.")
    parser.add_argument("--seconds", type=float, default=10.0, help="How long each row is measured.")
    parser.add_argument("--value-bytes", type=int, default=88, help="Bytes per value; the key has 12 more.")
    parser.add_argument("--failovers", type=int, default=5, help="How often the leader is killed.")
    parser.add_argument("--json", action="store_true", help="Print one JSON object.")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # so that the servers are ended, too
    try:
        reports = run(
            options.only,
            options.outstanding,
            options.seconds,
            options.value_bytes,
            options.failovers,
            lambda line: print(line, file=sys.stderr),
        )
    except BadRequest as error:
        parser.error(str(error))
    limits = machine.measure()
    if options.json:
        print(as_json(limits, reports))
    else:
        print("\n".join((", ".join(f"{name} {value}" for name, value in limits.items()), table(reports))))
    return 1 if any(report.skipped for report in reports) else 0


if __name__ == "__main__":
    sys.exit(main())
