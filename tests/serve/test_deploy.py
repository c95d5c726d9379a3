"""The files for containers are well formed and speak of what exists. They were never run."""

import json
import re
from pathlib import Path
from typing import Any

import click
import pytest

from glmtts.cli import app
from glmtts.serve.metrics import Metrics

yaml = pytest.importorskip("yaml")
DEPLOY = Path(__file__).parents[2] / "deploy"


def documents(name: str) -> list[Any]:
    return list(yaml.safe_load_all((DEPLOY / name).read_text(encoding="utf-8")))


def known_flags() -> set[str]:
    command = app.commands["serve"]
    return {o for p in command.params if isinstance(p, click.Option) for o in p.opts}


def test_every_metric_that_is_watched_exists() -> None:
    page = Metrics().page().decode()
    dashboard = (DEPLOY / "grafana/dashboards/glmtts.json").read_text(encoding="utf-8")
    assert len(json.loads(dashboard)["panels"]) == 10
    alerts = (DEPLOY / "alerts.yaml").read_text(encoding="utf-8")
    names = set(re.findall(r"\bglmtts_\w+", dashboard + alerts))
    assert len(names) > 10
    declared = set(re.findall(r"# TYPE (glmtts_\w+)", page))
    for name in names:
        base = re.sub(r"_(bucket|sum|count)$", "", name)
        assert {name, base} & declared, name


def test_kubernetes_asks_for_paths_and_flags_that_exist() -> None:
    kinds = {document["kind"]: document for document in documents("kubernetes/glmtts.yaml")}
    assert {"Deployment", "Service", "HorizontalPodAutoscaler", "NetworkPolicy"} <= kinds.keys()
    pod = kinds["Deployment"]["spec"]["template"]["spec"]
    container = pod["containers"][0]
    assert container["readinessProbe"]["httpGet"]["path"] == "/ready"
    assert container["livenessProbe"]["httpGet"]["path"] == "/health"
    assert {a for a in container["args"] if a.startswith("--")} <= known_flags()
    drain = float(container["args"][container["args"].index("--drain") + 1])
    assert pod["terminationGracePeriodSeconds"] > drain + 5


def test_compose_and_dockerfile_hang_together() -> None:
    (compose,) = documents("compose.yaml")
    for service in compose["services"].values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert source in compose["volumes"] or (DEPLOY / source).exists()
    for config in compose["configs"].values():
        assert (DEPLOY / config["file"]).is_file()
    dockerfile = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    assert set(re.findall(r'"(--[\w-]+)"', dockerfile)) <= known_flags()
    for name in re.findall(r"^COPY (?!--from)(.+) \S+$", dockerfile, re.MULTILINE):
        for part in name.split():
            assert (DEPLOY.parent / part).exists(), part
