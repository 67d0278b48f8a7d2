"""The bundle of a version as an HTTP answer, for pages and API alike."""

from __future__ import annotations

from django.http import StreamingHttpResponse

from apps.registry.bundles import bundle_zip
from apps.registry.models import ModelVersion


def bundle_response(version: ModelVersion) -> StreamingHttpResponse:
    """A zip file that streams."""
    response = StreamingHttpResponse(bundle_zip(version), content_type="application/zip")
    response["Content-Disposition"] = f'attachment; filename="{version.model.name}-{version.number}.zip"'
    return response
