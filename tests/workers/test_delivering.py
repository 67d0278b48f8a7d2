"""A dataset made of a batch prediction's answers, without the stack: the file may be taken, or be there already."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from apps.datasets.models import DatasetVersion
from modelkit.jobfolder import JobFolder
from tests.apps.jobs.conftest import ready
from tests.apps.jobs.factory import job_make
from workers.delivering import dataset_make
from workers.reporter import Lease

__all__ = ["ready"]

pytestmark = pytest.mark.django_db


def test_the_same_answers_make_one_version_and_no_copy_stays_behind(ready: Any, tmp_path: Path) -> None:
    job = job_make(ready.developer)
    job.spec["save_as"] = "told"
    folder = JobFolder(tmp_path)
    folder.artifacts_path.mkdir(parents=True)
    answers = folder.artifacts_path / "predictions.csv"
    answers.write_text(
        "row,split,text,expected,label,score\n1,,where is my card,,card,0.9\n2,,money back,,refund,0.8\n"
    )
    for _ in range(2):
        dataset_make(job=job, folder=folder, lease=Lease(job, "worker"))
        assert job.progress_detail["dataset"] == "told@1"
    assert DatasetVersion.objects.filter(dataset__name="told").count() == 1
    assert answers.exists(), "the job keeps its own"
    assert not list(settings.FILE_UPLOAD_TEMP_DIR.glob("predictions-*"))
