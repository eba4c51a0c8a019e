"""`quorum demo --model byzantine`: four nodes, of which the first that orders lies on the wire, and is caught."""

from __future__ import annotations

import asyncio
import time

import msgspec

from quorum.certificate.audit import judge_block, judge_evidence
from quorum.certificate.block_forms import decode_json
from quorum.certificate.evidence_forms import EvidenceFile, decode_evidence
from quorum.certificate.genesis import decode_genesis
from quorum.checkers.history import History
from quorum.console.drill import Arena, Findings, arena
from quorum.console.inquiry import answering
from quorum.console.stage import Stage
from quorum.errors import QuorumError
from quorum.runtime.evidence_book import FOLDER, said
from quorum.runtime.setup import GENESIS_FILE

NODES_MIN = 4
LIE = "equivocate"
TOPIC = "a decision among liars"
CATCH_S = 20.0
WAIT_S = 20.0


class Trial(msgspec.Struct):
    """What the demo claims, beside the findings."""

    liar: str
    decision: str = ""
    decision_agreed: bool = False
    caught_ms: int = -1
    lie: str = ""
    evidence_valid: bool = False
    replaced: bool = False
    certificate_valid: bool = False
    certificate_bytes: int = 0

    def problems(self) -> list[str]:
        """What did not happen as it must."""
        claims = (
            (self.decision_agreed, "clients that proposed different values were told different decisions"),
            (self.caught_ms >= 0, f"{self.liar} lied and was not caught"),
            (self.evidence_valid, "the evidence does not convince who has only the genesis file"),
            (self.replaced, f"{self.liar} still orders"),
            (self.certificate_valid, "the newest certificate does not verify offline"),
        )
        return [text for holds, text in claims if not holds]

    def rows(self) -> tuple[tuple[str, str], ...]:
        """For the table at the end."""
        agreed = f"{self.decision!r}, the same for every client" if self.decision_agreed else "SPLIT"
        caught = f"after {self.caught_ms} ms: {self.lie}" if self.caught_ms >= 0 else "NOT CAUGHT"
        proof = "convinces whoever has the genesis file" if self.evidence_valid else "NOT VALID"
        certificate = "verified offline" if self.certificate_valid else "NOT VALID"
        return (
            ("decision", agreed),
            (f"{self.liar} caught", caught),
            ("evidence", proof),
            ("replaced", "by the next primary" if self.replaced else "NOT REPLACED"),
            ("certificate", f"{self.certificate_bytes} bytes, {certificate}"),
        )


async def play(nodes: int, seconds: float, stage: Stage) -> tuple[Findings, Trial, History]:
    """The whole story, about `seconds` long."""
    trial = Trial(liar="n1")
    async with arena(nodes, stage.show, model="byzantine", lies={trial.liar: LIE}) as here:
        here.watch.tell(
            f"the cluster is up; {trial.liar}, which orders first, lies: half of them see other blocks"
        )
        began_s = time.monotonic()
        here.load.start()
        async with stage.ticking():
            await _decide(here, trial)
            await _catch(here, trial)
            await _kill_and_restart(here, trial, began_s + seconds / 2)
            await asyncio.sleep(max(0.0, began_s + seconds - time.monotonic()))
            await _certify(here, trial)
            here.watch.tell("the clients stop; judging what they saw")
            findings = await here.findings(must_have=("kill",))
        return findings.with_problems(trial.problems()), trial, here.load.history


async def _decide(here: Arena, trial: Trial) -> None:
    """Three clients propose at once; all hear the same, whoever lies."""

    async def propose(value: str) -> tuple[bytes, int]:
        async with here.place.client(WAIT_S) as client:
            decision = await client.decide(TOPIC, value.encode())
            return decision.value, decision.index

    here.watch.tell(f"three clients propose red, green and blue for {TOPIC!r}")
    told = await asyncio.gather(*(propose(value) for value in ("red", "green", "blue")))
    trial.decision = told[0][0].decode()
    trial.decision_agreed = len(set(told)) == 1
    here.watch.tell(f"decided: {trial.decision}; all three were told so by at least T+1 members")


async def _catch(here: Arena, trial: Trial) -> None:
    """Wait until some honest node holds evidence, and let somebody judge it who has the genesis file alone."""
    began_s = time.monotonic()

    def is_accused() -> bool:
        statuses = [status for status in answering(here.watch.answers) if status.node != trial.liar]
        return any(trial.liar in status.accused for status in statuses)

    if not await here.watch.until(is_accused, CATCH_S):
        return
    trial.caught_ms = round((time.monotonic() - began_s) * 1000)
    file = next(iter(sorted(here.cluster.folder.glob(f"*/data/{FOLDER}/{trial.liar}-*.json"))), None)
    if file is None:
        return
    genesis = decode_genesis((here.cluster.folder / GENESIS_FILE).read_bytes())
    found: EvidenceFile = decode_evidence(file.read_bytes())
    trial.lie = said(found.evidence)
    trial.evidence_valid = judge_evidence(found, genesis).valid
    here.watch.tell(f"{trial.liar} is caught: it signed {trial.lie}; anybody with the genesis file can check that")
    trial.replaced = await here.watch.until(lambda: here.leading() != trial.liar, CATCH_S)
    here.watch.tell(f"{here.leading()} orders instead")


async def _kill_and_restart(here: Arena, trial: Trial, at_s: float) -> None:
    """An honest member crashes and returns: with the liar that is one more than T, so nothing is decided until it
    is back, and nothing wrong is."""
    await asyncio.sleep(max(0.0, at_s - time.monotonic()))
    victim = next(node for node in here.nodes if node not in (trial.liar, here.leading()))
    await here.kill(victim)
    await asyncio.sleep(1.0)
    here.restart(victim)
    await here.reunited(WAIT_S)


async def _certify(here: Arena, trial: Trial) -> None:
    """The certificate of the newest block covers all before it: checked with no network."""
    genesis = decode_genesis((here.cluster.folder / GENESIS_FILE).read_bytes())
    for node in here.nodes:
        if node == trial.liar:
            continue
        try:
            async with here.place.node(node) as connection:
                document = await connection.certificate(TOPIC)
        except (OSError, QuorumError):
            continue
        certificate = decode_json(document)
        trial.certificate_bytes = len(document)
        trial.certificate_valid = judge_block(certificate, genesis).valid
        sequence = certificate.header.sequence
        here.watch.tell(f"{node} gives a certificate of block {sequence}, {len(document)} bytes: verified offline")
        return
