"""The REST API, version 1: one router per app, one error shape. Knows no noun itself."""

from apps.accounts.api import router as accounts
from apps.accounts.auth import SessionAuth, TokenAuth
from apps.compression.api import router as compression
from apps.core.errors import register_error_handlers
from apps.core.openapi import DocumentedAPI
from apps.core.parsing import StrictParser
from apps.datasets.api import router as datasets
from apps.deployments.api import router as deployments
from apps.jobs.api import router as jobs
from apps.monitoring.api import router as monitoring
from apps.monitoring.request_api import router as requests
from apps.registry.api import router as registry

api = DocumentedAPI(
    title="Tuneyard",
    version="1",
    description="From raw file to a measured, compressed, deployed and watched model.",
    auth=[TokenAuth(), SessionAuth()],
    urls_namespace="api",
    docs_url=None,
    parser=StrictParser(),
)
register_error_handlers(api)

for router in (accounts, datasets, registry, jobs, compression, deployments, requests, monitoring):
    api.add_router("", router)
