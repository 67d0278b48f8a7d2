"""The hub of models: what a repository holds at a revision, and its files. The one file that knows `huggingface_hub`.

The client's own `snapshot_download` keeps nothing of a file whose download was killed and compares sizes, not contents
(2.4, `_download_to_tmp_and_move`). Here the client resolves and opens, with its session, headers and errors; the bytes
are appended to a file that outlives the process, and checked against the hub's digest before they get their name.

Telemetry is off. Addresses that a hub redirects to may not be private ones, the configured hub itself excepted.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import os
import shutil
import socket
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings

# Before the client is imported, which reads it then.
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"

import httpx2
from huggingface_hub import HfApi, constants, get_session, hf_hub_url
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import build_hf_headers, hf_raise_for_status  # type: ignore[attr-defined]

from apps.registry import folders
from modelkit.errors import UserError
from modelkit.wording import both, say

#: All that is ever fetched: config, tokenizer, safetensors; from the repository's top folder only.
PATTERNS = (
    "config.json", "preprocessor_config.json",
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "vocab.txt", "vocab.json", "merges.txt", "spiece.model", "sentencepiece*.model", "tokenizer.model",
    "model*.safetensors", "model.safetensors.index.json",
)  # fmt: skip
CONNECT_S = 10.0
#: The longest silence in a download.
READ_S = 30.0
#: Breaks of the connection in a row without one new byte.
TRIES = 4
PAUSE_S = 0.5
#: Answers after which the same request may succeed.
_PASSING = {408, 429, 500, 502, 503, 504}
_SPARE_BYTES = 256 << 20
_BLOCK = 1 << 20
_RETRY = say("Then try again: what was fetched is kept.")


@dataclass(frozen=True)
class HubFile:
    """A file of a repository. `sha256` is empty for small ones, which git stores itself; `blob_id` is git's SHA-1."""

    path: str
    size_bytes: int
    blob_id: str
    sha256: str


@dataclass(frozen=True)
class Listing:
    """What is to be fetched of a repository, at one commit."""

    repo: str
    commit: str
    files: tuple[HubFile, ...]
    licence: str
    languages: tuple[str, ...]

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)


def resolve(repo: str, revision: str) -> Listing:
    """The commit that `revision` means now, and its files, refused by their names and sizes where they are unfit.

    Raises UserError `hub_repo_not_found`, `hub_revision_not_found`, `hub_gated`, `hub_unreachable`, `private_address`,
    `model_too_large`, and those of `folders.check_names`.
    """
    api = HfApi(endpoint=settings.HUB_URL or None, token=settings.HUB_TOKEN or False)
    with _told(repo, revision):
        _session()
        info = api.model_info(repo, revision=revision, files_metadata=True, timeout=CONNECT_S)
        siblings = info.siblings or []
        names = {file.rfilename for file in siblings if "/" not in file.rfilename}
        folders.check_names(names)
        files = tuple(_hub_file(file) for file in siblings if _wanted(file.rfilename))
        card = vars(info.card_data) if info.card_data else {}
        commit = str(info.sha)
    if not any(file.path.endswith(".safetensors") for file in files):
        raise UserError(
            "weights_missing",
            "{repo} has no model.safetensors in its top folder.",
            "Choose a repository whose weights are named as save_pretrained() names them.",
            field=folders.FIELD,
            repo=repo,
        )
    languages = card.get("language") or ()
    listing = Listing(
        repo=repo,
        commit=commit,
        files=tuple(sorted(files, key=lambda file: (file.path != folders.CONFIG, file.size_bytes))),
        licence=str(card.get("license") or ""),
        languages=(languages,) if isinstance(languages, str) else tuple(str(item) for item in languages),
    )
    if listing.size_bytes > settings.MODEL_LIMIT_BYTES:
        raise UserError(
            "model_too_large",
            "{repo} holds {gigabytes:.1f} GB, more than is accepted here.",
            "Choose a smaller model, or raise TUNEYARD_MODEL_LIMIT_MB.",
            field=folders.FIELD,
            repo=repo,
            gigabytes=listing.size_bytes / 1000000000.0,
        )
    return listing


def download(listing: Listing, folder: Path, on_bytes: Callable[[int], None]) -> None:
    """Fetch the files into `folder`, going on where an earlier call was broken off; `on_bytes` gets each gain.

    A negative gain takes back bytes that turned out useless. Whatever `on_bytes` raises passes through. Raises
    UserError as `resolve` does, and `digest_mismatch`, `disk_full`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    there = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
    if shutil.disk_usage(folder).free < listing.size_bytes - there + _SPARE_BYTES:
        raise UserError(
            "disk_full",
            "The disk has no room for the {megabytes:,.0f} MB of {repo}.",
            both(say("Free some space."), _RETRY),
            megabytes=listing.size_bytes / 1000000.0,
            repo=listing.repo,
        )
    for file in listing.files:
        with _told(listing.repo, listing.commit):
            _fetch(listing, file, folder, on_bytes)
        if file.path == folders.CONFIG:
            # Before the gigabytes: a model that asks for code of its own ends here.
            folders.check_config(_config(folder / file.path))


def _fetch(listing: Listing, file: HubFile, folder: Path, on_bytes: Callable[[int], None]) -> None:
    target, part = folder / file.path, folder / f".{file.path}.part"
    if target.is_file():
        if _matches(target, file):
            on_bytes(file.size_bytes)
            return
        target.unlink()
    resumed = part.is_file()
    part.touch()
    on_bytes(part.stat().st_size)
    failures = 0
    while True:
        have = part.stat().st_size
        if have < file.size_bytes:
            broken: httpx2.HTTPError | None = None
            try:
                _append(listing, file, part, on_bytes)
            except HfHubHTTPError as error:
                if error.response.status_code not in _PASSING:
                    raise
                broken = error
            except httpx2.TransportError as error:
                broken = error
            gained = part.stat().st_size > have
            failures = 0 if gained else failures + 1
            if failures >= TRIES:
                raise broken or httpx2.RemoteProtocolError("The answer ends too early.")
            if not gained:
                time.sleep(PAUSE_S * 2**failures)
            continue
        if have == file.size_bytes and _matches(part, file):
            part.rename(target)
            return
        part.unlink()
        on_bytes(-have)
        if not resumed:
            raise UserError(
                "digest_mismatch",
                "{path} of {repo} differs from the checksum that the hub gives for it.",
                "Try again later; if it stays, a proxy or mirror in between delivers a damaged file.",
                field=folders.FIELD,
                path=file.path,
                repo=listing.repo,
            )
        # The kept part may be of another commit, or torn: once more from the beginning.
        resumed = False
        part.touch()


def _append(listing: Listing, file: HubFile, part: Path, on_bytes: Callable[[int], None]) -> None:
    """One request for what is missing of a file."""
    have = part.stat().st_size
    url = hf_hub_url(listing.repo, file.path, revision=listing.commit, endpoint=settings.HUB_URL or None)
    headers = build_hf_headers(token=settings.HUB_TOKEN or False)
    # Compressed on the way, a range would be one of other bytes.
    headers["Accept-Encoding"] = "identity"
    if have:
        headers["Range"] = f"bytes={have}-"
    timeout = httpx2.Timeout(READ_S, connect=CONNECT_S)
    with _session().stream("GET", url, headers=headers, timeout=timeout, follow_redirects=True) as response:
        hf_raise_for_status(response)
        whole = response.status_code != 206
        if not whole and not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            raise httpx2.RemoteProtocolError("The answer is another range than the one asked for.")
        if whole and have:
            on_bytes(-have)
        with part.open("wb" if whole else "ab") as output:
            written = 0 if whole else have
            for block in response.iter_bytes():
                # One byte too many is enough to know, and to fail the digest.
                block = block[: file.size_bytes + 1 - written]
                output.write(block)
                written += len(block)
                on_bytes(len(block))
                if written > file.size_bytes:
                    return


def _hub_file(sibling: Any) -> HubFile:
    size = sibling.lfs.size if sibling.lfs else sibling.size
    if not isinstance(size, int) or not (sibling.lfs or sibling.blob_id):
        raise ValueError(f"no checksum for {sibling.rfilename}")
    sha256 = str(sibling.lfs.sha256) if sibling.lfs else ""
    return HubFile(sibling.rfilename, size, str(sibling.blob_id or ""), sha256)


def _wanted(name: str) -> bool:
    return "/" not in name and any(fnmatchcase(name, pattern) for pattern in PATTERNS)


def _matches(path: Path, file: HubFile) -> bool:
    """Compare with SHA-256, or with git's SHA-1 over `blob <size>\\0<content>`."""
    if path.stat().st_size != file.size_bytes:
        return False
    digest = hashlib.sha256() if file.sha256 else hashlib.sha1(usedforsecurity=False)
    if not file.sha256:
        digest.update(f"blob {file.size_bytes}\0".encode())
    with path.open("rb") as content:
        while block := content.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest() == (file.sha256 or file.blob_id)


def _config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        config = None
    if not isinstance(config, dict):
        raise UserError("config_invalid", "config.json is not valid JSON.", "Choose another revision.")
    return config


# --- refusals -------------------------------------------------------------------------------------------------------


@contextmanager
def _told(repo: str, revision: str) -> Iterator[None]:
    """Turn what the client raises into a refusal with its remedy."""
    try:
        yield
    except GatedRepoError:
        raise UserError(
            "hub_gated",
            "{repo} wants its terms to be accepted before it is fetched.",
            both(say("Accept them on its page, and give the workers that account's token as HF_TOKEN."), _RETRY),
            field="source.repo",
            repo=repo,
        ) from None
    except RepositoryNotFoundError:
        raise UserError(
            "hub_repo_not_found",
            "The hub at {hub} has no model {repo}, or it is private.",
            "Check the name. For a private model, give the workers a token as HF_TOKEN.",
            field="source.repo",
            hub=_host(),
            repo=repo,
        ) from None
    except RevisionNotFoundError:
        raise UserError(
            "hub_revision_not_found",
            "{repo} has no branch, tag or commit {revision}.",
            "Import it anew with another revision, or without one.",
            field="source.revision",
            repo=repo,
            revision=revision,
        ) from None
    except OfflineModeIsEnabled:
        raise _unreachable(say("the workers run with HF_HUB_OFFLINE")) from None
    except HfHubHTTPError as error:
        raise _unreachable(say("it answers {status}", status=error.response.status_code)) from error
    except httpx2.TimeoutException as error:
        raise _unreachable(say("it does not answer in time")) from error
    except httpx2.HTTPError as error:
        raise _unreachable((str(error) or type(error).__name__)[:200].rstrip(".")) from error
    except (KeyError, ValueError, TypeError, AttributeError, AssertionError) as error:
        raise _unreachable(say("its answer is not a hub's ({error})", error=error)) from error


def _unreachable(reason: str) -> UserError:
    return UserError(
        "hub_unreachable",
        "The hub at {hub} cannot be used: {reason}.",
        both(say("Check the network, or name a mirror in TUNEYARD_HUB_URL; archives and folders need no hub."), _RETRY),
        hub=_host(),
        reason=reason,
    )


def _endpoint() -> str:
    return settings.HUB_URL or str(constants.ENDPOINT)


def _host() -> str:
    return urlsplit(_endpoint()).netloc


# --- addresses ------------------------------------------------------------------------------------------------------


def _session() -> httpx2.Client:
    """The client's session, with the guard before each request (each redirect is one) and after each answer."""
    session: httpx2.Client = get_session()
    hooks = session.event_hooks
    if _guard_request not in hooks["request"]:
        hooks["request"].append(_guard_request)
        hooks["response"].append(_guard_response)
    return session


def _guard_request(request: httpx2.Request) -> None:
    if _is_hub(request.url):
        return
    host = request.url.host
    try:
        # Behind a proxy names are the proxy's to resolve; an address can be judged anyway.
        found = [str(ipaddress.ip_address(host))] if _is_address(host) or _is_proxied(request.url) else _addresses(host)
    except ValueError:
        return
    if any(not _is_public(address) for address in found):
        raise _private(host)


def _guard_response(response: httpx2.Response) -> None:
    """A name may have been resolved anew in between, to something else: look at whom we have really reached."""
    stream = response.extensions.get("network_stream")
    if stream is None or _is_hub(response.request.url) or _is_proxied(response.request.url):
        return
    reached = stream.get_extra_info("server_addr")
    if reached and not _is_public(str(reached[0])):
        response.close()
        raise _private(response.request.url.host)


def _addresses(host: str) -> list[str]:
    try:
        return [str(info[4][0]) for info in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)]
    except socket.gaierror:
        return []  # connecting will fail, and say so


def _is_hub(url: httpx2.URL) -> bool:
    hub = httpx2.URL(_endpoint())
    return (url.host, url.port) == (hub.host, hub.port)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_proxied(url: httpx2.URL) -> bool:
    proxies = urllib.request.getproxies()
    return bool(proxies.get(url.scheme) or proxies.get("all")) and not urllib.request.proxy_bypass(url.host)


def _is_public(address: str) -> bool:
    parsed = ipaddress.ip_address(address.partition("%")[0])
    mapped = getattr(parsed, "ipv4_mapped", None) or parsed
    return bool(mapped.is_global and not mapped.is_multicast)


def _private(host: str) -> UserError:
    return UserError(
        "private_address",
        "The hub sends the download to {host}, which is an address of a private network.",
        "If that is your own mirror, name it as the hub in TUNEYARD_HUB_URL.",
        field="source.repo",
        host=host,
    )
