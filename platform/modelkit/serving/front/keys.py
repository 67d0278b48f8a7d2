"""Who may ask, how often and how much: the keys of `keys.json`, their token buckets and their quotas of the day.

What keys have used is kept in `key-usage.json`, so that a quota outlives this process. Knows hashes only, no keys.
"""

from __future__ import annotations

import logging
import time
from hashlib import sha256
from pathlib import Path

import orjson

from modelkit.serving.files import Watched, write_atomic
from modelkit.serving.front.problem import Problem
from modelkit.serving.plan import AccessKey, KeySet, KeyUsage

logger = logging.getLogger("modelkit.serving.front")

#: The workspace of the agent's own key.
ANY_WORKSPACE = "*"
_DAY_S = 86_400


class Bucket:
    """A token bucket: `per_minute` requests flow in evenly, `burst` of them may come at once."""

    __slots__ = ("_at", "_per_s", "_tokens", "burst", "per_minute")

    def __init__(self, per_minute: int, burst: int) -> None:
        self.per_minute = per_minute
        self.burst = burst
        self._per_s = per_minute / 60
        self._tokens = float(burst)
        self._at = time.monotonic()

    def take(self) -> bool:
        """Take one request, if there is one."""
        self._refill()
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True

    @property
    def left(self) -> int:
        self._refill()
        return int(self._tokens)

    @property
    def wait_s(self) -> int:
        """Whole seconds, rounded up, until there is one again; at least 1."""
        self._refill()
        return max(1, -int(-(1.0 - self._tokens) / self._per_s // 1))

    def _refill(self) -> None:
        now = time.monotonic()
        self._tokens = min(float(self.burst), self._tokens + (now - self._at) * self._per_s)
        self._at = now


class Credential:
    """One key. Counts live here and outlive a new `keys.json`; settings are taken over from it by `adopt`."""

    __slots__ = (
        "_bucket",
        "_defaults",
        "day",
        "endpoint",
        "expires_at",
        "id",
        "last_used",
        "quota",
        "used",
        "workspace",
    )

    def __init__(self, workspace: str) -> None:
        self.workspace = workspace
        self.id = ""
        self.endpoint: str | None = None
        self.expires_at = float("inf")
        self.quota: int | None = None
        self.day = 0
        self.used = 0
        self.last_used = 0.0
        self._bucket: Bucket | None = None
        # The buckets of a key without a rate of its own, by endpoint.
        self._defaults: dict[str, Bucket] = {}

    def adopt(self, key: AccessKey) -> None:
        """Take over what `keys.json` says; a bucket stays as full as it is while its rate stays."""
        self.workspace, self.id, self.endpoint = key.workspace, key.id, key.endpoint
        self.expires_at = key.expires_at if key.expires_at is not None else float("inf")
        self.quota = key.quota_per_day
        if key.rate_per_minute is None:
            self._bucket = None
            return
        burst = key.burst or key.rate_per_minute
        if self._bucket is None or (self._bucket.per_minute, self._bucket.burst) != (key.rate_per_minute, burst):
            self._bucket = Bucket(key.rate_per_minute, burst)

    def bucket(self, endpoint: str, default_per_minute: int) -> Bucket | None:
        """The bucket that a request to `endpoint` draws from; the key's own rate goes before the endpoint's."""
        if self._bucket is not None or not default_per_minute or not self.id:
            return self._bucket
        found = self._defaults.get(endpoint)
        if found is None or found.per_minute != default_per_minute:
            found = self._defaults[endpoint] = Bucket(default_per_minute, default_per_minute)
        return found

    def admit(self, endpoint: str, default_per_minute: int) -> Problem | None:
        """Count one request; the refusal when it comes too soon after the others."""
        bucket = self.bucket(endpoint, default_per_minute)
        if bucket is None or bucket.take():
            return None
        wait_s = bucket.wait_s
        return Problem(
            429,
            "rate_limited",
            f"This key may send {bucket.per_minute} requests a minute, {bucket.burst} at once.",
            f"Try again in {wait_s} s, or send more inputs in one request.",
            headers=(("retry-after", str(wait_s)), *_limit_headers(bucket.burst, 0, wait_s)),
        )

    def spend(self, inputs: int) -> Problem | None:
        """Count inputs of the day (UTC); the refusal when they are more than the quota still allows."""
        now = time.time()
        today = int(now // _DAY_S)
        if self.day != today:
            self.day, self.used = today, 0
        self.last_used = now
        if self.quota is not None and self.used + inputs > self.quota:
            wait_s = int((today + 1) * _DAY_S - now) + 1
            left = max(0, self.quota - self.used)
            midnight = time.strftime("%Y-%m-%dT00:00:00Z", time.gmtime((today + 1) * _DAY_S))
            return Problem(
                429,
                "quota_exceeded",
                f"This key may ask about {self.quota} inputs a day; {left} are left today and {inputs} were sent.",
                f"The quota is whole again at {midnight}.",
                headers=(("retry-after", str(wait_s)), *_limit_headers(self.quota, left, wait_s)),
            )
        self.used += inputs
        return None

    def give_back(self, inputs: int) -> None:
        """Inputs that no model answered do not count."""
        self.used = max(0, self.used - inputs)

    def headers(self, endpoint: str, default_per_minute: int) -> bytes:
        """`RateLimit-*` of an answer: of the rate, else of the quota; empty for a key without limits."""
        bucket = self.bucket(endpoint, default_per_minute)
        if bucket is not None:
            left = bucket.left
            return b"ratelimit-limit: %d\r\nratelimit-remaining: %d\r\nratelimit-reset: %d\r\n" % (
                bucket.burst, left, 0 if left else bucket.wait_s,
            )  # fmt: skip
        if self.quota is not None:
            return b"ratelimit-limit: %d\r\nratelimit-remaining: %d\r\nratelimit-reset: %d\r\n" % (
                self.quota, max(0, self.quota - self.used), int((self.day + 1) * _DAY_S - time.time()) + 1,
            )  # fmt: skip
        return b""


def _limit_headers(limit: int, left: int, reset_s: int) -> tuple[tuple[str, str], ...]:
    return (
        ("ratelimit-limit", str(limit)),
        ("ratelimit-remaining", str(left)),
        ("ratelimit-reset", str(reset_s)),
    )


class KeyRing:
    """All keys by their hash. `reload` swaps them between two requests; `usage` is what `key-usage.json` shall hold."""

    def __init__(self, keys_file: Path, usage_file: Path) -> None:
        self._file = Watched(keys_file, KeySet)
        self._usage_file = usage_file
        self.loaded = False
        self._by_hash: dict[str, Credential] = {}
        self._saved = b""
        self._remembered = _read_usage(usage_file)

    def find(self, authorization: bytes | None, internal: str) -> Credential | None:
        """Whose key this header carries; None for no key, an unknown or an expired one. `internal`: the agent's."""
        if authorization is None or authorization[:7].lower() != b"bearer ":
            return None
        digest = sha256(authorization[7:].strip()).hexdigest()
        found = self._by_hash.get(digest)
        if found is None:
            return _AGENT if internal and digest == internal else None
        return found if found.expires_at > time.time() else None

    def reload(self) -> None:
        """Read `keys.json` if it changed; a damaged one is ignored."""
        given = self._file.read()
        if given is None:
            return
        self.loaded = True
        before, self._by_hash = self._by_hash, {}
        for key in given.keys:
            credential = before.get(key.sha256)
            if credential is None:
                credential = Credential(key.workspace)
                usage = self._remembered.get(key.id)
                if usage is not None:
                    credential.day, credential.used, credential.last_used = usage.day, usage.used, usage.last_used
            credential.adopt(key)
            self._by_hash[key.sha256] = credential

    def usage(self) -> bytes | None:
        """The content of `key-usage.json`, if it changed since it was asked for last."""
        rows = {
            key.id: {"day": key.day, "used": key.used, "last_used": round(key.last_used, 1)}
            for key in self._by_hash.values()
            if key.id and key.last_used
        }
        content = orjson.dumps(rows, option=orjson.OPT_SORT_KEYS)
        if content == self._saved or not (rows or self._saved):
            return None
        self._saved = content
        return content

    def write(self, content: bytes) -> None:
        """Write what `usage` gave; belongs on a thread of its own."""
        try:
            write_atomic(self._usage_file, content)
        except OSError as error:
            logger.error("What the keys have used cannot be written: %s", error)
            self._saved = b""


def _read_usage(path: Path) -> dict[str, KeyUsage]:
    try:
        return {id_: KeyUsage.model_validate(row) for id_, row in orjson.loads(path.read_bytes()).items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError) as error:
        logger.error("What the keys had used cannot be read; today's quotas begin anew: %s", error)
        return {}


_AGENT = Credential(ANY_WORKSPACE)
