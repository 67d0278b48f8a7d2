"""The pages, over the live path where they ask for predictions."""

from __future__ import annotations

import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from apps.deployments import services
from apps.deployments.applying import deployment_apply
from apps.deployments.models import Endpoint, Revision
from modelkit.serving.paths import ServingPaths
from modelkit.serving.plan import EndpointCounters, ObservedSet
from tests.apps.deployments.conftest import VersionMake
from tests.modelkit.serving.toys import Host
from tests.personas import Team

TABS = ("try", "traffic", "shadow", "timeline", "logs", "keys", "settings")


@pytest.fixture
def endpoint(team: Team, version_make: VersionMake) -> Endpoint:
    version_make(team.workspace, 1)
    version_make(team.workspace, 2)
    return services.endpoint_create(by=team.developer.identity, name="intents", model="intents@1")


def test_every_tab_stands_before_anything_is_live(team: Team, endpoint: Endpoint) -> None:
    for person in (team.viewer, team.maintainer):
        browser = person.browser()
        for tab in TABS:
            answer = browser.get(f"/endpoints/intents/?tab={tab}")
            assert answer.status_code == 200
            assert b"waits for the serving host" in answer.content
        assert b"intents@1" in browser.get("/endpoints/").content


def test_an_endpoint_that_sleeps_says_so(team: Team, endpoint: Endpoint) -> None:
    browser = team.viewer.browser()
    assert b"Asleep" not in browser.get("/endpoints/").content
    Endpoint.objects.update(status="live")
    Revision.objects.update(status="asleep")
    for address in ("/endpoints/", "/endpoints/intents/"):
        page = browser.get(address).content.decode()
        assert ">Live<" in page
        assert ">Asleep<" in page


def test_what_was_refused_is_told_beside_the_requests(team: Team, endpoint: Endpoint, home: Path) -> None:
    counted = EndpointCounters(
        workspace=team.workspace.public_id,
        name="intents",
        requests=5400,
        errors=12,
        rejected=5321,
        p50_ms=1.0,
        p95_ms=2.0,
    )
    observed = ObservedSet(counters=(counted,), updated_at=time.time())
    ServingPaths(home).ensure()
    ServingPaths(home).observed.write_text(observed.model_dump_json())
    services.endpoint_update(by=team.developer.identity, endpoint=endpoint, placement={"replicas": 2})
    browser = team.viewer.browser()
    for address in ("/endpoints/", "/endpoints/intents/", "/endpoints/intents/?tab=timeline"):
        assert "refused (4xx)" in browser.get(address).content.decode().split("5,321", 1)[1][:60], address
    assert "5,321 refused (4xx)" in browser.get("/endpoints/intents/?tab=timeline").content.decode()


def test_the_list_without_endpoints_offers_one_action(team: Team) -> None:
    page = team.owner.browser().get("/endpoints/").content.decode()
    assert page.count("btn-primary") == 1
    assert "/endpoints/new" in page


def test_deploying_from_a_models_page_and_over_an_existing_endpoint(team: Team, endpoint: Endpoint) -> None:
    browser = team.developer.browser()
    form = browser.get("/endpoints/new?model=intents@2").content.decode()
    assert '<option value="intents@2" selected' in form
    made = browser.post("/endpoints/new", {"model": "intents@2", "endpoint": "", "name": "second"})
    assert made.headers["Location"] == "/endpoints/second/"
    over = browser.post("/endpoints/new", {"model": "intents@2", "endpoint": "intents", "name": ""})
    assert over.headers["Location"] == "/endpoints/intents/"
    assert Revision.objects.filter(endpoint=endpoint, number=2, weight=100).exists()


def test_a_refused_deployment_says_why_at_the_field(team: Team, endpoint: Endpoint) -> None:
    browser = team.developer.browser()
    taken = browser.post("/endpoints/new", {"model": "intents@2", "endpoint": "", "name": "intents"})
    assert taken.status_code == 409
    assert b"exists already" in taken.content
    nameless = browser.post("/endpoints/new", {"model": "intents@2", "endpoint": "", "name": ""})
    assert nameless.status_code == 422


def test_a_refusal_beside_its_field_does_not_tell_to_correct_the_named_fields(team: Team, endpoint: Endpoint) -> None:
    answer = team.developer.browser().post("/endpoints/intents/keys", {"name": "shop", "rate_per_minute": "-1"})
    page = answer.content.decode()
    assert "Give a whole number" in page
    assert "Correct the named fields" not in page


def test_try_it_asks_the_live_endpoint(team: Team, endpoint: Endpoint, host: Host) -> None:
    deployment_apply()
    browser = team.viewer.browser()
    page = browser.get("/endpoints/intents/").content.decode()
    assert f"curl {host.url}/predict/intents" in page
    fragment = browser.post("/endpoints/intents/try", {"text": "refund refund"}, headers={"HX-Request": "true"})
    assert fragment.status_code == 200
    text = fragment.content.decode()
    assert "<html" not in text
    assert text.index("refund") < text.index("transfer")
    assert "intents@1" in text
    whole = browser.post("/endpoints/intents/try", {"text": "card"}).content.decode()
    assert "<html" in whole
    assert "intents@1" in whole
    empty = browser.post("/endpoints/intents/try", {"text": ""}, headers={"HX-Request": "true"})
    assert b'role="alert"' in empty.content
    for language in ("python", "javascript"):
        assert f"{host.url}/predict/intents" in browser.get(f"/endpoints/intents/?lang={language}").content.decode()
    assert b"Answering for" in browser.get("/endpoints/intents/?tab=logs").content
    assert b"4/4" in browser.get("/endpoints/intents/?tab=traffic").content


def test_asking_reads_the_root_certificates_once(
    team: Team, endpoint: Endpoint, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They cost more than the whole answer, and the page would call that time the way between processes."""
    deployment_apply()
    browser = team.viewer.browser()
    browser.post("/endpoints/intents/try", {"text": "card"})
    read: list[object] = []
    monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", lambda *given, **more: read.append(given))
    assert b"intents@1" in browser.post("/endpoints/intents/try", {"text": "card"}).content
    assert read == []


def test_the_openapi_document_is_linked_and_shown_with_the_public_address(
    team: Team, endpoint: Endpoint, host: Host
) -> None:
    deployment_apply()
    browser = team.viewer.browser()
    page = browser.get("/endpoints/intents/").content.decode()
    assert 'href="/endpoints/intents/openapi.json"' in page
    assert "/v1/embeddings" in page
    told = browser.get("/endpoints/intents/openapi.json").json()
    assert told["servers"] == [{"url": host.url}]
    assert "/predict/intents" in told["paths"]
    assert team.outsider.browser().get("/endpoints/intents/openapi.json").status_code == 404


def test_the_openapi_document_of_a_stopped_endpoint_is_refused_by_name(
    team: Team, endpoint: Endpoint, host: Host
) -> None:
    services.endpoint_stop(by=team.developer.identity, endpoint=endpoint)
    deployment_apply()
    answer = team.viewer.browser().get("/endpoints/intents/openapi.json")
    assert answer.status_code == 503
    assert b"is stopped" in answer.content


def test_try_it_says_when_the_serving_port_is_down(team: Team, endpoint: Endpoint, settings: object) -> None:
    settings.SERVING_INTERNAL_URL = "http://127.0.0.1:9"  # type: ignore[attr-defined]
    answer = team.viewer.browser().post("/endpoints/intents/try", {"text": "card"}, headers={"HX-Request": "true"})
    assert b"does not answer" in answer.content


class _Proxy(BaseHTTPRequestHandler):
    """Something on the way to the serving port that has an opinion of its own."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        body = b'["bad gateway"]'
        self.send_response(502)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Said nowhere."""


def test_try_it_says_when_something_else_answers(team: Team, endpoint: Endpoint, settings: object) -> None:
    with HTTPServer(("127.0.0.1", 0), _Proxy) as proxy:
        settings.SERVING_INTERNAL_URL = f"http://127.0.0.1:{proxy.server_port}"  # type: ignore[attr-defined]
        thread = threading.Thread(target=proxy.handle_request)
        thread.start()
        answer = team.viewer.browser().post("/endpoints/intents/try", {"text": "card"}, headers={"HX-Request": "true"})
        thread.join(30)
    assert b"does not answer" in answer.content


def test_traffic_rollback_stop_start_delete(team: Team, endpoint: Endpoint) -> None:
    browser = team.maintainer.browser()
    services.revision_create(by=team.developer.identity, endpoint=endpoint, model="intents@2")
    assert browser.post("/endpoints/intents/traffic", {"weight-1": "40", "weight-2": "60"}).status_code == 302
    assert dict(Revision.objects.values_list("number", "weight")) == {1: 40, 2: 60}
    for bad in ({"weight-1": "40", "weight-2": "50"}, {"weight-1": "x"}):
        refused = browser.post("/endpoints/intents/traffic", bad)
        assert refused.status_code == 422
        assert b"Nothing was changed" in refused.content
    assert browser.post("/endpoints/intents/rollback").status_code == 409
    browser.post("/endpoints/intents/stop")
    assert not Endpoint.objects.get().running
    browser.post("/endpoints/intents/start")
    assert Endpoint.objects.get().running
    assert browser.post("/endpoints/intents/delete").status_code == 302
    assert not Endpoint.objects.exists()


@pytest.mark.parametrize("path", ["", "status"])
def test_an_outsider_sees_nothing(team: Team, endpoint: Endpoint, path: str) -> None:
    assert team.outsider.browser().get(f"/endpoints/intents/{path}").status_code == 404


@pytest.mark.parametrize("path", ["traffic", "rollback", "settings", "stop", "start", "delete"])
def test_a_viewer_changes_nothing(team: Team, endpoint: Endpoint, path: str) -> None:
    assert team.viewer.browser().post(f"/endpoints/intents/{path}").status_code == 403
    assert Endpoint.objects.get().running


def test_reasons_are_shown_as_text(team: Team, endpoint: Endpoint) -> None:
    Revision.objects.update(status="failed", reason="<script>alert(1)</script>")
    page = team.viewer.browser().get("/endpoints/intents/?tab=traffic").content.decode()
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page


def test_the_settings_tab_changes_title_and_limits(team: Team, endpoint: Endpoint) -> None:
    browser = team.developer.browser()
    form = browser.get("/endpoints/intents/?tab=settings").content.decode()
    assert 'name="max_batch" value="256"' in form
    assert "From 1 to 4,096; usually 256." in form
    saved = browser.post("/endpoints/intents/settings", {"title": "Tickets", "max_batch": "8", "max_bytes": ""})
    assert saved.headers["Location"] == "/endpoints/intents/?tab=settings"
    endpoint.refresh_from_db()
    assert (endpoint.title, endpoint.limits) == ("Tickets", {"max_batch": 8})
    assert "Inputs per request: 8" in browser.get("/endpoints/intents/?tab=timeline").content.decode()
    viewer = team.viewer.browser().get("/endpoints/intents/?tab=settings").content.decode()
    assert 'name="max_batch"' not in viewer
    assert "Inputs per request" in viewer


def test_a_limit_out_of_bounds_is_refused_at_its_field(team: Team, endpoint: Endpoint) -> None:
    refused = team.developer.browser().post(
        "/endpoints/intents/settings", {"title": "Kept", "max_batch": "9000", "max_bytes": "some"}
    )
    assert refused.status_code == 422
    page = refused.content.decode()
    assert "Give a whole number from 1 to 4,096." in page
    assert "Give a whole number from 1 to 64,000,000." in page
    assert 'value="9000"' in page
    assert 'value="Kept"' in page
    endpoint.refresh_from_db()
    assert (endpoint.title, endpoint.limits) == ("", {})
