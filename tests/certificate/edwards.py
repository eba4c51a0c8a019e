"""The group of Ed25519 in plain numbers, slow and for tests alone: it makes the odd keys that no library makes.

Source: RFC 8032, sections 5.1 and 5.1.3.
"""

from __future__ import annotations

from hashlib import sha512

from quorum.certificate.keys import GROUP_ORDER

P = 2**255 - 19
D = -121665 * pow(121666, -1, P) % P
Point = tuple[int, int]
NEUTRAL: Point = (0, 1)


def add(one: Point, other: Point) -> Point:
    (x1, y1), (x2, y2) = one, other
    product = D * x1 * x2 * y1 * y2
    return (
        (x1 * y2 + x2 * y1) * pow(1 + product, -1, P) % P,
        (y1 * y2 + x1 * x2) * pow(1 - product, -1, P) % P,
    )


def times(count: int, point: Point) -> Point:
    total = NEUTRAL
    while count:
        if count & 1:
            total = add(total, point)
        point, count = add(point, point), count >> 1
    return total


def with_y(y: int, odd: int) -> Point | None:
    """The point at height y whose x is odd or even; None where there is none."""
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if x * x % P != square:
        x = x * pow(2, (P - 1) // 4, P) % P
    if x * x % P != square:
        return None
    return (x if x & 1 == odd or x == 0 else P - x), y % P


def encode(point: Point) -> bytes:
    x, y = point
    return (y | (x & 1) << 255).to_bytes(32, "little")


BASE = with_y(4 * pow(5, -1, P) % P, 0)
assert BASE is not None, "the base point is at height 4/5"


def small_order_points() -> list[Point]:
    """All eight points whose order divides 8."""
    for y in range(2, 100):
        point = with_y(y, 0)
        if point is None:
            continue
        torsion = times(GROUP_ORDER, point)
        if times(4, torsion) != NEUTRAL:
            return [times(count, torsion) for count in range(8)]
    raise AssertionError("every second height has a point, and half of those have full torsion")


def sign(secret: int, public: bytes, nonce: int, message: bytes, shift: Point = NEUTRAL) -> bytes:
    """A signature by the scalar `secret`, its first half moved by `shift`."""
    first = encode(add(times(nonce, BASE), shift))
    challenge = int.from_bytes(sha512(first + public + message).digest(), "little") % GROUP_ORDER
    return first + ((nonce + challenge * secret) % GROUP_ORDER).to_bytes(32, "little")
