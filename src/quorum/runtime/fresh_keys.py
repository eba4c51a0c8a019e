"""The signing key that a node made by itself, in its data folder, with the request by which it asks to come back.

One file for both: a key whose request is lost could never vote, and nobody else may hold the key.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from pathlib import Path

import msgspec

from quorum.certificate.readmission import Readmission
from quorum.errors import ConfigurationError
from quorum.model import NodeId
from quorum.runtime.key_files import write_private
from quorum.runtime.keyring import Signer, load_signer
from quorum.runtime.ports import Fresh

FILE_NAME = "fresh-key.json"

_DECODE = msgspec.msgpack.Decoder(Readmission)


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    node: str
    key: str
    request: str


class FreshSigner:
    """runtime.ports.Fresh: a signer that can be written down."""

    def __init__(self, node: NodeId) -> None:
        from nacl.signing import SigningKey

        self.key = SigningKey.generate()
        self._signer = Signer(node, self.key)
        self.public_key = self._signer.public_key

    def sign(self, message: bytes) -> bytes:
        return self._signer.sign(message)


class FreshKeyFile:
    """runtime.ports.FreshKeys of one node. Raises ConfigurationError for a file that is not one of its."""

    def __init__(self, data: Path, keys: Path, node: NodeId) -> None:
        self._path, self._keys, self._node = data / FILE_NAME, keys, node
        self._kept = self._read()

    def signer(self) -> Signer:
        """With which the node signs: the key that it made, or else that of its keys folder."""
        if self._kept is None:
            return load_signer(self._keys, self._node)
        from nacl.signing import SigningKey

        return Signer(self._node, SigningKey(bytes.fromhex(self._kept.key)))

    @property
    def is_used(self) -> bool:
        """Whether it made one."""
        return self._kept is not None

    def make(self) -> FreshSigner:
        return FreshSigner(self._node)

    def keep(self, fresh: Fresh, request: bytes) -> None:
        assert isinstance(fresh, FreshSigner), "it was made here"
        kept = _File(self._node, bytes(fresh.key).hex(), b64encode(request).decode())
        write_private(self._path, msgspec.json.encode(kept) + b"\n")
        self._kept = kept

    def request(self) -> bytes:
        return b"" if self._kept is None else b64decode(self._kept.request)

    def _read(self) -> _File | None:
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ConfigurationError(
                f"{self._node} was to sign with the key in {self._path}, but the file cannot be read: "
                f"{error.strerror}. Let this node's user read it."
            ) from None
        try:
            kept = msgspec.json.decode(data, type=_File)
            is_right = self._is_own(kept)
        except (ValueError, msgspec.MsgspecError):
            is_right = False
        if is_right:
            return kept
        raise ConfigurationError(
            f"{self._node} was to sign with the key in {self._path}, but the file is not one that it made. "
            "Restore it from a backup, or admit the node under a new name: quorum admit NAME."
        )

    def _is_own(self, kept: _File) -> bool:
        """Whether the file has a key of this node, and the request of that very key."""
        from nacl.signing import SigningKey

        if kept.node != self._node or len(bytes.fromhex(kept.key)) != 32:
            return False
        request = _DECODE.decode(b64decode(kept.request, validate=True))
        public_key = bytes(SigningKey(bytes.fromhex(kept.key)).verify_key)
        return (request.node, request.public_key) == (self._node, public_key)
