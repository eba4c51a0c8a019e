"""Signature checks of a node: each once, many of them off the loop, the same verdicts."""

from __future__ import annotations

import asyncio

from nacl.signing import SigningKey

from quorum.protocols.effects import Signed
from quorum.runtime.verifying import IN_PLACE_MAX, CachingVerifier

KEY = SigningKey(b"k" * 32)


def item(number: int, good: bool = True) -> Signed:
    message = b"message %d" % number
    signature = KEY.sign(message if good else b"another").signature
    return Signed(bytes(KEY.verify_key), message, signature)


def test_a_few_are_checked_in_place_and_known_ones_not_again():
    verifier = CachingVerifier()
    told: list[tuple[bool, ...]] = []
    verifier.verify((item(1), item(2, good=False)), told.append)
    verifier.verify((item(2, good=False), item(1)), told.append)
    assert told == [(True, False), (False, True)]
    assert verifier.checked == 2


def test_many_are_checked_by_threads_and_their_owner_is_woken():
    async def main() -> None:
        verifier = CachingVerifier()
        woken = asyncio.Event()
        verifier.woken = woken.set
        told: list[tuple[bool, ...]] = []
        items = tuple(item(number, good=number % 3 > 0) for number in range(IN_PLACE_MAX * 4))
        verifier.verify(items, told.append)
        assert told == []
        await asyncio.wait_for(woken.wait(), 20)
        assert told == [tuple(number % 3 > 0 for number in range(IN_PLACE_MAX * 4))]
        verifier.verify(items, told.append)
        assert len(told) == 2 and verifier.checked == IN_PLACE_MAX * 4
        verifier.close()

    asyncio.run(main())


def test_odd_bytes_are_no_signature():
    verifier = CachingVerifier()
    told: list[tuple[bool, ...]] = []
    verifier.verify((Signed(b"", b"m", b""), Signed(bytes(32), b"m", bytes(64))), told.append)
    assert told == [(False, False)]
