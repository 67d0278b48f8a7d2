"""One name, one address: of two addresses of a name `reverse` takes the last that fits, and a link leads elsewhere."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from django.urls import URLPattern, URLResolver, get_resolver


def named(resolver: URLResolver, *, place: str = "", space: str = "") -> Iterator[tuple[str, str]]:
    """Name, with its namespace, and address of every pattern."""
    for entry in resolver.url_patterns:
        if isinstance(entry, URLResolver):
            inner = f"{space}{entry.namespace}:" if entry.namespace else space
            yield from named(entry, place=f"{place}{entry.pattern}", space=inner)
        elif isinstance(entry, URLPattern) and entry.name:
            yield f"{space}{entry.name}", f"{place}{entry.pattern}"


def test_no_two_addresses_have_one_name() -> None:
    addresses: dict[str, set[str]] = defaultdict(set)
    for name, address in named(get_resolver()):
        addresses[name].add(address)
    assert {"home", "dataset_version", "model_version"} <= set(addresses)
    # Those of the API are its functions' names, given by the framework; no link is made of them.
    pages = {name: found for name, found in addresses.items() if not name.startswith("api:")}
    assert {name: sorted(found) for name, found in pages.items() if len(found) > 1} == {}
