"""The fine-tuning wizard without script: fields from the schema, the review, the start."""

from __future__ import annotations

import json
import re
from typing import Any

from django.http import QueryDict

from apps.jobs.forms import Equivalent, param_form, param_values
from apps.jobs.models import Job
from modelkit import catalog
from tests.apps.jobs.conftest import ready as ready
from tests.apps.jobs.factory import dataset_make, job_make
from tests.ui import jobs

PARAMS = catalog.tasks()["text_classification"].params


def form(**changes: str) -> dict[str, str]:
    """What the browser sends for a valid form."""
    values = {
        "key": "key0key0key0",
        "task": "text_classification",
        "dataset": "tickets@1",
        "base_model": "tiny",
        "model_name": "intents",
        "preset": "balanced",
        "shown_preset": "balanced",
        "budget_minutes": "",
    }
    return values | changes


def sent(**values: str) -> QueryDict:
    query = QueryDict(mutable=True)
    query.update({f"params.{name}": value for name, value in values.items()})
    return query


# --- fields from the schema -----------------------------------------------------------------------------------------


def test_every_parameter_has_a_field_of_its_kind() -> None:
    fields = {field.name: field for field in param_form(PARAMS, base={}, values={}).fields}
    assert set(fields) == set(PARAMS.model_fields) - {"task"}
    assert (fields["epochs"].kind, fields["epochs"].unit, fields["epochs"].bounds) == ("integer", "epochs", "1 to 100")
    assert fields["learning_rate"].bounds == "above 0, at most 0.01"
    assert fields["frozen_embeddings"].kind == "switch"
    assert [choice.value for choice in fields["schedule"].choices] == ["cosine", "linear", "constant"]
    assert all(field.title and field.help for field in fields.values())


def test_only_what_differs_from_the_preset_is_sent() -> None:
    base = {"batch_size": 4}
    assert param_values(PARAMS, sent(batch_size="4", epochs="3", schedule="cosine"), base) == {}
    assert param_values(PARAMS, sent(batch_size="32", epochs="5"), base) == {"batch_size": 32, "epochs": 5}
    assert param_values(PARAMS, sent(epochs="", frozen_embeddings="false"), base) == {"frozen_embeddings": False}


def test_nonsense_stays_text_so_that_the_model_refuses_it() -> None:
    assert param_values(PARAMS, sent(epochs="many", learning_rate="nan"), {}) == {
        "epochs": "many",
        "learning_rate": "nan",
    }


def test_a_changed_field_is_marked_with_the_preset_value() -> None:
    fields = {field.name: field for field in param_form(PARAMS, base={"epochs": 3}, values={"epochs": 9}).fields}
    assert fields["epochs"].changed
    assert (fields["epochs"].value, fields["epochs"].base) == ("9", "3")
    assert not fields["seed"].changed


def test_the_command_survives_a_quote() -> None:
    curl = Equivalent({"title": "it's"}, "http://localhost/api/v1/jobs").curl
    assert """'{"title": "it'"'"'s"}'""" in curl


# --- the page -------------------------------------------------------------------------------------------------------


def test_the_address_preselects(ready: Any) -> None:
    dataset_make(ready.workspace, "reviews")
    page = ready.developer.browser().get("/jobs/new?dataset=tickets@1&base_model=tiny&preset=instant").content.decode()
    for chosen in ('value="tickets@1" checked', 'value="tiny" checked', 'value="instant" checked'):
        assert chosen in page
    assert 'name="model_name" value="tickets"' in page
    assert "Ready" in page


def test_a_clone_is_prefilled_with_the_changes_of_its_source(ready: Any) -> None:
    job = job_make(ready.developer, preset="balanced", params={"epochs": 7}, budget_minutes=5)
    page = ready.developer.browser().get(f"/jobs/new?clone={job.public_id}").content.decode()
    assert 'name="params.epochs" value="7"' in page
    assert "Changed; the preset says 3." in page
    assert 'name="budget_minutes" inputmode="decimal" autocomplete="off" value="5"' in page
    assert ready.outsider.browser().get(f"/jobs/new?clone={job.public_id}").status_code == 404


def test_without_data_the_page_says_what_is_missing(team: Any) -> None:
    page = team.developer.browser().get("/jobs/new").content.decode()
    assert "No dataset version is ready for this task." in page
    assert "Not ready because: Choose a dataset version that is ready." in page
    assert re.search(r'type="submit" disabled', page)


def test_the_review_is_that_of_the_api(ready: Any) -> None:
    answer = ready.developer.browser().post("/jobs/new/review", form()).content.decode()
    body = {"kind": "train", "task": "text_classification", "dataset": "tickets@1", "base_model": "tiny"}
    body |= {"model_name": "intents", "preset": "balanced"}
    preview = ready.developer.api("POST", "/jobs/preview", body).json()
    assert preview["ready"]
    assert f"{preview['prediction']['memory_bytes'] / 1e9:.1f} GB" in answer
    assert "<html" not in answer


def test_a_wrong_value_is_told_at_its_field_with_the_bounds(ready: Any) -> None:
    answer = ready.developer.browser().post("/jobs/new/review", form(**{"params.learning_rate": "-1"})).content.decode()
    note = answer[answer.index('id="note-learning_rate"') :][:400]
    assert "Give a number, above 0, at most 0.01." in note
    assert "Not ready because: Learning rate: Give a number, above 0, at most 0.01." in answer


def test_a_setting_without_effect_is_refused_with_the_task_reason(ready: Any) -> None:
    sent_form = form(preset="instant", shown_preset="instant", **{"params.epochs": "5"})
    answer = ready.developer.browser().post("/jobs/new/review", sent_form).content.decode()
    assert "Epochs: Instant fits the head in closed form" in answer


def test_another_preset_brings_its_own_values(ready: Any) -> None:
    sent_form = form(preset="low_memory", shown_preset="balanced", **{"params.batch_size": "32"})
    answer = ready.developer.browser().post("/jobs/new/review", sent_form).content.decode()
    assert 'name="params.batch_size" value="4"' in answer
    assert "Changed;" not in answer


def test_another_dataset_brings_another_name_unless_one_was_chosen(ready: Any) -> None:
    dataset_make(ready.workspace, "reviews")
    browser = ready.developer.browser()
    moved = form(dataset="reviews@1", model_name="tickets", suggested_name="tickets")
    assert 'value="reviews"' in browser.post("/jobs/new/review", moved).content.decode()
    chosen = form(dataset="reviews@1", model_name="mine", suggested_name="tickets")
    assert 'id="field-model_name"' not in browser.post("/jobs/new/review", chosen).content.decode()


def test_the_equivalent_json_starts_the_same_job(ready: Any) -> None:
    answer = ready.developer.browser().post("/jobs/new/review", form(**{"params.epochs": "5"}))
    body = json.loads(answer.context["review"].equivalent.json)
    assert body["params"] == {"epochs": 5}
    created = ready.developer.api("POST", "/jobs", body)
    assert created.status_code == 201
    assert created.json()["params"]["epochs"] == 5


def test_start_makes_one_job_however_often_it_is_sent(ready: Any) -> None:
    browser = ready.developer.browser()
    answers = [browser.post("/jobs/new", form()) for _ in range(2)]
    job = Job.objects.get()
    assert [answer["Location"] for answer in answers] == [f"/jobs/{job.public_id}/"] * 2
    assert "Queued (#1)" in browser.get(answers[0]["Location"]).content.decode()


def test_the_same_form_with_another_value_is_another_job(ready: Any) -> None:
    browser = ready.developer.browser()
    browser.post("/jobs/new", form())
    browser.post("/jobs/new", form(**{"params.epochs": "5"}))
    assert Job.objects.count() == 2


def test_a_refused_start_keeps_what_was_typed(ready: Any) -> None:
    answer = ready.developer.browser().post("/jobs/new", form(model_name="No Name!", **{"params.epochs": "many"}))
    page = answer.content.decode()
    assert answer.status_code == 422
    assert 'value="No Name!"' in page
    assert 'name="params.epochs" value="many"' in page
    assert "lower-case letters" in page
    assert not Job.objects.exists()


def test_a_viewer_may_look_and_not_start(ready: Any) -> None:
    browser = ready.viewer.browser()
    assert "Starting a job needs the role Developer." in browser.get("/jobs/new").content.decode()
    assert browser.post("/jobs/new", form()).status_code == 403
    assert not Job.objects.exists()


def test_a_clone_remembers_its_source(ready: Any) -> None:
    source = jobs.failed(ready.developer)
    ready.developer.browser().post("/jobs/new", form(clone=source.public_id))
    assert Job.objects.latest("number").cloned_from == source


def test_simple_and_advanced_are_a_choice_that_stays(ready: Any) -> None:
    browser = ready.developer.browser()
    assert 'id="view-simple" checked' in browser.get("/jobs/new").content.decode()
    browser.post("/jobs/new/review", form(view="advanced"))
    assert 'id="view-advanced" checked' in browser.get("/jobs/new").content.decode()
    browser.post("/jobs/new/review", form(view="nonsense"))
    assert 'id="view-advanced" checked' in browser.get("/jobs/new").content.decode()


def test_simple_says_what_it_does_not_show(ready: Any) -> None:
    answer = ready.developer.browser().post("/jobs/new/review", form(**{"params.weight_decay": "0.5"}))
    assert "1 advanced setting differs from the preset" in answer.content.decode()
