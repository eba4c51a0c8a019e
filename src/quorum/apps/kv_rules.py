"""What the key-value store refuses, and why: each rule gives None or the result that stands for the command."""

from __future__ import annotations

from quorum.apps.batch import Refused
from quorum.apps.kv import (
    KEY_BYTES_MAX,
    TXN_COMPARES_MAX,
    TXN_OPERATIONS_MAX,
    VALUE_BYTES_MAX,
    Delete,
    DeleteRange,
    Get,
    LeaseList,
    Operation,
    Put,
    PutWithLease,
    PutWithTtl,
    Range,
    Txn,
)
from quorum.apps.leases import LEASE_ID_MAX


def refusal_of_item(key: bytes, value: bytes | None = None) -> Refused | None:
    if not 0 < len(key) <= KEY_BYTES_MAX:
        return Refused("key", f"a key has {len(key)} bytes, but keys have 1 to {KEY_BYTES_MAX}. Choose another.")
    if value is not None and len(value) > VALUE_BYTES_MAX:
        return Refused(
            "value", f"a value has {len(value)} bytes, but {VALUE_BYTES_MAX} is the most. Store it in pieces."
        )
    return None


def refusal_of_operation(operation: Operation) -> Refused | None:
    match operation:
        case Put(key, value):
            return refusal_of_item(key, value)
        case Delete(key) | Get(key):
            return refusal_of_item(key)
        case DeleteRange(start, end) | Range(start, end):
            longest = max(len(start), len(end or b""))
            if longest > KEY_BYTES_MAX + 1:  # a key and the zero byte that names the place behind it
                return Refused(
                    "range", f"a bound has {longest} bytes, but keys have {KEY_BYTES_MAX} at most. Shorten it."
                )
            if isinstance(operation, Range) and operation.limit < 0:
                return Refused(
                    "range", f"a limit of {operation.limit} keys makes no sense. Give 0 for all, or more."
                )
            return None
        case PutWithLease(key, value) | PutWithTtl(key, value):
            return refusal_of_item(key, value)


def refusal_of_list(query: LeaseList) -> Refused | None:
    if 0 <= query.after <= LEASE_ID_MAX and query.limit >= 0:
        return None
    return Refused(
        "lease",
        f"at most {query.limit} leases behind {query.after} were asked for, but numbers are from 0 to 2^63-1. "
        "Give 0 for all of them, or more.",
    )


def refusal_of_txn(txn: Txn) -> Refused | None:
    """Why a transaction cannot be done, before any of it is."""
    if len(txn.compares) > TXN_COMPARES_MAX or max(len(txn.then), len(txn.otherwise)) > TXN_OPERATIONS_MAX:
        return Refused(
            "txn",
            f"a transaction may have {TXN_COMPARES_MAX} comparisons and {TXN_OPERATIONS_MAX} operations in a "
            "branch, but this one has more. Split it.",
        )
    for compare in txn.compares:
        refusal = refusal_of_item(compare.key)
        if refusal is None and isinstance(compare.operand, bytes) != (compare.field == "value"):
            refusal = Refused("txn", f"{compare.field} is compared with an operand of another type. Give its own.")
        if refusal is not None:
            return refusal
    for branch in (txn.then, txn.otherwise):
        for operation in branch:
            refusal = refusal_of_operation(operation)
            if refusal is not None:
                return refusal
        if _writes_twice(branch):
            return Refused(
                "txn", "a branch writes one key twice, so its outcome is unclear. Keep one write per key."
            )
    return None


def _writes_twice(branch: list[Operation]) -> bool:
    puts = [operation.key for operation in branch if isinstance(operation, Put | PutWithLease | PutWithTtl)]
    if len(set(puts)) < len(puts):
        return True
    deleted = {operation.key for operation in branch if isinstance(operation, Delete)}
    ranges = [(operation.start, operation.end) for operation in branch if isinstance(operation, DeleteRange)]
    return any(
        key in deleted or any(start <= key and (end is None or key < end) for start, end in ranges) for key in puts
    )
