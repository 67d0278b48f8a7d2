"""The data sets that come with the product, so that a first model needs no file of one's own."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from apps.accounts.auth import Identity
from apps.core.errors import Invalid
from apps.datasets.models import Dataset, DatasetVersion
from apps.datasets.services import UploadedPart, dataset_create, version_upload

FOLDER = Path(__file__).parent / "samples"


@dataclass(frozen=True)
class Sample:
    """A bundled data set; `name` is what its dataset is called unless another name is given."""

    name: str
    task: str
    title: str | Promise
    summary: str | Promise
    file_name: str


SAMPLES = {
    sample.name: sample
    for sample in (
        Sample(
            name="tickets",
            task="text_classification",
            title=gettext_lazy("Customer-service tickets"),
            summary=gettext_lazy("Some 600 messages to a bank's support in ten intents, in English and Chinese."),
            file_name="tickets.csv",
        ),
    )
}


def sample_import(
    *, by: Identity, sample: str = "tickets", name: str = "", title: str = ""
) -> tuple[Dataset, DatasetVersion]:
    """Make a dataset of a bundled sample, or answer the one that was made of it before."""
    if sample not in SAMPLES:
        message = _("There is no sample named %(name)s.") % {"name": sample}
        raise Invalid(
            message, fields={"sample": message}, hint=_("Samples are %(known)s.") % {"known": ", ".join(SAMPLES)}
        )
    chosen = SAMPLES[sample]
    name = name or chosen.name
    dataset = Dataset.objects.filter(workspace=by.workspace, name=name, task=chosen.task).first()
    if dataset is None:
        dataset = dataset_create(by=by, name=name, task=chosen.task, title=title or str(chosen.title))
    version, _new = version_upload(by=by, dataset=dataset, files=[_received(FOLDER / chosen.file_name)])
    return dataset, version


def _received(path: Path) -> UploadedPart:
    """A copy that may be taken away, as if it had been uploaded."""
    settings.FILE_UPLOAD_TEMP_DIR.mkdir(parents=True, exist_ok=True)
    incoming = settings.FILE_UPLOAD_TEMP_DIR
    with (
        path.open("rb") as source,
        tempfile.NamedTemporaryFile(suffix=".upload", dir=incoming, delete=False) as target,
    ):
        shutil.copyfileobj(source, target)
    copy: dict[str, Any] = {"path": Path(target.name), "size_bytes": path.stat().st_size}
    return UploadedPart(part="all", name=path.name, sha256=hashlib.sha256(path.read_bytes()).hexdigest(), **copy)
