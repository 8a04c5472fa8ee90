"""Malformed records, made of valid ones from a seed: bytes, JSON, envelope, keys and headers.

`malformed` sends them. Some come out harmless (an unknown field, a repeat), as in life: what each
one must become is the worker's business, that it becomes exactly one thing is what is checked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random
from typing import Any, Final, NamedTuple

import orjson

from bench.events import MIXED, customer_id, event_bytes

CUSTOMERS: Final = 5_000
# One in so many is a megabyte: over the worker's limit, just under the broker's.
HUGE_ONE_IN: Final = 50_000
HUGE_BYTES: Final = 1_020_000
WRONG_VALUES: Final = (
    None,
    True,
    -1,
    0,
    2**63,
    -(2**70),
    1e308,
    "",
    " ",
    "\x00",
    "🦊" * 40,
    "x" * 3_000,
    [],
    {},
    [[]],
    {"a": {"b": {}}},
    "2026-02-30T00:00:00Z",
    "1970-01-01T00:00:00Z",
    "9999-12-31T23:59:59Z",
)


class Malformed(NamedTuple):
    """A record to produce; `partition` None leaves it to the default partitioner."""

    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()
    partition: int | None = None


Mutation = Callable[[Malformed, Random], Malformed]


def malformed(count: int, seed: int, partitions: int, at_ns: int) -> Iterator[Malformed]:
    """Yield broken records; `at_ns` is the wall clock, for events that stay valid."""
    chance = Random(seed)
    kinds = [kind for kind, _ in MIXED]
    last = Malformed(b"customer-0000000", b"{}")
    for number in range(count):
        customer = chance.randrange(CUSTOMERS)
        # The instant 0 marks its id as nobody's sample.
        value = event_bytes(chance.choice(kinds), f"0-{seed}-{number}", customer, at_ns, chance)
        record = Malformed(customer_id(customer).encode(), value)
        if number % HUGE_ONE_IN == HUGE_ONE_IN // 2:
            yield Malformed(record.key, value[:-1] + b',"note":"' + b"x" * HUGE_BYTES + b'"}')
            continue
        draw = chance.random()
        if draw < 0.02:
            yield last  # A repeat, of whatever it was.
            continue
        if draw < 0.04:
            record = record._replace(partition=chance.randrange(partitions))
        else:
            record = chance.choice(MUTATIONS)(record, chance)
        last = record
        yield record


def _truncate(record: Malformed, chance: Random) -> Malformed:
    return record._replace(value=record.value[: chance.randrange(len(record.value))])


def _flip(record: Malformed, chance: Random) -> Malformed:
    value = bytearray(record.value)
    for _ in range(chance.randint(1, 8)):
        value[chance.randrange(len(value))] = chance.randrange(256)
    return record._replace(value=bytes(value))


def _insert(record: Malformed, chance: Random) -> Malformed:
    at, noise = chance.randrange(len(record.value)), chance.randbytes(chance.randint(1, 16))
    return record._replace(value=record.value[:at] + noise + record.value[at:])


def _splice(record: Malformed, chance: Random) -> Malformed:
    a, b = sorted(chance.sample(range(len(record.value)), 2))
    return record._replace(value=record.value[:b] + record.value[a:])


def _noise(record: Malformed, chance: Random) -> Malformed:
    return record._replace(value=chance.randbytes(chance.randint(0, 400)))


def _empty(record: Malformed, chance: Random) -> Malformed:
    return record._replace(value=chance.choice((None, b"", b" ", b"\xef\xbb\xbf" + record.value)))


def _not_an_object(record: Malformed, chance: Random) -> Malformed:
    bare = (b"null", b"0", b'"text"', b"[]", b"[" + record.value + b"]", b"NaN", b"-Infinity")
    return record._replace(value=chance.choice(bare))


def _deep(record: Malformed, chance: Random) -> Malformed:
    depth = chance.choice((63, 64, 65, 200, 5_000))
    nested = b"[" * depth + b"]" * chance.choice((depth, depth - 1))
    return record._replace(value=record.value[:-1] + b',"deep":' + nested + b"}")


def _bad_number(record: Malformed, chance: Random) -> Malformed:
    number = chance.choice((b"NaN", b"Infinity", b"1e999", b"-0", b"00", b"9" * 400, b"1.0e-400"))
    return record._replace(value=record.value[:-1] + b',"number":' + number + b"}")


def _escape(record: Malformed, chance: Random) -> Malformed:
    odd = chance.choice((rb"\ud800", rb"\u0000", rb"\udc00\ud800", rb"\x41", b"\xff", b"\xc0\x80"))
    at = (
        record.value.index(b"customer-") if chance.random() < 0.5 else record.value.index(b"/bench")
    )
    return record._replace(value=record.value[:at] + odd + record.value[at:])


def _drop_field(record: Malformed, chance: Random) -> Malformed:
    event = orjson.loads(record.value)
    place = event if chance.random() < 0.6 else event["data"]
    del place[chance.choice(list(place))]
    return record._replace(value=orjson.dumps(event))


def _wrong_field(record: Malformed, chance: Random) -> Malformed:
    event = orjson.loads(record.value)
    place: Any = event if chance.random() < 0.4 else event["data"]
    if isinstance(place.get("items"), list) and chance.random() < 0.5:
        place = place["items"][0]
    wrong = [value for value in WRONG_VALUES if not isinstance(value, int) or abs(value) < 2**63]
    place[chance.choice(list(place))] = chance.choice(wrong)
    return record._replace(value=orjson.dumps(event))


def _wrong_number(record: Malformed, chance: Random) -> Malformed:
    big = str(chance.choice([value for value in WRONG_VALUES if type(value) is int])).encode()
    return record._replace(value=record.value.replace(b'"quantity":1', b'"quantity":' + big))


def _more_fields(record: Malformed, chance: Random) -> Malformed:
    event = orjson.loads(record.value)
    event["unknown"] = event["data"]["unknown"] = chance.choice(("x", 1.5, None, [1, "a", {}]))
    if chance.random() < 0.5:
        event["type"] = chance.choice(("no.such.type", "message.delivered", "purchase", "x" * 500))
    return record._replace(value=orjson.dumps(event))


def _twice(record: Malformed, chance: Random) -> Malformed:
    """Put the same name into one object twice, which parsers read differently."""
    twice = chance.choice((b',"subject":"customer-0000001"}', b',"id":"other"}', b',"data":[]}'))
    return record._replace(value=record.value[:-1] + twice)


def _reused_id(record: Malformed, chance: Random) -> Malformed:
    event = orjson.loads(record.value)
    event["id"] = f"0-reused-{chance.randrange(50)}"
    return record._replace(value=orjson.dumps(event))


def _key(record: Malformed, chance: Random) -> Malformed:
    keys = (
        None,
        b"",
        b"customer-9999999",
        b"\xff\xfe",
        b"\xffmeta",
        b"k" * 300,
        record.key + b"\n",
    )
    return record._replace(key=chance.choice(keys))


def _long_subject(record: Malformed, chance: Random) -> Malformed:
    subject = chance.choice(("s" * 256, "s" * 257, "ü" * 128, "ü" * 129, "a b", "\t", "null"))
    event = orjson.loads(record.value) | {"subject": subject}
    return record._replace(key=subject.encode(), value=orjson.dumps(event))


def _header(record: Malformed, chance: Random) -> Malformed:
    headers = chance.choice(
        (
            (("content-type", b"application/cloudevents-batch+json"),),
            (("ce_specversion", b"1.0"),),
            (("ce_specversion", b"1.0"), ("ce_type", b"purchase"), ("ce_id", b"\xff")),
            (("backfill", b"maybe"),),
            (("backfill", None), ("traceparent", b"00-zz"), ("content-type", None)),
            (("fw_topic", b"touchpoints"), ("fw_partition", b"x"), ("fw_hops", b"99")),
            (("dl_reason", b"schema"), ("dl_offset", b"-1"), ("dl_partition", b"\xff")),
            (("", b""),) * 50,
            (("content-type", b"text/plain"), ("content-encoding", b"gzip")),
        )
    )
    return record._replace(headers=headers)


MUTATIONS: Final[tuple[Mutation, ...]] = (
    _truncate,
    _flip,
    _flip,
    _insert,
    _splice,
    _noise,
    _empty,
    _not_an_object,
    _deep,
    _bad_number,
    _escape,
    _drop_field,
    _drop_field,
    _wrong_field,
    _wrong_field,
    _wrong_number,
    _more_fields,
    _twice,
    _reused_id,
    _key,
    _long_subject,
    _header,
)
