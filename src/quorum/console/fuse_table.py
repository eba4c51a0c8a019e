"""Every rule of `quorum fuse`: what it reads and answers, and the function behind it. Imported when used."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from quorum.console import fuse_input as read
from quorum.console.command import plain
from quorum.console.fuse_input import Reader
from quorum.errors import ConfigurationError
from quorum.systems.weights import wheat
from quorum.voting import approximate, fusion, gates, intervals, reliability, silence, vectors, voters
from quorum.voting.refused import Refused

Answer = dict[str, Any] | Refused
OPTIONAL = "?"
"""What follows the name of a key that may be left out."""


class Algorithm(NamedTuple):
    """One rule. `fields` are read from the input by key and given to `run`, which answers or refuses."""

    name: str
    fields: Mapping[str, Reader]
    gives: str
    run: Callable[[Mapping[str, Any]], Answer]

    @property
    def reads(self) -> str:
        """The keys of the input."""
        return ", ".join(self.fields)

    def answer(self, data: bytes) -> dict[str, Any] | str:
        """The answer to one JSON object, or why there is none. Raises ConfigurationError for a bad input."""
        needed = {key: reader for key, reader in self.fields.items() if not key.endswith(OPTIONAL)}
        optional = {key[:-1]: reader for key, reader in self.fields.items() if key.endswith(OPTIONAL)}
        given = read.fields_in(read.object_in(data), self.name, needed, optional)
        with np.errstate(all="ignore"):  # what comes of it is looked at below
            found = self.run(given)
        if isinstance(found, Refused):
            return found.reason
        told = {key: _plain(value) for key, value in found.items()}
        if not all(map(_is_finite, told.values())):
            raise ConfigurationError(
                f"{self.name} was asked for, but its answer is no number that fits. Change the units."
            )
        return told


def algorithm_of(name: str | None) -> Algorithm:
    """The rule of this name. Raises ConfigurationError, with all names, for none."""
    if name is not None and name in ALGORITHMS:
        return ALGORITHMS[name]
    what = "no rule was named" if name is None else f"there is no rule {plain(name, 60)!r}"
    raise ConfigurationError(
        f"a decision was asked for, but {what}. Give --algorithm and one of: {', '.join(ALGORITHMS)}."
    )


def _plain(value: Any) -> Any:
    """Arrays as lists, NaN as None."""
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    return value


def _is_finite(value: Any) -> bool:
    match value:
        case float():
            return bool(np.isfinite(value))
        case dict():
            return all(map(_is_finite, value.values()))
        case list() | tuple():
            return all(map(_is_finite, value))
    return True


def _known(value: Any, reason: str, /, **answer: Any) -> Answer:
    """The answer, or a refusal for this reason where `value` is NaN."""
    return Refused(reason) if np.isnan(value).any() else answer


def _indices(flags: Any) -> list[int]:
    return [int(place) for place in np.flatnonzero(flags)]


def _exact_majority(given: Mapping[str, Any]) -> Answer:
    return _labelled(given["values"], voters.exact_majority, "no value has more than half of the channels")


def _plurality(given: Mapping[str, Any]) -> Answer:
    k = given["k"]
    return _labelled(
        given["values"],
        lambda values: voters.plurality(values, k),
        f"no value has {k} channels, or two have as many",
    )


def _labelled(values: list[Any], vote: Callable[[list[float]], Any], reason: str) -> Answer:
    """Vote on numbers as they are, and on texts by their place among all that are given."""
    if isinstance(values[0], str):
        names = sorted(set(values))
        place = vote([float(names.index(each)) for each in values])
        return Refused(reason) if np.isnan(place) else {"output": names[int(place)]}
    output = vote(values)
    return _known(output, reason, output=output)


def _formalized_majority(given: Mapping[str, Any]) -> Answer:
    found = voters.formalized_majority(given["values"], given["epsilon"])
    group = sorted(given["values"])[int(found.first) : int(found.last) + 1]
    return _known(
        found.output,
        "no group within epsilon has more than half of the channels",
        group=group,
        output=found.output,
    )


def _median(given: Mapping[str, Any]) -> Answer:
    found = voters.median(given["values"], given.get("t"))
    return found if isinstance(found, Refused) else {"output": found}


def _history(given: Mapping[str, Any]) -> Answer:
    found = voters.history_weighted_average(given["rounds"], given["epsilon"], given.get("elimination", True))
    if isinstance(found, Refused):
        return found
    outputs = [None if np.isnan(each) else float(each) for each in found.outputs]
    return {"outputs": outputs, "final_reliability": found.final_reliability}


def _marzullo(given: Mapping[str, Any]) -> Answer:
    found = intervals.marzullo(given["intervals"], given.get("f"))
    if isinstance(found, Refused):
        return found
    reason = f"only {int(found.best)} intervals meet"
    return _known(found.interval, reason, best=found.best, interval=found.interval)


def _fault_tolerant(given: Mapping[str, Any]) -> Answer:
    found = intervals.fault_tolerant_intersection(given["intervals"], given["f"])
    return (
        found if isinstance(found, Refused) else _known(found, "no point is in enough intervals", interval=found)
    )


def _ntp(given: Mapping[str, Any]) -> Answer:
    found = intervals.ntp_select(given["sources_offset_rootdist"])
    return _known(
        found.interval,
        "no majority of the sources agrees",
        falsetickers_allowed=found.falsetickers_allowed,
        interval=found.interval,
        midpoints_inside=_indices(found.midpoints_inside),
    )


def _chrony(given: Mapping[str, Any]) -> Answer:
    found = intervals.chrony_select(given["intervals"])
    reason = f"only {int(found.depth)} of {len(given['intervals'])} intervals meet, not more than half"
    selected = _indices(found.selected)
    return _known(found.interval, reason, depth=found.depth, interval=found.interval, selected=selected)


def _brooks_iyengar(given: Mapping[str, Any]) -> Answer:
    found = intervals.brooks_iyengar(given["values"], given["t"])
    if isinstance(found, Refused):
        return found
    regions = intervals.brooks_iyengar_regions(given["values"], given["t"])
    return _known(
        found.value,
        "no region is in enough intervals",
        value=found.value,
        interval=found.interval,
        regions=[[[region.low, region.high], region.covering] for region in regions],
    )


def _crusader(given: Mapping[str, Any]) -> Answer:
    found = approximate.crusader_convergence_average(given["values"], given["t"], given["delta"])
    return found if isinstance(found, Refused) else _known(found, "no value is near enough others", value=found)


def _interactive(given: Mapping[str, Any]) -> Answer:
    found = approximate.interactive_convergence(given["values"], given["own"], given["delta"], given.get("t"))
    return found if isinstance(found, Refused) else {"value": found}


def _geometric_median(given: Mapping[str, Any]) -> Answer:
    found = vectors.geometric_median(given["points"], given.get("f"))
    return found if isinstance(found, Refused) else {"point": found}


def _krum(given: Mapping[str, Any]) -> Answer:
    found = vectors.krum(given["points"], given["f"])
    return found if isinstance(found, Refused) else {"index": found.chosen, "scores": found.scores}


def _trimmed_mean(given: Mapping[str, Any]) -> Answer:
    found = vectors.coordinate_trimmed_mean(given["points"], given["trim"])
    return found if isinstance(found, Refused) else {"point": found}


def _safe_area(given: Mapping[str, Any]) -> Answer:
    from quorum.voting.safe_area import byzantine_vector_safe_area

    return _named(byzantine_vector_safe_area(given["points"], given["f"]))


def _covariance_intersection(given: Mapping[str, Any]) -> Answer:
    estimates = (given["x1"], given["P1"], given["x2"], given["P2"])
    return _named(fusion.covariance_intersection(*estimates, given.get("criterion", "trace")))


def _px4(given: Mapping[str, Any]) -> Answer:
    least = given.get("min_regular_confidence", gates.MIN_REGULAR_CONFIDENCE)
    found = gates.px4_data_validator_group(given["current"], given["confidence"], given["priority"], least)
    return found if isinstance(found, Refused) else {"selected": found}


def _modified_z_score(given: Mapping[str, Any]) -> Answer:
    found = gates.modified_z_score(given["values"], given.get("cut", 3.5))
    return {"outliers": _indices(found.outliers), "median": found.median, "mad": found.mad}


def _wheat(given: Mapping[str, Any]) -> Answer:
    """In the units of the paper, where the light nodes weigh 1."""
    scheme = wheat(given["f"], given["delta"], "byzantine")
    return {
        "n": scheme.n,
        "vmax": scheme.vmax / scheme.scale,
        "vmin": scheme.vmin / scheme.scale,
        "n_vmax": scheme.n_vmax,
        "quorum_weight": scheme.quorum_weight / scheme.scale,
        "smallest": scheme.smallest,
        "largest": scheme.largest,
    }


def _named(found: Any) -> Answer:
    """A named tuple by its names; a refusal as it is."""
    return found if isinstance(found, Refused) else dict(found._asdict())


def _of(function: Callable[..., Any], *keys: str) -> Callable[[Mapping[str, Any]], Answer]:
    """A rule whose answer has the names of the output already."""
    return lambda given: _named(function(*(given[key] for key in keys if key in given)))


def _one(name: str, function: Callable[..., Any], *keys: str) -> Callable[[Mapping[str, Any]], Answer]:
    """A rule with one output, which is always there."""
    return lambda given: {name: function(*(given[key] for key in keys if key in given))}


def _pfd(given: Mapping[str, Any]) -> Answer:
    return reliability.pfdavg_simplified(given["lambda_du_per_h"], given["proof_test_h"], given.get("beta", 0.0))


_RULES = (
    Algorithm("exact_majority", {"values": read.labels}, "output", _exact_majority),
    Algorithm(
        "formalized_majority",
        {"values": read.numbers, "epsilon": read.number},
        "group, output",
        _formalized_majority,
    ),
    Algorithm("plurality", {"values": read.labels, "k": read.count}, "output", _plurality),
    Algorithm(
        "k_out_of_n_vote",
        {"k": read.count, "votes": read.votes},
        "trip",
        _one("trip", voters.k_out_of_n_vote, "votes", "k"),
    ),
    Algorithm("median", {"values": read.numbers, "t?": read.count}, "output", _median),
    Algorithm(
        "weighted_average",
        {"values": read.numbers, "weights": read.numbers},
        "output",
        _one("output", voters.weighted_average, "values", "weights"),
    ),
    Algorithm(
        "lorczak_weighted_average",
        {"values": read.numbers, "a": read.number},
        "weights, output",
        _of(voters.lorczak_weighted_average, "values", "a"),
    ),
    Algorithm(
        "history_weighted_average",
        {"rounds": read.rounds, "epsilon": read.number, "elimination?": read.flag},
        "outputs, final_reliability",
        _history,
    ),
    Algorithm(
        "optimal_weighted_majority",
        {"competence": read.numbers},
        "simple_majority, log_odds_weights, log_odds_accuracy",
        _of(reliability.optimal_weighted_majority, "competence"),
    ),
    Algorithm("marzullo", {"intervals": read.pairs, "f?": read.count}, "best, interval", _marzullo),
    Algorithm(
        "marzullo_fault_tolerant_intersection",
        {"intervals": read.pairs, "f": read.count},
        "interval",
        _fault_tolerant,
    ),
    Algorithm(
        "ntp_select",
        {"sources_offset_rootdist": read.pairs},
        "falsetickers_allowed, interval, midpoints_inside",
        _ntp,
    ),
    Algorithm("chrony_select", {"intervals": read.pairs}, "depth, interval, selected", _chrony),
    Algorithm(
        "brooks_iyengar",
        {"values": read.pairs, "t": read.count},
        "value, interval, regions",
        _brooks_iyengar,
    ),
    Algorithm(
        "approximate_agreement_step",
        {"values": read.numbers, "t": read.count, "select_every?": read.count},
        "value, convergence_factor_c",
        _of(approximate.approximate_agreement_step, "values", "t", "select_every"),
    ),
    Algorithm(
        "crusader_convergence_average",
        {"values": read.numbers, "t": read.count, "delta": read.number},
        "value",
        _crusader,
    ),
    Algorithm(
        "interactive_convergence",
        {"values": read.numbers, "own": read.count, "delta": read.number, "t?": read.count},
        "value",
        _interactive,
    ),
    Algorithm(
        "w_msr_step",
        {
            "own": read.number,
            "neighbours": read.numbers,
            "F": read.count,
            "weights?": read.equal_or_numbers,
        },
        "value",
        _one("value", approximate.w_msr_step, "own", "neighbours", "F", "weights"),
    ),
    Algorithm("geometric_median", {"points": read.table, "f?": read.count}, "point", _geometric_median),
    Algorithm("coordinate_trimmed_mean", {"points": read.table, "trim": read.count}, "point", _trimmed_mean),
    Algorithm("krum", {"points": read.table, "f": read.count}, "index, scores", _krum),
    Algorithm(
        "multi_krum",
        {"points": read.table, "f": read.count, "m": read.count},
        "point, indices, scores",
        _of(vectors.multi_krum, "points", "f", "m"),
    ),
    Algorithm(
        "byzantine_vector_safe_area",
        {"points": read.table, "f": read.count},
        "safe_area_point, min_n_sync, min_n_async_approx",
        _safe_area,
    ),
    Algorithm(
        "inverse_variance",
        {"values": read.numbers, "variances": read.numbers},
        "value, variance",
        _of(fusion.inverse_variance, "values", "variances"),
    ),
    Algorithm(
        "covariance_intersection",
        {
            "x1": read.vector,
            "P1": read.matrix,
            "x2": read.vector,
            "P2": read.matrix,
            "criterion?": read.criterion,
        },
        "omega, x, P",
        _covariance_intersection,
    ),
    Algorithm(
        "dempster_rule",
        {"m1": read.masses, "m2": read.masses, "conflict_limit?": read.number},
        "masses, conflict",
        _of(fusion.dempster_rule, "m1", "m2", "conflict_limit"),
    ),
    Algorithm(
        "modified_z_score",
        {"values": read.numbers, "cut?": read.number},
        "outliers, median, mad",
        _modified_z_score,
    ),
    Algorithm(
        "px4_data_validator_group",
        {
            "current": read.channel,
            "confidence": read.numbers,
            "priority": read.numbers,
            "min_regular_confidence?": read.number,
        },
        "selected",
        _px4,
    ),
    Algorithm(
        "k_of_n_reliability",
        {"n": read.count, "k": read.count, "r": read.number, "beta?": read.number},
        "reliability",
        _one("reliability", reliability.k_of_n_reliability, "n", "k", "r", "beta"),
    ),
    Algorithm(
        "pfdavg_simplified",
        {"lambda_du_per_h": read.number, "proof_test_h": read.number, "beta?": read.number},
        "1oo1, 1oo2, 2oo2, 2oo3, 1oo3",
        _pfd,
    ),
    Algorithm(
        "phi_accrual_normal",
        {"elapsed_ms": read.number, "mean_ms": read.number, "std_ms": read.number},
        "phi",
        _one("phi", silence.phi_accrual_normal, "elapsed_ms", "mean_ms", "std_ms"),
    ),
    Algorithm(
        "phi_accrual_exponential",
        {"elapsed_ms": read.number, "mean_ms": read.number},
        "phi",
        _one("phi", silence.phi_accrual_exponential, "elapsed_ms", "mean_ms"),
    ),
    Algorithm(
        "wheat_weights",
        {"f": read.count, "delta": read.count},
        "n, vmax, vmin, n_vmax, quorum_weight, smallest, largest",
        _wheat,
    ),
)
ALGORITHMS: Mapping[str, Algorithm] = {rule.name: rule for rule in _RULES}
