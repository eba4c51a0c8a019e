"""What `quorum simulate` and `quorum replay` ask of a run: the fields of the two plans, as options."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import click
import msgspec

from quorum.console.command import Decorated
from quorum.errors import ConfigurationError
from quorum.sim.adversary import BEHAVIOURS, DRAWN
from quorum.sim.byzantine_campaign import ByzantinePlan, behaviours_of
from quorum.sim.campaign import Plan, configuration_of
from quorum.sim.faults import ALL_FAULTS, FAULTS, LEASE_FAULTS
from quorum.systems.build import build

MODELS: Final[dict[str, type[Plan] | type[ByzantinePlan]]] = {"crash": Plan, "byzantine": ByzantinePlan}

_ABOUT = {
    "nodes": "Nodes n1, n2, ...",
    "seconds": "Simulated seconds; the last ones are calm.",
    "clients": "Clients, each with one session.",
    "in_flight": "Operations that each client has open at once.",
    "pause_ms": "A client's mean pause between operations, for each that it may have open.",
    "reads": 'Which nodes elect, such as "choose(3, n1, n2, n3, n4)".',
    "writes": "Which nodes commit; one side alone: the other follows.",
    "stale": "Any node answers reads: the history must be refuted.",
    "snapshot_entries": "Applied entries that make a snapshot.",
    "wire": "Messages travel as bytes.",
    "disk": "Nodes keep the production log on a simulated disk.",
    "message_entries": "Entries in one message, at most.",
    "spares": "More nodes, which an operator admits, evicts and replaces all the time.",
    "witnesses": "So many of the spare nodes are witnesses.",
    "churn_ms": "The operator's mean pause between changes.",
    "policy": "How the committee follows who is well: fixed, adaptive or participation (T = (N-1)/2).",
    "hold_ms": "How long a member must be badly seen before a policy puts it out of the vote, and well to return.",
    "restless": "Links become longer and shorter all the time, and weights follow them (crash: T = 1).",
    "lease": "A leader serves reads by leases; clocks must keep to --faults drift.",
    "faults_at_once": "How many faults may overlap.",
    "patience_ms": "How long a client waits for a silent node.",
    "liars": "So many members lie; all that may, unless told.",
    "state_blocks": "Blocks after which the state is certified.",
    "real": "Ed25519 signatures instead of the simulator's tokens.",
    "sync_us": "How long a sync of the disk takes, about.",
    "weights": 'The members\' votes, such as "2,2,2,1".',
    "quorums": 'Which members decide, such as "choose(4, n1, n2, n3, n4, n5) + n1*n2*n3".',
    "adaptive": "Members evict and readmit each other by themselves.",
    "verify_us": "How long checks of signatures take at most; 0: none.",
}
_SPECIAL = ("seed", "keep", "faults", "lies")
_LEAST_0 = ("spares", "witnesses", "liars", "verify_us")

_DEFAULTS = {
    model: {field.name: field.default for field in msgspec.structs.fields(plan)} for model, plan in MODELS.items()
}


def plan_options(function: Decorated) -> Decorated:
    """The options of both plans. None, or no flag: the default of the plan that `--model` chooses."""
    fields = {field.name: field for plan in MODELS.values() for field in msgspec.structs.fields(plan)}
    for name, field in reversed(fields.items()):
        if name not in _SPECIAL:
            is_flag = field.type is bool
            function = click.option(
                _option(name),
                is_flag=is_flag,
                type=None if is_flag else (str if field.type is str else int),
                default=False if is_flag else None,
                help=_ABOUT[name] + _of_model(name) + ("" if is_flag else _shown_default(name)),
            )(function)
    lies = f"Byzantine: what liars do: all, none, or of: {', '.join(sorted(BEHAVIOURS))}.  [default: all]"
    function = click.option("--lies", help=lies)(function)
    faults = f"all, none, or of: {', '.join(sorted(FAULTS))}."
    function = click.option("--faults", default="all", help=faults)(function)
    model = "Whether nodes crash, or up to (N-1)/3 of them lie as well."
    return click.option("--model", type=click.Choice(tuple(MODELS)), default="crash", help=model)(function)


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _of_model(name: str) -> str:
    """Which model has the option, where not both do."""
    having = [model for model, fields in _DEFAULTS.items() if name in fields]
    return f" ({having[0]} only)" if len(having) < len(MODELS) else ""


def _shown_default(name: str) -> str:
    usual = [fields[name] for fields in _DEFAULTS.values() if fields.get(name) not in ("", None)]
    if not usual:
        return ""
    crash, byzantine = usual[0], usual[-1]
    return f"  [default: {crash}]" if crash == byzantine else f"  [default: {crash}; byzantine: {byzantine}]"


def plan_of(
    seed: int, faults: str, model: str = "crash", lies: str | None = None, **given: Any
) -> Plan | ByzantinePlan:
    """The plan that the options describe; an option that is None or False keeps its default.

    Raises ConfigurationError for a plan that cannot run, and for options that the model does not have.
    """
    asked = {name: value for name, value in given.items() if value is not None and value is not False}
    if lies is not None:
        asked["lies"] = chosen(lies, "lie", DRAWN, BEHAVIOURS)
    for name in asked:
        if name not in _DEFAULTS[model]:
            raise ConfigurationError(
                f"{_option(name)} was given with --model {model}, but runs of that model have no such option. "
                "Leave it out, or choose the other model."
            )
    for name, value in asked.items():
        least = 0 if name in _LEAST_0 else 1
        if type(value) is int and name not in _SPECIAL and value < least:
            raise ConfigurationError(
                f"{_option(name)} {value} was asked for, but it must be at least {least}. Give {least} or more."
            )
    keep, kinds = given.get("keep", 0), chosen(faults, "fault", ALL_FAULTS, FAULTS)
    if model == "byzantine":
        plan = ByzantinePlan(seed=seed, faults=kinds, **asked | {"keep": keep})
        behaviours_of(plan)
        return plan
    return _checked(Plan(seed=seed, faults=kinds, **asked | {"keep": keep}))


def _checked(plan: Plan) -> Plan:
    if plan.lease and "clock" in plan.faults:
        raise ConfigurationError(
            "--lease was asked for together with clocks that jump and race, for which no lease is safe. Name the "
            f"faults: --faults {','.join(LEASE_FAULTS)}."
        )
    build(configuration_of(plan))
    return plan


def chosen(text: str, what: str, usual: tuple[str, ...], known: Sequence[str] | dict[str, Any]) -> tuple[str, ...]:
    """The faults or lies that `all`, `none` or a comma-separated list names. Raises ConfigurationError."""
    if text in ("all", "none"):
        return usual if text == "all" else ()
    kinds = tuple(part.strip() for part in text.split(","))
    unknown = [kind for kind in kinds if kind not in known]
    if unknown:
        raise ConfigurationError(
            f"the {what} {unknown[0]!r} was asked for, but it is not known. "
            f"Choose from: {', '.join(sorted(known))}, or write all or none."
        )
    return kinds
