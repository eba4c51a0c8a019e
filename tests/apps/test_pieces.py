"""Pieces of a certified state: what an honest member gives passes, and nothing else does."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from quorum.apps import kv, lock
from quorum.apps.catalogue import KV_APP, LOCK_APP, new_host
from quorum.apps.host import OPEN, SESSIONS, Host
from quorum.apps.kv_store import KvStore
from quorum.apps.pieces import (
    GROUP,
    PIECE_BYTES,
    Entry,
    Proof,
    Tree,
    digest_of,
    digests_of,
    entries_of,
    proven,
    read_proof,
    rendered,
    root_in_slices,
)
from quorum.apps.state_machine import Outputs, is_chunked
from quorum.apps.stream import HEAD, LAST, PIECE, PieceFrames, payload_of, pieces_in, write_stream
from quorum.certificate.keys import KeyPair
from quorum.certificate.requests import pack_block, sign_request
from quorum.certificate.vote import SigningDomain
from quorum.entry import BLOCK, COMMAND
from quorum.header import Batch, Header
