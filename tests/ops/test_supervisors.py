"""Who restarts a worker or a sender that ends with exit code 70: systemd, Compose, Kubernetes.

There is no cluster here; these are checks of structure, and of systemd's own verifier.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator import __version__
from orchestrator.api.routes import health
from orchestrator.cli.sender import sender
from orchestrator.errors import UsageError, WorkerGaveUp
from orchestrator.sender import Options
from orchestrator.settings import Settings

DEPLOY = Path(__file__).parents[2] / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
UNIT = DEPLOY / "systemd" / "orchestrator-worker@.service"
API_UNIT = DEPLOY / "systemd" / "orchestrator-api.service"
SENDER_UNIT = DEPLOY / "systemd" / "orchestrator-sender@.service"
# From SIGTERM to a clean end; every supervisor has to leave this much before it kills.
GRACE_SECONDS_MIN = 20
# A sender lets its calls end.
SENDER_GRACE_SECONDS_MIN = Options().call_seconds + 5


def unit(path: Path = UNIT) -> dict[str, list[str]]:
    """Return the unit's directives; several of one name add up."""
    found: dict[str, list[str]] = {}
    for line in path.read_text().splitlines():
        if "=" in line and not line.startswith("#"):
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


def manifests(of: str = "worker") -> dict[str, dict[str, Any]]:
    """Return the worker's manifests that the kustomization names, or another's; by kind.

    Of two of a kind, as the services of the API, the second one has its name before it.
    """
    listed = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())["resources"]
    assert sorted(listed) == sorted(
        path.name for path in KUBERNETES.glob("*.yaml") if path.name != "kustomization.yaml"
    )
    apart = ("sender", "api")
    loaded = [
        yaml.safe_load((KUBERNETES / name).read_text())
        for name in listed
        if (name.startswith(of) if of in apart else not name.startswith(apart))
    ]
    found: dict[str, dict[str, Any]] = {}
    for manifest in loaded:
        kind = manifest["kind"]
        found[f"{manifest['metadata']['name']} {kind}" if kind in found else kind] = manifest
    return found


def compose_workers() -> dict[str, dict[str, Any]]:
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    return {name: service for name, service in services.items() if name.startswith("worker-")}


def compose_senders() -> dict[str, dict[str, Any]]:
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    return {name: service for name, service in services.items() if name.startswith("sender-")}


def assert_sender(command: list[str], environment: dict[str, Any]) -> None:
    """Fail when the command line does not take these words and variables, or they would send."""
    known = {option.envvar for option in sender.params}
    settings = {f"ORCHESTRATOR_{name.upper()}" for name in Settings.model_fields}
    assert set(environment) <= known | settings
    verb, *words = command
    variables = {name: str(value) for name, value in environment.items()}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        context = sender.make_context(verb, words)
    assert verb == "sender"
    assert context.params["show"]
    assert context.params["metrics_port"]
    assert [context.params[way] for way in ("to", "smtp", "webhook")] == [None, None, None]


def pod() -> dict[str, Any]:
    spec: dict[str, Any] = manifests()["StatefulSet"]["spec"]["template"]["spec"]
    return spec


def assert_settings(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Fail when a variable is no setting of ours, or its value is not allowed."""
    for name, value in environment.items():
        setting = name.removeprefix("ORCHESTRATOR_").lower()
        assert setting in Settings.model_fields, name
        monkeypatch.setenv(name, str(value))
    return Settings.load()


@pytest.mark.parametrize(
    ("path", "grace_seconds"),
    [(UNIT, GRACE_SECONDS_MIN), (SENDER_UNIT, SENDER_GRACE_SECONDS_MIN)],
    ids=["worker", "sender"],
)
def test_systemd_restarts_on_70_and_not_on_a_wrong_setting(
    path: Path, grace_seconds: float
) -> None:
    found = unit(path)

    assert found["Restart"] == ["on-failure"]
    assert str(WorkerGaveUp.exit_code) in found["RestartForceExitStatus"]
    assert found["RestartPreventExitStatus"] == [str(UsageError.exit_code)]
    assert found["StartLimitIntervalSec"] == ["0"]
    assert int(found["TimeoutStopSec"][0]) >= grace_seconds


def test_systemd_gives_the_instance_as_slot() -> None:
    assert "ORCHESTRATOR_SLOT=%i" in unit()["Environment"]


def test_systemd_gives_the_instance_as_channel() -> None:
    (start,) = unit(SENDER_UNIT)["ExecStart"]

    assert start.split()[1:] == ["sender", "%i"]


@pytest.mark.parametrize("path", [UNIT, SENDER_UNIT, API_UNIT], ids=["worker", "sender", "api"])
def test_systemd_accepts_the_unit(tmp_path: Path, path: Path) -> None:
    """Its own verifier, with programs and files that exist here in place of the installed ones."""
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not on this machine")
    copy = tmp_path / path.name
    copy.write_text(
        path.read_text()
        .replace("/opt/orchestrator/.venv/bin/orchestrator", "/bin/true")
        .replace("Documentation=file:/opt", "Documentation=file:///opt")
    )
    ran = subprocess.run(
        [analyze, "verify", "--recursive-errors=no", str(copy)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    about_us = [line for line in ran.stderr.splitlines() if path.stem in line]

    assert about_us == []


def test_compose_restarts_its_workers_and_gives_each_a_slot(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    workers = compose_workers()
    slots = [assert_settings(each["environment"], monkeypatch).slot for each in workers.values()]

    assert len(workers) >= 2
    assert len(set(slots)) == len(workers)
    for worker in workers.values():
        assert worker["restart"] == "on-failure"
        assert int(worker["stop_grace_period"].removesuffix("s")) >= GRACE_SECONDS_MIN


def test_the_api_is_restarted_as_the_worker_is_and_keeps_its_folder() -> None:
    found, worker = unit(API_UNIT), unit()

    for name in ("Restart", "RestartForceExitStatus", "RestartPreventExitStatus"):
        assert found[name] == worker[name]
    assert found["StateDirectoryMode"] == ["0700"]
    folder = f"/var/lib/{found['StateDirectory'][0]}"
    assert f"ORCHESTRATOR_API_DATA_DIR={folder}" in found["Environment"]
    for line in found["Environment"]:
        assert line.partition("=")[0].removeprefix("ORCHESTRATOR_").lower() in Settings.model_fields


def test_compose_publishes_the_api_on_loopback_and_keeps_its_folder(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    api = compose["services"]["api"]
    environment = {
        name: value
        for name, value in api["environment"].items()
        if name not in {"ORCHESTRATOR_API_TOKENS", "ORCHESTRATOR_API_SESSION_SECRET"}
    }
    settings = assert_settings(environment, monkeypatch)
    volume, _, folder = api["volumes"][0].partition(":")

    assert api["restart"] == "on-failure"
    assert api["ports"] == [f"127.0.0.1:{settings.api_port}:{settings.api_port}"]
    assert volume in compose["volumes"]
    assert settings.api_data_dir.is_relative_to(folder)


def test_compose_mounts_files_that_are_there() -> None:
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    mounts = [
        mount.split(":")[0]
        for service in services.values()
        for mount in service.get("volumes", ())
        if mount.startswith("./")
    ]

    assert mounts
    assert [mount for mount in mounts if not (DEPLOY / mount).exists()] == []


def test_compose_lets_prometheus_scrape_every_worker_and_sender() -> None:
    config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.compose.yml").read_text())
    targets = {
        job["job_name"]: [target for entry in job["static_configs"] for target in entry["targets"]]
        for job in config["scrape_configs"]
    }

    assert targets == {
        "orchestrator": [f"{name}:9464" for name in compose_workers()],
        "orchestrator-sender": [f"{name}:9464" for name in compose_senders()],
        "orchestrator-api": [f"api:{Settings().api_metrics_port}"],
    }


def test_prometheus_finds_what_run_starts_and_counts_the_api_apart() -> None:
    """An API in the job of the workers would be a worker to their alerts."""
    config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    targets = {
        job["job_name"]: job["static_configs"][0]["targets"] for job in config["scrape_configs"]
    }
    first = Settings().metrics_port

    assert targets == {
        "orchestrator": [f"127.0.0.1:{first + number}" for number in range(2)],
        "orchestrator-api": [f"127.0.0.1:{first + 2}"],
    }


def test_kubernetes_gives_the_ordinal_as_slot_and_restarts(monkeypatch: pytest.MonkeyPatch) -> None:
    (worker,) = pod()["containers"]
    (slot,) = [entry for entry in worker["env"] if entry["name"] == "ORCHESTRATOR_SLOT"]
    config = manifests()["ConfigMap"]["data"]

    assert slot["valueFrom"]["fieldRef"]["fieldPath"].endswith("['apps.kubernetes.io/pod-index']")
    assert pod()["restartPolicy"] == "Always"
    assert pod()["terminationGracePeriodSeconds"] >= GRACE_SECONDS_MIN
    settings = assert_settings(config, monkeypatch)
    assert settings.metrics_port == worker["ports"][0]["containerPort"]


def test_kubernetes_does_not_kill_a_worker_that_recovers() -> None:
    """Only readiness asks whether it has caught up."""
    (worker,) = pod()["containers"]
    asked = {
        probe: worker[probe]["httpGet"]["path"]
        for probe in ("startupProbe", "livenessProbe", "readinessProbe")
    }

    assert asked == {
        "startupProbe": "/healthz",
        "livenessProbe": "/healthz",
        "readinessProbe": "/ready",
    }


def test_kubernetes_selects_the_same_pods_everywhere() -> None:
    found = manifests()
    labels = found["StatefulSet"]["spec"]["template"]["metadata"]["labels"]

    assert found["StatefulSet"]["spec"]["selector"]["matchLabels"] == labels
    assert found["Service"]["spec"]["selector"] == labels
    assert found["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    assert found["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"] == labels
    assert found["StatefulSet"]["spec"]["serviceName"] == found["Service"]["metadata"]["name"]
    assert found["PodDisruptionBudget"]["spec"]["maxUnavailable"] == 1


def test_compose_restarts_its_senders_and_they_send_nothing() -> None:
    assert compose_senders()
    for each in compose_senders().values():
        assert each["restart"] == "on-failure"
        assert int(each["stop_grace_period"].removesuffix("s")) >= SENDER_GRACE_SECONDS_MIN
        assert_sender(each["command"], each["environment"])


def test_kubernetes_restarts_its_senders_and_they_send_nothing() -> None:
    deployment = manifests("sender")["Deployment"]
    spec = deployment["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    values = {entry["name"]: entry["value"] for entry in container["env"]}

    assert spec["restartPolicy"] == "Always"
    assert spec["terminationGracePeriodSeconds"] >= SENDER_GRACE_SECONDS_MIN
    assert_sender(container["args"], values)
    port = container["ports"][0]["containerPort"]
    assert values["ORCHESTRATOR_SENDER_METRICS_PORT"] == str(port)


def test_kubernetes_selects_the_same_senders_everywhere() -> None:
    found = manifests("sender")
    labels = found["Deployment"]["spec"]["template"]["metadata"]["labels"]
    fenced = found["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"]

    assert found["Deployment"]["spec"]["selector"]["matchLabels"] == labels
    assert fenced.items() <= labels.items()
    assert (
        found["Deployment"]["spec"]["template"]["spec"]["containers"][0]["args"][1]
        == (labels["app.kubernetes.io/instance"])
    )


def test_the_image_holds_what_it_copies() -> None:
    """Every source of a COPY from the repository is in the repository."""
    root = DEPLOY.parent
    sources = [
        source
        for line in (DEPLOY / "Dockerfile").read_text().splitlines()
        if line.startswith("COPY ") and "--from" not in line
        for source in line.split()[1:-1]
    ]

    assert sources
    assert [source for source in sources if not (root / source).exists()] == []


# -- The API on Kubernetes -------------------------------------------------------------------------


def api_pod() -> dict[str, Any]:
    spec: dict[str, Any] = manifests("api")["Deployment"]["spec"]["template"]["spec"]
    return spec


def mounted(pod: dict[str, Any], container: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the volumes of a container by where they are mounted."""
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    return {mount["mountPath"]: volumes[mount["name"]] for mount in container["volumeMounts"]}


def test_kubernetes_gives_the_api_settings_that_exist(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pod = api_pod()
    (api,) = pod["containers"]
    environment = manifests()["ConfigMap"]["data"] | {
        one["name"]: one["value"] for one in api["env"]
    }
    for name in environment:
        if name.endswith("_FILE"):
            (tmp_path / name).write_text("x" * 40)
            environment[name] = str(tmp_path / name)
    settings = assert_settings(environment, monkeypatch)
    ports = {port["name"]: port["containerPort"] for port in api["ports"]}

    assert api["args"] == ["api"]
    assert (settings.api_port, settings.api_metrics_port) == (ports["http"], ports["metrics"])
    assert settings.api_host == settings.metrics_host == "0.0.0.0"
    assert pod["restartPolicy"] == "Always"
    assert pod["terminationGracePeriodSeconds"] >= GRACE_SECONDS_MIN


def test_kubernetes_gives_the_api_its_secrets_as_files_of_a_secret() -> None:
    """Nothing of them stands in a manifest, nor where a list of variables would show it."""
    pod = api_pod()
    (api,) = pod["containers"]
    volumes = mounted(pod, api)
    named = {Path(one["value"]) for one in api["env"] if one["name"].endswith("_FILE")}
    secrets = [name for name in Settings.model_fields if "secret" in name or "tokens" in name]

    assert {path.name for path in named} == {"tokens", "session-secret"}
    assert all("secret" in volumes[str(path.parent)] for path in named)
    given = {one["name"].removeprefix("ORCHESTRATOR_").lower() for one in api["env"]}
    assert {name for name in secrets if name in given} == {
        "api_tokens_file",
        "api_session_secret_file",
    }
    assert "Secret" not in manifests("api")


def test_kubernetes_keeps_the_read_model_with_the_pod_and_nothing_else_writable() -> None:
    pod = api_pod()
    (api,) = pod["containers"]
    (folder,) = [one["value"] for one in api["env"] if one["name"].endswith("_API_DATA_DIR")]
    volumes = mounted(pod, api)

    assert "emptyDir" in volumes[str(Path(folder).parent)]
    assert api["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["fsGroup"] == pod["securityContext"]["runAsUser"]
    assert not pod["automountServiceAccountToken"]
    assert {"cpu", "memory", "ephemeral-storage"} <= api["resources"]["requests"].keys()
    assert "cpu" not in api["resources"]["limits"], "a throttled copy falls behind"


def test_kubernetes_asks_the_api_by_routes_that_answer_without_a_token() -> None:
    """Only readiness asks whether it has caught up: a long fill does not get it killed."""
    (api,) = api_pod()["containers"]
    asked = {
        probe: api[probe]["httpGet"]["path"]
        for probe in ("startupProbe", "livenessProbe", "readinessProbe")
    }

    assert asked == {
        "startupProbe": "/health/live",
        "livenessProbe": "/health/live",
        "readinessProbe": "/health/ready",
    }
    assert {"/health/live", "/health/ready"} <= {f"{route.path}" for route in health.router.routes}


def test_kubernetes_never_has_fewer_copies_of_the_api_than_before_while_it_rolls_out() -> None:
    deployment = manifests("api")["Deployment"]["spec"]

    assert deployment["replicas"] >= 2
    assert deployment["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    assert manifests("api")["PodDisruptionBudget"]["spec"]["maxUnavailable"] == 1
    assert api_pod()["topologySpreadConstraints"][0]["topologyKey"] == "kubernetes.io/hostname"


def test_kubernetes_selects_the_same_copies_of_the_api_everywhere() -> None:
    found = manifests("api")
    labels = found["Deployment"]["spec"]["template"]["metadata"]["labels"]
    metrics = found["orchestrator-api-metrics Service"]["spec"]

    assert found["Deployment"]["spec"]["selector"]["matchLabels"] == labels
    assert found["Service"]["spec"]["selector"] == labels
    assert metrics["selector"] == labels
    assert metrics["clusterIP"] == "None"
    assert metrics["publishNotReadyAddresses"], "one that fills is looked at, too"
    assert found["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    assert found["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"] == labels


def test_kubernetes_lets_only_the_monitoring_at_the_metrics_of_the_api_and_nobody_at_all() -> None:
    """An empty `from` would let everybody in."""
    ingress = manifests("api")["NetworkPolicy"]["spec"]["ingress"]
    by_port = {rule["ports"][0]["port"]: rule["from"] for rule in ingress}

    assert by_port.keys() == {"http", "metrics"}
    assert by_port["metrics"] == [
        {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
    ]
    for peer in by_port["http"]:
        assert any(one.get("matchLabels") for one in peer.values())


def test_kustomize_builds_what_the_files_say() -> None:
    kubectl = shutil.which("kubectl") or shutil.which("kustomize")
    if kubectl is None:
        pytest.skip("neither kubectl nor kustomize is on this machine")
    word = "kustomize" if Path(kubectl).name == "kubectl" else "build"
    built = subprocess.run(
        [kubectl, word, str(KUBERNETES)], capture_output=True, text=True, check=False, timeout=60
    )
    documents = list(yaml.safe_load_all(built.stdout))
    images = {
        container["image"]
        for document in documents
        if "template" in document.get("spec", {})
        for container in document["spec"]["template"]["spec"]["containers"]
    }

    assert built.returncode == 0, built.stderr
    assert len(documents) == len(list(KUBERNETES.glob("*.yaml"))) - 1
    assert images == {f"orchestrator:{__version__}"}
