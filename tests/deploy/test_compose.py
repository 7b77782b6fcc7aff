"""The compose file: against the Compose Specification (compose-spec.json is its schema, Apache-2.0), and for sense."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import yaml


def test_it_fits_the_compose_specification(compose: dict[str, Any]) -> None:
    schema = json.loads(Path(__file__).with_name("compose-spec.json").read_text())
    jsonschema.Draft7Validator(schema).validate(compose)


def test_every_variable_is_in_the_example(deploy: Path) -> None:
    asked = set(re.findall(r"\$\{(\w+)", (deploy / "compose.yaml").read_text()))
    assert asked == {"POSTGRES_PASSWORD", "ROOST_TOKEN"}
    example = (deploy / "env.example").read_text()
    assert asked <= set(re.findall(r"^(\w+)=$", example, re.MULTILINE)), "named, and without a value"


def test_what_is_waited_for_can_be_healthy(compose: dict[str, Any]) -> None:
    services = compose["services"]
    for service in services.values():
        for name, want in service.get("depends_on", {}).items():
            assert want["condition"] == "service_healthy"
            assert services[name]["healthcheck"]["test"]


def test_nodes_know_each_other_and_keep_what_is_theirs(
    compose: dict[str, Any], options_of: Callable[[str], set[str]]
) -> None:
    nodes = {name: service for name, service in compose["services"].items() if service["image"] == "roost"}
    assert len(nodes) == 2
    homes = set[str]()
    for name, node in nodes.items():
        command = node["command"]
        assert command[command.index("--advertise") + 1] == f"http://{name}:7667"
        assert {word for word in command if word.startswith("--")} <= options_of("up")
        mounts = dict(reversed(volume.split(":")) for volume in node["volumes"])
        homes.add(mounts["/var/lib/roost"])
        assert mounts["/snapshots"] == "snapshots"
        assert node["environment"]["ROOST_STORE"].endswith("@postgres/roost")
        assert node["stop_grace_period"] == "60s"
        assert name in compose["services"]["balancer"]["environment"]["ROOST_NODES"]
    assert len(homes) == 2
    assert {*homes, "snapshots", "postgres"} == set(compose["volumes"])


def test_only_the_balancer_is_reached_and_only_from_here(compose: dict[str, Any]) -> None:
    published = {name: service["ports"] for name, service in compose["services"].items() if "ports" in service}
    assert published == {"balancer": ["127.0.0.1:7667:7667"]}
    assert compose["networks"]["inside"] == {"internal": True}
    assert compose["services"]["postgres"]["networks"] == ["inside"]


def test_settings_of_the_database_exist(compose: dict[str, Any]) -> None:
    """Each is one that docs/operate/deploy.md explains."""
    page = (Path(__file__).parents[2] / "docs" / "operate" / "deploy.md").read_text()
    options = [part for part in compose["services"]["postgres"]["command"] if part.startswith("-c")]
    assert options
    for option in options:
        assert f"`{option[2:].partition('=')[0]}" in page


def test_yaml_has_no_surprises(deploy: Path) -> None:
    """No key twice: the later one would win in silence."""

    class Strict(yaml.SafeLoader):
        pass

    def mapping(loader: Strict, node: yaml.MappingNode) -> dict[Any, Any]:
        own = [loader.construct_object(key) for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        assert len(own) == len(set(own)), own
        loader.flatten_mapping(node)
        return dict(loader.construct_pairs(node))

    Strict.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, mapping)
    for path in [*deploy.glob("*.yaml"), *deploy.glob("helm/**/*values.yaml"), *deploy.glob("helm/*/Chart.yaml")]:
        assert yaml.load(path.read_text(), Strict)
