"""How the best strategy is found: one linear program of both sides, aim after aim. Imported only when needed."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from quorum.errors import ConfigurationError, NoStrategy
from quorum.model import NodeId
from quorum.systems.algebra import Expression
from quorum.systems.architecture import Architecture
from quorum.systems.figures import latency_of, load_of
from quorum.systems.mixture import Mixture
from quorum.systems.optimum import Aim, Limits, Optimum
from quorum.systems.pricing import Pricer
from quorum.systems.program import TIED, Arrays, Budget, Face, Solution, Vector
from quorum.systems.sides import ColumnSide
from quorum.systems.strategy_model import StrategyModel, unit_of
from quorum.systems.symmetry import Reduced, reduced

GAP_MAX = 1e-11
"""Columns are looked for until the best known is so near to the bound."""
ROUNDS_MAX = 5_000
COMFORTABLE = (0.1, 10.0)
"""A load in units of the program; with others it is solved again, in better units."""
UNITS_TRIED_MAX = 4
KEPT_MAX = 1e-9
"""What is missing to a limit may be so much of it, for rounding."""
PIECES_MAX = 50_000
THEN: dict[Aim, tuple[Aim, ...]] = {
    "load": ("load", "latency", "network"),
    "network": ("network", "load", "latency"),
    "latency": ("latency", "load", "network"),
}


def solve(architecture: Architecture, aim: Aim, failures: int, limits: Limits, budget: Budget) -> Optimum:
    """As `optimum.optimise`, for a question that was checked. Raises NoStrategy that names the limits."""
    unit = unit_of(architecture)
    must_time = aim == "latency" or limits.latency is not None
    for _ in range(UNITS_TRIED_MAX):
        model = StrategyModel(architecture, failures, limits, budget, must_time, unit)
        found = _stages(model, aim)
        if COMFORTABLE[0] <= found.load <= COMFORTABLE[1]:
            break
        unit /= found.load
    return _optimum(model, aim, found)


class _Found(NamedTuple):
    """The last solution, the value and the bound of the aim, the prices of its rows, and the rows of nodes that
    are busiest in every optimum. `load` is in units of the program."""

    last: Solution
    load: float
    value: float
    bound: float
    prices: Vector
    busiest: frozenset[int]


def _stages(model: StrategyModel, aim: Aim) -> _Found:
    """Solve aim after aim, each among what is best in all before."""
    bound: float | None = None
    if model.excess:
        _generate(model, "excess")
        _check_limits(model)
        model.forbid_excess()
    bound = _generate(model, aim)
    if bound is not None:  # columns for what decides among the best, too
        model.keep(aim, bound)
        _generate(model, THEN[aim][1])
    arrays = model.program.arrays()
    names = [each for each in THEN[aim] if each != "latency" or model.is_timed]
    aims = [model.aim(name) for name in names]
    smaller = reduced(arrays, aims)
    face = Face(smaller.arrays, model.budget)
    first = last = None
    busiest: frozenset[int] = frozenset()
    for name, costs in zip(names, aims, strict=True):
        solution = face.minimise(smaller.costs(costs))
        if solution is None and last is not None:
            break  # capacities so far apart that rounding has closed the face: what was found is an optimum
        assert solution is not None, "limits that cannot be kept were refused before"
        face.keep(solution)
        last = smaller.lifted(solution)
        first = first or last
        if name == "load":
            busiest = _busiest(model, smaller, face, solution)
    assert first is not None and last is not None, "there is an aim"
    bound = dual_value(arrays, first) if bound is None else bound
    load = float(np.dot(model.aim("load"), last.columns))
    return _Found(last, load, first.value, bound, first.prices, busiest)


def _check_limits(model: StrategyModel) -> None:
    """Raise NoStrategy where the limits cannot all be kept; it names those that have a price."""
    arrays = model.program.arrays()
    costs = model.aim("excess")
    smaller = reduced(arrays, [costs])
    found = Face(smaller.arrays, model.budget).minimise(smaller.costs(costs))
    assert found is not None, "limits may be exceeded, so something fits"
    if found.value > KEPT_MAX:
        prices = smaller.lifted(found).prices
        binding = tuple(name for name, row in model.limit_rows.items() if abs(prices[row]) > TIED)
        raise NoStrategy("limits bind", binding)


def _generate(model: StrategyModel, aim: Aim | Literal["excess"]) -> float | None:
    """Add columns until none would help. Returns the bound that shows it; None where all were there."""
    sides = [
        (side, side.pricer, part, place)
        for place, (side, part) in enumerate(model.sides)
        if isinstance(side, ColumnSide) and side.pricer is not None
    ]
    if not sides:
        return None
    best = -np.inf
    for _ in range(ROUNDS_MAX):
        arrays = model.program.arrays()
        solution = Face(arrays, model.budget).minimise(model.aim(aim))
        assert solution is not None, "each side has a column, and limits may be exceeded"
        bound, added = dual_value(arrays, solution), False
        for side, pricer, part, place in sides:
            least, is_new = _price(model, side, pricer, (aim, part, place), solution)
            bound += min(0.0, least - float(solution.prices[side.row]))
            added = added or is_new
        best = max(best, bound)
        if not added or solution.value - best <= GAP_MAX * max(1.0, abs(solution.value)):
            return float(min(best, solution.value))
    raise ConfigurationError(
        f"an expression with many repeated nodes was to be planned, but {ROUNDS_MAX:,} rounds did not settle it. "
        "Write it with fewer repeated nodes."
    )


def _price(
    model: StrategyModel,
    side: ColumnSide,
    pricer: Pricer,
    asked: tuple[Aim | Literal["excess"], float, int],
    solution: Solution,
) -> tuple[float, bool]:
    """The least price of a contact, and whether a column was added that is worth it."""
    aim, part, place = asked
    prices = solution.prices
    each = part * (aim == "network")
    per_second = part * (aim == "latency") / model.wait_unit
    for name, row, scale in model.caps:
        if name == "network":
            each -= prices[row] * part / scale
        elif name == "latency":
            per_second -= prices[row] * part / model.wait_unit / scale
    nodes = {
        node: max(0.0, float(each - sum(prices[row] * cost for row, cost in model.rows_of(node, place))))
        for node in (side.expression.nodes)
    }
    offers = pricer.offers(nodes, max(0.0, float(per_second)))
    worth = float(prices[side.row])
    is_new = False
    for offer in offers:
        if offer.price < worth - GAP_MAX and not side.has(offer.contact):
            model.add(side, offer.contact)
            is_new = True
    return min(offer.price for offer in offers), is_new


def dual_value(arrays: Arrays, solution: Solution) -> float:
    """What the prices alone prove: no strategy has less."""
    total = 0.0
    for prices, lower, upper in (
        (solution.prices, arrays.row_lower, arrays.row_upper),
        (solution.reduced, arrays.lower, arrays.upper),
    ):
        bounds = np.where(prices > 0, lower, upper)
        used = (prices != 0) & np.isfinite(bounds)
        total += float(np.dot(prices[used], bounds[used]))
    return total


def _busiest(model: StrategyModel, smaller: Reduced, face: Face, solution: Solution) -> frozenset[int]:
    """Rows of nodes whose load is the peak in every strategy of the face: as long as some can be less busy,
    such are left out."""
    arrays = smaller.arrays
    rows = {int(smaller.rows[row]) for row in model.load_rows.values()}
    sums = face.sums(solution)
    tight = {row for row in rows if sums[row] > -KEPT_MAX}
    while tight:
        chosen = np.isin(arrays.rows, sorted(tight))
        costs = np.bincount(arrays.indices[chosen], arrays.values[chosen], minlength=len(arrays.lower))
        found = face.minimise(costs.astype(np.float64))
        if found is None:  # rounding has closed or opened it
            break
        sums = face.sums(found)
        loose = {row for row in tight if sums[row] < -KEPT_MAX}
        if not loose:
            break
        tight -= loose
    return frozenset(row for row in model.load_rows.values() if int(smaller.rows[row]) in tight)


def _optimum(model: StrategyModel, aim: Aim, found: _Found) -> Optimum:
    """The figures, from the strategy itself: what it does to each node."""
    architecture, values = model.architecture, found.last.columns
    chances = [
        {
            node: _clipped(sum(values[column] * factor for column, factor in side.shares.get(node, ())))
            for node in nodes
        }
        for side, nodes in zip(
            (side for side, _ in model.sides), (architecture.system.reads.nodes, architecture.system.writes.nodes)
        )
    ]
    peaks = [
        max(load_of(architecture, node, mix.fraction, *chances) for node in architecture.system.nodes)
        for mix in architecture.mixes
    ]
    weights = [mix.weight for mix in architecture.mixes]
    mixtures = [side.mixture(values) for side, _ in model.sides]
    scale = {"load": 1 / model.unit, "network": 1.0, "latency": model.wait_unit}[aim]
    names = {row: node for (node, _), row in model.load_rows.items()}
    shadow: dict[NodeId, float] = {}
    for (node, mix), row in model.load_rows.items():
        price = abs(float(found.prices[row])) * peaks[mix] * model.unit / found.value if found.value else 0.0
        if price > TIED:
            shadow[node] = shadow.get(node, 0.0) + price
    limits = {
        name: abs(float(found.prices[row])) / found.value
        for name, row in model.limit_rows.items()
        if found.value and abs(found.prices[row]) > TIED * found.value
    }
    return Optimum(
        aim=aim,
        value=found.value * scale,
        bound=found.bound * scale,
        load=sum(weight * peak for weight, peak in zip(weights, peaks, strict=True)),
        capacity=sum(weight / peak for weight, peak in zip(weights, peaks, strict=True)),
        network_load=sum(
            part * sum(each.values()) for (_, part), each in zip(model.sides, chances, strict=True) if part
        ),
        latency=_latency(model, mixtures, values),
        reads=mixtures[0],
        writes=mixtures[1],
        read_probabilities=chances[0],
        write_probabilities=chances[1],
        binding_nodes=tuple(sorted({names[row] for row in found.busiest})),
        shadow_prices=shadow,
        limit_prices=limits,
    )


def _clipped(chance: float) -> float:
    return min(1.0, max(0.0, float(chance)))


def _latency(model: StrategyModel, mixtures: list[Mixture], values: Vector) -> float:
    """The mean over both sides; a side without times is cut into its quorums, and each is looked at."""
    total = 0.0
    expressions = (model.architecture.system.reads, model.architecture.system.writes)
    for (side, part), mixture, expression in zip(model.sides, mixtures, expressions, strict=True):
        if part and side.is_timed:
            total += part * sum(float(values[column]) * wait for column, wait in side.waits)
        elif part:
            total += part * _mean_latency(model.architecture, expression, mixture)
    return total


def _mean_latency(architecture: Architecture, expression: Expression, mixture: Mixture) -> float:
    sets = mixture.listed(PIECES_MAX)
    if sets is None:
        raise ConfigurationError(
            f"the latency of a strategy with more than {PIECES_MAX:,} quorums was asked for, but each would "
            "have to be looked at. Give nodes that are alike one latency."
        )
    return sum(
        each.probability * latency_of(expression, each.quorum, lambda node: architecture.traits(node).latency)
        for each in sets
    )


class Least(NamedTuple):
    """The least value of an aim, or None where the limits cannot be kept; and the prices that show it, in units of
    the aim or, where limits are not kept, of what is missing to them. `nodes` has the price of a second of load of
    a node at each mix, `limits` that of one unit of each limit."""

    value: float | None
    nodes: dict[tuple[NodeId, int], float]
    limits: dict[Aim, float]


def least(architecture: Architecture, aim: Aim, failures: int, limits: Limits, budget: Budget) -> Least:
    """The value of the aim alone, without a strategy: what a search among many systems asks of each. It is not
    scaled again, so it has some digits less than `solve`."""
    must_time = aim == "latency" or limits.latency is not None
    model = StrategyModel(architecture, failures, limits, budget, must_time, unit_of(architecture))
    scale = {"load": 1 / model.unit, "network": 1.0, "latency": model.wait_unit}[aim]
    if model.excess:
        _generate(model, "excess")
        found = Face(model.program.arrays(), budget).minimise(model.aim("excess"))
        assert found is not None, "limits may be exceeded, so something fits"
        if found.value > KEPT_MAX:
            return Least(None, *_priced(model, found, 1.0))
        model.forbid_excess()
    _generate(model, aim)
    found = Face(model.program.arrays(), budget).minimise(model.aim(aim))
    assert found is not None, "limits that cannot be kept were found before"
    return Least(found.value * scale, *_priced(model, found, scale))


def _priced(
    model: StrategyModel, found: Solution, scale: float
) -> tuple[dict[tuple[NodeId, int], float], dict[Aim, float]]:
    nodes = {key: max(0.0, -float(found.prices[row])) for key, row in model.load_rows.items()}
    limits: dict[Aim, float] = {}
    for (name, row), limit in zip(
        model.limit_rows.items(), (each for each in model.limits if each is not None), strict=True
    ):
        limits[name] = max(0.0, -float(found.prices[row])) * scale / limit
    return nodes, limits
