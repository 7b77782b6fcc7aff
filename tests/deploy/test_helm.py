"""The chart, rendered by Helm itself, against the Kubernetes API schemas and against what Roost needs."""

from __future__ import annotations

import functools
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from roost.server.daemon import Options

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy" / "helm" / "roost"
VALUES = sorted((CHART / "ci").glob("*-values.yaml"))
GIVEN = ("store.existingSecret=s", "token.existingSecret=t")
Objects = dict[tuple[str, str], dict[str, Any]]
Render = Callable[..., Objects]


@functools.cache
def _output(helm: str, values: Path | None, sets: tuple[str, ...]) -> str:
    command = [helm, "template", "r", str(CHART), *(["--values", str(values)] if values else [])]
    command += [part for pair in sets for part in ("--set", pair)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if done.returncode:
        raise ValueError(done.stderr)
    return done.stdout


@pytest.fixture
def render(tool: Callable[[str], str]) -> Render:
    helm = tool("helm")

    def rendered(values: Path | None = None, *sets: str) -> Objects:
        found = [item for item in yaml.safe_load_all(_output(helm, values, sets)) if item]
        objects = {(item["kind"], item["metadata"]["name"]): item for item in found}
        assert len(objects) == len(found), "two objects of one name"
        return objects

    return rendered


def one(objects: Objects, kind: str) -> dict[str, Any]:
    (found,) = [item for (its, _), item in objects.items() if its == kind]
    return found


def pod(objects: Objects) -> dict[str, Any]:
    return one(objects, "StatefulSet")["spec"]["template"]["spec"]


def container(objects: Objects) -> dict[str, Any]:
    (found,) = pod(objects)["containers"]
    return found


@pytest.mark.parametrize("values", VALUES, ids=lambda path: path.stem)
def test_every_object_fits_the_schemas_of_kubernetes(render: Render, values: Path) -> None:
    objects = render(values)
    assert len(objects) >= 3
    for version in ("1.27", kubernetes_validate.latest_version()):
        for (kind, _), item in objects.items():
            if kind != "ServiceMonitor":  # of the Prometheus operator, whose schemas are not Kubernetes's
                kubernetes_validate.validate(item, version, strict=True)


@pytest.mark.parametrize("values", VALUES, ids=lambda path: path.stem)
def test_what_names_each_other_is_there(render: Render, values: Path) -> None:
    objects = render(values)
    labels = one(objects, "StatefulSet")["spec"]["template"]["metadata"]["labels"]
    for selector in selectors(objects):
        assert selector.items() <= labels.items()
    assert ("Service", one(objects, "StatefulSet")["spec"]["serviceName"]) in objects
    mine = {name for kind, name in objects if kind == "Secret"}
    given = yaml.safe_load(values.read_text())
    for variable in container(objects)["env"]:
        source = variable.get("valueFrom", {}).get("secretKeyRef")
        if source and source["name"] in mine:
            assert source["key"] in objects["Secret", source["name"]]["stringData"]
        elif source:
            assert source["name"] in str(given)
    templates = one(objects, "StatefulSet")["spec"].get("volumeClaimTemplates", [])
    volumes = {volume["name"] for volume in pod(objects)["volumes"]} | {t["metadata"]["name"] for t in templates}
    assert {mount["name"] for mount in container(objects)["volumeMounts"]} == volumes


def options(words: list[str]) -> set[str]:
    return {word for word in words if word.startswith("--")}


def selectors(objects: Objects) -> Iterator[dict[str, str]]:
    for (kind, _), item in objects.items():
        if kind == "Service":
            yield item["spec"]["selector"]
        elif kind == "PodDisruptionBudget":
            yield item["spec"]["selector"]["matchLabels"]
        elif kind == "NetworkPolicy":
            yield item["spec"]["podSelector"]["matchLabels"]
    for spread in pod(objects)["topologySpreadConstraints"]:
        yield spread["labelSelector"]["matchLabels"]


@pytest.mark.parametrize("values", VALUES, ids=lambda path: path.stem)
def test_a_pod_is_held_tight(render: Render, values: Path) -> None:
    objects = render(values)
    assert pod(objects)["enableServiceLinks"] is False, "a Service named roost sets ROOST_PORT"
    assert pod(objects)["automountServiceAccountToken"] is False
    assert pod(objects)["securityContext"]["runAsNonRoot"] is True
    assert pod(objects)["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    context = container(objects)["securityContext"]
    assert context["readOnlyRootFilesystem"] is True
    assert context["allowPrivilegeEscalation"] is False
    assert context["capabilities"] == {"drop": ["ALL"]}
    written = {mount["mountPath"] for mount in container(objects)["volumeMounts"]}
    assert {"/tmp", "/var/lib/roost"} <= written


@pytest.mark.parametrize("values", VALUES, ids=lambda path: path.stem)
def test_probes_and_the_way_out(render: Render, values: Path, options_of: Callable[[str], set[str]]) -> None:
    box = container(render(values))
    assert box["startupProbe"]["httpGet"]["path"] == box["livenessProbe"]["httpGet"]["path"] == "/live"
    assert box["readinessProbe"]["httpGet"]["path"] == "/health"
    script = box["lifecycle"]["preStop"]["exec"]["command"][-1]
    drain, _, pause = script.partition(" || true; sleep ")
    words = drain.split()
    assert words[:2] == ["roost", "drain"]
    assert options(words) <= options_of("drain")
    limit = float(words[words.index("--timeout") + 1])
    assert limit > float(words[words.index("--grace") + 1])
    assert pod(render(values))["terminationGracePeriodSeconds"] > limit + float(pause) + 2 * Options().grace


@pytest.mark.parametrize("values", VALUES, ids=lambda path: path.stem)
def test_roost_knows_the_options(render: Render, values: Path, options_of: Callable[[str], set[str]]) -> None:
    arguments = container(render(values))["args"]
    assert arguments[0] == "up"
    assert options(arguments) <= options_of("up")


def test_autoscaling_by_what_roost_exports(render: Render) -> None:
    objects = render(CHART / "ci" / "s3-values.yaml")
    scaler = one(objects, "HorizontalPodAutoscaler")
    target = scaler["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) in objects
    assert "replicas" not in objects[target["kind"], target["name"]]["spec"], "it would fight with the autoscaler"
    (metric,) = scaler["spec"]["metrics"]
    assert metric["pods"]["metric"]["name"] == "roost_saturation_ratio"
    (plain,) = one(render(CHART / "ci" / "shared-folders-values.yaml"), "HorizontalPodAutoscaler")["spec"]["metrics"]
    assert plain["resource"]["name"] == "cpu"


def test_a_node_says_where_it_is(render: Render) -> None:
    box = container(render(CHART / "ci" / "smallest-values.yaml"))
    assert box["args"][box["args"].index("--advertise") + 1] == "http://$(POD_IP):7667"
    assert {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}} in box["env"]


def test_secrets_are_in_secrets_alone(render: Render) -> None:
    objects = render(CHART / "ci" / "smallest-values.yaml")
    for (kind, _), item in objects.items():
        assert kind == "Secret" or "0123456789abcdef" not in str(item)
        assert kind == "Secret" or "roost:secret" not in str(item)


def test_a_changed_agent_rolls_the_pods(render: Render) -> None:
    def mark(text: str) -> str:
        template = one(render(None, *GIVEN, f"agents.a\\.md={text}"), "StatefulSet")["spec"]["template"]
        return template["metadata"]["annotations"]["roost/agents"]

    assert mark("one") != mark("two")


def test_the_metadata_service_is_out_of_reach(render: Render) -> None:
    rules = one(render(CHART / "ci" / "smallest-values.yaml"), "NetworkPolicy")["spec"]["egress"]
    blocks = [peer["ipBlock"] for rule in rules for peer in rule.get("to", []) if "ipBlock" in peer]
    (everywhere,) = [block for block in blocks if block["cidr"] == "0.0.0.0/0"]
    assert "169.254.0.0/16" in everywhere["except"]


def test_the_monitor_scrapes_each_pod_once(render: Render) -> None:
    objects = render(CHART / "ci" / "s3-values.yaml")
    wanted = one(objects, "ServiceMonitor")["spec"]["selector"]
    assert wanted["matchExpressions"] == [{"key": "roost/headless", "operator": "Exists"}]
    services = [item["metadata"]["labels"] for (kind, _), item in objects.items() if kind == "Service"]
    matching = [s for s in services if wanted["matchLabels"].items() <= s.items() and "roost/headless" in s]
    assert len(matching) == 1


@pytest.mark.parametrize(
    ("sets", "said"),
    [
        ((), "where the database is"),
        (("store.existingSecret=s",), "choose a token"),
        ((*GIVEN, "autoscaling.enabled=true"), "autoscaling takes nodes away"),
        ((*GIVEN, "persistence.enabled=false"), "would be lost with their pod"),
        ((*GIVEN, "snapshots.url=file:///snapshots"), "snapshots.existingClaim"),
        ((*GIVEN, "drainSeconds=80"), "terminationGracePeriodSeconds"),
        ((*GIVEN, "replica=3"), "replica"),
        (("store.url=mysql://x", "token.existingSecret=t"), "store.url"),
        (("store.existingSecret=s", "token.value=short"), "token.value"),
        ((*GIVEN, "autoscaling.metric=memory"), "autoscaling.metric"),
    ],
)
def test_values_that_cannot_work_are_refused(render: Render, sets: tuple[str, ...], said: str) -> None:
    with pytest.raises(ValueError) as refused:
        render(None, *sets)
    assert said.replace(".", "/") in str(refused.value).replace(".", "/")


def test_the_chart_is_of_this_version(tool: Callable[[str], str]) -> None:
    done = subprocess.run(
        [tool("helm"), "lint", "--strict", str(CHART), "--values", str(VALUES[0])], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    project = (ROOT / "pyproject.toml").read_text()
    assert f'version = "{chart["appVersion"]}"' in project
