"""The pipeline in four figures, the seven first steps, and the endpoints with their traffic."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from django.core.cache import cache
from django.db.models import Count, OuterRef, Q, QuerySet, Subquery
from django.urls import NoReverseMatch, reverse
from django.utils import timezone
from django.utils.http import urlencode
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from apps.accounts.models import Workspace
from apps.datasets.models import Dataset, DatasetVersion, VersionStatus
from apps.deployments import selectors as deployments
from apps.deployments.backend import serving_backend
from apps.deployments.models import Canary, CanaryStatus, Endpoint, EndpointStatus, Revision, RevisionStatus
from apps.jobs.models import Job, JobKind, JobStatus
from apps.jobs.selectors.records import ACTIVE, job_counts
from apps.monitoring.models import HOUR_S, TrafficStat
from apps.monitoring.traffic import LastHour
from apps.registry.models import ModelVersion, RegisteredModel
from modelkit.serving.plan import ObservedSet
from modelkit.serving.tally import Tally

_WEEK = timedelta(days=7)


@dataclass(frozen=True)
class Chip:
    """A status with a count; `status` decides the colour."""

    status: str
    text: str


@dataclass(frozen=True)
class Stage:
    """One part of the pipeline: how many there are, and how they are."""

    address: str
    title: str
    icon: str
    count: int
    note: str
    chips: list[Chip]


@dataclass(frozen=True)
class Step:
    """One of the first steps."""

    title: str
    done: bool


@dataclass(frozen=True)
class Start:
    """How far a workspace came from sign-in to the first answered request; `href` with `action` leads on."""

    steps: list[Step]
    href: str
    action: str

    @property
    def done(self) -> int:
        return sum(step.done for step in self.steps)

    @property
    def complete(self) -> bool:
        return all(step.done for step in self.steps)

    @property
    def next_title(self) -> str:
        return next((step.title for step in self.steps if not step.done), "")


@dataclass(frozen=True)
class EndpointRow:
    """An endpoint and what it was asked in the last hour: `tally` in sum, `per_minute` how many requests."""

    endpoint: Endpoint
    address: str
    serves: list[str]
    chips: list[Chip]
    tally: Tally
    per_minute: list[int]

    @property
    def p95_ms(self) -> float | None:
        return self.tally.quantile_ms(0.95)

    @property
    def error_share(self) -> float | None:
        return self.tally.errors / self.tally.requests if self.tally.requests else None

    @property
    def spark_text(self) -> str:
        """What the small chart shows, for those who do not see it."""
        busiest = max(self.per_minute, default=0)
        text = ngettext("at most %(n)s request a minute", "at most %(n)s requests a minute", busiest)
        return text % {"n": f"{busiest:,}"}


def address(name: str, *args: object, **query: str) -> str:
    """The address of a page, or nothing where that page is not installed."""
    try:
        found = reverse(name, args=args)
    except NoReverseMatch:
        return ""
    return f"{found}?{urlencode(query)}" if query else found


def observed_now() -> ObservedSet | None:
    """What the serving agent reported last."""
    return serving_backend().observe()


def newest_versions(workspace: Workspace) -> QuerySet[DatasetVersion]:
    """The newest version of every dataset."""
    newest = DatasetVersion.objects.filter(dataset=OuterRef("dataset")).order_by("-number").values("pk")[:1]
    rows = DatasetVersion.objects.select_related("dataset").filter(dataset__workspace=workspace, pk=Subquery(newest))
    return rows.defer("stats", "labels", "detected", "parts")


def problems_of(version: DatasetVersion) -> list[Mapping[str, object]]:
    """The checks of a version that found something."""
    return [check for check in version.checks if check.get("severity") in {"warn", "fail"}]


def stages_of(workspace: Workspace, hour: LastHour) -> list[Stage]:
    """The four parts of the pipeline in their order."""
    return [_datasets(workspace), _jobs(workspace), _models(workspace), _endpoints(workspace, hour)]


def _datasets(workspace: Workspace) -> Stage:
    newest = list(newest_versions(workspace))
    versions = DatasetVersion.objects.filter(dataset__workspace=workspace).count()
    rows = sum(version.rows or 0 for version in newest)
    ready = [version for version in newest if version.status == VersionStatus.READY]
    troubled = sum(bool(problems_of(version)) for version in ready)
    states = Counter(version.status for version in newest)
    checking = states[VersionStatus.UPLOADING] + states[VersionStatus.VALIDATING]
    chips = [
        Chip("ready", _("%(n)d ready") % {"n": len(ready) - troubled}) if len(ready) > troubled else None,
        Chip("warning", _("%(n)d with warnings") % {"n": troubled}) if troubled else None,
        Chip("running", _("%(n)d being checked") % {"n": checking}) if checking else None,
        _chip("needs_mapping", _("%(n)d to be mapped"), states[VersionStatus.NEEDS_MAPPING]),
        _chip("rejected", _("%(n)d rejected"), states[VersionStatus.REJECTED]),
    ]
    note = ngettext("%(n)d version", "%(n)d versions", versions) % {"n": versions}
    if rows:
        note = f"{note} · " + ngettext("%(n)s row", "%(n)s rows", rows) % {"n": f"{rows:,}"}
    count = Dataset.objects.filter(workspace=workspace).count()
    return Stage(address("dataset_list"), _("Datasets"), "database", count, note, _kept(chips))


def _jobs(workspace: Workspace) -> Stage:
    counts = job_counts(workspace=workspace)
    since = timezone.now() - _WEEK
    lately = Job.objects.filter(workspace=workspace, finished_at__gte=since)
    succeeded = lately.filter(status=JobStatus.SUCCEEDED).count()
    failed = lately.filter(status__in=[JobStatus.FAILED, JobStatus.ERRORED]).count()
    chips = [
        _chip("running", _("%(n)d running"), counts[JobStatus.RUNNING]),
        _chip("queued", _("%(n)d queued"), counts[JobStatus.QUEUED]),
        _chip("failed", _("%(n)d failed this week"), failed),
    ]
    note = _("%(n)d succeeded this week") % {"n": succeeded}
    return Stage(address("job_list"), _("Jobs"), "play", sum(counts.values()), note, _kept(chips))


def _models(workspace: Workspace) -> Stage:
    versions = ModelVersion.objects.filter(model__workspace=workspace)
    total = versions.count()
    compressed = versions.exclude(parent=None).count()
    serving = Revision.objects.filter(endpoint__workspace=workspace, endpoint__running=True, weight__gt=0)
    live = RegisteredModel.objects.filter(workspace=workspace, versions__revisions__in=serving).distinct().count()
    count = RegisteredModel.objects.filter(workspace=workspace).count()
    note = ngettext("%(n)d version", "%(n)d versions", total) % {"n": total}
    if compressed:
        note = f"{note} · " + _("%(n)d compressed") % {"n": compressed}
    chips = [_chip("live", _("%(n)d deployed"), live), _chip("queued", _("%(n)d not deployed"), count - live)]
    return Stage(address("model_list"), _("Models"), "models", count, note, _kept(chips))


def _endpoints(workspace: Workspace, hour: LastHour) -> Stage:
    states = Counter(Endpoint.objects.filter(workspace=workspace).values_list("status", flat=True))
    chips = [
        _chip("live", _("%(n)d live"), states[EndpointStatus.LIVE]),
        _chip("degraded", _("%(n)d degraded"), states[EndpointStatus.DEGRADED]),
        _chip("failed", _("%(n)d failed"), states[EndpointStatus.FAILED]),
        _chip("running", _("%(n)d starting"), states[EndpointStatus.PENDING]),
        _chip("stopped", _("%(n)d stopped"), states[EndpointStatus.STOPPED]),
    ]
    note = ngettext("%(n)s request in the last hour", "%(n)s requests in the last hour", hour.requests)
    note %= {"n": f"{hour.requests:,}"}
    return Stage(address("endpoint_list"), _("Endpoints"), "rocket", sum(states.values()), note, _kept(chips))


def _chip(status: str, text: str, count: int) -> Chip | None:
    return Chip(status, text % {"n": count}) if count else None


def _kept(chips: list[Chip | None]) -> list[Chip]:
    return [chip for chip in chips if chip is not None]


def endpoints_shown(workspace: Workspace, *, limit: int = 6) -> list[Endpoint]:
    """The endpoints that the page has room for; running ones first."""
    return list(deployments.endpoints_of(workspace).order_by("-running", "-pk")[:limit])


def endpoint_rows(endpoints: list[Endpoint], hour: LastHour) -> list[EndpointRow]:
    """Endpoints with the versions they serve and what they were asked, as `hour` has it."""
    canaries = deployments.canaries_open(endpoints)
    rows = []
    for endpoint in endpoints:
        shares = [revision for revision in endpoint.revisions.all() if revision.weight]
        serves = [f"{revision.model_version.ref} {revision.weight} %" for revision in shares]
        chips = _special(canaries.get(endpoint.pk), shares)
        total, per_minute = hour.total(endpoint.pk), hour.per_minute(endpoint.pk)
        rows.append(EndpointRow(endpoint, endpoint.get_absolute_url(), serves, chips, total, per_minute))
    return rows


def _special(canary: Canary | None, shares: list[Revision]) -> list[Chip]:
    """What its status does not tell: that a canary is under way, that it sleeps until it is asked."""
    asleep = bool(shares) and all(revision.status == RevisionStatus.ASLEEP for revision in shares)
    return _kept(
        [
            Chip("running", str(CanaryStatus(canary.status).label)) if canary and len(shares) > 1 else None,
            Chip("asleep", str(RevisionStatus.ASLEEP.label)) if asleep else None,
        ]
    )


def start_of(workspace: Workspace) -> Start:
    """The seven first steps, each judged by what is there; and the action that leads to the next one."""
    uploaded = DatasetVersion.objects.select_related("dataset").filter(dataset__workspace=workspace).order_by("-pk")
    some, ready = uploaded.first(), uploaded.filter(status=VersionStatus.READY).first()
    models = ModelVersion.objects.select_related("model").filter(model__workspace=workspace).order_by("-pk")
    facts = models.aggregate(trained=Count("pk", filter=Q(parent=None)), small=Count("pk", filter=~Q(parent=None)))
    model = models.first()
    endpoint = Endpoint.objects.filter(workspace=workspace, revisions__live_at__isnull=False).order_by("-pk").first()
    called = _called(workspace)

    data, reference = (ready.ref if ready else ""), (model.ref if model else "")
    checked = some.get_absolute_url() if some else ""
    tried = endpoint.get_absolute_url() if endpoint else ""
    train = (address("job_new", dataset=data), _("Fine-tune on %(ref)s") % {"ref": data})
    compress = (address("compression", model=reference), _("Compress %(ref)s") % {"ref": reference})
    plan = [
        (_("Sign in"), True, ("", "")),
        (_("Add data"), some is not None, (address("dataset_new"), _("Add data"))),
        (_("Check the data"), ready is not None, (checked, _("Open %(ref)s") % {"ref": some.ref if some else ""})),
        (_("Fine-tune"), bool(facts["trained"]), _watch(workspace, JobKind.TRAIN) or train),
        (_("Compress"), bool(facts["small"]), _watch(workspace, JobKind.COMPRESS) or compress),
        (
            _("Deploy"),
            endpoint is not None,
            (address("endpoint_new", model=reference), _("Deploy %(ref)s") % {"ref": reference}),
        ),
        (_("Call it"), called, (tried, _("Try %(name)s") % {"name": endpoint.name if endpoint else ""})),
    ]
    following = next((way for _title, done, way in plan if not done), ("", ""))
    return Start([Step(title, done) for title, done, _way in plan], *following)


def _called(workspace: Workspace) -> bool:
    """Whether an endpoint was ever asked. What was seen is remembered: its figures go with an endpoint."""
    key = f"home-called-{workspace.public_id}"
    if cache.get(key):
        return True
    observed = observed_now()
    counters = observed.counters if observed else ()
    counted = any(found.requests for found in counters if found.workspace == workspace.public_id)
    # The front counts from its own start.
    if not counted and not TrafficStat.objects.filter(endpoint__workspace=workspace, span_s=HOUR_S).exists():
        return False
    cache.set(key, True, timeout=None)
    return True


def _watch(workspace: Workspace, kind: JobKind) -> tuple[str, str] | None:
    """The job that is doing a step at this moment."""
    job = Job.objects.filter(workspace=workspace, kind=kind, status__in=ACTIVE).first()
    if job is None:
        return None
    return job.get_absolute_url(), _("Watch job #%(number)s") % {"number": job.number}
