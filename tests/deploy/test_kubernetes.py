"""deploy/kubernetes: each object by Kubernetes' own schemas, and that they fit each other and the server."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from functools import partial
from typing import Any

import kubernetes_validate
import pytest
import yaml
from django.conf import settings

from switchboard import __version__
from tests.deploy.dockerfile import stages
from tests.deploy.files import KUBERNETES, containers, known_variables, kustomization, manifests
from tests.services.handshake import ask, shake
from tests.services.server import Server
from tests.services.waiting import wait_until

pytestmark = pytest.mark.once

OLDEST, NEWEST = "1.30", kubernetes_validate.latest_version()
IMAGE = stages()[-1]
SECRET = {"SECRET_KEY", "DATABASE_URL", "REDIS_URL", "DJANGO_SUPERUSER_PASSWORD", "SWITCHBOARD_API_KEY"}


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_every_object_is_what_the_schemas_want(version: str) -> None:
    for one in manifests().values():
        assert kubernetes_validate.validate(one, version, strict=True)


@pytest.mark.parametrize(
    "change", [{"replica": 2}, {"minReadySeconds": "1"}, {"selector": {"match": {}}}], ids=str
)
def test_the_schemas_know_what_is_wrong(change: dict[str, Any]) -> None:
    wrong = json.loads(json.dumps(manifests()["Deployment"]))
    wrong["spec"] |= change
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, NEWEST, strict=True)


def test_the_kustomization_names_every_file_and_the_version() -> None:
    files = {path.name for path in KUBERNETES.iterdir()} - {"kustomization.yaml"}

    assert set(kustomization()["resources"]) == files
    assert kustomization()["images"] == [{"name": "switchboard", "newTag": __version__}]
    assert {container["image"] for _, container in containers()} == {"switchboard"}
    assert set(manifests()) == {
        "ConfigMap", "Deployment", "HorizontalPodAutoscaler", "Ingress", "Job", "Namespace", "NetworkPolicy",
        "PodDisruptionBudget", "Service",
    }  # fmt: skip


def test_kustomize_makes_the_same_of_it() -> None:
    program = shutil.which("kubectl")
    if program is None:
        pytest.skip("KUSTOMIZE IS NOT TESTED: kubectl is not installed; it needs no cluster")
    text = subprocess.run(
        [program, "kustomize", KUBERNETES], capture_output=True, text=True, check=True
    ).stdout
    objects = {one["kind"]: one for one in yaml.safe_load_all(text)}

    assert set(objects) == set(manifests())
    assert set(re.findall(r"image: (\S+)", text)) == {f"switchboard:{__version__}"}
    for one in objects.values():
        assert one["metadata"].get("namespace", "switchboard") == "switchboard"
        assert kubernetes_validate.validate(one, NEWEST, strict=True)


def test_settings_are_the_servers_and_secrets_are_elsewhere() -> None:
    data = manifests()["ConfigMap"]["data"]

    assert set(data) <= known_variables() - SECRET
    assert all(isinstance(value, str) for value in data.values())
    for _, container in containers():
        assert "env" not in container
        assert container["envFrom"] == [
            {"configMapRef": {"name": "switchboard"}},
            {"secretRef": {"name": "switchboard"}},
        ]
    assert "Secret" not in manifests()


def test_no_container_is_root_or_writes_outside_its_volume() -> None:
    user = {"runAsUser": 10001, "runAsGroup": 10001, "fsGroup": 10001, "runAsNonRoot": True}
    assert IMAGE.last("USER") == f"{user['runAsUser']}:{user['runAsGroup']}"
    for pod, container in containers():
        assert pod["securityContext"] == user | {"seccompProfile": {"type": "RuntimeDefault"}}
        assert pod["automountServiceAccountToken"] is pod["enableServiceLinks"] is False
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["volumeMounts"] == [{"name": "var", "mountPath": IMAGE.last("VOLUME")}]
        assert {"cpu", "memory"} == set(container["resources"]["requests"])
        assert "memory" in container["resources"]["limits"]


def broker() -> dict[str, Any]:
    """The container that serves."""
    (found,) = manifests()["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert isinstance(found, dict)
    return found


def is_answered(port: int, path: str) -> bool:
    """Whether a kubelet, which sends the address of a pod, is told that all is well."""
    return ask(port, "GET", path, host="10.1.2.3:8000").status == 200


def test_the_probes_ask_what_the_server_answers(configured: Server) -> None:
    """Whatever `Host` they send: a kubelet sends a pod's address, which ALLOWED_HOSTS does not name."""
    probes = {name: broker()[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")}
    assert {name: one["path"] for name, one in probes.items()} == {
        "startup": "/health/live",
        "liveness": "/health/live",
        "readiness": "/health/ready",
    }
    for one in probes.values():
        wait_until(partial(is_answered, configured.port, one["path"]))
    assert ask(configured.port, "GET", "/admin/login/", host="10.1.2.3:8000").status == 400
    assert broker()["ports"] == [{"name": "http", "containerPort": int(IMAGE.last("EXPOSE"))}]
    assert {one["port"] for one in probes.values()} == {"http"}


def test_the_host_of_the_ingress_is_served(configured: Server) -> None:
    spec = manifests()["Ingress"]["spec"]
    host = spec["rules"][0]["host"]

    assert [host] == spec["tls"][0]["hosts"]
    assert ask(configured.port, "GET", "/admin/login/", host=host).status == 200
    assert shake(configured.port, "/ws", host=host).status == 101


def test_a_pod_that_ends_has_time_to_drain() -> None:
    pod = manifests()["Deployment"]["spec"]["template"]["spec"]
    program, seconds = broker()["lifecycle"]["preStop"]["exec"]["command"]
    drain = float(manifests()["ConfigMap"]["data"]["DRAIN_SECONDS"])

    assert program == "sleep"
    assert pod["terminationGracePeriodSeconds"] >= int(seconds) + drain + 10


def test_the_tables_are_made_by_the_job_alone(configured: Server) -> None:
    job, deployment = (manifests()[kind]["spec"]["template"]["spec"] for kind in ("Job", "Deployment"))

    assert job["containers"][0]["args"] == ["migrate", "--no-input"]
    assert [one["args"] for one in deployment["initContainers"]] == [["migrate", "--check"]]
    assert broker()["args"] == ["serve", "--no-migrate"]
    assert configured.manage("migrate", "--check") == ""


def test_names_and_labels_meet() -> None:
    labels = manifests()["Deployment"]["spec"]["template"]["metadata"]["labels"]
    autoscaler = manifests()["HorizontalPodAutoscaler"]["spec"]
    selectors = [
        manifests()["Deployment"]["spec"]["selector"]["matchLabels"],
        manifests()["Service"]["spec"]["selector"],
        manifests()["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
    ]
    backend = manifests()["Ingress"]["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]

    assert all(one == labels for one in selectors)
    assert manifests()["Job"]["spec"]["template"]["metadata"]["labels"] != labels
    assert manifests()["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"].items() <= labels.items()
    assert manifests()["NetworkPolicy"]["spec"]["ingress"][0]["ports"] == [
        {"protocol": "TCP", "port": "http"}
    ]
    assert backend == {"name": manifests()["Service"]["metadata"]["name"], "port": {"name": "http"}}
    assert manifests()["Service"]["spec"]["ports"] == [{"name": "http", "port": 80, "targetPort": "http"}]
    assert autoscaler["scaleTargetRef"]["name"] == manifests()["Deployment"]["metadata"]["name"]


def test_the_autoscaler_counts_what_the_server_shows() -> None:
    from routing_app.core.metrics import CONNECTIONS

    metric = manifests()["HorizontalPodAutoscaler"]["spec"]["metrics"][0]["pods"]
    most = int(manifests()["ConfigMap"]["data"]["MAX_CONNECTIONS"])

    assert metric["metric"]["name"] in {one.name for one in CONNECTIONS.collect()}
    assert int(metric["target"]["averageValue"].replace("k", "000")) <= most / 2


def test_a_proxy_waits_longer_than_a_socket_is_idle() -> None:
    annotations: dict[str, str] = manifests()["Ingress"]["metadata"]["annotations"]
    times = [int(value) for name, value in annotations.items() if name.endswith("-timeout")]

    assert len(times) == 2
    assert min(times) > settings.PING_INTERVAL + settings.PING_TIMEOUT
