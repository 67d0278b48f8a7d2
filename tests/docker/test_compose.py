"""The compose file and the Dockerfiles against the code: commands, variables, users, secrets. Nothing is built here."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.supervisor.commands import catalogue, worker_queues
from tuneyard.supervisor.catalogue import instance_environment
from tuneyard.supervisor.configuration import read_configuration

ROOT = Path(__file__).resolve().parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
#: Beside the product, with a profile of their own.
MONITORING = ["prometheus", "grafana"]
OURS = ["mlflow", "migrate", "web", "worker", "serving"]
DOCKERFILES = sorted((ROOT / "docker").glob("*.Dockerfile"))
#: Variables of base images and of libraries, not of our settings.
FOREIGN = {"POSTGRES_USER", "POSTGRES_DB", "POSTGRES_PASSWORD"}


def test_it_holds_the_whole_product() -> None:
    assert set(SERVICES) == {"postgres", "redis", *OURS, *MONITORING}
    assert [path.name for path in DOCKERFILES] == ["serving.Dockerfile", "web.Dockerfile", "worker.Dockerfile"]


@pytest.mark.parametrize("name", OURS)
def test_each_command_runs_a_module_that_exists(name: str) -> None:
    command = SERVICES[name]["command"]
    assert command[:2] == ["python", "-m"]
    assert importlib.util.find_spec(command[2]) is not None


def test_the_web_starts_as_under_the_supervisor() -> None:
    """One place decides how the web is served; only the addresses differ in a container."""
    ours = _options(list(catalogue()["web"].command[3:]))
    theirs = _options(SERVICES["web"]["command"][3:])
    assert theirs.pop("--host") == "0.0.0.0"
    assert theirs.pop("--port") == "8700"
    del ours["--host"], ours["--port"]
    assert theirs == ours


def test_serving_starts_as_under_the_supervisor() -> None:
    ours = list(catalogue()["serving"].command[1:])
    theirs = SERVICES["serving"]["command"][1:]
    assert theirs[:2] == ours[:2]
    assert set(_options(theirs[2:])) == set(_options(ours[2:]))


def test_the_worker_runs_every_service_that_no_other_container_does() -> None:
    command = SERVICES["worker"]["command"]
    chosen = set(command[command.index("--only") + 1].split(","))
    elsewhere = {"redis", "mlflow", "prepare", "web", "serving"}
    assert chosen == set(catalogue()) - elsewhere
    assert {f"work-{queue}" for queue in worker_queues()} <= chosen


@pytest.mark.parametrize("name", ["web", "worker", "serving"])
def test_the_image_alone_starts_what_compose_starts(name: str) -> None:
    text = (ROOT / "docker" / f"{name}.Dockerfile").read_text().replace("\\\n", " ")
    command = json.loads(re.search(r"^CMD (\[.*\])$", text, re.M).group(1))  # type: ignore[union-attr]
    assert command == SERVICES[name]["command"]


@pytest.mark.parametrize("name", ["migrate", "web", "worker"])
def test_each_variable_is_one_that_the_code_reads(name: str) -> None:
    read = _variables_read()
    assert set(SERVICES[name]["environment"]) - FOREIGN <= read


def test_published_ports_are_those_that_the_commands_open() -> None:
    for name in ("web", "serving"):
        options = _options(SERVICES[name]["command"][3:])
        (published,) = SERVICES[name]["ports"]
        assert published.endswith(f":{options['--port']}")
        assert published.startswith("${TUNEYARD_BIND:-127.0.0.1}:"), "published beyond this machine by default"


def test_addresses_name_services_of_the_file() -> None:
    for name in ("migrate", "web", "worker"):
        environment = SERVICES[name]["environment"]
        for variable in ("DATABASE_URL", "REDIS_URL", "MLFLOW_TRACKING_URI", "TUNEYARD_SERVING_INTERNAL_URL"):
            host = re.search(r"(?:@|//)([a-z]+):\d+", environment[variable].rpartition("}")[2] or "")
            assert host is not None, variable
            assert host.group(1) in SERVICES
    hosts = _options(SERVICES["mlflow"]["command"][3:])["--allowed-hosts"].split(",")
    assert SERVICES["web"]["environment"]["MLFLOW_TRACKING_URI"].removeprefix("http://") in hosts


@pytest.mark.parametrize("image", ["tuneyard-web", "tuneyard-worker", "tuneyard-serving"])
def test_one_service_builds_an_image_and_nobody_fetches_it(image: str) -> None:
    """Two services that build one name at the same time fail with `already exists`."""
    users = [service for service in SERVICES.values() if service["image"] == image]
    builders = [service for service in users if "build" in service]
    assert len(builders) == 1
    assert (ROOT / builders[0]["build"]["dockerfile"]).is_file()
    assert all(service["pull_policy"] == "never" for service in users if service not in builders)


def test_the_database_is_healthy_only_where_others_reach_it() -> None:
    """At the first start a server answers on the socket alone, and is stopped again; a migration then would fail."""
    check = SERVICES["postgres"]["healthcheck"]["test"]
    assert _options(check[2:])["--host"] == "127.0.0.1"


@pytest.mark.parametrize("name", [name for name, service in SERVICES.items() if "environment" in service])
def test_who_uses_a_store_names_it_and_so_stops_before_it(name: str) -> None:
    """`migrate` waits for the database too, but has ended by then: a worker could not sign off any more."""
    service = SERVICES[name]
    stores = {"postgres": "DATABASE_URL", "redis": "REDIS_URL"}
    used = {store for store, variable in stores.items() if variable in service["environment"]}
    # `migrate` reads the variables of all, and asks nothing of Redis.
    assert set(service.get("depends_on", {})) >= used - ({"redis"} if name == "migrate" else set())


def test_mlflow_starts_as_under_the_supervisor() -> None:
    """By the module that brings its database up to date first, and everything that it writes lies in its volume."""
    service = catalogue()["mlflow"]
    command = SERVICES["mlflow"]["command"]
    assert command[1:3] == list(service.command[1:3])
    options = _options(command[3:])
    assert set(_options(list(service.command[3:]))) <= set(options)
    (volume,) = SERVICES["mlflow"]["volumes"]
    for name in ("--folder", "--backups"):
        assert Path(options[name]).is_relative_to(volume.partition(":")[2])


def test_compose_refuses_to_start_without_secrets() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    for name in ("TUNEYARD_DB_PASSWORD", "TUNEYARD_SECRET_KEY"):
        used = re.findall(rf"\${{{name}(\S*)", text)
        assert used
        assert all(rest.startswith(":?") for rest in used), f"{name} has a default"


@pytest.mark.parametrize("name", [name for name in SERVICES if name != "migrate"])
def test_each_long_service_has_a_health_check_and_restarts(name: str) -> None:
    assert SERVICES[name]["healthcheck"]["test"][0] == "CMD"
    assert SERVICES[name]["restart"] == "unless-stopped"
    # On a busy machine the imports of ours alone may take a minute.
    assert name not in OURS or "start_period" in SERVICES[name]["healthcheck"]


@pytest.mark.parametrize("name", OURS)
def test_python_in_a_health_check_compiles(name: str) -> None:
    check = SERVICES[name].get("healthcheck")
    if check is not None:
        assert check["test"][1:3] == ["python", "-c"]
        compile(check["test"][3], name, "exec")


def test_each_named_volume_is_declared_and_used() -> None:
    mounted = {volume.partition(":")[0] for service in SERVICES.values() for volume in service.get("volumes", [])}
    used = {name for name in mounted if re.fullmatch(r"[a-z]+", name)}
    assert used == set(COMPOSE["volumes"])


@pytest.mark.parametrize("name", MONITORING)
def test_monitoring_starts_only_when_asked_for_and_mounts_what_is_there(name: str) -> None:
    service = SERVICES[name]
    assert service["profiles"] == ["monitoring"]
    mounted = [volume.rpartition(":")[0].rpartition(":")[0] for volume in service["volumes"] if volume.startswith("./")]
    assert mounted
    assert all((ROOT / source).exists() for source in mounted)
    assert not any(
        set(service.get("depends_on", {})) & set(MONITORING) for service in map(SERVICES.get, OURS) if service
    )


def test_grafana_does_not_start_without_a_password() -> None:
    script = SERVICES["grafana"]["entrypoint"][2].replace("$$", "$").replace("exec /run.sh", "echo started")
    for password, started in (("", False), ("chosen", True)):
        environment = {**os.environ, "GF_SECURITY_ADMIN_PASSWORD": password}
        ended = subprocess.run(["sh", "-c", script], env=environment, capture_output=True, text=True)
        assert (ended.returncode == 0) is started
        assert ("started" in ended.stdout) is started


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.stem)
def test_images_run_as_an_ordinary_user(path: Path) -> None:
    last_stage = path.read_text().rpartition("\nFROM ")[2]
    assert re.findall(r"^USER (\S+)$", last_stage, re.M) == ["tuneyard"]


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.stem)
def test_nothing_in_an_image_phones_home(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each switch that the supervisor sets, since two of the images run without it; and ONNX Runtime's own."""
    configuration = read_configuration()
    monkeypatch.setattr(os, "environ", {})
    switches = {
        name: value
        for name, value in instance_environment(configuration).items()
        if re.search(r"TRACK$|TELEMETRY|USAGE_STATS", name)
    }
    assert len(switches) >= 4
    assert _environment(path).items() >= {**switches, "ORT_DISABLE_TELEMETRY": "1"}.items()


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.stem)
def test_our_code_is_compiled_in_the_image(path: Path) -> None:
    """Its user may not write beside it, so that each start would compile it again."""
    before_user = path.read_text().rpartition("\nFROM ")[2].partition("\nUSER ")[0]
    copied, _, compiled = before_user.partition("-m compileall -q /app\n")
    assert compiled
    assert "/app" in copied
    assert "COPY" not in compiled


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.stem)
def test_images_hold_no_secret(path: Path) -> None:
    text = path.read_text()
    assert not re.search(r"^(ENV|ARG)\s.*(PASSWORD|TOKEN|SECRET)", text, re.M | re.I)
    assert not re.search(r"^COPY \. ", text, re.M), "copies whatever lies in the checkout"
    assert {".env*", "var", ".git"} <= set((ROOT / ".dockerignore").read_text().split())


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.stem)
def test_what_is_copied_exists(path: Path) -> None:
    for line in re.findall(r"^COPY (?!--from)(.*)$", path.read_text(), re.M):
        *sources, _ = line.split()
        # The translations and the browser assets are made in the image.
        assert all((ROOT / source).exists() for source in sources), line


def test_only_the_worker_holds_torch() -> None:
    with_torch = [path.stem for path in DOCKERFILES if "requirements/torch.txt" in path.read_text()]
    assert with_torch == ["worker"]
    for name in ("web", "serving"):
        locks = set(re.findall(r"-r requirements/(\w+)\.lock", (ROOT / "docker" / f"{name}.Dockerfile").read_text()))
        assert locks == {name if name == "web" else "serve"}


def _environment(path: Path) -> dict[str, str]:
    """What the ENV lines of the last stage set."""
    last_stage = path.read_text().rpartition("\nFROM ")[2].replace("\\\n", " ")
    lines = re.findall(r"^ENV (.*)$", last_stage, re.M)
    return dict(pair.split("=", 1) for line in lines for pair in line.split())


def _options(arguments: list[str]) -> dict[str, str]:
    """`--name value`, flags with an empty value, and what stands alone under its own name."""
    options: dict[str, str] = {}
    position = 0
    while position < len(arguments):
        word = arguments[position]
        following = arguments[position + 1] if position + 1 < len(arguments) else "--"
        if word.startswith("--") and not following.startswith("--"):
            options[word] = following
            position += 2
        else:
            options[word] = ""
            position += 1
    return options


def _variables_read() -> set[str]:
    """Every variable that a line of our code names."""
    names: set[str] = set()
    for folder in ("platform", "apps", "workers"):
        for path in (ROOT / folder).rglob("*.py"):
            names.update(re.findall(r"\"([A-Z][A-Z0-9_]{3,})\"", path.read_text()))
    return names


def test_the_reader_of_options_reads() -> None:
    assert _options(["app", "--no-ws", "--port", "1"]) == {"app": "", "--no-ws": "", "--port": "1"}
