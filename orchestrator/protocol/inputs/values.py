"""The bytes of a record → plain values that expressions can read, and nothing is rounded.

`mapping` calls `read_value` for values and keys. What comes out is made of mappings, lists, text,
whole numbers of 64 bits, true, false and null. A number with a fraction is text as it was written
(`Fraction`): money never passes through a float. `numbers` makes floats of it for conditions,
which compare and write nothing.
"""

from __future__ import annotations

import uuid
from base64 import b64encode
from datetime import date, datetime, time
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Final

import msgspec

from orchestrator.errors import EventRejected
from orchestrator.protocol.codec import INVALID_JSON, NESTING_MAX, SCHEMA, TOO_LARGE

if TYPE_CHECKING:
    from orchestrator.protocol.inputs.schemas import Schemas

# Converting a value for CEL takes about a microsecond; so many stay far from any deadline.
VALUES_MAX: Final = 20_000
# Beyond these, a number is left as it is written: plain digits would fill memory.
_PLAIN_EXPONENT_MAX: Final = 30
_PLAIN_CHARACTERS_MAX: Final = 100
_INT64_MAX: Final = 2**63 - 1
_INT64_MIN: Final = -(2**63)
# A registry's serializers put this byte and four more before the value; JSON never begins with it.
FRAME_BYTE: Final = 0
FRAME_BYTES: Final = 5


class Fraction(str):
    """A number with a fraction, as plain decimal text."""

    __slots__ = ()

    @classmethod
    def of(cls, text: str) -> Fraction:
        """Return a number as decimal text without an exponent, unless that would be absurd."""
        if len(text) > _PLAIN_CHARACTERS_MAX or not ("e" in text or "E" in text):
            return cls(text)
        try:
            number = Decimal(text)
        except InvalidOperation:
            return cls(text)
        if number and abs(number.adjusted()) > _PLAIN_EXPONENT_MAX:
            return cls(text)
        return cls(format(number, "f")) if number else cls("0")


_json: Final = msgspec.json.Decoder(float_hook=Fraction.of)


class Size:
    """What has been met of a record: how many values, its longest list, whether any fraction."""

    __slots__ = ("fractions", "longest", "values")

    def __init__(self) -> None:
        self.values = 0
        self.longest = 0
        self.fractions = False


def read_value(data: bytes, form: str, schemas: Schemas, size: Size) -> Any:
    """Return what some bytes say. Raises EventRejected; UnknownSchema when a schema is to be got.

    `size` grows by what they hold.
    """
    if form == "text":
        try:
            return data.decode()
        except UnicodeDecodeError:
            return None
    if form == "json":
        return plain(_parse(data), size)
    return plain(schemas.decode(data, form), size)


def _parse(data: bytes) -> Any:
    if data[:1] == bytes((FRAME_BYTE,)):
        data = data[FRAME_BYTES:]
    try:
        return _json.decode(data)
    except RecursionError:
        raise EventRejected(INVALID_JSON, f"nesting is over {NESTING_MAX}") from None
    except UnicodeDecodeError:
        raise EventRejected(INVALID_JSON, "the text is not UTF-8") from None
    except (msgspec.MsgspecError, ValueError) as error:
        raise EventRejected(INVALID_JSON, str(error)) from None


def plain(value: Any, size: Size, depth: int = 0) -> Any:
    """Return a copy made of what expressions can read."""
    size.values += 1
    if size.values > VALUES_MAX:
        raise EventRejected(TOO_LARGE, f"the record holds more than {VALUES_MAX} values")
    match value:
        case Fraction():
            size.fractions = True
            return value
        case str() | bool() | None:
            return value
        case int():
            return value if _INT64_MIN <= value <= _INT64_MAX else str(value)
        case dict() | list() | tuple():
            if depth == NESTING_MAX:
                raise EventRejected(INVALID_JSON, f"nesting is over {NESTING_MAX}")
            size.longest = max(size.longest, len(value))
            if isinstance(value, dict):
                return {str(name): plain(one, size, depth + 1) for name, one in value.items()}
            return [plain(one, size, depth + 1) for one in value]
        case _:
            return _single(value, size)


def _single(value: Any, size: Size) -> Any:
    """Return what Avro and Protobuf have beyond JSON, as the contract's events write it."""
    match value:
        case float():
            size.fractions = True
            return Fraction.of(repr(value))
        case Decimal():
            size.fractions = True
            return Fraction.of(str(value))
        case bytes():
            return b64encode(value).decode()
        case datetime() | date() | time():
            return value.isoformat().replace("+00:00", "Z")
        case uuid.UUID():
            return str(value)
        case _:
            raise EventRejected(SCHEMA, f"a value of type {type(value).__name__} is not read")


def numbers(value: Any) -> Any:
    """Return a copy in which numbers with a fraction are floats, to be compared."""
    match value:
        case Fraction():
            return float(value)
        case dict():
            return {name: numbers(one) for name, one in value.items()}
        case list():
            return [numbers(one) for one in value]
        case _:
            return value


def scaled(unscaled: object, digits: object) -> str:
    """Return a whole number of the smallest unit as decimal text: 12900 and 2 give "129.00".

    The function `decimal` of expressions. Raises ValueError for anything else.
    """
    if isinstance(unscaled, str):
        unscaled = int(unscaled)  # What Protobuf has of 64 bits is text in JSON.
    if type(unscaled) is not int or type(digits) is not int or not 0 <= digits <= 18:
        raise ValueError("decimal() takes a whole number and how many of its digits are decimals")
    if not digits:
        return str(unscaled)
    sign, text = "-" if unscaled < 0 else "", str(abs(unscaled)).zfill(digits + 1)
    return f"{sign}{text[:-digits]}.{text[-digits:]}"


def look_up(value: Any, path: tuple[str, ...]) -> Any:
    """Return what a path leads to below a value. Raises KeyError with what is not there."""
    for name in path:
        if not isinstance(value, dict) or name not in value:
            raise KeyError(name)
        value = value[name]
    return value
