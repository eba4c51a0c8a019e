"""Applications to which it matters who sends a command."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from nacl.signing import SigningKey

from apps_log import Log, header
from objects_log import OBJECTS, ObjectLog
from quorum.apps import catalogue
from quorum.apps.host import SESSIONS, Host, decode_session, opening
from quorum.apps.objects import decode_results, encode_batch
from quorum.apps.replicated import Replicated, command
from quorum.apps.state_machine import Outputs
from quorum.certificate.block import BlockHeader
from quorum.certificate.merkle import leaf_of, root_of
from quorum.certificate.requests import pack_block, sign_request
from quorum.certificate.vote import SigningDomain
from quorum.entry import BLOCK
from quorum.header import Batch

APP = 5


class WhoSaysIt:
    """Answers with the name of its caller."""

    def apply(self, header, body):
        raise AssertionError("it is told who calls")

    def apply_from(self, header, body, caller):
        return Outputs(caller.encode())

    def query(self, body):
        return b""

    def digest(self):
        return b"\0" * 32

    def snapshot(self):
        return iter(())

    def restore(self, chunks):
        for _ in chunks:
            pass


def new_host() -> Host:
    return Host({APP: WhoSaysIt()}, fresh=new_host)


def test_a_batch_in_a_session_is_of_whoever_opened_it():
    log = Log(new_host())
    session = decode_session(log.append(opening("ann"), app=SESSIONS).body)
    assert log.append(b"", app=APP, client=session, first_sequence=1).body == b"ann"


@given(owned=st.booleans())
def test_nobody_vouches_for_a_caller_without_a_session_or_in_one_without_an_owner(owned):
    log = Log(new_host())
    session = log.open() if owned else 0
    assert log.append(b"", app=APP, client=session, first_sequence=1).body == b""


def test_a_signed_request_is_of_its_key_with_and_without_a_session():
    key = SigningKey(b"k" * 32)
    public, domain, host = key.verify_key.encode(), SigningDomain("c", 0), new_host()

    def signed(app: int, client: int, body: bytes) -> bytes:
        batch = Batch(app, client, 0, 0, 1, body)
        return sign_request(domain, batch, public, lambda data: key.sign(data).signature)

    def decided(place: int, request: bytes) -> bytes:
        block = BlockHeader(place, place, 1, 0, b"\0" * 32, b"\0" * 32, root_of([leaf_of(request)]), b"\0" * 32)
        applied = host.apply(header(place, kind=BLOCK), pack_block(block, [request]))
        return applied.requests[0][1].body

    session = decode_session(decided(1, signed(SESSIONS, 0, b"open as somebody else")))
    assert decided(2, signed(APP, 0, b"")) == public.hex().encode()
    assert decided(3, signed(APP, session, b"")) == public.hex().encode()


def test_a_host_that_took_over_a_state_still_tells_who_calls():
    host = new_host()
    log = Log(host)
    session = decode_session(log.append(opening("ann"), app=SESSIONS).body)
    spare = host.spare()
    assert spare is not None
    spare.restore(host.snapshot())
    host.adopt(spare)
    assert log.append(b"", app=APP, client=session, first_sequence=1).body == b"ann"


class Diary(Replicated):
    pages: list[str] = []

    @command
    def write(self, text: str) -> str:
        self.pages.append(f"{self.context.caller or 'somebody'}: {text}")
        return self.pages[-1]


def test_a_command_of_a_replicated_object_knows_who_sends_it():
    objects = ObjectLog(diary=Diary)
    log = Log(catalogue.new_host({"diary": Diary}))
    for _, body in objects.entries:
        log.append(body, app=OBJECTS)
    ann = decode_session(log.append(opening("client.ann"), app=SESSIONS).body)

    def write(client: int) -> str:
        applied = log.append(
            encode_batch([objects.encode("diary", "write", "hello")]), app=OBJECTS, client=client, first_sequence=1
        )
        return objects.read("diary", "write", decode_results(applied.body)[0])

    assert write(ann) == "client.ann: hello"
    assert write(0) == "somebody: hello"
    assert Diary().write.sync("hello") == "somebody: hello", "nobody vouches where nothing is replicated"
