"""`quorum recover`: a cluster that has lost its quorum for good goes on from one survivor."""

from __future__ import annotations

import asyncio
import getpass
import os
import platform
import time
from pathlib import Path
from typing import Any

import click

from quorum.console.command import CONFIG, AnswerNo, command, plain, print_json, seconds_option
from quorum.console.inquiry import STATUS_TIMEOUT_S, Answers, answering, ask_all, discreet
from quorum.console.modes import crash_only
from quorum.console.recovered import recovered_line
from quorum.console.recovery_plan import draw_plan, plan_facts
from quorum.console.verify_data import progress_bar, unlogged
from quorum.errors import ConfigurationError, QuorumError, RequestRefused
from quorum.membership.recovery import faults_after, number_of
from quorum.membership.survivors import Assessment, Survivor, assess, newest_incarnation
from quorum.model import Recovery
from quorum.runtime.config import ClusterConfig, load_cluster
from quorum.runtime.connect import at_config
from quorum.runtime.recovery import finish_recovery, new_identity, recover_cluster
from quorum.runtime.survey import data_folders, survey

LIARS = (
    "one survivor's word proves nothing: it may lie about what was decided, and no quorum is left to vouch for it",
    "Bring members back until a quorum of the committee runs. If they are lost for good, begin a new cluster with "
    "a genesis of its own, and put into it what a backup or the members' certificates prove",
)
STEPS = {
    "copied": "the data folder of the survivor is copied",
    "entered": "its state begins the new incarnation",
    "logged": "the recovery is in the log",
    "filed": "cluster.toml names the new incarnation",
}


@command("recover", "quorum recover --dry-run")
@CONFIG
@click.option(
    "--data",
    "folders",
    type=click.Path(path_type=Path),
    multiple=True,
    help="A further data folder, as one brought here from another machine. May be repeated.",
)
@click.option("--dry-run", is_flag=True, help="Show what would be done, and change nothing.")
@click.option("--faults", type=click.IntRange(0), help="T, the losses to be tolerated.  [default: as before]")
@click.option("--yes", is_flag=True, help="Do not ask whether to go on.")
@click.option("--by", help="Who does this, for the record.  [default: user@host]")
@seconds_option("--timeout", STATUS_TIMEOUT_S, "Seconds to wait for the answers of nodes that run.")
def recover(
    config: Path | None,
    folders: tuple[Path, ...],
    dry_run: bool,
    faults: int | None,
    yes: bool,
    by: str | None,
    timeout: float,
    as_json: bool,
) -> None:
    """Let a cluster that lost its quorum for good go on from one survivor, the most advanced one. In crash mode.

    What a lost quorum acknowledged beyond that survivor's log is lost. The survivor becomes the only voter of a
    new incarnation of the cluster; all others are given up, and refused if they come back. T stays as it was, and
    is borne as far as new members allow. Exit 1 where a quorum decides, or would if its nodes were started.
    """
    path = crash_only(config, "the cluster was to be recovered from one survivor", LIARS)
    if as_json and not (yes or dry_run):
        raise click.UsageError("--json was given, but then nobody can be asked. Give --yes, or --dry-run.")
    cluster = load_cluster(path)
    answers = asyncio.run(ask_all(at_config(path), timeout))
    if discreet(answers):
        raise RequestRefused(discreet(answers)[0].reason)
    found = _look(path, cluster, answers, folders, as_json)
    begun = _begun(found, cluster)
    if begun is not None:
        _check_entered(begun, faults)
        _finish(path, cluster, begun, dry_run, yes, as_json)
        return
    assessment = _assess(found, answers, cluster)
    following = faults_after(assessment.best.configuration, faults)
    plan = (cluster, assessment, found, answers, following)
    if not as_json:
        draw_plan(*plan)
    if dry_run:
        if as_json:
            print_json(plan_facts(*plan) | {"recovered": None, "copy": None})
        else:
            click.echo("nothing was changed")
        return
    _refuse_running(found)
    cluster.member(assessment.best.node)
    _confirm(cluster, yes)
    recovery = _recovery(assessment, by)
    copy = recover_cluster(path, Path(assessment.best.place), recovery, _teller(as_json), faults=faults)
    if as_json:
        print_json(plan_facts(*plan) | {"recovered": recovery, "copy": str(copy)})
        return
    click.echo(plain(recovered_line(recovery)))
    click.echo(f"what the data folder of {recovery.survivor} was before is in {copy}: keep it until all is well")
    _say_next(path, recovery)


def _look(
    path: Path, cluster: ClusterConfig, answers: Answers, further: tuple[Path, ...], quiet: bool
) -> list[Survivor]:
    folders = [*data_folders(path).items(), *(("", folder) for folder in further)]
    with unlogged(), progress_bar("reading data folders", quiet) as progress:
        return survey(cluster.cluster_id, answering(answers), folders, progress)


def _assess(found: list[Survivor], answers: Answers, cluster: ClusterConfig) -> Assessment:
    """What is left, judged. Raises QuorumError where a quorum decides, or would."""
    for status in answering(answers):
        if status.leader is not None:
            who = "leads" if status.leads else f"follows {status.leader}"
            raise QuorumError(
                f"{cluster.cluster_id} was to be recovered from one survivor, but it has a quorum: {status.node} "
                f"runs and {who}. Nothing was changed. Use the cluster as it is, and evict who is lost. If "
                "the others went just now, retry in a moment."
            )
    assessment = assess(found)
    if assessment.enough:
        names = ", ".join(assessment.enough)
        raise QuorumError(
            f"{cluster.cluster_id} was to be recovered from one survivor, but it has not lost its quorum: {names} "
            f"{'is' if len(assessment.enough) == 1 else 'are'} enough to decide, and lose nothing. Nothing was "
            "changed. Start them (quorum up, or quorum node on their machines); then evict who is lost."
        )
    return assessment


def _refuse_running(found: list[Survivor]) -> None:
    running = [each for each in found if each.runs]
    if running:
        told = ", ".join(f"{each.node} at {each.place}" for each in running)
        raise QuorumError(
            f"the cluster was to be recovered, but {told} still runs, and must not meet what is made now. Nothing "
            "was changed. Stop what runs (quorum down, or there), and run this where the data folder of the most "
            "advanced one is, or name a copy by --data."
        )


def _confirm(cluster: ClusterConfig, yes: bool) -> None:
    if yes:
        return
    typed = click.prompt(f"To go on, type the name of the cluster, {cluster.cluster_id}", err=True)
    if typed.strip() != cluster.cluster_id:
        click.echo("that is another name: nothing was changed", err=True)
        raise AnswerNo


def _recovery(assessment: Assessment, by: str | None) -> Recovery:
    best = assessment.best
    return Recovery(
        number=number_of(best.configuration.incarnation) + 1,
        identity=new_identity(),
        survivor=best.node,
        index=best.last_index,
        term=best.last_term,
        given_up=assessment.given_up,
        by=plain(by or f"{_user()}@{platform.node()}", 200),
        at_us=time.time_ns() // 1000,
    )


def _user() -> str:
    """Who runs this: a container may run it as a number that has no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"user {os.getuid()}"


def _teller(quiet: bool) -> Any:
    return lambda step: None if quiet else click.echo(STEPS[step])


def _say_next(path: Path, recovery: Recovery) -> None:
    click.echo(f"Next: start {recovery.survivor} (quorum up, or quorum node), then admit nodes under new names:")
    click.echo(f"quorum admit. Copy {path} to every machine that has an older one.")


# One that was begun before.


def _check_entered(begun: Survivor, faults: int | None) -> None:
    """Raise ConfigurationError where another T is asked for than was entered."""
    entered = begun.configuration.faults
    if faults not in (None, entered):
        raise ConfigurationError(
            f"--faults {faults} was given, but the recovery was begun with T={entered}. Leave it out; once the "
            f"cluster runs, say quorum policy set {begun.configuration.policy} --faults {faults}."
        )


def _begun(found: list[Survivor], cluster: ClusterConfig) -> Survivor | None:
    """Who is of a later incarnation than cluster.toml: a recovery was cut short, or done with another file."""
    later = [
        each
        for each in newest_incarnation(found)
        if number_of(each.configuration.incarnation) > number_of(cluster.incarnation)
    ]
    for each in later:
        recovery = each.configuration.recovered
        if recovery is not None and each.node == recovery.survivor:
            return each
    return later[0] if later else None


def _finish(path: Path, cluster: ClusterConfig, begun: Survivor, dry_run: bool, yes: bool, as_json: bool) -> None:
    recovery = begun.configuration.recovered
    assert recovery is not None, "a later incarnation than the first began with a recovery"
    facts = {"cluster": cluster.cluster_id, "faults": begun.configuration.faults}
    if not as_json:
        click.echo(plain(recovered_line(recovery)))
        click.echo(f"that is not written in {path} yet, and is what is left to do")
    if dry_run:
        if as_json:
            print_json(facts | {"recovered": None, "begun": recovery})
        else:
            click.echo("nothing was changed")
        return
    _confirm(cluster, yes)
    is_here = begun.node == recovery.survivor and not begun.runs
    finish_recovery(path, Path(begun.place) if is_here else None, recovery, _teller(as_json))
    if as_json:
        print_json(facts | {"recovered": recovery, "begun": recovery})
    else:
        _say_next(path, recovery)
