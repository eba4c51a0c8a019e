"""`quorum ballot`, the rest: rounds, the end, certificates, and programs that vote."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from quorum.apps.ballot_state import VOTING
from quorum.certificate.ballot_audit import verify_ballot
from quorum.certificate.ballot_forms import encode_ballot, shown_ballot
from quorum.console.ballot_identity import check_identity, identity_of
from quorum.console.ballot_shown import (
    certificate_line,
    opinion_text,
    phase_text,
    standing_text,
    view_fields,
)
from quorum.console.command import AnswerNo, command, plain, print_json, with_cluster
from quorum.console.documents import write_whole
from quorum.console.inquiry import hold_client, run_client
from quorum.errors import ConfigurationError, QuorumError
from quorum.runtime.config import find_config
from quorum.runtime.connect import at_config

if TYPE_CHECKING:
    from quorum.apps.ballot import Adapted, BallotView
    from quorum.certificate.ballot import BallotCertificate
    from quorum.runtime.ballot_voter import Voted
    from quorum.runtime.client import Client


@command("adapt", "quorum ballot adapt release --evict client.bob --enlist client.dan")
@click.argument("name")
@click.option("--evict", multiple=True, help="A silent participant; again for each.")
@click.option("--enlist", multiple=True, help="A standby; again for each.")
@with_cluster
def adapt(
    name: str,
    evict: tuple[str, ...],
    enlist: tuple[str, ...],
    config: Path | None,
    timeout: float,
    as_json: bool,
) -> None:
    """Begin another round of the ballot NAME, without some who are silent, with some who stand by.

    The votes of those who stay count on. An option that alone can have won the round before is locked: nothing
    else can win any more.
    """
    adapted: Adapted = run_client(config, timeout, lambda client: client.ballot.adapt(name, evict, enlist))
    if as_json:
        print_json(shown_ballot(adapted))
        return
    click.echo(f"round {adapted.number}: {', '.join(map(plain, adapted.round.participants))}")
    if adapted.round.locked is not None:
        click.echo(f"locked: only {plain(adapted.round.locked)!r} can win")
    click.echo(standing_text(adapted.standing, VOTING))


@command("close", "quorum ballot close release --certificate release.json")
@click.argument("name")
@click.option("--certificate", "file", type=click.Path(path_type=Path), help="Write the certificate here.")
@with_cluster
def close(name: str, file: Path | None, config: Path | None, timeout: float, as_json: bool) -> None:
    """Let no more votes come in the ballot NAME. Exit 1 if nothing is decided."""

    async def act(client: Client) -> BallotView:
        view = await client.ballot.close(name)
        if file is not None and view.outcome is not None:
            _write(file, await client.ballot.certificate(name))
        return view

    view: BallotView = run_client(config, timeout, act)
    if as_json:
        print_json(view_fields(view))
    else:
        click.echo(standing_text(view.standing, view.phase))
    if file is not None and view.outcome is None:
        again = f"quorum ballot certificate {name} -o {file}"
        click.echo(f"opinions are being revealed first; write the certificate after that: {again}", err=True)
    if view.standing.state == "lost":
        raise AnswerNo


@command("watch", "quorum ballot watch release")
@click.argument("name")
@with_cluster
def watch(name: str, config: Path | None, timeout: float, as_json: bool) -> None:
    """Follow the ballot NAME until it has ended. Exit 1 if it was lost. With --json, a line for each change."""

    async def act(client: Client) -> BallotView:
        shown = None
        async for view in client.ballot.watch(name):
            shown = view
            if as_json:
                print_json(view_fields(view))
            else:
                click.echo(
                    f"{phase_text(view.phase, len(view.rounds))}; {standing_text(view.standing, view.phase)}"
                )
        assert shown is not None, "a watch shows how it ended"
        return shown

    last = hold_client(config, timeout, act)
    if last is not None and last.standing.state == "lost":
        raise AnswerNo


@command("certificate", "quorum ballot certificate release -o release.json")
@click.argument("name")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="[default: standard output]")
@with_cluster
def certificate(name: str, output: Path | None, config: Path | None, timeout: float, as_json: bool) -> None:
    """Write the certificate of the ballot NAME, which has ended, for `quorum verify`."""
    found: BallotCertificate = run_client(config, timeout, lambda client: client.ballot.certificate(name))
    if output is None:
        _check(found)
        click.echo(encode_ballot(found))
        return
    _write(output, found)
    if as_json:
        print_json({"name": name, "certificate": str(output)})
    else:
        click.echo(f"{certificate_line(found)}; written to {output}")


@command("attend", "quorum ballot attend --as client.ann --webhook http://127.0.0.1:8080/vote")
@click.option("--as", "voter", required=True, help="As whom to vote.")
@click.option("--webhook", help="Ask this URL: it answers a ballot with an opinion.")
@click.option("--call", help="Ask this Python callable: MODULE:FUNCTION.")
@click.option("--always", help="Give this opinion in every ballot.")
@click.option("--webhook-timeout", type=float, default=10.0, help="Seconds that the URL may take.")
@with_cluster
def attend(
    voter: str,
    webhook: str | None,
    call: str | None,
    always: str | None,
    webhook_timeout: float,
    config: Path | None,
    timeout: float,
    as_json: bool,
) -> None:
    """Vote in every ballot in which a voter is asked, until SIGINT or SIGTERM. Run one beside each node.

    A webhook gets the ballot as JSON by POST, and answers {"opinion": ...}; null, or status 204, gives no vote.
    One that fails is asked again. A callable gets the ballot as an object, and returns an opinion or None; it may
    be a coroutine function.
    """
    from quorum.runtime.ballot_voter import always_say, callable_named, said_by, vote_always
    from quorum.runtime.webhook import Webhook

    if len([each for each in (webhook, call, always) if each is not None]) != 1:
        raise click.UsageError("one of --webhook, --call and --always says what to vote. Give exactly one.")
    if webhook is not None:
        decide = said_by(Webhook(webhook, webhook_timeout))
    else:
        decide = callable_named(call) if call is not None else always_say(always or "")

    def told(voted: Voted) -> None:
        if as_json:
            print_json({"ballot": voted.ballot, "opinion": voted.opinion, "problem": voted.problem})
        elif voted.problem:
            click.echo(f"{plain(voted.ballot)}: no vote: {plain(voted.problem)}", err=True)
        else:
            click.echo(f"{plain(voted.ballot)}: {opinion_text(voted.opinion)}")

    async def act(client: Client) -> None:
        await vote_always(client.ballot, voter, decide, told)

    check_identity(voter, config)
    click.echo(f"{plain(voter)} votes by {plain(webhook or call or repr(always))}; SIGINT ends it", err=True)
    hold_client(config, timeout, act, identity=identity_of(voter, config))


@command("forget", "quorum ballot forget release")
@click.argument("name")
@with_cluster
def forget(name: str, config: Path | None, timeout: float, as_json: bool) -> None:
    """Let the ballot NAME, which has ended, be gone, so that its name is free. Exit 1 if there was none."""
    existed: bool = run_client(config, timeout, lambda client: client.ballot.forget(name))
    if as_json:
        print_json({"name": name, "existed": existed})
    else:
        click.echo(f"{name} is forgotten" if existed else f"there was no ballot {name!r}", err=True)
    if not existed:
        raise AnswerNo


@command("key", "quorum ballot key")
@click.option(
    "--config", type=click.Path(path_type=Path), help="The cluster.toml, beside whose keys folder it is."
)
def key(config: Path | None, as_json: bool) -> None:
    """Print this client as a voter with a key: NAME:KEY, for `quorum ballot open --voter`. QUORUM_IDENTITY says
    which client it is."""
    place = at_config(find_config(config))
    signer = place.own_signer()
    if signer is None:
        raise ConfigurationError(
            "the key of a voter was asked for, but no client with a signing key is here. Give --config with a "
            "cluster that has a keys folder."
        )
    name = place.identity or signer.node
    if as_json:
        print_json({"name": name, "key": signer.public_key.hex()})
    else:
        click.echo(f"{name}:{signer.public_key.hex()}")


def _check(found: BallotCertificate) -> None:
    verdict = verify_ballot(found)
    if not verdict.valid:
        raise QuorumError(
            f"a certificate was given, but it does not hold: {' '.join(verdict.reasons)} Ask another node."
        )


def _write(file: Path, found: BallotCertificate) -> None:
    _check(found)
    write_whole(file, encode_ballot(found) + b"\n", "the certificate", "The decision stands; name another file.")
