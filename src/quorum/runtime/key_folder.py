"""Looking into a keys folder, and handing one client its part of it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import msgspec

from quorum.errors import ConfigurationError
from quorum.runtime import pki
from quorum.runtime.key_files import make_private_folder, parse
from quorum.runtime.keyring import CLIENT_PREFIX, revoked_serials

AUTHORITY, REVOKED, GENESIS = "ca.crt", "ca.crl", "genesis.json"


class KeyEntry(msgspec.Struct, frozen=True):
    """One certificate: whose it is, what its holder may do, until when (seconds since 1970), whether its key is
    here."""

    identity: str
    role: str
    expires: int
    revoked: bool
    has_key: bool


def list_keys(folder: Path) -> list[KeyEntry]:
    """Every certificate in a keys folder, nodes first. Raises ConfigurationError if there is none, or one is
    damaged."""
    found = []
    revoked = revoked_serials(folder)
    for path in sorted([*folder.glob("node.*.crt"), *folder.glob(f"{CLIENT_PREFIX}*.crt")], key=_nodes_first):
        certificate = parse(path, "a certificate", pki.parse_certificate)
        found.append(
            KeyEntry(
                identity=path.name.removesuffix(".crt").removeprefix("node."),
                role=pki.unit(certificate) or "none",
                expires=int(certificate.not_valid_after_utc.timestamp()),
                revoked=certificate.serial_number in revoked,
                has_key=path.with_suffix(".key").exists(),
            )
        )
    if not found:
        raise ConfigurationError(
            f"the keys in {folder} were asked for, but there is no certificate. Name the folder that "
            "`quorum init` made."
        )
    return found


def _nodes_first(path: Path) -> tuple[bool, str]:
    return path.name.startswith(CLIENT_PREFIX), path.name


def refuse_taken(target: Path, identity: str) -> None:
    """Raise ConfigurationError if `target` holds anything of `identity`."""
    for suffix in (".crt", ".key", ".sign"):
        if os.path.lexists(target / f"{identity}{suffix}"):
            raise ConfigurationError(
                f"{identity} was to be handed out to {target}, but {identity}{suffix} is there, and keys are "
                "never overwritten. Name another folder."
            )


def hand_out(folder: Path, identity: str, target: Path) -> None:
    """Put what the client `identity` needs into the folder `target`: its certificate, the authority's, and its
    private keys, which leave `folder`. Raises ConfigurationError, nothing moved, if that cannot be.

    Where members may lie, a genesis file is beside `folder`: that is what the client trusts, and is copied.
    """
    names = (f"{identity}.crt", f"{identity}.key")
    for name in names:
        if not (folder / name).is_file():
            raise ConfigurationError(
                f"{identity} was to be handed out, but {folder / name} is not there: its key was handed out "
                "before, or it was never issued. Issue one under another name."
            )
    refuse_taken(target, identity)
    make_private_folder(target)
    try:
        for name in (AUTHORITY, names[0]):
            shutil.copyfile(folder / name, target / name)
        genesis = folder.resolve().parent / GENESIS
        if genesis.is_file():
            shutil.copyfile(genesis, target / GENESIS)
        private = [folder / name for name in (names[1], f"{identity}.sign") if (folder / name).is_file()]
        for each in private:
            secret = os.open(target / each.name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)  # from the start
            with os.fdopen(secret, "wb") as file:
                file.write(each.read_bytes())
        for each in private:
            each.unlink()
    except OSError as error:
        raise ConfigurationError(
            f"{identity} was to be handed out to {target}, but writing failed ({error.strerror}). Free space or "
            "choose another folder."
        ) from None
