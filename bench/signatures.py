"""How many Ed25519 signatures this machine makes and checks in a second, on one thread and on two.

`python bench/signatures.py` prints them as JSON. The library lets go of the interpreter while it works, so that
two threads use two cores. What a vote or a request costs a member cannot be less.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from threading import Thread

from nacl.signing import SigningKey

from quorum.certificate.keys import is_signed

MESSAGE_BYTES = 100
SECONDS = 0.25
BETWEEN = 50
"""So many are done between two looks at the clock."""


def measure(seconds: float = SECONDS) -> dict[str, int]:
    """Keys: `sign_per_s`, `sign_two_threads_per_s`, `verify_per_s`, `verify_two_threads_per_s`. Takes four times
    `seconds`."""
    key = SigningKey(bytes(range(32)))
    public, message = bytes(key.verify_key), bytes(MESSAGE_BYTES)
    signature = key.sign(message).signature

    def sign() -> object:
        return key.sign(message)

    def verify() -> object:
        return is_signed(public, message, signature)

    return {
        f"{name}{suffix}_per_s": round(_rate(act, threads, seconds))
        for name, act in (("sign", sign), ("verify", verify))
        for suffix, threads in (("", 1), ("_two_threads", 2))
    }


def _rate(act: Callable[[], object], threads: int, seconds: float) -> float:
    """How often `act` was done in a second by all of these threads together."""
    counts = [0] * threads
    end_s = time.perf_counter() + seconds

    def work(place: int) -> None:
        while time.perf_counter() < end_s:
            for _ in range(BETWEEN):
                act()
            counts[place] += BETWEEN

    began_s = time.perf_counter()
    workers = [Thread(target=work, args=(place,)) for place in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(counts) / (time.perf_counter() - began_s)


if __name__ == "__main__":
    print(json.dumps(measure(), indent=2))
