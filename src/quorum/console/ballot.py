"""`quorum ballot`: ask voters, and decide by what they say."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, get_args

import click

from quorum.certificate.ballot_forms import shown_ballot
from quorum.console.ballot_identity import identity_of
from quorum.console.ballot_read import electorate_in, voter_of
from quorum.console.ballot_shown import line_text, standing_text, view_fields, view_lines
from quorum.console.command import AnswerNo, Group, command, print_json, with_cluster
from quorum.console.inquiry import run_client
from quorum.console.rules import RULES, rule_in
from quorum.errors import ConfigurationError
from quorum.runtime.ballot_arguments import opinion_in
from quorum.voting.ballot.terms import Kind

if TYPE_CHECKING:
    from quorum.apps.ballot import BallotLine, BallotView
    from quorum.runtime.ballot_client import Receipt
    from quorum.runtime.client import Client
    from quorum.voting.ballot.standing import Standing

KINDS = click.Choice(get_args(Kind))
VOTER = click.option("--as", "voter", help="As whom; its keys are used, if here.  [default: who this client is]")


@click.group(cls=Group, epilog="Example: quorum ballot open release --question 'Ship it?' --voter client.admin")
def ballot() -> None:
    """Ask voters, and decide by what they say: opinions with weights, numbers, secrets, certificates.

    See docs/ballots.md.
    """


@command("open", "quorum ballot open release --question 'Ship 7.0?' --voter client.admin --voter client.ann")
@click.argument("name")
@click.option("--question", required=True, help="What is asked.")
@click.option("--voter", "voters", multiple=True, help="NAME[=WEIGHT][:KEY]; again for each voter.")
@click.option(
    "--electorate",
    type=click.Path(path_type=Path),
    help='A JSON file: [{"name": ..., "weight": 2, "key": ...}, ...].',
)
@click.option("--kind", type=KINDS, default="approval", help="What an opinion is.")
@click.option("--option", "options", multiple=True, help="An option of a choice; again for each.")
@click.option("--axes", type=int, default=0, help="How many numbers a vector has.")
@click.option("--rule", default="majority", help=RULES)
@click.option("--faults", type=int, default=0, help="How many voters may be silent or lie (T).")
@click.option("--participants", type=int, default=0, help="How many vote at a time; 0: all.")
@click.option("--deadline", type=float, default=0.0, help="Seconds until it ends by itself; 0: never.")
@click.option("--round-time", type=float, default=0.0, help="Seconds until the silent are replaced; 0: never.")
@click.option("--reveal-time", type=float, default=0.0, help="Of a secret ballot: seconds to reveal opinions.")
@click.option("--changeable", is_flag=True, help="Votes may be changed until the end.")
@click.option("--secret", is_flag=True, help="Opinions are hidden until all have voted.")
@click.option("--transferable", is_flag=True, help="The voters' signatures alone prove the decision.")
@click.option("--operator", "operators", multiple=True, help="Who may adapt and close it, too; again for each.")
@with_cluster
def open_(
    name: str,
    question: str,
    voters: tuple[str, ...],
    electorate: Path | None,
    kind: str,
    options: tuple[str, ...],
    axes: int,
    rule: str,
    faults: int,
    participants: int,
    deadline: float,
    round_time: float,
    reveal_time: float,
    changeable: bool,
    secret: bool,
    transferable: bool,
    operators: tuple[str, ...],
    config: Path | None,
    timeout: float,
    as_json: bool,
) -> None:
    """Open the ballot NAME. The same terms again change nothing.

    With TLS a voter's name is the name of its certificate, such as client.ann: `quorum keys issue ann`. Where
    members may lie, and wherever votes are to be signed, give its key: NAME:KEY, as `quorum ballot key` prints it.
    """
    decided_by = rule_in(rule, faults if rule == "byzantine" else None)

    async def act(client: Client) -> BallotView:
        found = [] if electorate is None else electorate_in(electorate)
        found += [voter_of(text, bool(client.identity)) for text in voters]
        unknown = [each.name for each in found if client.signs and not each.key]
        if unknown:
            raise ConfigurationError(
                f"{unknown[0][:60]!r} was to vote, but where members may lie a voter is known by its key. Write "
                "NAME:KEY, as `quorum ballot key` prints it for that voter."
            )
        return await client.ballot.open(
            name,
            question,
            found,
            kind=kind,  # type: ignore[arg-type]
            options=options,
            axes=axes,
            rule=decided_by,
            faults=faults,
            participants=participants,
            deadline=deadline,
            round_time=round_time,
            reveal_time=reveal_time,
            changeable=changeable,
            secret=secret,
            transferable=transferable,
            operators=operators,
        )

    _show(run_client(config, timeout, act), as_json)


@command("vote", "quorum ballot vote release approve --as client.ann")
@click.argument("name")
@click.argument("opinion")
@VOTER
@with_cluster
def vote(name: str, opinion: str, voter: str | None, config: Path | None, timeout: float, as_json: bool) -> None:
    """Vote in the ballot NAME. OPINION: an option, a number, or numbers with commas between them.

    In a secret ballot only a commitment is sent. A voter with a key can reveal it from that alone; another one
    needs the nonce that is printed. Write -- before an opinion that begins with -.
    """

    async def act(client: Client) -> Receipt:
        view = await client.ballot.look(name)
        return await client.ballot.vote(name, opinion_in(view.opening.terms.kind, opinion), voter)

    receipt: Receipt = run_client(config, timeout, act, identity_of(voter, config))
    if as_json:
        print_json(shown_ballot(receipt))
        return
    click.echo(f"{receipt.voter} voted; {standing_text(receipt.standing, receipt.phase)}")
    if receipt.nonce:
        again = f"quorum ballot reveal {name} {opinion} --as {receipt.voter} --nonce {receipt.nonce.hex()}"
        click.echo(f"keep this, for when all have voted: {again}")


@command("reveal", "quorum ballot reveal budget approve --as client.ann --nonce 5e1f...")
@click.argument("name")
@click.argument("opinion", required=False)
@VOTER
@click.option("--nonce", help="What `quorum ballot vote` printed. Whoever signs with a key needs none.")
@with_cluster
def reveal(
    name: str,
    opinion: str | None,
    voter: str | None,
    nonce: str | None,
    config: Path | None,
    timeout: float,
    as_json: bool,
) -> None:
    """Show what was voted in the secret ballot NAME, once all have voted."""
    try:
        known = None if nonce is None else bytes.fromhex(nonce)
    except ValueError:
        raise click.UsageError("--nonce is no hexadecimal text. Give what `quorum ballot vote` printed.") from None

    async def act(client: Client) -> Standing:
        said = None
        if opinion is not None:
            view = await client.ballot.look(name)
            said = opinion_in(view.opening.terms.kind, opinion)
        return await client.ballot.reveal(name, said, voter, known)

    standing: Standing = run_client(config, timeout, act, identity_of(voter, config))
    if as_json:
        print_json(shown_ballot(standing))
    else:
        click.echo(standing_text(standing))


@command("show", "quorum ballot show release")
@click.argument("name")
@with_cluster
def show(name: str, config: Path | None, timeout: float, as_json: bool) -> None:
    """Show the ballot NAME: who has voted, how it stands. Exit 1 if it was lost."""
    view: BallotView = run_client(config, timeout, lambda client: client.ballot.look(name))
    _show(view, as_json)
    if view.standing.state == "lost":
        raise AnswerNo


@command("list", "quorum ballot list --voter client.ann")
@click.option("--voter", default="", help="Those alone in which this voter has still to vote.")
@with_cluster
def list_(voter: str, config: Path | None, timeout: float, as_json: bool) -> None:
    """List the ballots, in the order of their names."""

    async def act(client: Client) -> list[BallotLine]:
        return [line async for line in client.ballot.list(voter=voter)]

    lines: list[BallotLine] = run_client(config, timeout, act)
    if as_json:
        print_json({"ballots": [shown_ballot(line) for line in lines]})
        return
    for line in lines:
        click.echo(line_text(line))
    if not lines:
        click.echo("no ballots", err=True)


def _show(view: BallotView, as_json: bool) -> None:
    if as_json:
        print_json(view_fields(view))
        return
    for line in view_lines(view):
        click.echo(line)


def _with_course() -> None:
    from quorum.console import ballot_course as course

    each = (open_, vote, reveal, show, list_, course.adapt, course.close, course.watch, course.certificate)
    for one in (*each, course.attend, course.forget, course.key):
        ballot.add_command(one)


_with_course()
