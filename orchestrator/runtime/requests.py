"""Requests that aiokafka does not speak yet, in the versions that fence and find writers.

TxnOffsetCommit v3 (KIP-447) carries generation and member: the group coordinator refuses the
offsets, and with them the transaction, of a worker that was given up; by v5 the group joins the
transaction with its offsets. EndTxn v5 returns the epoch of the next transaction, so that nothing
of this one can slip into it. ApiVersions v3 tells whether the cluster has these, which make up
transactions of version 2 (KIP-890). OffsetFetch v7 with
`require_stable` waits for offsets of a transaction that is ending. ListTransactions v0 (KIP-664)
names the open transactions on a broker. Field lists are from the Kafka protocol guide.
"""

from __future__ import annotations

from io import BytesIO
from typing import Any, ClassVar, TypeAlias, TypeVar

from aiokafka.protocol.api import Request, RequestStruct, Response, ResponseHeader_v0
from aiokafka.protocol.types import (
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Int64,
    Schema,
    TaggedFields,
)

_TAGS = ("tags", TaggedFields)
_THROTTLE = ("throttle_time_ms", Int32)
_FINALIZED_FEATURES = 2
_FEATURES = CompactArray(
    ("name", CompactString("utf-8")), ("max_version", Int16), ("min_version", Int16), _TAGS
)


class TxnOffsetCommitResponseV3(Response):
    """Error codes by topic and partition."""

    API_KEY = 28
    API_VERSION = 3
    SCHEMA = Schema(
        _THROTTLE,
        (
            "topics",
            CompactArray(
                ("topic", CompactString("utf-8")),
                ("partitions", CompactArray(("partition", Int32), ("error_code", Int16), _TAGS)),
                _TAGS,
            ),
        ),
        _TAGS,
    )


class TxnOffsetCommitRequestV3(RequestStruct):
    """Offsets of a transaction, with the generation under which they were read."""

    FLEXIBLE_VERSION = True
    API_KEY = 28
    API_VERSION = 3
    RESPONSE_TYPE = TxnOffsetCommitResponseV3
    SCHEMA = Schema(
        ("transactional_id", CompactString("utf-8")),
        ("group_id", CompactString("utf-8")),
        ("producer_id", Int64),
        ("producer_epoch", Int16),
        ("generation_id", Int32),
        ("member_id", CompactString("utf-8")),
        ("group_instance_id", CompactString("utf-8")),
        (
            "topics",
            CompactArray(
                ("topic", CompactString("utf-8")),
                (
                    "partitions",
                    CompactArray(
                        ("partition", Int32),
                        ("offset", Int64),
                        ("leader_epoch", Int32),
                        ("metadata", CompactString("utf-8")),
                        _TAGS,
                    ),
                ),
                _TAGS,
            ),
        ),
        _TAGS,
    )


class TxnOffsetCommitRequestV5(TxnOffsetCommitRequestV3):
    """The same, and the group becomes part of the transaction."""

    API_VERSION = 5


class EndTxnResponseV5(Response):
    """The identity under which the next transaction is written."""

    API_KEY = 26
    API_VERSION = 5
    SCHEMA = Schema(
        _THROTTLE,
        ("error_code", Int16),
        ("producer_id", Int64),
        ("producer_epoch", Int16),
        _TAGS,
    )


class EndTxnRequestV5(RequestStruct):
    """Commit the transaction, and ask for the epoch of the next one."""

    FLEXIBLE_VERSION = True
    API_KEY = 26
    API_VERSION = 5
    RESPONSE_TYPE = EndTxnResponseV5
    SCHEMA = Schema(
        ("transactional_id", CompactString("utf-8")),
        ("producer_id", Int64),
        ("producer_epoch", Int16),
        ("committed", Boolean),
        _TAGS,
    )


class ApiVersionsResponseV3(Response):
    """What a broker speaks, and in tag 2 the features of its cluster."""

    API_KEY = 18
    API_VERSION = 3
    SCHEMA = Schema(
        ("error_code", Int16),
        (
            "api_versions",
            CompactArray(("api_key", Int16), ("min_version", Int16), ("max_version", Int16), _TAGS),
        ),
        _THROTTLE,
        _TAGS,
    )


class ApiVersionsRequestV3(RequestStruct):
    """Ask a broker what it speaks."""

    FLEXIBLE_VERSION = True
    API_KEY = 18
    API_VERSION = 3
    RESPONSE_TYPE = ApiVersionsResponseV3
    SCHEMA = Schema(
        ("client_software_name", CompactString("utf-8")),
        ("client_software_version", CompactString("utf-8")),
        _TAGS,
    )

    def parse_response_header(self, read_buffer: BytesIO | bytes) -> ResponseHeader_v0:
        """Read the header of this one answer, which is never flexible."""
        return ResponseHeader_v0.decode(read_buffer)


class OffsetFetchResponseV7(Response):
    """Committed offsets of a group; -1 where there is none."""

    API_KEY = 9
    API_VERSION = 7
    SCHEMA = Schema(
        _THROTTLE,
        (
            "topics",
            CompactArray(
                ("topic", CompactString("utf-8")),
                (
                    "partitions",
                    CompactArray(
                        ("partition", Int32),
                        ("offset", Int64),
                        ("leader_epoch", Int32),
                        ("metadata", CompactString("utf-8")),
                        ("error_code", Int16),
                        _TAGS,
                    ),
                ),
                _TAGS,
            ),
        ),
        ("error_code", Int16),
        _TAGS,
    )


class OffsetFetchRequestV7(RequestStruct):
    """Ask for committed offsets, and for an error while a transaction is still ending."""

    FLEXIBLE_VERSION = True
    API_KEY = 9
    API_VERSION = 7
    RESPONSE_TYPE = OffsetFetchResponseV7
    SCHEMA = Schema(
        ("group_id", CompactString("utf-8")),
        (
            "topics",
            CompactArray(
                ("topic", CompactString("utf-8")), ("partitions", CompactArray(Int32)), _TAGS
            ),
        ),
        ("require_stable", Boolean),
        _TAGS,
    )


class ListTransactionsResponseV0(Response):
    """Transactional ids that this broker coordinates, in the states asked for."""

    API_KEY = 66
    API_VERSION = 0
    SCHEMA = Schema(
        _THROTTLE,
        ("error_code", Int16),
        ("unknown_state_filters", CompactArray(CompactString("utf-8"))),
        (
            "transaction_states",
            CompactArray(
                ("transactional_id", CompactString("utf-8")),
                ("producer_id", Int64),
                ("transaction_state", CompactString("utf-8")),
                _TAGS,
            ),
        ),
        _TAGS,
    )


class ListTransactionsRequestV0(RequestStruct):
    """Ask a broker for the transactions that it coordinates."""

    FLEXIBLE_VERSION = True
    API_KEY = 66
    API_VERSION = 0
    RESPONSE_TYPE = ListTransactionsResponseV0
    SCHEMA = Schema(
        ("state_filters", CompactArray(CompactString("utf-8"))),
        ("producer_id_filters", CompactArray(Int64)),
        _TAGS,
    )


_TxnOffsetCommit: TypeAlias = TxnOffsetCommitRequestV3
_EndTxn: TypeAlias = EndTxnRequestV5
_ApiVersions: TypeAlias = ApiVersionsRequestV3
_OffsetFetch: TypeAlias = OffsetFetchRequestV7
_ListTransactions: TypeAlias = ListTransactionsRequestV0


_Struct = TypeVar("_Struct", bound=RequestStruct)


class _OfFields(Request[_Struct]):
    """Builds a struct of fields that are given in the order of its schema."""

    API_KEY: ClassVar[int] = -1

    def __init__(self, *fields: Any) -> None:
        self._fields = fields

    def build(self, request_struct_class: type[_Struct]) -> _Struct:
        """Return the struct to send."""
        built: _Struct = request_struct_class(*self._fields)
        return built


class FencedOffsetCommit(_OfFields[_TxnOffsetCommit]):
    """Builder for TxnOffsetCommit v3, or v5 when `joining`.

    A broker may know v5 while its cluster has not the transactions that it is for.
    """

    API_KEY: ClassVar[int] = 28

    def __init__(self, *fields: Any, joining: bool) -> None:
        self._struct = TxnOffsetCommitRequestV5 if joining else TxnOffsetCommitRequestV3
        super().__init__(*fields)

    def build(self, request_struct_class: type[_TxnOffsetCommit]) -> _TxnOffsetCommit:
        """Return the struct to send."""
        del request_struct_class
        return super().build(self._struct)


class EndTransaction(_OfFields[_EndTxn]):
    """Builder for EndTxn v5."""

    API_KEY: ClassVar[int] = 26


class ApiVersions(_OfFields[_ApiVersions]):
    """Builder for ApiVersions v3."""

    API_KEY: ClassVar[int] = 18


def transaction_version(answer: ApiVersionsResponseV3) -> int:
    """Return the cluster's `transaction.version`; 0 where it is not told."""
    told = answer.tags.get(_FINALIZED_FEATURES)
    features = _FEATURES.decode(BytesIO(told)) if told else []
    return max(
        (level for name, level, _, _ in features if name == "transaction.version"), default=0
    )


class StableOffsetFetch(_OfFields[_OffsetFetch]):
    """Builder for OffsetFetch v7 with `require_stable`."""

    API_KEY: ClassVar[int] = 9


class ListTransactions(_OfFields[_ListTransactions]):
    """Builder for ListTransactions v0."""

    API_KEY: ClassVar[int] = 66
