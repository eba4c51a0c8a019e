"""What a block's certificate costs: its bytes in both forms, and the time to verify it offline.

    python bench/certificate.py [--members 4,7,31] [--seconds 1]

The signers are exactly a quorum. `verify` judges a decoded certificate with the keys at hand; `whole` also reads
the JSON, the genesis file, and checks the genesis committee, as `quorum verify` does. Times are medians.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from hashlib import blake2b

from nacl.signing import SigningKey

from quorum.certificate.audit import judge_block
from quorum.certificate.block import NO_PARENT, BlockHeader, certify, verify_block
from quorum.certificate.block_forms import decode_json, encode_binary, encode_json
from quorum.certificate.committee import Committee, Member
from quorum.certificate.genesis import decode_genesis, encode_genesis
from quorum.certificate.vote import VoteKind
from quorum.model import quorum_size


def measure(members: int, seconds: float) -> str:
    """One line about a certificate of so many members, each timing taken for `seconds`."""
    names = sorted(f"n{number}" for number in range(1, members + 1))
    keys = {name: SigningKey(blake2b(name.encode(), digest_size=32).digest()) for name in names}
    faults = (members - 1) // 3
    committee = Committee(
        "q0123456789abcdef", 0, tuple(Member(name, bytes(keys[name].verify_key)) for name in names), faults
    )
    header = BlockHeader(
        1_000_000,
        1_700_000_000_000_000,
        400,
        999_936,
        committee.membership_hash,
        NO_PARENT,
        bytes(range(32)),
        bytes(range(32)),
    )
    statement = committee.domain.statement(VoteKind.COMMIT, 3, header.sequence, header.digest())
    signers = names[: quorum_size(members, faults, "byzantine")]
    certificate = certify(committee, 3, header, {name: keys[name].sign(statement).signature for name in signers})
    text, genesis = encode_json(certificate), encode_genesis(committee)
    assert verify_block(certificate, committee).valid, "a benchmark of what holds"
    verify_us = median_us(lambda: verify_block(certificate, committee), seconds)
    whole_us = median_us(lambda: judge_block(decode_json(text), decode_genesis(genesis)), seconds)
    binary = len(encode_binary(certificate, committee))
    return (
        f"{members:>7} {len(signers):>7} {binary:>8} B {len(text):>8} B {verify_us / 1000:>10.3f} ms "
        f"{whole_us / 1000:>10.3f} ms"
    )


def median_us(act: Callable[[], object], seconds: float) -> float:
    """The median time of one call, in microseconds."""
    taken: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or not taken:
        began = time.perf_counter()
        act()
        taken.append((time.perf_counter() - began) * 1e6)
    return statistics.median(taken)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--members", default="4,7,31", help="sizes of committees")
    parser.add_argument("--seconds", type=float, default=1.0, help="for each timing")
    asked = parser.parse_args()
    print(f"{'members':>7} {'signers':>7} {'binary':>10} {'JSON':>10} {'verify':>13} {'whole':>13}")
    for members in map(int, asked.members.split(",")):
        print(measure(members, asked.seconds))


if __name__ == "__main__":
    main()
