"""`quorum plot SYSTEM`: pictures of a quorum system."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from quorum.console.command import command, print_json
from quorum.console.plotted import KINDS, Kind, check_kind, kinds_of


@command("plot", "quorum plot system.toml --output system.svg")
@click.argument("system", type=click.Path(path_type=Path))
@click.option(
    "--output", type=click.Path(path_type=Path), required=True, help="The picture: a .svg, .png or .pdf."
)
@click.option("--kind", type=click.Choice(KINDS), help="One picture. Else all that the file has figures for.")
def plot(system: Path, output: Path, kind: Kind | None, as_json: bool) -> None:
    """Draw what a quorum system can do. The same file gives the same picture, byte for byte.

    `capacity` is drawn by read fraction, `utilisation` by node. `nines` says how often a quorum is alive, by
    number of nodes; it needs failure probabilities. `zones` is a map of the zones, and of what is lost without
    each. With --json the numbers that are drawn are printed. SYSTEM is a file as for `quorum analyse`.
    """
    from quorum.console.analyse_plot import pyplot_for
    from quorum.console.analyse_system import note_of, read_system
    from quorum.console.plot_panels import draw, figures_of

    architecture = read_system(system)
    kinds = kinds_of(architecture)
    if kind is not None:
        check_kind(architecture, kind)
        kinds = (kind,)
    pyplot_for(output)  # so that nothing is worked out in vain
    note = note_of(architecture)
    if note is not None:
        click.echo(f"note: {note}", err=True)
    figures = figures_of(architecture, kinds)
    draw(architecture, figures, output)
    if as_json:
        print_json({"plot": str(output), **facts_of(figures)})
        return
    click.echo(f"drawn: {output} ({', '.join(kinds)})")


def facts_of(figures: dict[Kind, Any]) -> dict[str, Any]:
    """The numbers of the pictures, for programs. Null stands for nines without an end."""
    from quorum.console.plotted import FRACTIONS

    facts: dict[str, Any] = {}
    if "capacity" in figures:
        shown = figures["capacity"]
        facts["capacity"] = {"read_fraction": FRACTIONS, **shown._asdict()}
    if "utilisation" in figures:
        facts["utilisation"] = {
            use.node: {"reads": use.reads, "writes": use.writes} for use in figures["utilisation"][0]
        }
    if "nines" in figures:
        facts["nines"] = figures["nines"]._asdict() | {"failed": float(figures["nines"].failed)}
    if "zones" in figures:
        facts["zones"] = [zone._asdict() | {"failed": float(zone.failed)} for zone in figures["zones"][0]]
    return facts
