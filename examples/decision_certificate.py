"""Decide once, let everybody propose, and verify what the decision's certificate says.

Run: python examples/decision_certificate.py .quorum/cluster.toml
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import quorum
from quorum.certificate import decode_json, verify
from quorum.runtime.config import load_cluster
from quorum.runtime.connect import at_config
from quorum.runtime.status import decode_status
from quorum.systems.build import build

TOPIC = "colour of the bicycle shed"


async def main(config: Path) -> None:
    if load_cluster(config).model == "byzantine":
        sys.exit(
            "the leader's record of a decision was to be verified, but in this cluster members may lie, and sign "
            "blocks instead. Run `quorum certificate -o cert.json`, then `quorum verify cert.json`."
        )
    async with quorum.connect(config=config) as client:
        proposals = (client.decide(TOPIC, value) for value in (b"green", b"blue", b"red"))
        decisions = await asyncio.gather(*proposals)
    values = sorted({decision.value for decision in decisions})
    print("three proposals, decided:", *values)
    assert len(values) == 1

    # The leader writes down who has the decision on disk.
    place = at_config(config)
    async with place.node(next(iter(place.endpoints))) as node:
        leader = decode_status(await node.status()).leader
    assert leader is not None
    async with place.node(leader) as node:
        text = await node.certificate(TOPIC)

    # Anybody who trusts that leader and knows the configuration can check it, without the cluster.
    certificate = decode_json(text)
    configuration = load_cluster(config).configuration()
    verdict = verify(certificate, build(configuration), configuration=configuration, value=values[0])
    print(f"{certificate.tally} of {len(certificate.members)} voted in epoch {certificate.epoch}")
    print("valid:", verdict.valid)
    assert verdict.valid

    forged = verify(certificate, build(configuration), configuration=configuration, value=b"yellow")
    print("another value:", *forged.reasons)
    assert not forged.valid


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
