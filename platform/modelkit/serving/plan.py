"""What should be served, what is served and where the front finds it, as files. Light.

`desired.json` and `keys.json` are written by the control plane, `observed.json` and `routing.json` by the agent,
`key-usage.json` by the front; all are the models of this module.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from modelkit.wording import Sentence

#: `(workspace public id, endpoint name)`.
EndpointKey = tuple[str, str]

RevisionStatus = Literal["pending", "starting", "live", "asleep", "draining", "stopped", "failed"]
EndpointStatus = Literal["pending", "live", "degraded", "failed", "stopped"]
InputKind = Literal["string", "number", "boolean", "object", "array"]
#: What is recognised inside texts and never written down.
Pattern = Literal["email", "phone", "card"]
FieldName = Annotated[str, Field(pattern=r"^[^.\s]{1,63}(\.[^.\s]{1,63}){0,7}$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


# --- desired.json -----------------------------------------------------------------------------------------------------


class Limits(_Strict):
    """What one request may carry; what asks for more is answered 422 or 413. Titles and help are the page's."""

    max_batch: int = Field(
        256, ge=1, le=4096, title="Inputs per request", description="A request with more is refused (422)."
    )
    max_bytes: int = Field(
        1_000_000, ge=1, le=64_000_000, title="Bytes per request", description="A larger body is refused (413)."
    )
    max_tokens: int = Field(
        0,
        ge=0,
        le=1_000_000,
        title="Tokens per input",
        description="An input with more is refused (422); with 0 it is cut at the model's maximal length.",
    )
    rate_per_minute: int = Field(
        0,
        ge=0,
        le=10_000_000,
        title="Requests per minute",
        description="For each key and token without a rate of its own; more are refused (429), with 0 none is.",
    )
    timeout_s: int = Field(
        60,
        ge=1,
        le=600,
        title="Seconds per request",
        description="What takes longer is answered 504; a runner whose batch takes longer is started anew.",
    )


class Placement(_Strict):
    """What an endpoint's revisions may take of the host. Titles and help are the page's."""

    replicas: int = Field(
        1, ge=1, le=16, title="Runners", description="Processes that answer for each revision, side by side."
    )
    memory_mb: int = Field(
        0,
        ge=0,
        le=1_000_000,
        title="Memory per runner, MB",
        description="A runner that takes more is ended and started anew; 0: twice what it takes when warm.",
    )
    shared: bool = Field(
        False,
        title="Share one process with others",
        description="For small models: less memory, one runner, and what ends one ends all.",
    )
    idle_s: int = Field(
        0,
        ge=0,
        le=604_800,
        title="Sleep after, seconds",
        description="Without a request for so long its runners end; the next request wakes them and waits. 0: never.",
    )


class Runtime(_Strict):
    """How runners compute a revision's graph; the default is what every version was checked with when it was made."""

    engine: str = Field("onnxruntime", pattern=r"^[a-z0-9_]{1,32}$", title="Engine")
    precision: Literal["as_is", "bf16"] = Field("as_is", title="Precision")
    slots: int = Field(0, ge=0, le=64, title="Batches at once", description="0: one a core, at most 2.")
    max_batch: int = Field(16, ge=1, le=256, title="Inputs per batch")


#: What the user asks of a revision; the runtime is then chosen by measuring on the host. Empty: not measured.
Goal = Literal["", "latency", "throughput", "exact", "memory"]


class Sampling(_Strict):
    """Which answered requests are kept to be looked at, without what, and for how long. Texts are the page's."""

    rate: float = Field(
        0.05,
        ge=0,
        le=1,
        allow_inf_nan=False,
        title="Share of requests kept",
        description="0 keeps none, 1 keeps all. Requests on which the model failed are kept unless this is 0.",
    )
    keep_days: int = Field(
        14, ge=1, le=365, title="Days kept", description="Older requests are deleted, and the oldest above 20,000."
    )
    hide_inputs: bool = Field(
        False, title="Hide inputs whole", description="Keep labels, scores and times only; inputs are never written."
    )
    patterns: tuple[Pattern, ...] = Field(
        ("email", "phone", "card"),
        max_length=3,
        title="Hidden inside texts",
        description="Replaced before anything is written: e-mail addresses, phone numbers, card numbers.",
    )
    hide_fields: tuple[FieldName, ...] = Field(
        (),
        max_length=50,
        title="Hidden fields",
        description="For inputs that are objects: names such as customer.name, separated by commas.",
    )


#: What keeps a caller on one revision while shares stand: nothing, its key, or a header (in lower case).
Sticky = Annotated[str, Field(pattern=r"^(|key|header:[a-z0-9_-]{1,64})$")]


class DesiredRevision(_Strict):
    """A revision that should run; with weight 0 it is started and checked but gets no traffic."""

    number: int = Field(ge=1)
    model: str
    bundle: str
    digest: str
    weight: int = Field(ge=0, le=100)
    #: Percent of the traffic of others that is copied to it; its answers reach nobody.
    shadow: int = Field(0, ge=0, le=100)
    goal: Goal = ""
    runtime: Runtime | None = None


class DesiredEndpoint(_Strict):
    workspace: str
    name: str = Field(pattern=r"^[a-z0-9-]{1,63}$")
    state: Literal["running", "stopped"]
    revisions: tuple[DesiredRevision, ...] = ()
    limits: Limits = Limits()
    placement: Placement = Placement()
    sampling: Sampling = Sampling()
    sticky: Sticky = ""
    #: Whether texts on which the shadow answers otherwise are kept, or only their labels.
    shadow_inputs: bool = True

    @property
    def key(self) -> EndpointKey:
        return (self.workspace, self.name)


class DesiredSet(_Strict):
    """Everything that should be served on this host; what is not named is removed."""

    generation: int = 0
    endpoints: tuple[DesiredEndpoint, ...] = ()


# --- keys.json --------------------------------------------------------------------------------------------------------


class AccessKey(_Strict):
    """The hash of a bearer token, which itself never leaves the control plane, and what its holder may do.

    `id` names it in `key-usage.json`; without one its use is not told. `endpoint`: the only one that it opens. A rate
    without a `burst` may come all at once. `quota_per_day` counts inputs, from midnight UTC.
    """

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    workspace: str
    expires_at: float | None = None
    id: str = ""
    endpoint: str | None = None
    rate_per_minute: int | None = Field(None, ge=1)
    burst: int | None = Field(None, ge=1)
    quota_per_day: int | None = Field(None, ge=1)


class KeySet(_Strict):
    """Every key that is valid now; who is not in it is told 401."""

    keys: tuple[AccessKey, ...] = ()


class KeyUsage(_Strict):
    """What one key has used: inputs on `day` (days since 1970, UTC), and when last."""

    day: int = 0
    used: int = Field(0, ge=0)
    last_used: float = 0.0


# --- observed.json ----------------------------------------------------------------------------------------------------


class GoldenReplay(_Strict):
    """The golden set, answered by the live endpoint, against the frozen answers."""

    total: int
    agree: int
    max_drift: float


class Candidate(_Strict):
    """A runtime as it was measured on this host, and whether its answers pass the golden set."""

    runtime: Runtime
    p50_ms: float = Field(0.0, description="One caller, one text.")
    p95_ms: float = 0.0
    texts_per_s: float = Field(0.0, description="All slots busy with full batches.")
    memory_mb: int = 0
    golden: GoldenReplay | None = None
    passes: bool = False
    reason: Sentence = ""


class Tuning(_Strict):
    """What was measured for a goal, and which candidate was chosen."""

    goal: Goal
    candidates: tuple[Candidate, ...]
    chosen: int = Field(ge=0)
    reason: Sentence

    @property
    def runtime(self) -> Runtime:
        return self.candidates[self.chosen].runtime


class ObservedRevision(_Strict):
    """`memory_mb` is that of all its runners together; `restarts` since the agent started."""

    number: int
    status: RevisionStatus
    reason: Sentence = ""
    pid: int | None = None
    pids: tuple[int, ...] = ()
    memory_mb: int = 0
    restarts: int = 0
    golden: GoldenReplay | None = None
    started_s: float | None = None
    tuning: Tuning | None = None


class ObservedEndpoint(_Strict):
    workspace: str
    name: str
    status: EndpointStatus
    active_revision: int | None = None
    weights: dict[int, int] = Field(default_factory=dict)
    #: When the traffic was moved to these weights; 0 where no agent has moved it yet.
    weights_since: float = 0.0
    revisions: tuple[ObservedRevision, ...] = ()

    @property
    def key(self) -> EndpointKey:
        return (self.workspace, self.name)


class ObservedFront(_Strict):
    pid: int | None = None
    port: int | None = None
    healthy: bool = False


class EndpointCounters(_Strict):
    """What the front counted since it started; latencies are of the last minute."""

    workspace: str
    name: str
    requests: int
    errors: int
    rejected: int
    p50_ms: float | None = None
    p95_ms: float | None = None


class RunnerVitals(_Strict):
    """What the agent knows of the processes of a revision and tells the front, for `/metrics`."""

    workspace: str
    endpoint: str
    revision: int
    restarts: int = 0
    processes: int = 0
    memory_bytes: int = 0
    cpu_s: float = 0.0
    queued_inputs: int = 0


class RevisionTally(_Strict):
    """What one of several revisions that share an endpoint's traffic did since `since`; a new `since` begins at zero.

    `requests` holds `failures`: answers 5xx, a full queue, a runner lost before it replied. `labels` counts the inputs
    by answer.
    """

    workspace: str
    name: str
    number: int
    since: float
    requests: int = 0
    failures: int = 0
    buckets: tuple[int, ...] = ()
    labels: dict[str, int] = Field(default_factory=dict)


class ObservedSet(_Strict):
    generation: int = 0
    updated_at: float = 0.0
    front: ObservedFront = ObservedFront()
    endpoints: tuple[ObservedEndpoint, ...] = ()
    counters: tuple[EndpointCounters, ...] = ()
    tallies: tuple[RevisionTally, ...] = ()
    problem: str = ""


# --- routing.json -----------------------------------------------------------------------------------------------------


class RouteRevision(_Strict):
    """Where a revision answers and what the front must know of it without opening its bundle."""

    number: int
    model: str
    sockets: tuple[str, ...]
    asleep: bool = False
    weight: int
    shadow: int = 0
    input_kind: InputKind
    labels: tuple[str, ...] = ()
    request_example: dict[str, Any] = Field(default_factory=dict)
    #: 0: the bundle gives no embeddings.
    embedding_width: int = 0
    created_at: str = ""


class Route(_Strict):
    workspace: str
    name: str
    state: Literal["running", "stopped"]
    limits: Limits = Limits()
    sampling: Sampling = Sampling()
    revisions: tuple[RouteRevision, ...] = ()
    sticky: Sticky = ""
    #: Who of a hundred parts of the callers is with which revision, where they are `sticky`.
    slots: tuple[int, ...] = ()
    shadow_inputs: bool = True


class RoutingTable(_Strict):
    """All that the front needs. `internal` is the hash of the agent's own key, which may name a revision to test."""

    generation: int = 0
    routes: tuple[Route, ...] = ()
    internal: str = ""


def request_tag(workspace: str, name: str) -> str:
    """What a request id that the front made says of its endpoint, to whoever knows the names; not a secret."""
    return hashlib.sha256(f"request:{workspace}/{name}".encode()).hexdigest()[:8]
