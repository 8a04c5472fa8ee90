"""The row about TLS and passwords: whoever cannot come in says why in one line, and no secret."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import trustme
from confluent_kafka.admin import ScramCredentialInfo, ScramMechanism, UserScramCredentialUpsertion
from cryptography.hazmat.primitives import serialization

from bench.crash.plan import Size
from bench.faults.case import Row
from bench.faults.refusals import PASSWORD, SCRAM, USER
from bench.faults.scene import LONELY, Scene
from orchestrator.broker import EmbeddedBroker, Listener

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from bench.faults.case import Case

WRONG: Final = "wr0ng-s3cret"
ROTATED: Final = "r0tated-s3cret"
CPU_SECONDS_MAX: Final = 6.0
"""Of a start that is refused; a third of it is the interpreter and its libraries."""
LINES_MAX: Final = 12
BRIEF: Final = Size(events=2_000, customers=300, rate=40, pauses=())


def _tls(folder: Path, authority: trustme.CA, *, expired: bool) -> dict[str, str]:
    """Return the properties of a listener with a certificate of that authority."""
    end = datetime.now(UTC) + timedelta(days=-1 if expired else 30)
    begin = end - timedelta(days=60)
    issued = authority.issue_cert("127.0.0.1", "localhost", not_before=begin, not_after=end)
    key = serialization.load_pem_private_key(issued.private_key_pem.bytes(), password=None)
    store = folder / f"{'expired' if expired else 'valid'}.pem"
    store.write_bytes(
        # Kafka reads PKCS#8 only.
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + b"".join(blob.bytes() for blob in issued.cert_chain_pems)
    )
    return {"ssl.keystore.type": "PEM", "ssl.keystore.location": str(store)}


def doors(case: Case) -> None:
    """Try every wrong key at the start; then rotate the password of a worker at work."""
    authority, stranger = trustme.CA(), trustme.CA()
    trusted, other = case.folder / "ca.pem", case.folder / "other-ca.pem"
    authority.cert_pem.write_to_path(str(trusted))
    stranger.cert_pem.write_to_path(str(other))
    valid = _tls(case.folder, authority, expired=False)
    listeners = [
        Listener("SECURE", "SASL_SSL", properties=valid | SCRAM, scram_users={USER: PASSWORD}),
        Listener("EXPIRED", "SSL", properties=_tls(case.folder, authority, expired=True)),
        Listener("TLS", "SSL", properties=valid),
    ]
    with EmbeddedBroker(case.folder / "broker", listeners=listeners, properties=LONELY) as broker:
        right = {
            "BOOTSTRAP_SERVERS": broker.address_of("SECURE"),
            "SECURITY_PROTOCOL": "SASL_SSL",
            "SASL_USERNAME": USER,
            "SASL_PASSWORD": PASSWORD,
            "SSL_CAFILE": str(trusted),
        }
        right = {f"ORCHESTRATOR_{name}": value for name, value in right.items()}
        with Scene(case, broker.bootstrap_servers, workers=1, size=BRIEF, settings=right) as scene:
            for name, change, told in _keys(broker, other):
                _refused(scene, name, change, told)
            _rotate(scene, broker)


def _keys(broker: EmbeddedBroker, other: Path) -> list[tuple[str, dict[str, str], str]]:
    """Return each wrong way to come in: its name, what differs, and what must be said."""
    expired, tls = broker.address_of("EXPIRED"), broker.address_of("TLS")
    plain, secure = broker.bootstrap_servers, broker.address_of("SECURE")
    return [
        ("wrong password", {"SASL_PASSWORD": WRONG}, "refuses the login of 'worker'"),
        (
            "expired certificate",
            {"BOOTSTRAP_SERVERS": expired, "SECURITY_PROTOCOL": "SSL"},
            "certificate has expired",
        ),
        ("unknown authority", {"SSL_CAFILE": str(other)}, "certificate is not trusted"),
        (
            "plaintext to a TLS port",
            {"BOOTSTRAP_SERVERS": tls, "SECURITY_PROTOCOL": "PLAINTEXT"},
            "security_protocol",
        ),
        (
            "TLS to a plaintext port",
            {"BOOTSTRAP_SERVERS": plain, "SECURITY_PROTOCOL": "SSL"},
            "security_protocol",
        ),
        (
            "password without TLS to a TLS port",
            {"BOOTSTRAP_SERVERS": secure, "SECURITY_PROTOCOL": "SASL_PLAINTEXT"},
            "security_protocol",
        ),
    ]


def _refused(scene: Scene, name: str, change: Mapping[str, str], told: str) -> None:
    """Start a worker that cannot come in; look at what it says and what it costs."""
    case = scene.case
    environment = scene.environment | {f"ORCHESTRATOR_{key}": one for key, one in change.items()}
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "orchestrator", "worker", "--log-level", "debug"],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    lines = done.stderr.strip().splitlines()
    said = lines[-1] if lines else ""
    output = done.stdout + done.stderr
    case.tell(f"{name}: exit {done.returncode} after {time.monotonic() - began:.1f} s: {said}")
    case.demand(f"{name}: exit code 1", holds=done.returncode == 1)
    case.demand(f"{name}: {told!r} in its last line, {said!r}", holds=told in said)
    for secret in (WRONG, PASSWORD):
        case.demand(f"{name}: no secret in any line", holds=secret not in output)
    case.demand(f"{name}: a few lines, not {len(lines)}", holds=len(lines) <= LINES_MAX)
    case.demand(f"{name}: no busy loop, {cpu:.1f} s of CPU", holds=cpu < CPU_SECONDS_MAX)
    case.saw(f"{name}: exit 1, {told!r}, {cpu:.1f} s of CPU")


def _rotate(scene: Scene, broker: EmbeddedBroker) -> None:
    """Change the password under a worker: it goes on until it has to come in again."""
    case, slot = scene.case, scene.fleet.slots[0]
    scene.begin()
    scene.at(8)
    _set_password(scene, ROTATED)
    assert scene.pulse is not None
    since = time.monotonic()
    case.wait("decisions on old connections", lambda: scene.pulse.since(since) > 100, 30)
    deaths = slot.deaths
    broker.kill9()
    broker.start()
    case.wait("its end", lambda: slot.deaths > deaths, 40)
    refused = "refuses the login of 'worker'"
    took = case.wait("a clear reason", lambda: refused in scene.log_of(slot), 40)
    case.pause(3)
    scene.play(slot, {"environment": {"ORCHESTRATOR_SASL_PASSWORD": ROTATED}})
    scene.wait_ready()
    scene.settle()
    said = scene.log_of(slot)
    for secret in (PASSWORD, ROTATED):
        case.demand("no secret in the worker's log", holds=secret not in said)
    scene.judge()
    case.saw(
        f"password rotated under load: open connections go on; after the broker's restart the old "
        f"one is refused by name within {took:.0f} s, the new one goes on"
    )


def _set_password(scene: Scene, password: str) -> None:
    info = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
    change = UserScramCredentialUpsertion(USER, info, password.encode())
    for done in scene.admin().alter_user_scram_credentials([change]).values():
        done.result(20)


ROWS: Final = (
    Row(
        23,
        "TLS and passwords",
        "wrong and rotated SCRAM password, expired and unknown certificate, wrong protocol",
        "one clear line and exit code 1; no secret in a log; no busy loop; a rotated password is "
        "refused at the next login only",
        doors,
    ),
)
