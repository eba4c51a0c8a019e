"""Seeded faults: partitions of every shape, crashes, pauses, weather, clocks. Each begins, lasts, and heals."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from quorum.errors import ConfigurationError
from quorum.sim.network import CALM, Weather

if TYPE_CHECKING:
    from quorum.sim.world import World

SECOND_US = 1_000_000


class Nemesis:
    """Draws a fault, lets it last, heals, rests, and draws again, until `stop_us`.

    A crash takes a minority, or everybody at once; whoever crashed is restarted from its disk.
    """

    def __init__(self, world: World, kinds: tuple[str, ...], stop_us: int) -> None:
        unknown = sorted(set(kinds) - set(FAULTS))
        if unknown:
            raise ConfigurationError(
                f"the fault {unknown[0]!r} was asked for, but it is not known. Choose from: "
                f"{', '.join(sorted(FAULTS))}."
            )
        self.world = world
        self.kinds = kinds
        self.stop_us = stop_us
        self.random = world.random("nemesis")
        self.names = sorted(world.nodes)
        self.crashes_max = len(self.names)
        """Of nodes that crash at once, but for a power cut of all."""

    def start(self) -> None:
        if self.kinds:
            self.world.schedule(self.random.randrange(SECOND_US // 2, 2 * SECOND_US), self._strike)

    def _strike(self) -> None:
        if self.world.now_us >= self.stop_us:
            return
        kind = self.kinds[self.random.randrange(len(self.kinds))]
        self.world.count(("fault", kind))
        self.world.sometimes.reached(f"fault {kind}")
        heal = FAULTS[kind](self)
        lasts_us = self.random.randrange(SECOND_US // 5, 4 * SECOND_US)
        if self.world.now_us + lasts_us > self.stop_us:
            lasts_us = max(0, self.stop_us - self.world.now_us)
        self.world.schedule(lasts_us, self._heal, heal)

    def _heal(self, heal: Callable[[], None]) -> None:
        self.world.count(("heal",))
        heal()
        self.world.schedule(self.random.randrange(SECOND_US // 10, 2 * SECOND_US), self._strike)

    def someone(self) -> str:
        """Any node, the leader half of the time: faults elsewhere rarely matter."""
        leader = self.world.leader()
        if leader is not None and self.random.random() < 0.5:
            return leader
        return self.names[self.random.randrange(len(self.names))]

    def restart(self, names: list[str]) -> None:
        for name in names:
            self.world.restart(name)

    def shuffled(self) -> list[str]:
        names = list(self.names)
        self.random.shuffle(names)
        return names


Heal = Callable[[], None]


def _split(nemesis: Nemesis) -> Heal:
    """Two sides, or more, none of which hears another."""
    names = nemesis.shuffled()
    cut = nemesis.random.randrange(1, len(names))
    groups = [names[:cut], names[cut:]]
    if len(names) >= 5 and nemesis.random.random() < 0.25:
        groups = [names[:2], names[2:4], names[4:]]
    nemesis.world.network.partition(*groups)
    return nemesis.world.network.heal


def _isolate(nemesis: Nemesis) -> Heal:
    one = nemesis.someone()
    nemesis.world.network.partition([one], [name for name in nemesis.names if name != one])
    return nemesis.world.network.heal


def _one_way(nemesis: Nemesis) -> Heal:
    """One node is heard but hears nobody, or the other way round."""
    one = nemesis.someone()
    outward = nemesis.random.random() < 0.5
    for other in nemesis.names:
        if other != one:
            nemesis.world.network.block(*((one, other) if outward else (other, one)))
    return nemesis.world.network.heal


def _bridge(nemesis: Nemesis) -> Heal:
    """Two halves that only one node connects."""
    names = nemesis.shuffled()
    middle = (len(names) - 1) // 2
    nemesis.world.network.partition(names[1 : 1 + middle], names[1 + middle :])
    return nemesis.world.network.heal


def _ring(nemesis: Nemesis) -> Heal:
    """Each node hears only its neighbours on a ring, and so a different majority."""
    names = nemesis.shuffled()
    count = len(names)
    reach = max(1, count // 4)
    for i in range(count):
        for j in range(count):
            if min((i - j) % count, (j - i) % count) > reach:
                nemesis.world.network.block(names[i], names[j])
    return nemesis.world.network.heal


def _crash(nemesis: Nemesis) -> Heal:
    """Up to a minority dies; sometimes the others see the connections close, sometimes not."""
    count = 1 + nemesis.random.randrange(max(1, (len(nemesis.names) - 1) // 2))
    count = min(count, nemesis.crashes_max)
    victims = [nemesis.someone()]
    for name in nemesis.shuffled():
        if len(victims) < count and name not in victims:
            victims.append(name)
    for name in victims:
        nemesis.world.crash(name, seen=nemesis.random.random() < 0.7)
    return lambda: nemesis.restart(victims)


def _crash_all(nemesis: Nemesis) -> Heal:
    """The power goes out for everybody at once."""
    for name in nemesis.names:
        nemesis.world.crash(name)
    return lambda: nemesis.restart(nemesis.names)


def _crash_loop(nemesis: Nemesis) -> Heal:
    """One node dies and comes back a few times in a row."""
    name = nemesis.someone()

    def again(times: int) -> None:
        nemesis.world.crash(name, seen=True)
        nemesis.world.schedule(nemesis.random.randrange(20_000, 200_000), back, times)

    def back(times: int) -> None:
        nemesis.world.restart(name)
        if times > 1 and nemesis.world.now_us < nemesis.stop_us:
            nemesis.world.schedule(nemesis.random.randrange(50_000, 400_000), again, times - 1)

    again(3)
    return lambda: nemesis.world.restart(name)


def _pause(nemesis: Nemesis) -> Heal:
    """One node stands still, as in a long collection or under SIGSTOP, and then goes on as if nothing were."""
    node = nemesis.world.nodes[nemesis.someone()]
    node.pause()
    return node.resume


def _weather(nemesis: Nemesis) -> Heal:
    """Loss, duplication, delay and reordering at once, each in some measure."""
    draw = nemesis.random
    nemesis.world.network.weather = Weather(
        loss=draw.choice((0.0, 0.02, 0.1, 0.3)),
        duplication=draw.choice((0.0, 0.05, 0.2)),
        delay_us=draw.choice((200, 2_000, 20_000)),
        jitter_us=draw.choice((800, 5_000, 60_000)),
        fifo=draw.random() < 0.4,
    )

    def calm() -> None:
        nemesis.world.network.weather = CALM

    return calm


def _flap(nemesis: Nemesis) -> Heal:
    """One link goes up and down."""
    one, other = nemesis.shuffled()[:2]
    state = {"on": True}

    def toggle(cut: bool) -> None:
        network = nemesis.world.network
        network.heal()
        if not state["on"]:
            return
        if cut:
            network.partition([one], [other])
        nemesis.world.schedule(nemesis.random.randrange(20_000, 300_000), toggle, not cut)

    def stop() -> None:
        state["on"] = False
        nemesis.world.network.heal()

    toggle(True)
    return stop


def _clock(nemesis: Nemesis) -> Heal:
    """One node's clock runs fast or slow, and may jump forward."""
    clock = nemesis.world.nodes[nemesis.someone()].clock
    clock.set_rate(nemesis.random.choice((0.5, 0.9, 1.1, 2.0)))
    if nemesis.random.random() < 0.5:
        clock.jump(nemesis.random.randrange(10 * SECOND_US))
    return lambda: clock.set_rate(1.0)


def _slow_disk(nemesis: Nemesis) -> Heal:
    """One node's disk takes long for each sync."""
    log = nemesis.world.nodes[nemesis.someone()].log
    before = (log.sync_us, log.sync_jitter_us)
    log.sync_us, log.sync_jitter_us = nemesis.random.choice((20_000, 200_000, 2_000_000)), 50_000

    def restore() -> None:
        log.sync_us, log.sync_jitter_us = before

    return restore


def _full_disk(nemesis: Nemesis) -> Heal:
    """No space is left on one node's disk, or on all of them; a few records fit yet."""
    names = nemesis.names if nemesis.random.random() < 0.2 else [nemesis.someone()]
    for name in names:
        nemesis.world.nodes[name].fill_disk(nemesis.random.randrange(20))

    def free() -> None:
        for name in names:
            nemesis.world.nodes[name].free_disk()

    return free


def _drift(nemesis: Nemesis) -> Heal:
    """One node's clock runs fast or slow, within what leases allow for."""
    clock = nemesis.world.nodes[nemesis.someone()].clock
    clock.set_rate(nemesis.random.choice((1 / DRIFT, DRIFT)))
    return lambda: clock.set_rate(1.0)


DRIFT = 2.0
"""Two clocks differ by the square of it at most."""
FAULTS: dict[str, Callable[[Nemesis], Heal]] = {
    "split": _split,
    "isolate": _isolate,
    "one-way": _one_way,
    "bridge": _bridge,
    "ring": _ring,
    "crash": _crash,
    "crash-all": _crash_all,
    "crash-loop": _crash_loop,
    "pause": _pause,
    "weather": _weather,
    "flap": _flap,
    "clock": _clock,
    "slow-disk": _slow_disk,
    "full-disk": _full_disk,
    "drift": _drift,
}
ALL_FAULTS = tuple(sorted(set(FAULTS) - {"drift", "full-disk"}))
"""What a seed of old has met: another kind among them would change what every seed does."""
USUAL_FAULTS = (*ALL_FAULTS, "full-disk")
"""All that strike where clocks keep no bound."""
SINGLE_FAULTS = ("clock", "crash-all", "crash-loop", "full-disk", "pause", "slow-disk")
"""Those that can strike a node without others."""
LEASE_FAULTS = tuple(sorted(set(FAULTS) - {"clock", "full-disk"}))
"""Where leases are on, clocks may drift but neither jump nor race."""
