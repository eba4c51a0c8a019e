"""Replicated control loops: what replicas that replay or restore hold, and what damage is refused."""

from __future__ import annotations

from random import Random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from control_log import KINDS, LOOP, PERIOD_US, QUICK, ControlLog, declared, spec
from quorum.apps.catalogue import CONTROL_APP, new_host
from quorum.apps.control import (
    DeclareLoop,
    LookDecisions,
    LookLoop,
    Measured,
    Report,
    decode_results,
    encode_batch,
    encode_query,
)
from quorum.apps.control_machine import ControlLoops
from quorum.apps.host import Host
from quorum.apps.pieces import digests_of

from apps_log import Log  # isort: skip


def walk(log: ControlLog, seed: int, steps: int) -> None:
    """Reports and dues of all kinds, right and wrong ones, in a random order."""
    random = Random(seed)
    for step in range(steps):
        tick, at = step // 6 + random.randrange(3), random.randrange(5)
        truth = 20.0 + random.uniform(-0.4, 0.4)
        wrong = random.random() < 0.2
        value = [
            85.0 if wrong else truth,
            [truth, truth - 1] if wrong else [truth - 1, truth + 1],
            [truth, 0.0, 1.0] if wrong else [truth, 0.0],
            {"hot": 1.0} if wrong else {"warm": 0.75, "cold": 0.25},
            truth,
        ][at]
        if random.random() < 0.2:
            log.due(at, tick)
        else:
            log.report(at, tick, value, tick * PERIOD_US + random.randrange(-6_000, 6_000))


@settings(max_examples=25)
@given(seed=st.integers(0, 2**32), steps=st.integers(0, 120), more=st.integers(0, 60))
def test_replicas_that_replay_or_restore_go_on_alike(seed, steps, more):
    log = declared(spec(channels=KINDS, liars=1, hysteresis=QUICK, precision=True), decisions_kept=6)
    walk(log, seed, steps)
    replayed, restored = log.replayed(), log.restored()
    assert replayed.digest() == restored.digest() == log.machine.digest()
    assert list(restored.snapshot()) == list(log.machine.snapshot())
    begins = len(log.entries)
    walk(log, seed + 1, more)
    for entry in log.entries[begins:]:
        replayed.apply_from(*entry)
        restored.apply_from(*entry)
    assert replayed.digest() == restored.digest() == log.machine.digest()
    assert list(log.machine.snapshot()) == list(replayed.snapshot()) == list(restored.snapshot())


def test_a_walk_decides_refuses_evicts_and_passes_over():
    """What the property above goes through."""
    log = declared(spec(channels=KINDS, liars=1, hysteresis=QUICK, precision=True))
    walk(log, 1, 600)
    decided = [each for _, each in log.decided]
    assert any(each.is_due for each in decided) and any(not each.is_due for each in decided)
    assert any(each.refused for each in decided) and any(each.value is not None for each in decided)
    view = log.ask(LookLoop(LOOP))
    assert view.passed > 0 and view.late > 0
    assert any("it is evicted" in each.left_out.values() for each in decided)


def test_a_snapshot_is_of_its_moment():
    log = declared()
    chunks = log.machine.snapshot()
    before = log.machine.digest()
    for at in range(5):
        log.report(at, 0, 20.0)
    restored = ControlLoops()
    restored.restore(chunks)
    assert restored.digest() == before != log.machine.digest()


def test_the_digests_of_chunks_are_those_of_the_snapshot():
    log = declared()
    walk(log, 3, 40)
    made = [each for each in log.machine.chunk_digests() if each]
    assert made == [digests_of(chunk) for chunk in log.machine.snapshot()]


def rows_of(log: ControlLog) -> list:
    return [msgspec.msgpack.decode(chunk) for chunk in log.machine.snapshot()]


def changed(leaf: list, key: bytes, value: bytes | None, other_key: bytes | None = None) -> bytes:
    low, keys, values = leaf
    assert key in keys
    rows = {each: values[place] for place, each in enumerate(keys)}
    if value is None:
        del rows[key]
    else:
        rows[other_key or key] = [value, *rows.pop(key)[1:]]
    return msgspec.msgpack.encode([low, sorted(rows), [rows[each] for each in sorted(rows)]])


def test_damaged_chunks_are_refused_and_the_state_stays():
    log = declared()
    for at in range(4):
        log.report(at, 3, 20.0)
    log.report(0, 5, 20.0)
    (leaf,) = rows_of(log)
    spec_key, ticks_key, decided_key = b"boiler\0s", b"boiler\0t", b"boiler\0d" + (3).to_bytes(8, "big")
    assert leaf[1] == [decided_key, spec_key, ticks_key]
    state = msgspec.msgpack.decode(leaf[2][2][0])
    decided = msgspec.msgpack.decode(leaf[2][0][0])
    encode = msgspec.msgpack.encode
    damaged = [
        b"",
        b"\xc1",
        changed(leaf, spec_key, None),
        changed(leaf, ticks_key, None),
        changed(leaf, spec_key, encode(["client.admin", 1, msgspec.to_builtins(spec(4))])),
        changed(leaf, spec_key, encode(["client.admin", 1, msgspec.to_builtins(spec(faults=5))])),
        changed(leaf, ticks_key, encode([2, *state[1:]])),
        changed(leaf, ticks_key, encode([5, *state[1:]])),
        changed(leaf, ticks_key, encode([*state[:5], [[[3, 0, 1.0]], *state[5][1:]], state[6]])),
        changed(leaf, ticks_key, encode([*state[:5], [[[5, 0, float("nan")]], *state[5][1:]], state[6]])),
        changed(leaf, ticks_key, encode([*state[:5], [[[5, 0, 1.0], [5, 0, 1.0]], *state[5][1:]], state[6]])),
        changed(leaf, ticks_key, encode([*state[:6], [["client.x", []], *state[6][1:]]])),
        changed(leaf, decided_key, encode(decided), b"boiler\0d" + (2).to_bytes(8, "big")),
        changed(leaf, decided_key, encode([*decided, "more"])),
        changed(leaf, decided_key, b"\xc1"),
        changed(leaf, decided_key, encode(decided), b"other\0d" + (3).to_bytes(8, "big")),
        changed(leaf, decided_key, encode(decided), b"\xff\0d" + (3).to_bytes(8, "big")),
    ]
    target = declared(spec(3, 0, "2oo3"))
    before = target.machine.digest()
    for chunk in damaged:
        with pytest.raises(ValueError, match="Fetch another snapshot"):
            target.machine.restore([chunk])
        assert target.machine.digest() == before
    target.machine.restore([msgspec.msgpack.encode(leaf)])
    assert target.machine.digest() == log.machine.digest()


def test_a_state_from_before_there_were_loops_is_one_without_any():
    machine = declared().machine
    machine.restore(iter(()))
    assert machine.digest() == ControlLoops().digest() and len(machine) == 0


def test_a_host_with_loops_restores_what_another_one_wrote():
    log = Log(new_host())
    log.append(encode_batch([DeclareLoop(LOOP, spec(owners={}))]), app=CONTROL_APP)
    log.append(encode_batch([Report(LOOP, 0, [Measured("c1", 0, 20.0)])]), app=CONTROL_APP)
    other: Host = new_host()
    other.restore(log.host.snapshot())
    assert other.digest() == log.host.digest()


@given(seed=st.integers(0, 2**32), skew_us=st.integers(-(10**15), 10**15))
def test_no_clock_of_a_leader_plays_a_part(seed, skew_us):
    """A leader or primary whose clock is wrong, or that lies about it, changes no decision."""
    log, other = declared(spec(channels=KINDS, liars=1)), ControlLoops()
    walk(log, seed, 40)
    for head, body, caller in log.entries:
        other.apply_from(msgspec.structs.replace(head, time_us=head.time_us + skew_us, entropy=seed), body, caller)
    (there,) = decode_results(other.query(encode_query([LookDecisions(LOOP)])))
    here = log.ask(LookDecisions(LOOP))
    assert [each.decision for each in here.decisions] == [each.decision for each in there.decisions]
