"""The command `quorum`. Commands are loaded when they are called, so that the help is there at once."""

from __future__ import annotations

import io
import sys
from importlib import import_module

import click

from quorum import __version__
from quorum.console.command import Group

_COMMANDS = {
    "init": ("setup:init", "Write the configuration, keys and certificates of a new cluster."),
    "keys": ("keys:keys", "Issue, list, renew and revoke certificates."),
    "node": ("node:node", "Run one node until SIGTERM or SIGINT."),
    "up": ("local:up", "Start a local cluster that stays, or what is missing of it."),
    "down": ("local:down", "Stop the local cluster; its data stays."),
    "demo": ("demo:demo", "Five nodes, decisions, a crash and a partition, live, in under a minute."),
    "drill": ("drill_command:drill", "Put a real cluster under fire, and judge what its clients saw."),
    "status": ("status:status", "Show every node of a cluster as it sees itself."),
    "members": ("members:members", "Show who takes part, in which role, and how far each is."),
    "admit": ("members:admit", "Let a new node join: it stores the log first, and votes once it has caught up."),
    "evict": ("members:evict", "Take members out, all in one change; the leader may be among them."),
    "promote": ("members:promote", "Let a learner vote, once it has caught up."),
    "demote": ("members:demote", "Take a member's vote; it goes on storing everything."),
    "prefer": ("members:prefer", "Say how much a voter is wanted as leader: 1 is usual, 0 means never."),
    "weigh": ("weigh:weigh", "Give members more votes than others, or all the same."),
    "quorums": ("members:quorums", "Let other sets of members decide."),
    "transfer": ("members:transfer", "Hand leadership to a node, or to the one that fits best."),
    "policy": ("policy:policy", "Show or change how members are put out of the vote, and taken back."),
    "explain": ("explain:explain", "Say why a member votes or not, since when, and what would change that."),
    "recover": ("recover:recover", "Let a cluster that lost its quorum for good go on from one survivor."),
    "approve": ("approve:approve", "Approve of the next committee, where members may lie."),
    "kv": ("kv:kv", "Use the key-value store."),
    "lock": ("lock:lock", "Hold a lock while a command runs, or until told to stop."),
    "elect": ("elect:elect", "Campaign for a leadership and hold it, or see who leads."),
    "ballot": ("ballot:ballot", "Ask voters, and decide by what they say."),
    "decide": ("decide:decide", "Decide a topic once and for all, or read its decision."),
    "ledger": ("ledger:ledger", "Put transactions into the cluster's ledger, and prove what is there."),
    "verify": ("verify:verify", "Say whether a certificate, or evidence against a member, holds."),
    "certificate": (
        "certificate:certificate",
        "Write the newest block's certificate, where members may lie.",
    ),
    "follow": ("follow:follow", "Follow a Byzantine cluster from certificate to certificate, as a light client."),
    "backup": ("backup:backup", "Write a backup of a running cluster to FILE, or check one."),
    "restore": ("backup:restore", "Set up in FOLDER a new cluster that begins with the state of the backup FILE."),
    "objects": ("objects:objects", "Show the replicated objects of a cluster, and raise their versions."),
    "verify-data": ("verify_data:verify_data", "Check the data folder of a node that does not run."),
    "check": ("check:check", "Say whether every two quorums meet, or show two that do not."),
    "analyse": (
        "analyse:analyse",
        "Say what a quorum system can do, or how often a committee is without a quorum.",
    ),
    "plan": ("plan:plan", "Choose how many nodes, and say why fewer do not do."),
    "plot": ("plot:plot", "Draw what a quorum system can do."),
    "search": ("search:search", "Find the best quorum system over given nodes, within limits."),
    "fuse": ("fuse:fuse", "Make one value out of many, of which some may be wrong, or refuse to."),
    "vote": ("vote:vote", "Tally votes on options: won, lost, or pending while votes to come decide."),
    "simulate": ("simulate:simulate", "Run seeded fault campaigns on a simulated cluster."),
    "replay": ("simulate:replay", "Run one seed again and show its last events."),
    "judge": ("judge:judge", "Say whether a recorded history is linearizable."),
    "version": ("version:version", "Print the version."),
}


class LazyGroup(Group):
    """Lists its commands from a table, and imports one when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, _, name = _COMMANDS[cmd_name][0].partition(":")
        found = getattr(import_module(f"quorum.console.{module}"), name)
        assert isinstance(found, click.Command), "the table names commands"
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _COMMANDS.items()])


CONTEXT = {"show_default": True, "help_option_names": ["-h", "--help"]}


ELSEWHERE = {
    name: f"quorum kv {name}" for name in ("get", "put", "cas", "delete", "range", "watch", "compact")
} | {
    "lease": "quorum kv lease",
    "start": "quorum up",
    "stop": "quorum down",
    "help": "quorum --help",
    "member": "quorum members",
    "join": "quorum admit",
    "remove": "quorum evict",
}


@click.group(cls=LazyGroup, context_settings=CONTEXT, epilog="Example: quorum demo", elsewhere=ELSEWHERE)
@click.version_option(__version__, message="quorum %(version)s")
def main() -> None:
    """Decisions among N nodes of which up to T may crash.

    Exit codes: 0 done; 1 the answer is no; 2 asked wrongly; a node also ends with 3 for damaged data and with 4
    when the disk refuses.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):  # the name of a file need not be text
        sys.stdout.reconfigure(errors="surrogateescape")
