"""Heartbeats of well nodes through bad weather, and who is put out: the detector and its limits, hour by hour.

Each observer runs a turn about every 100 ms and hears a few peers, each of which sends about as often. What is
drawn: every heartbeat is lost with some chance; links have times in which every delay is ten times as long, and
senders have times in which the gaps between heartbeats are (only every tenth is sent); the observer itself stands
still now and then, for up to 15 s, and then hears at once what had come, before its late turn or after it; in the
second case it judges by what it had heard before the pause. A link keeps its order, as TCP does. Unless failures
are asked for nobody fails, so whoever is put out is put out falsely.

`watch` is `membership.detector.Detector` and `membership.health.HealthBook` for many observers at once: the same
integers and the same float operations on arrays, so that its answers are the same, which is tested. Phi itself is
taken only where the silence is so long that it may matter: phi reaches z deviations above the mean only beyond
`expected * (1 + SPREAD_SHARE * z)`, as the mean is taken for `expected` at least, and the spread for SPREAD_SHARE
of the mean at least.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from quorum.membership.detector import (
    GAPS_MIN,
    HEALTH_MAX,
    SPREAD_SHARE,
    WINDOW,
    Detector,
    phi_of,
)
from quorum.membership.health import HealthBook
from quorum.membership.observation import Limits, Observation

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
TURN_US = 100_000
HOUR_TURNS = 36_000
NEVER = np.iinfo(np.int64).max


class Weather(NamedTuple):
    """Chances and times of what is drawn. `spikes`, `pauses` and `failures` begin so often in a second; spikes
    last `spike_s` in the mean, failures `repair_s`, and pauses from 0.2 s to `pause_max_s`."""

    loss: float = 0.05
    delay_us: int = 5_000
    spikes: float = 1 / 600
    spike_s: float = 20.0
    spike_factor: int = 10
    pauses: float = 1 / 1200
    pause_max_s: float = 15.0
    failures: float = 0.0
    repair_s: float = 120.0


class Heartbeats(NamedTuple):
    """What `clusters` observers with `peers` each meet. `arrivals[begins[p]:]` are the times of pair p, in order,
    ended by NEVER. `late[turn, cluster]`: by how many turns this one is late; -1: it does not take place.
    `first[turn, cluster]`: whether a late turn judges before what came meanwhile is heard."""

    clusters: int
    peers: int
    turns: int
    arrivals: Ints
    begins: Ints
    late: NDArray[np.int16]
    first: Bools
    down: tuple[tuple[tuple[int, int], ...], ...]
    """From and to which turn each pair's sender is down."""

    @property
    def node_hours(self) -> float:
        return self.clusters * self.peers * self.turns / HOUR_TURNS


def draw(seed: int, clusters: int, peers: int, turns: int, weather: Weather) -> Heartbeats:
    """Everything that these observers meet in `turns` turns, drawn from the seed."""
    random = np.random.default_rng(seed)
    down = [tuple(_spans(random, turns, weather.failures, weather.repair_s)) for _ in range(clusters * peers)]
    rows = [_arrivals(random, turns, weather, away) for away in down]
    begins = np.cumsum([0, *(len(row) for row in rows[:-1])])
    late = np.zeros((turns, clusters), np.int16)
    for cluster in range(clusters):
        for start, end in _spans(random, turns, weather.pauses, None, weather.pause_max_s):
            late[start:end, cluster] = -1
            if end < turns:
                late[end, cluster] = end - start
    first = random.random((turns, clusters)) < 0.5
    return Heartbeats(
        clusters, peers, turns, np.concatenate(rows), begins.astype(np.int64), late, first, tuple(down)
    )


def _spans(
    random: np.random.Generator, turns: int, rate: float, mean_s: float | None, max_s: float = 0.0
) -> list[tuple[int, int]]:
    """From and to which turn something lasts, one after the other; without a mean from 0.2 s to `max_s`, each
    order of magnitude as often as another."""
    found, at = [], 0
    while rate > 0:
        at += 1 + int(random.exponential(1 / rate) * 10)
        lasts_s = random.exponential(mean_s) if mean_s else 0.2 * (max_s / 0.2) ** random.random()
        end = at + max(1, int(lasts_s * 10))
        if end >= turns:
            break
        found.append((at, end))
        at = end + 1
    return found


def _arrivals(
    random: np.random.Generator, turns: int, weather: Weather, away: tuple[tuple[int, int], ...]
) -> Ints:
    """When the heartbeats of one sender arrive at one observer."""
    sent = np.arange(turns, dtype=np.int64) * TURN_US + random.integers(TURN_US)
    delay = weather.delay_us // 5 + random.exponential(weather.delay_us, turns)
    for start, end in _spans(random, turns, weather.spikes, weather.spike_s):
        delay[start:end] *= weather.spike_factor
    arrives = random.random(turns) >= weather.loss
    for start, end in _spans(random, turns, weather.spikes, weather.spike_s):
        arrives[start:end] &= np.arange(start, end) % weather.spike_factor == 0
    for start, end in away:
        arrives[start:end] = False
    times = np.maximum.accumulate((sent + delay.astype(np.int64))[arrives])
    return np.append(times, NEVER)


class Seen(NamedTuple):
    """What came of it, for each pair."""

    suspected: Ints
    """In how many turns its phi was above the limit."""
    longest_us: Ints
    """The longest time for which it was, without a turn in between at which it was not."""
    evicted: Ints
    """How often it was judged unfit."""
    returned: Ints
    """How often it was judged fit again."""


def watch_one(beats: Heartbeats, cluster: int, limits: Limits) -> Seen:
    """The detector and the book themselves, for one observer."""
    one = _One(beats, cluster, limits)
    for turn in range(beats.turns):
        late = int(beats.late[turn, cluster])
        if late >= 0:
            one.turn(turn * TURN_US, late, late > 0 and bool(beats.first[turn, cluster]))
    return one.seen


class _One:
    """One observer."""

    def __init__(self, beats: Heartbeats, cluster: int, limits: Limits) -> None:
        self._beats, self._limits = beats, limits
        self._peers = [f"p{number}" for number in range(beats.peers)]
        self._detector, self._book = Detector(TURN_US), HealthBook(limits)
        self._detector.watch(self._peers, 0)
        self._at = beats.begins[cluster * beats.peers : (cluster + 1) * beats.peers].tolist()
        self._fit = set(self._peers)
        self._since = [-1] * beats.peers
        self.seen = Seen(*np.zeros((4, beats.peers), np.int64))

    def turn(self, now_us: int, late: int, is_first: bool) -> None:
        if is_first:
            self._detector.ran(now_us - late * TURN_US, now_us)
            self._judge(now_us)
        for pair, peer in enumerate(self._peers):
            while (arrival := int(self._beats.arrivals[self._at[pair]])) <= now_us:
                self._detector.heard(peer, now_us if late > 0 else arrival)
                self._at[pair] += 1
        if not is_first:
            self._detector.ran(now_us - late * TURN_US, now_us)
            self._judge(now_us)

    def _judge(self, now_us: int) -> None:
        phis = [self._detector.phi(peer, now_us) for peer in self._peers]
        observed = [Observation(peer, phi) for peer, phi in zip(self._peers, phis, strict=True)]
        self._book.see(observed, self._peers, now_us)
        fit = set(self._book.fit)
        for pair, (peer, phi) in enumerate(zip(self._peers, phis, strict=True)):
            if phi >= self._limits.suspect_phi:
                since = self._since[pair] = self._since[pair] if self._since[pair] >= 0 else now_us
                self.seen.suspected[pair] += 1
                self.seen.longest_us[pair] = max(self.seen.longest_us[pair], now_us - since)
            else:
                self._since[pair] = -1
            self.seen.evicted[pair] += peer in self._fit - fit
            self.seen.returned[pair] += peer in fit - self._fit
        self._fit = fit


def deviations_of(phi: float) -> float:
    """By how many times sqrt(2) deviations a silence must exceed the mean so that it is that suspicious: the least
    float for which it is."""
    low, high = 0.0, 40.0
    while low < (middle := (low + high) / 2) < high:
        low, high = (low, middle) if phi_of(middle * math.sqrt(2), 0.0, 1.0) >= phi else (middle, high)
    return high


def watch(beats: Heartbeats, limits: Limits) -> Seen:
    """The same for all observers at once."""
    watched = _Watched(beats, limits)
    for turn in range(beats.turns):
        watched.turn(turn)
    return watched.seen


class _Watched:
    """The detectors and books of all observers, one place in each array for each pair."""

    def __init__(self, beats: Heartbeats, limits: Limits) -> None:
        pairs = beats.clusters * beats.peers
        self.beats, self.limits = beats, limits
        self.seen = Seen(*(np.zeros(pairs, np.int64) for _ in Seen._fields))
        self._cluster = np.repeat(np.arange(beats.clusters), beats.peers)
        self._at = beats.begins.copy()
        self._next = beats.arrivals[self._at]
        self._last, self._count, self._sum, self._squares = (np.zeros(pairs, np.int64) for _ in range(4))
        self._gaps = np.zeros((pairs, WINDOW), np.int64)
        self._score = np.zeros(beats.clusters, np.int64)
        self._x_least = deviations_of(limits.suspect_phi)
        self._silence_least = 0.999 * TURN_US * (1 + SPREAD_SHARE * math.sqrt(2) * self._x_least)
        self._fit = np.ones(pairs, bool)
        self._bad, self._good, self._returned = (np.full(pairs, -1, np.int64) for _ in range(3))
        self._flaps = np.zeros(pairs, np.int64)
        self._was_bad = np.empty(0, np.int64)

    def turn(self, turn: int) -> None:
        now_us, late = turn * TURN_US, self.beats.late[turn]
        if not late.any():
            self._hear(np.flatnonzero(self._next <= now_us), now_us, None)
            self._score -= self._score > 0
            self._judge(self._suspects(now_us, None), None, now_us)
            return
        delayed, runs = late > 0, late >= 0
        first = delayed & self.beats.first[turn]
        self._turns_of(first, late, now_us)
        of_pairs = runs[self._cluster]
        self._hear(np.flatnonzero((self._next <= now_us) & of_pairs), now_us, delayed[self._cluster])
        self._turns_of(runs & ~first, late, now_us)

    def _turns_of(self, clusters: Bools, late: Any, now_us: int) -> None:
        """These run their turn and judge, the others do not."""
        if clusters.any():
            self._ran(clusters, late, now_us)
            pairs = clusters[self._cluster]
            self._judge(self._suspects(now_us, pairs), pairs, now_us)

    def _hear(self, who: Ints, now_us: int, delayed: Bools | None) -> None:
        """What has come by now, in order: round by round one arrival of each."""
        while who.size:
            times = self._next[who]
            if delayed is not None:
                times = np.where(delayed[who], now_us, times)
            gaps = np.maximum(0, times - self._last[who])
            place = self._count[who] % WINDOW
            old = self._gaps[who, place]
            self._gaps[who, place] = gaps
            self._last[who] += gaps
            self._sum[who] += gaps - old
            self._squares[who] += gaps * gaps - old * old
            self._count[who] += 1
            self._at[who] += 1
            following = self.beats.arrivals[self._at[who]]
            self._next[who] = following
            who = who[following <= now_us]

    def _ran(self, clusters: Bools, late: Any, now_us: int) -> None:
        turns_late = late[clusters].astype(np.int64)
        score = self._score[clusters]
        self._score[clusters] = np.where(
            turns_late >= 1,
            np.minimum(HEALTH_MAX, score + np.minimum(HEALTH_MAX, turns_late)),
            score - (score > 0),
        )
        for cluster in np.flatnonzero(clusters & (late >= 1)):
            own = slice(cluster * self.beats.peers, (cluster + 1) * self.beats.peers)
            self._last[own] = np.minimum(now_us, self._last[own] + int(late[cluster]) * TURN_US)

    def _suspects(self, now_us: int, runs: Bools | None) -> Ints:
        """Whose phi is above the limit."""
        may = now_us - self._last >= self._silence_least
        if runs is not None:
            may &= runs
        who = np.flatnonzero(may)
        silent = (now_us - self._last[who]) / (1 + self._score[self._cluster[who]])
        count = np.minimum(self._count[who], WINDOW)
        total, few = self._sum[who], count < GAPS_MIN
        count = np.maximum(count, 1)
        spread = np.sqrt(np.maximum(0, count * self._squares[who] - total * total)) / count
        mean = np.where(few, float(TURN_US), np.maximum(total / count, float(TURN_US)))
        spread = np.where(few, TURN_US / 4, np.maximum(spread, SPREAD_SHARE * mean))
        return who[(silent - mean) / (spread * math.sqrt(2)) >= self._x_least]

    def _judge(self, suspects: Ints, runs: Bools | None, now_us: int) -> None:
        """As HealthBook.see; pairs about which there is nothing new are left alone."""
        limits, seen, fit = self.limits, self.seen, self._fit
        back = np.flatnonzero(fit & (self._returned >= 0) & (now_us - self._returned >= limits.forgive_us))
        if runs is not None:
            back = back[runs[back]]
        self._returned[back], self._flaps[back] = -1, 0
        troubled = np.zeros(fit.size, bool)
        troubled[suspects] = True
        was_bad = self._was_bad if runs is None else self._was_bad[runs[self._was_bad]]
        waiting = self._was_bad[~runs[self._was_bad]] if runs is not None else self._was_bad[:0]
        self._bad[was_bad[~troubled[was_bad]]] = -1
        new = suspects[self._bad[suspects] < 0]
        self._bad[new] = now_us
        self._was_bad = np.concatenate([suspects, waiting])
        seen.suspected[suspects] += 1
        seen.longest_us[suspects] = np.maximum(seen.longest_us[suspects], now_us - self._bad[suspects])
        unfit = np.flatnonzero(~fit) if runs is None else np.flatnonzero(~fit & runs)
        out = suspects[fit[suspects] & (now_us - self._bad[suspects] >= limits.hold_us)]
        if unfit.size:
            self._see_unfit(unfit, troubled, now_us)
        self._flaps[out] += self._returned[out] >= 0
        self._returned[out] = self._good[out] = -1
        fit[out] = False
        seen.evicted[out] += 1

    def _see_unfit(self, unfit: Ints, troubled: Bools, now_us: int) -> None:
        self._good[unfit[troubled[unfit]]] = -1
        well = unfit[~troubled[unfit]]
        new = well[self._good[well] < 0]
        self._good[new] = now_us
        waits = np.minimum(self.limits.stable_max_us, self.limits.stable_us << np.minimum(self._flaps[well], 20))
        back = well[now_us - self._good[well] >= waits]
        self._fit[back], self._returned[back], self._good[back] = True, now_us, -1
        self.seen.returned[back] += 1
