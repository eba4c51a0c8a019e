"""Keys, certificates and mutual TLS. The handshakes run in memory, without a socket."""

from __future__ import annotations

import json
import shutil
import ssl
import stat
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorum.errors import ConfigurationError
from quorum.runtime import keyring
from quorum.runtime.keyring import TlsContexts, load_tls, peer_name, peer_role

NOW = datetime.now(UTC)
BAD_IDS = ("../../etc", "a/b", "a\0b", "", "n" * 300, "N1", "n\u0456", "client.admin", "n1\n", ".", "-n")


@pytest.fixture(scope="module")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ring") / "keys"
    keyring.create_authority(folder)
    for node in ("n1", "n2"):
        keyring.issue(folder, node)
    keyring.issue(folder, "reader", kind="client")
    keyring.issue(folder, "admin", kind="client", role="admin")
    return folder


@pytest.fixture
def keys(made_once: Path, tmp_path: Path) -> Path:
    """A private copy of an authority, two nodes and two clients."""
    return Path(shutil.copytree(made_once, tmp_path / "keys"))


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def shake_hands(server: ssl.SSLContext, client: ssl.SSLContext) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """Run a handshake in memory and carry one byte each way, so that either side's refusal is raised here."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    accepting = server.wrap_bio(to_server, to_client, server_side=True)
    dialling = client.wrap_bio(to_client, to_server)
    waiting = [dialling.do_handshake, accepting.do_handshake]
    for _ in range(20):
        for step in tuple(waiting):
            try:
                step()
                waiting.remove(step)
            except ssl.SSLWantReadError:
                pass
    assert not waiting, "both sides finish"
    dialling.write(b"?")
    assert accepting.read(1) == b"?"
    accepting.write(b"!")
    assert dialling.read(1) == b"!"
    return accepting, dialling


def unchecked(folder: Path, identity: str) -> TlsContexts:
    """Contexts of somebody who does not look at his own certificate first."""
    stem = identity if identity.startswith("client.") else f"node.{identity}"
    made = []
    for protocol in (ssl.PROTOCOL_TLS_SERVER, ssl.PROTOCOL_TLS_CLIENT):
        context = ssl.SSLContext(protocol)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.load_cert_chain(folder / f"{stem}.crt", folder / f"{stem}.key")
        made.append(context)
    return TlsContexts(*made)


# --- handshakes ----------------------------------------------------------------------------------------


def test_two_nodes_learn_each_others_identity(keys: Path) -> None:
    accepting, dialling = shake_hands(load_tls(keys, "n1").server, load_tls(keys, "n2").client)
    assert peer_name(accepting.getpeercert()) == "n2"
    assert peer_name(dialling.getpeercert()) == "n1"
    assert peer_role(accepting.getpeercert()) == "node"
    assert accepting.version() == dialling.version() == "TLSv1.3"


@pytest.mark.parametrize(("identity", "role"), [("client.reader", "data"), ("client.admin", "admin")])
def test_a_client_shows_its_name_and_role(keys: Path, identity: str, role: str) -> None:
    accepting, _ = shake_hands(load_tls(keys, "n1").server, load_tls(keys, identity).client)
    assert peer_name(accepting.getpeercert()) == identity
    assert peer_role(accepting.getpeercert()) == role


def test_a_peer_without_a_certificate_is_refused(keys: Path) -> None:
    nobody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    nobody.load_verify_locations(keys / "ca.crt")
    nobody.check_hostname = False
    with pytest.raises(ssl.SSLError, match="PEER_DID_NOT_RETURN_A_CERTIFICATE"):
        shake_hands(load_tls(keys, "n1").server, nobody)


def test_a_node_of_another_authority_is_refused_by_both_sides(keys: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    keyring.create_authority(other)
    keyring.issue(other, "n2")
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(load_tls(keys, "n1").server, unchecked(other, "n2").client)
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(unchecked(other, "n2").server, load_tls(keys, "n1").client)


def test_a_client_cannot_pose_as_a_server(keys: Path) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="purpose"):
        shake_hands(unchecked(keys, "client.admin").server, load_tls(keys, "n1").client)


@pytest.mark.parametrize(("days", "from_now"), [(-2, 0), (10, 30)])
def test_a_peer_whose_certificate_is_out_of_date_is_refused(keys: Path, days: int, from_now: int) -> None:
    keyring.issue(keys, "n3", days=days, now=NOW + timedelta(days=from_now))
    with pytest.raises(ssl.SSLCertVerificationError, match=r"expired|not yet valid"):
        shake_hands(load_tls(keys, "n1").server, unchecked(keys, "n3").client)


def test_a_revoked_certificate_is_refused_by_peers_and_at_its_own_start(keys: Path) -> None:
    keyring.revoke(keys, "n2")
    keyring.revoke(keys, "client.reader")
    with pytest.raises(ssl.SSLCertVerificationError, match="revoked"):
        shake_hands(load_tls(keys, "n1").server, unchecked(keys, "n2").client)
    with pytest.raises(ConfigurationError, match="revoked it"):
        load_tls(keys, "client.reader")
    with pytest.raises(ConfigurationError, match="new key"):
        keyring.renew(keys, "n2")
    shake_hands(load_tls(keys, "n1").server, load_tls(keys, "client.admin").client)


def test_tls_below_1_3_is_refused(keys: Path) -> None:
    old = unchecked(keys, "n2").client
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError):
        shake_hands(load_tls(keys, "n1").server, old)


# --- dates ---------------------------------------------------------------------------------------------


def test_an_expired_certificate_is_refused_with_its_date_and_the_remedy(keys: Path) -> None:
    keyring.issue(keys, "n3", days=-1)
    with pytest.raises(ConfigurationError, match=r"expired on \d{4}-\d\d-\d\d \d\d:\d\d UTC.*keyring\.renew\("):
        load_tls(keys, "n3")


def test_a_certificate_that_is_not_yet_valid_is_refused_with_its_date(keys: Path) -> None:
    keyring.issue(keys, "n3", days=5, now=NOW + timedelta(days=3))
    start = NOW + timedelta(days=3) - timedelta(hours=1)
    with pytest.raises(ConfigurationError, match=rf"not valid before {start:%Y-%m-%d %H:%M} UTC.*Set the clock"):
        load_tls(keys, "n3")


def test_an_expired_authority_is_refused_and_can_be_renewed(keys: Path) -> None:
    later = NOW + timedelta(days=4000)
    with pytest.raises(ConfigurationError, match=r"ca\.crt.*expired.*renew_authority"):
        load_tls(keys, "n1", now=later)
    keyring.renew_authority(keys, now=later)
    keyring.renew(keys, "n1", now=later)
    load_tls(keys, "n1", now=later)


def test_renewing_keeps_name_role_addresses_and_key(keys: Path) -> None:
    key = (keys / "client.admin.key").read_bytes()
    keyring.renew(keys, "client.admin")
    accepting, _ = shake_hands(load_tls(keys, "n1").server, load_tls(keys, "client.admin").client)
    assert peer_role(accepting.getpeercert()) == "admin"
    keyring.renew(keys, "n1")
    _, dialling = shake_hands(load_tls(keys, "n1").server, load_tls(keys, "n2").client)
    assert ("IP Address", "127.0.0.1") in dialling.getpeercert()["subjectAltName"]
    assert (keys / "client.admin.key").read_bytes() == key


def test_a_renewed_authority_still_vouches_for_what_it_issued(keys: Path) -> None:
    keyring.renew_authority(keys)
    shake_hands(load_tls(keys, "n1").server, load_tls(keys, "n2").client)


def test_no_certificate_outlives_its_authority(keys: Path) -> None:
    keyring.issue(keys, "n3", days=10_000)
    _, dialling = shake_hands(load_tls(keys, "n3").server, load_tls(keys, "n2").client)
    end = ssl.cert_time_to_seconds(dialling.getpeercert()["notAfter"])
    assert end <= time.time() + keyring.AUTHORITY_DAYS * 86_400


@pytest.mark.parametrize("days", [True, 1.5, "9", 10**9])
def test_days_that_are_no_sensible_number_are_refused(keys: Path, days: object) -> None:
    with pytest.raises(ConfigurationError, match="whole number"):
        keyring.issue(keys, "n3", days=days)  # type: ignore[arg-type]


# --- files ---------------------------------------------------------------------------------------------


def test_private_files_are_for_their_owner_only(keys: Path) -> None:
    assert mode_of(keys) == 0o700
    private = sorted(path.name for path in keys.iterdir() if path.suffix in (".key", ".sign"))
    assert private == [
        "ca.key",
        "client.admin.key",
        "client.admin.sign",
        "client.reader.key",
        "client.reader.sign",
        "node.n1.key",
        "node.n1.sign",
        "node.n2.key",
        "node.n2.sign",
    ]
    assert {mode_of(keys / name) for name in private} == {0o600}


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o666])
def test_a_private_key_that_others_may_touch_is_refused_with_the_chmod(keys: Path, mode: int) -> None:
    for name in ("node.n1.key", "node.n1.sign", "ca.key"):
        (keys / name).chmod(mode)
    for load in (
        lambda: load_tls(keys, "n1"),
        lambda: keyring.load_signer(keys, "n1"),
        lambda: keyring.issue(keys, "n3"),
    ):
        with pytest.raises(ConfigurationError, match=rf"{mode:04o}.*chmod 600 "):
            load()


def test_a_keys_folder_that_others_may_enter_is_refused_with_the_chmod(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir(mode=0o755)
    with pytest.raises(ConfigurationError, match="chmod 700"):
        keyring.create_authority(tmp_path / "open")


def test_nothing_that_exists_is_overwritten(keys: Path) -> None:
    before = {path.name: path.read_bytes() for path in keys.iterdir()}
    for again in (
        lambda: keyring.create_authority(keys),
        lambda: keyring.issue(keys, "n1"),
        lambda: keyring.issue(keys, "admin", kind="client", role="data"),
    ):
        with pytest.raises(ConfigurationError, match="never overwritten"):
            again()
    assert {path.name: path.read_bytes() for path in keys.iterdir()} == before


@pytest.mark.parametrize("name", ["ca.crt", "node.n1.crt", "node.n1.key"])
def test_a_missing_file_is_named_with_the_remedy(keys: Path, name: str) -> None:
    (keys / name).unlink()
    with pytest.raises(ConfigurationError, match=rf"{name}.*No such file.*quorum init"):
        load_tls(keys, "n1")


@pytest.mark.parametrize("damage", [b"", b"\0\xff" * 40, b"-----BEGIN CERTIFICATE-----\nAAAA\n", b"x" * 1_100_000])
@pytest.mark.parametrize("name", ["ca.crt", "ca.crl", "node.n1.crt", "node.n1.key"])
def test_a_damaged_file_is_a_configuration_error(keys: Path, name: str, damage: bytes) -> None:
    (keys / name).write_bytes(damage)
    with pytest.raises(ConfigurationError, match=name):
        load_tls(keys, "n1")


def test_the_key_of_another_certificate_is_refused(keys: Path) -> None:
    shutil.copy(keys / "node.n2.key", keys / "node.n1.key")
    with pytest.raises(ConfigurationError, match="MISMATCH"):
        load_tls(keys, "n1")


def test_the_certificate_of_another_node_is_refused(keys: Path) -> None:
    for suffix in (".crt", ".key"):
        shutil.copy(keys / f"node.n2{suffix}", keys / f"node.n1{suffix}")
    with pytest.raises(ConfigurationError, match="names 'n2'"):
        load_tls(keys, "n1")


def test_a_certificate_of_another_authority_is_refused(keys: Path, tmp_path: Path) -> None:
    keyring.create_authority(tmp_path / "other")
    shutil.copy(tmp_path / "other" / "ca.crt", keys / "ca.crt")
    with pytest.raises(ConfigurationError, match="did not sign it"):
        load_tls(keys, "n1")
    with pytest.raises(ConfigurationError, match="no pair"):
        keyring.issue(keys, "n3")


def test_a_key_with_a_password_is_refused_without_asking_for_one(keys: Path) -> None:
    from cryptography.hazmat.primitives import serialization

    key = serialization.load_pem_private_key((keys / "node.n1.key").read_bytes(), None)
    locked = serialization.BestAvailableEncryption(b"secret")
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, locked)
    (keys / "node.n1.key").write_bytes(pem)
    with pytest.raises(ConfigurationError):
        load_tls(keys, "n1")


def test_an_unwritable_folder_is_a_configuration_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="cannot be made"):
        keyring.create_authority(tmp_path / "file")


# --- names ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BAD_IDS)
def test_no_bad_name_reaches_a_path(keys: Path, name: str) -> None:
    before = sorted(keys.parent.rglob("*"))
    for use in (
        lambda: keyring.issue(keys, name),
        lambda: keyring.issue(keys, name, kind="client"),
        lambda: keyring.load_signer(keys, name),
        lambda: load_tls(keys, f"client.{name}"),
        lambda: keyring.revoke(keys, f"client.{name}"),
        lambda: keyring.renew(keys, f"client.{name}"),
    ):
        with pytest.raises(ConfigurationError, match="node id"):
            use()
    assert sorted(keys.parent.rglob("*")) == before


@pytest.mark.parametrize(
    ("kind", "role"), [("node", "admin"), ("client", "node"), ("client", "root"), ("peer", None)]
)
def test_a_role_that_does_not_fit_is_refused(keys: Path, kind: str, role: str | None) -> None:
    with pytest.raises(ConfigurationError, match="was asked for"):
        keyring.issue(keys, "n3", kind=kind, role=role)  # type: ignore[arg-type]


def test_a_certificate_has_no_second_name(keys: Path) -> None:
    with pytest.raises(ConfigurationError, match="pass for another node"):
        keyring.issue(keys, "n3", hosts=("n1",))


def test_the_longest_names_still_get_certificates(keys: Path) -> None:
    longest = "a" * 63
    keyring.issue(keys, longest)
    identity = keyring.issue(keys, longest, kind="client")
    accepting, dialling = shake_hands(load_tls(keys, longest).server, load_tls(keys, identity).client)
    assert (peer_name(dialling.getpeercert()), peer_name(accepting.getpeercert())) == (longest, identity)


def certificate(*names: str, units: tuple[str, ...] = ("node",)) -> dict[str, object]:
    return {
        "subject": tuple((("organizationalUnitName", unit),) for unit in units),
        "subjectAltName": (("IP Address", "127.0.0.1"), *(("DNS", name) for name in names)),
    }


@pytest.mark.parametrize(
    "nothing", [None, {}, certificate(), certificate("n1", "n2"), certificate("*"), certificate("N")]
)
def test_a_certificate_without_exactly_one_good_name_identifies_nobody(nothing: dict[str, object] | None) -> None:
    assert peer_name(nothing) is None
    assert peer_role(nothing) is None


@pytest.mark.parametrize(
    ("name", "units"),
    [
        ("n1", ("admin",)),
        ("client.a", ("node",)),
        ("n1", ()),
        ("client.a", ("data", "admin")),
        ("client.a", ("x",)),
    ],
)
def test_a_role_must_fit_the_name_and_be_the_only_one(name: str, units: tuple[str, ...]) -> None:
    assert peer_name(certificate(name, units=units)) == name
    assert peer_role(certificate(name, units=units)) is None


@given(st.text())
def test_whatever_a_certificate_says_only_well_formed_names_come_out(name: str) -> None:
    found = peer_name(certificate(name))
    assert found is None or (found == name and "/" not in found and found.isascii())


# --- signing keys --------------------------------------------------------------------------------------


def test_a_signature_verifies_under_the_listed_public_key(keys: Path) -> None:
    from nacl.signing import VerifyKey

    public = keyring.load_public_keys(keys)
    assert sorted(public) == ["n1", "n2"]
    signer = keyring.load_signer(keys, "n2")
    assert signer.public_key == public["n2"]
    assert VerifyKey(public["n2"]).verify(b"vote", signer.sign(b"vote")) == b"vote"


def test_repr_and_str_never_show_a_key(keys: Path) -> None:
    signer = keyring.load_signer(keys, "n1")
    seed = (keys / "node.n1.sign").read_text().strip()
    for text in (repr(signer), str(signer), repr(load_tls(keys, "n1")), repr(vars(keyring))):
        assert seed not in text
        assert repr(bytes.fromhex(seed))[2:-1] not in text


@pytest.mark.parametrize("damage", ["", "canary-secret", "ab" * 31, "ab" * 33, "\N{EURO SIGN}"])
def test_a_damaged_signing_key_is_refused_and_not_quoted(keys: Path, damage: str) -> None:
    (keys / "node.n1.sign").write_text(damage)
    with pytest.raises(ConfigurationError, match="backup") as caught:
        keyring.load_signer(keys, "n1")
    assert not damage or damage not in str(caught.value)
    assert caught.value.__cause__ is None and caught.value.__context__ is None


SMALL_ORDER = "0100000000000000000000000000000000000000000000000000000000000000"
NOT_CANONICAL = "ee" + "ff" * 30 + "7f"


@pytest.mark.parametrize("text", [SMALL_ORDER, NOT_CANONICAL, "00" * 32, "ab", "zz", "\N{EURO SIGN}"])
def test_a_public_key_that_is_no_valid_point_is_refused(keys: Path, text: str) -> None:
    (keys / "signing-keys.json").write_text(json.dumps({"n1": text}))
    with pytest.raises(ConfigurationError, match="no valid Ed25519 point"):
        keyring.load_public_keys(keys)


@pytest.mark.parametrize("text", ["", "[]", '{"n1": 5}', "[" * 100_000, '{"n1"', "\udcff"])
def test_a_damaged_list_of_public_keys_is_refused(keys: Path, text: str) -> None:
    (keys / "signing-keys.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ConfigurationError, match=r"signing-keys\.json"):
        keyring.load_public_keys(keys)


def test_importing_the_keyring_does_not_import_cryptography() -> None:
    check = "import sys, quorum.runtime.keyring; sys.exit(bool({'cryptography', 'nacl'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
