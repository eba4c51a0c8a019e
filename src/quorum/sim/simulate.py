"""`quorum.simulate`: a class of yours under crashes, partitions, pauses and slow disks, in a test.

Each seed is a cluster of simulated nodes that run the production driver, protocol and host, with clients and
faults. The same seed gives the same run. See docs/simulation.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from quorum.errors import ConfigurationError, QuorumError
from quorum.model import check_fault_budget
from quorum.sim.actor import Expected, Operation, Workload
from quorum.sim.faults import FAULTS, SECOND_US, SINGLE_FAULTS, USUAL_FAULTS
from quorum.sim.progress import progress
from quorum.sim.reapply import differing, is_reapplying
from quorum.sim.subject import Claim, Subject, subject_of
from quorum.sim.subject_run import Case, Run, run_twice
from quorum.sim.watched import ALIKE, USUAL_CAUSES, Applied

STEPS_MAX = 200_000
EVENTS_SHOWN = 12
LOGS_MAX = 20
"""The logs of so many seeds are applied again under other hash seeds."""


class Simulation(msgspec.Struct, frozen=True):
    """All runs. True where every claim held. `unchecked` says what could not be looked at; empty: nothing."""

    name: str
    runs: tuple[Run, ...]
    unchecked: str = ""

    def __bool__(self) -> bool:
        return not self.failed

    @property
    def failed(self) -> tuple[Run, ...]:
        """The runs in which a claim broke."""
        return tuple(run for run in self.runs if run.failure)

    @property
    def operations(self) -> int:
        """Operations of all clients in all runs."""
        return sum(run.operations for run in self.runs)

    @property
    def faults(self) -> dict[str, int]:
        """How often each fault struck, in all runs."""
        total: dict[str, int] = {}
        for run in self.runs:
            for kind, times in run.faults.items():
                total[kind] = total.get(kind, 0) + times
        return dict(sorted(total.items()))

    def __str__(self) -> str:
        failed = f"{len(self.failed)} failed" if self.failed else "every claim held"
        unknown = sum(run.unknown for run in self.runs)
        faults = sum(self.faults.values())
        return (
            f"{self.name}: {len(self.runs)} seeds, {self.operations} operations ({unknown} unknown), "
            f"{faults} faults, {failed}"
        )


class SimulationFailed(QuorumError, AssertionError):
    """A claim broke. `run` is that of the seed, `replay` the line that runs it again, `simulation` all runs until
    then."""

    def __init__(self, run: Run, replay: str, simulation: Simulation) -> None:
        events = "".join(f"\n  {event}" for event in run.tale[-EVENTS_SHOWN:])
        failure = run.failure.removesuffix(".")
        if failure.endswith("no operation was answered"):
            failure += ". A workload returns the call that it makes, or is async and awaits its calls"
        super().__init__(
            f"{simulation.name} was simulated with seed {run.seed}, but not every claim held: {failure}.\n"
            f"Replay it: {replay}" + (f"\nThe last events:{events}" if events else "")
        )
        self.run = run
        self.replay = replay
        self.simulation = simulation


def simulate(
    what: Any,
    *,
    workload: Workload | None = None,
    seeds: int | Iterable[int] = 10,
    N: int = 3,
    T: int = 1,
    clients: int = 4,
    duration_s: float = 20,
    pause_ms: float = 50,
    faults: Iterable[str] | None = None,
    check: Callable[[Any], Any] | Iterable[Callable[[Any], Any]] | None = None,
    check_history: Callable[[Sequence[Operation]], Any] | None = None,
    raises: type[BaseException] | Iterable[type[BaseException]] | None = None,
    stale: bool = False,
    snapshot_entries: int = 50,
    hash_seeds: Iterable[int] = (1, 2),
    steps_max: int = STEPS_MAX,
    must_hold: bool = True,
    on_run: Callable[[Run], Any] | None = None,
    show_progress: bool = True,
) -> Simulation:
    """Run `what` in a simulated cluster of `N` nodes of which up to `T` crash at once, for each of `seeds` (a
    number: so many, from 0 on).

    `what`: a replicated class, or a state machine (its class, or what makes one). `workload(it, random)` makes the
    next call of a client: it returns one call, or is `async` and awaits several; without one, commands and queries
    are drawn by their annotations. Each of `clients` pauses about `pause_ms` in between. `faults` (names in
    `sim.faults.FAULTS`; None: the usual ones) strike for `duration_s` simulated seconds; twelve calm ones
    follow.

    Checked: replicas answer alike and reach the same state, also from snapshots, after restarts and under other
    `hash_seeds`; what clients were told is linearizable, with the class itself as the model; `check(it)` and
    methods marked `@invariant` hold in every state; methods raise only `raises` (ValueError, LookupError and
    exceptions of your own); everybody recovers; `check_history(operations)` at the end; each seed gives the same
    run again.

    `stale`: ask every query with consistency="stale", and judge it as linearizable. The search for a linearization
    ends after `steps_max` steps; a history that is undecided then counts as failed. `on_run` hears of each seed.
    Where stderr is a terminal a bar shows the seeds done, unless `show_progress` is False.

    Raises SimulationFailed, an AssertionError, for the first seed that fails; with must_hold=False none, and the
    result has all. Raises ConfigurationError and NotReplicable for what cannot be run.
    """
    if is_reapplying():
        raise ConfigurationError(
            f"{what!r} was to be simulated while its module was only read for its classes. Simulate in a function."
        )
    case = _case(what, workload, check, check_history, raises, N, T, clients, duration_s, pause_ms, faults, stale,
                 snapshot_entries, steps_max)  # fmt: skip
    session = _Session(case, _Replay(case.subject.name, _given(locals())), must_hold, on_run)
    wanted = _seeds(seeds)
    with progress(len(wanted), is_quiet=not show_progress) as advance:
        for seed in wanted:
            session.run(seed)
            advance(session.text)
        return session.end(what, hash_seeds)


class _Session:
    """The runs so far, and what is left to be looked at when all of them are over."""

    def __init__(self, case: Case, replay: _Replay, must_hold: bool, on_run: Callable[[Run], Any] | None) -> None:
        self._case = case
        self._replay = replay
        self._must_hold = must_hold
        self._on_run = on_run
        self._runs: list[Run] = []
        self._logs: dict[int, list[Applied]] = {}

    def run(self, seed: int) -> None:
        run, log = run_twice(self._case, seed)
        self._runs.append(run)
        if not run.failure and len(self._logs) < LOGS_MAX:
            self._logs[seed] = log
        if self._on_run is not None:
            self._on_run(run)
        self._demand(run)

    @property
    def text(self) -> str:
        """What there is to say so far, in a few words."""
        failed = sum(1 for run in self._runs if run.failure)
        return f"{failed} failed, {sum(run.operations for run in self._runs)} operations"

    def end(self, what: Any, hash_seeds: Iterable[int]) -> Simulation:
        """Apply the logs under other hash seeds, up to the first difference; return the result."""
        for hash_seed in hash_seeds:
            found = differing(what, hash_seed, self._logs)
            if isinstance(found, str):
                return self._result(found)
            if found is not None:
                seed, applied = found
                place = next(i for i, run in enumerate(self._runs) if run.seed == seed)
                failure = _other_hash_seed(self._case.subject, applied)
                self._runs[place] = msgspec.structs.replace(self._runs[place], failure=failure, tale=())
                self._demand(self._runs[place])
                break
        return self._result("")

    def _demand(self, run: Run) -> None:
        if run.failure and self._must_hold:
            raise SimulationFailed(run, self._replay.line(run.seed), self._result(""))

    def _result(self, unchecked: str) -> Simulation:
        return Simulation(self._case.subject.name, tuple(self._runs), unchecked)


def _other_hash_seed(subject: Subject, applied: Applied) -> str:
    what = f"{subject.name}.{subject.describe(applied.body)} at entry {applied.header.index}"
    return (
        f"{ALIKE}: {what} does something else under another PYTHONHASHSEED, as in another process. {USUAL_CAUSES}"
    )


class _Replay:
    """Writes the line that runs a seed again."""

    def __init__(self, name: str, given: dict[str, str]) -> None:
        self._name = name
        self._given = "".join(f", {name}={text}" for name, text in given.items())

    def line(self, seed: int) -> str:
        return f"quorum.simulate({self._name}, seeds=[{seed}]{self._given})"


_NOT_SHOWN = frozenset(("what", "seeds", "must_hold", "on_run", "show_progress"))


def _given(arguments: dict[str, Any]) -> dict[str, str]:
    """The arguments of `simulate` that differ from their defaults, as they would be written."""
    usual = simulate.__kwdefaults__ or {}
    return {
        name: _written(arguments[name])
        for name, default in usual.items()
        if name not in _NOT_SHOWN and arguments[name] is not default and arguments[name] != default
    }


def _written(argument: Any) -> str:
    if not callable(argument):
        return repr(argument)
    name: str = getattr(argument, "__name__", "...")
    return "..." if name == "<lambda>" else name


def _seeds(seeds: int | Iterable[int]) -> list[int]:
    found = list(range(seeds)) if isinstance(seeds, int) else list(seeds)
    if not found or any(type(seed) is not int for seed in found):
        raise ConfigurationError(
            f"seeds={seeds!r} was asked for, but a run needs whole numbers as seeds. Give some: range(100)."
        )
    return found


def _case(
    what: Any,
    workload: Workload | None,
    check: Any,
    check_history: Callable[[Sequence[Operation]], Any] | None,
    raises: Any,
    nodes: int,
    crashes: int,
    clients: int,
    duration_s: float,
    pause_ms: float,
    faults: Iterable[str] | None,
    stale: bool,
    snapshot_entries: int,
    steps_max: int,
) -> Case:
    check_fault_budget(nodes, crashes, "crash")
    for name, value in (
        ("clients", clients),
        ("duration_s", duration_s),
        ("pause_ms", pause_ms),
        ("snapshot_entries", snapshot_entries),
        ("steps_max", steps_max),
    ):
        if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
            raise ConfigurationError(
                f"{name}={value!r} was asked for, but a run needs a positive number. Give a larger one."
            )
    subject = subject_of(what)
    for name, given in (("workload", workload), ("check_history", check_history)):
        if given is not None and not callable(given):
            raise ConfigurationError(f"{name}={given!r} was given, but it is called. Give a function.")
    return Case(
        subject=subject,
        workload=workload if workload is not None else subject.workload(),
        claims=subject.claims | _claims(check),
        check_history=check_history,
        expected=Expected(_raises(raises)),
        nodes=nodes,
        crashes_max=max(1, crashes),
        clients=int(clients),
        duration_us=int(duration_s * SECOND_US),
        pause_us=max(1, int(pause_ms * 1000)),
        faults=_faults(faults, nodes),
        stale=stale,
        snapshot_entries=int(snapshot_entries),
        steps_max=int(steps_max),
    )


def _claims(check: Any) -> dict[str, Claim]:
    if check is None:
        return {}
    checks = list(check) if isinstance(check, Iterable) and not callable(check) else [check]
    for each in checks:
        if not callable(each):
            raise ConfigurationError(
                f"check={each!r} was given, but it is called with the object in every state. Give a function that "
                "asserts what always holds."
            )
    names = [getattr(each, "__name__", "check") for each in checks]
    return {
        f"{'check' if name == '<lambda>' else name}" + (f" {at + 1}" if names.count(name) > 1 else ""): each
        for at, (name, each) in enumerate(zip(names, checks))
    }


def _raises(raises: Any) -> tuple[type[BaseException], ...] | None:
    if raises is None:
        return None
    kinds = tuple(raises) if isinstance(raises, Iterable) and not isinstance(raises, type) else (raises,)
    for kind in kinds:
        if not isinstance(kind, type) or not issubclass(kind, BaseException):
            raise ConfigurationError(
                f"raises={kind!r} was given, but it is no exception class. Name classes, or () for none."
            )
    return kinds


def _faults(faults: Iterable[str] | None, nodes: int) -> tuple[str, ...]:
    possible = SINGLE_FAULTS if nodes == 1 else USUAL_FAULTS
    if faults is None:
        return possible
    given = (faults,) if isinstance(faults, str) else tuple(faults)
    known = SINGLE_FAULTS if nodes == 1 else tuple(sorted(FAULTS))
    for fault in given:
        if fault not in known:
            raise ConfigurationError(
                f"the fault {fault!r} was asked for with {nodes} nodes, but there is no such fault. Choose from: "
                f"{', '.join(known)}."
            )
    return given
