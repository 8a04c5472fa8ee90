"""A customer like nobody else, and every way to ask the API about them, right and wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote, quote_plus

import orjson

from tests.api.test_access import flattened

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastapi import FastAPI

NAME = "Quetzalcanaria"
MAIL = "quetzal.canaria.7731@mail.example"
PHONE = "+34699377311"
WHO = "c-7731"
# As they are, and as addresses and forms spell them.
WORDS = (NAME, MAIL, PHONE[1:], quote(MAIL, safe=""), quote_plus(MAIL))

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
_EVENT = {
    "specversion": "1.0", "id": MAIL, "source": "/shop", "type": "search.done", "subject": WHO,
    "time": "2026-11-22T10:00:00Z", "data": {"said": MAIL, "name": NAME, "phone": PHONE},
}  # fmt: skip
# What each route takes, said by somebody who types personal data wherever there is room for it. Who
# pauses or publishes, and why, is no customer's: it stands in the log on purpose.
BODIES: dict[str, list[Any]] = {
    "/v1/events": [
        _EVENT,
        [_EVENT, _EVENT | {"type": "purchase", "data": {MAIL: [NAME]}}],
        _EVENT | {"type": "purchase", "data": {"order_id": [MAIL], "total": NAME, "items": PHONE}},
        _EVENT | {"type": "customer.erased", "subject": MAIL},
        _EVENT | {"subject": MAIL * 9},
        {"name": NAME, "mail": MAIL, "phone": PHONE},
    ],
    "/v1/identify": [
        {"userId": WHO, "messageId": MAIL, "traits": {"name": NAME, "email": MAIL, "phone": PHONE}},
        {"userId": MAIL * 9, "messageId": MAIL, "timestamp": NAME, "traits": [PHONE]},
    ],
    "/v1/track": [
        {"userId": WHO, "messageId": MAIL, "event": NAME, "properties": {MAIL: PHONE}},
        {"userId": WHO, "messageId": MAIL, "event": "Order Completed", "properties": {"x": NAME}},
    ],
    "/v1/customers/{customer_id}/handoff": [{"by": NAME, "state": "started"}, {"state": MAIL}],
    "/v1/customers/{customer_id}/outcome": [
        {"by": NAME, "kind": "note", "text": f"{MAIL} {PHONE}"},
        {"by": NAME, "kind": "case.opened", "case_id": MAIL, "subject": PHONE},
        {"by": NAME, "kind": "offer.rejected", "offer": MAIL},
        {"kind": MAIL},
    ],
    "/v1/customers/{customer_id}/enrollments/{enrollment:path}/exit": [{"by": NAME}],
    "/v1/customers/{customer_id}/offers/{offer}/request": [{"by": NAME, "channel": MAIL}],
    "/v1/tasks/{task_id}/claim": [{"by": NAME}],
    "/v1/tasks/{task_id}/close": [{"by": NAME, "outcome": MAIL}],
    "/v1/pauses": [
        {"scope": "journey/hello", "by": "eva", "reason": "wrong price"},
        {"scope": f"journey/{MAIL}", "by": "eva", "reason": "wrong price"},
        {"scope": MAIL, "by": "eva", "reason": "wrong price"},
    ],
    "/v1/pauses/resume": [
        {"scope": "journey/hello", "by": "eva", "reason": "right again"},
        {"scope": f"channel/{PHONE}", "by": "eva", "reason": "right again"},
    ],
    "/v1/definitions": [{"by": "eva", "files": {}}, {"files": {"x.yaml": [MAIL]}}],
}
# What no route takes. Keys are data too: somebody's program may have written anything there.
NO_BODIES: list[Any] = [
    {MAIL: PHONE}, {"by": {NAME: [MAIL]}}, {"by": MAIL * 20, "state": "started"}, [MAIL, {NAME: 1}],
    MAIL, {"kind": "note", MAIL: NAME}, {"files": {MAIL: {NAME: PHONE}}}, {"traits": {MAIL: {}}},
]  # fmt: skip
NO_JSON = [f'{{"mail": "{MAIL}"'.encode(), MAIL.encode(), b"\xff" + MAIL.encode(), b""]
QUERIES = (
    "after", "channel", "wait", "limit", "before", "type", "entry", "since", "queue", "customer",
    "claimed", "claimed_by", "order", "page", MAIL,
)  # fmt: skip
HEADERS = {
    "x-after": MAIL, "user-agent": NAME, "referer": f"https://s.example/?m={quote(MAIL)}",
    "x-forwarded-for": NAME, "traceparent": MAIL, "x-request-id": PHONE, "cookie": f"m={MAIL}",
    "accept": f"application/{NAME}",
}  # fmt: skip


class Ask(NamedTuple):
    """One request; `body` None sends none."""

    method: str
    path: str
    template: str
    headers: dict[str, str]
    body: bytes | None = None


def asks(application: FastAPI) -> Iterator[Ask]:
    """Return requests to every route: as it wants them, and in every wrong way."""
    for route in flattened(application.routes):
        for method in sorted(route.methods):
            yield from _asks_of(method, route.path)
        yield Ask("DELETE", filled(route.path, MAIL), route.path, {})
    yield Ask("GET", f"/{quote(MAIL)}", "", HEADERS)
    yield Ask("GET", f"/v1/customers/{quote(MAIL)}/{NAME}", "", HEADERS)


def _asks_of(method: str, template: str) -> Iterator[Ask]:
    paths = dict.fromkeys(filled(template, one) for one in (WHO, MAIL, NAME, PHONE, MAIL * 20))
    right = [orjson.dumps(body) for body in BODIES.get(template, ())]
    for path in paths:
        queried = "&".join(f"{quote(one)}={quote(MAIL)}" for one in QUERIES)
        yield Ask(method, path, template, {})
        yield Ask(method, f"{path}?{queried}", template, HEADERS)
        yield Ask(method, f"{path}?wait=0&limit=1", template, HEADERS)
        if method == "POST":
            for body in right:
                yield Ask(method, path, template, {"content-type": JSON}, body)
    if method != "POST":
        return
    path = filled(template, WHO)
    wrong = [orjson.dumps(body) for body in (*NO_BODIES, *_damaged(BODIES.get(template, ())))]
    for body in (*wrong, *NO_JSON):
        yield Ask(method, path, template, {"content-type": JSON}, body)
    for kind in (FORM, f"text/{NAME}", f"multipart/form-data; boundary={NAME}"):
        body = f"by={quote_plus(MAIL)}&{quote_plus(NAME)}=1&state={NAME}&kind={NAME}".encode()
        yield Ask(method, path, template, {"content-type": kind}, body)
    large = orjson.dumps({"by": MAIL * 20_000})
    yield Ask(method, path, template, {"content-type": JSON}, large)


def _damaged(bodies: Any) -> Iterator[Any]:
    """Return bodies in which one field after the other holds something else."""
    for body in bodies:
        if isinstance(body, dict):
            for name in body:
                yield body | {name: {MAIL: NAME}}
                yield body | {name: [MAIL]}
                yield body | {name: MAIL * 9}
            yield body | {MAIL: NAME}


def filled(template: str, value: str) -> str:
    """Return a route's path with this value in all its places."""
    parts = template.split("/")
    return "/".join(quote(value, safe="") if part.startswith("{") else part for part in parts)


def words_in(text: str) -> list[str]:
    """Return which of the canary's words are there."""
    return [word for word in WORDS if word in text]


def lines_with(text: str) -> list[str]:
    """Return the first lines that hold one."""
    return [line[:600] for line in text.splitlines() if words_in(line)][:3]
