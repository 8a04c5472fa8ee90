"""A schema registry for tests: Confluent's REST API as far as serializers and readers use it.

A thread on a free port. `POST /subjects/<subject>/versions` registers {"schema", "schemaType"?,
"references"?}, `POST /subjects/<subject>` looks it up, `GET /schemas/ids/<id>` and `GET /subjects/
<subject>/versions/<version>` serve it; 404 with {"error_code": 40403} for an id that is not there.
Protobuf is served as a descriptor in base64 with `?format=serialized` only. `asked` counts the GETs
by id; with `user` set everybody else gets 401, while `away` is set everybody gets 503.
"""

from __future__ import annotations

import base64
import json
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit


class SchemaRegistryServer:
    """The server; a context manager. `url` is where it answers."""

    def __init__(self, user: tuple[str, str] | None = None) -> None:
        self.schemas: list[dict] = []
        self.subjects: dict[str, list[int]] = {}
        self.asked: Counter[int] = Counter()
        self.user = user
        self.away = False
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()

    def register(self, subject: str, body: dict) -> dict:
        """Register a schema; return the answer."""
        schema = {
            "schema": body["schema"],
            "schemaType": body.get("schemaType", "AVRO"),
            "references": body.get("references") or [],
        }
        if schema not in self.schemas:
            self.schemas.append(schema)
        schema_id = self.schemas.index(schema) + 1
        versions = self.subjects.setdefault(subject, [])
        if schema_id not in versions:
            versions.append(schema_id)
        version = versions.index(schema_id) + 1
        return {"id": schema_id, "subject": subject, "version": version} | _served(schema, {})

    def answer(self, method: str, path: str, body: dict) -> tuple[int, dict]:
        """Return status and document of one request."""
        address = urlsplit(path)
        query = parse_qs(address.query)
        match [unquote(part) for part in address.path.strip("/").split("/")]:
            case ["subjects", subject] | ["subjects", subject, "versions"] if method == "POST":
                return 200, self.register(subject, body)
            case ["schemas", "ids", number] if int(number) <= len(self.schemas):
                self.asked[int(number)] += 1
                return 200, _served(self.schemas[int(number) - 1], query)
            case ["schemas", "ids", _]:
                return 404, {"error_code": 40403, "message": "Schema not found"}
            case ["subjects", subject, "versions", version] if subject in self.subjects:
                numbers = self.subjects[subject]
                version = len(numbers) if version == "latest" else int(version)
                served = _served(self.schemas[numbers[version - 1] - 1], query)
                return 200, served | {"subject": subject, "version": version, "id": numbers[-1]}
            case _:
                return 404, {"error_code": 40401, "message": "Subject not found"}

    def _handler(self):
        registry = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                self._reply("GET", {})

            def do_POST(self):
                length = int(self.headers.get("content-length", 0))
                self._reply("POST", json.loads(self.rfile.read(length)))

            def _reply(self, method, body):
                status, document = 503, {"error_code": 50301, "message": "away"}
                if not registry.away:
                    status, document = 401, {"error_code": 40101, "message": "Unauthorized"}
                    if registry.user is None or self._logged_in():
                        status, document = registry.answer(method, self.path, body)
                data = json.dumps(document).encode()
                self.send_response(status)
                self.send_header("content-type", "application/vnd.schemaregistry.v1+json")
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def _logged_in(self):
                wanted = base64.b64encode(":".join(registry.user).encode()).decode()
                return self.headers.get("authorization") == f"Basic {wanted}"

            def log_message(self, *_):
                """Say nothing."""

        return Handler


def _served(schema: dict, query: dict) -> dict:
    served = {"schema": schema["schema"]}
    if schema["references"]:
        served["references"] = schema["references"]
    if schema["schemaType"] != "AVRO":
        served["schemaType"] = schema["schemaType"]
    if schema["schemaType"] == "PROTOBUF" and query.get("format") != ["serialized"]:
        served["schema"] = 'syntax = "proto3"; // A text that needs a compiler.'
    return served
