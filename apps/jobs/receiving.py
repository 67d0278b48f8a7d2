"""From a multipart request to what `services.job_create_for_file` takes; shared by API and page."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from pydantic import ValidationError

from apps.core.errors import AppError, Invalid
from apps.datasets.services import UploadedPart
from apps.datasets.uploads import declarations_of, parts_of
from apps.jobs.schemas import PredictRequest

#: What a request says of the job, beside the file and how to read it.
FIELDS = ("model", "save_as", "title")
_PAGE_FIELDS = ("dataset", "split", "text_column", "key")


def prediction_of(
    request: HttpRequest, *, page: bool = False
) -> tuple[PredictRequest, list[UploadedPart], dict[str, str], dict[str, Any]]:
    """The request, its files, the mapping and the options of reading. Raises Invalid naming the field."""
    if request.content_type != "multipart/form-data":
        raise AppError(
            "Send the file as multipart/form-data.",
            code="unsupported_media_type",
            status=415,
            hint="With curl: -F file=@messages.csv -F model=intents@2",
        )
    also = (*FIELDS, *_PAGE_FIELDS) if page else FIELDS
    files, _options = parts_of(request, page=page, also=also)
    mapping, options = declarations_of(request)
    if request.POST.get("text_column"):
        mapping = {"text": request.POST["text_column"]}
    return predict_request(request), files, mapping, options


def predict_request(request: HttpRequest) -> PredictRequest:
    """The fields of a form; empty ones are left out."""
    given = {name: request.POST[name].strip() for name in (*FIELDS, "dataset", "split") if request.POST.get(name)}
    try:
        return PredictRequest.model_validate({"kind": "predict"} | given)
    except ValidationError as error:
        fields = {str(item["loc"][-1]): item["msg"] for item in error.errors()}
        raise Invalid("The request cannot be read.", fields=fields, hint="Correct the named fields.") from None
