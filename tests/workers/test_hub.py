"""The real hub client against a stand-in server: what is fetched, what goes on where it broke off, what is refused."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from modelkit.errors import UserError
from tests.workers.hub_server import COMMIT, Hub

hub_client = pytest.importorskip("workers.hub", reason="needs the extra `worker`")


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """A tiny encoder's repository, with what does not belong to it."""
    from tests.tiny.encoder import write_encoder

    folder = tmp_path / "repo"
    write_encoder(folder, [f"word{number}" for number in range(400)], width=128)
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04" + b"x" * 20_000)
    (folder / "modeling_evil.py").write_text("raise SystemExit")
    (folder / "onnx").mkdir()
    (folder / "onnx" / "model.safetensors").write_bytes(b"another one")
    return folder


@pytest.fixture
def hub(repo: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    made = Hub(repo)
    settings.HUB_URL, settings.HUB_TOKEN = made.url, ""
    monkeypatch.setattr(hub_client, "PAUSE_S", 0.01)
    yield made
    made.close()


def fetch(folder: Path, *, repo: str = "tiny/encoder", revision: str = "main") -> list[int]:
    """Resolve and download; returns the gains that were told."""
    gains: list[int] = []
    hub_client.download(hub_client.resolve(repo, revision), folder, gains.append)
    return gains


def refusal(action: Callable[[], object]) -> UserError:
    with pytest.raises(UserError) as caught:
        action()
    assert caught.value.hint
    return caught.value


def test_config_tokenizer_and_safetensors_come_and_nothing_else(hub: Hub, tmp_path: Path) -> None:
    listing = hub_client.resolve("tiny/encoder", "main")
    assert (listing.commit, listing.licence, listing.languages) == (COMMIT, "apache-2.0", ("en",))
    gains = fetch(tmp_path / "out")
    assert sum(gains) == listing.size_bytes
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"}
    for name in names:
        assert (tmp_path / "out" / name).read_bytes() == hub.content(name)
    # Never asked for, and nothing beside the model was.
    assert not [path for _method, path, _range in hub.seen if "evil" in path or path.endswith((".bin", "README.md"))]
    assert {path.split("/")[1] for _method, path, _range in hub.seen} == {"api", "tiny", "cdn"}


def test_the_files_open_as_a_base_model(hub: Hub, tmp_path: Path) -> None:
    from modelkit.contracts import BaseModelRef
    from modelkit.tasks.text_classification.model import load_base

    fetch(tmp_path / "out")
    assert load_base(BaseModelRef(id="x", path=tmp_path / "out", revision=COMMIT), 32).width == 128


def test_a_broken_connection_goes_on_at_the_byte(hub: Hub, tmp_path: Path) -> None:
    hub.break_after, hub.breaks = 100_000, 3
    fetch(tmp_path / "out")
    size = len(hub.content("model.safetensors"))
    ranges = [int(text.removeprefix("bytes=")[:-1]) for text in hub.fetched("model.safetensors") if text]
    assert ranges
    assert all(0 < start < size for start in ranges)
    # Each byte of the file was sent once, but for what was under way when the connection broke.
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == hub.content("model.safetensors")


def test_a_killed_download_goes_on_at_the_byte(hub: Hub, tmp_path: Path) -> None:
    class Killed(Exception):
        pass

    size = len(hub.content("model.safetensors"))
    done = 0

    def die(gain: int) -> None:
        nonlocal done
        done += gain
        if done > size // 2:
            raise Killed

    listing = hub_client.resolve("tiny/encoder", "main")
    with pytest.raises(Killed):
        hub_client.download(listing, tmp_path / "out", die)
    part = tmp_path / "out" / ".model.safetensors.part"
    kept = part.stat().st_size
    assert 0 < kept < size
    hub.served.clear()
    gains = fetch(tmp_path / "out")
    assert hub.fetched("model.safetensors") == [f"bytes={kept}-"]
    assert not hub.fetched("tokenizer.json")  # whole already
    assert sum(gains) == listing.size_bytes
    assert not part.exists()
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == hub.content("model.safetensors")


def test_a_server_without_ranges_is_asked_for_the_whole(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".model.safetensors.part").write_bytes(hub.content("model.safetensors")[:5000])
    hub.ignore_range = True
    listing = hub_client.resolve("tiny/encoder", "main")
    assert sum(fetch(tmp_path / "out")) == listing.size_bytes
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == hub.content("model.safetensors")


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
def test_a_wrong_digest_is_refused(hub: Hub, tmp_path: Path, name: str) -> None:
    """One in LFS with SHA-256, and one in git with its SHA-1."""
    hub.lfs_from_bytes = len(hub.content("model.safetensors"))
    hub.damaged = {name}
    assert refusal(lambda: fetch(tmp_path / "out")).code == "digest_mismatch"
    assert not (tmp_path / "out" / name).exists()
    assert len(hub.fetched(name)) == 1
    hub.damaged = set()
    fetch(tmp_path / "out")
    assert (tmp_path / "out" / name).read_bytes() == hub.content(name)


def test_a_kept_part_of_something_else_is_thrown_away(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".model.safetensors.part").write_bytes(b"of another commit")
    (tmp_path / "out" / "tokenizer.json").write_text("{}")
    fetch(tmp_path / "out")
    for name in ("model.safetensors", "tokenizer.json"):
        assert (tmp_path / "out" / name).read_bytes() == hub.content(name)


def test_a_busy_hub_is_asked_again(hub: Hub, tmp_path: Path) -> None:
    listing = hub_client.resolve("tiny/encoder", "main")
    hub.failing = 2
    hub_client.download(listing, tmp_path / "out", lambda gain: None)
    assert (tmp_path / "out" / "model.safetensors").is_file()


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda repo: (repo / "model.safetensors").unlink(), "pickle_weights"),
        (lambda repo: [(repo / name).unlink() for name in ("model.safetensors", "pytorch_model.bin")],
         "weights_missing"),
        (lambda repo: (repo / "model.safetensors").rename(repo / "other.safetensors"), "weights_missing"),
        (lambda repo: (repo / "config.json").unlink(), "config_missing"),
        (lambda repo: (repo / "tokenizer.json").unlink(), "tokenizer_missing"),
        (lambda repo: (repo / "config.json").write_text('{"model_type": "x", "auto_map": {}}'), "remote_code"),
        (lambda repo: (repo / "config.json").write_text("no json"), "config_invalid"),
    ],
)  # fmt: skip
def test_an_unfit_model_is_refused_before_its_weights_are_fetched(
    hub: Hub, repo: Path, tmp_path: Path, change: Callable[[Path], object], code: str
) -> None:
    change(repo)
    assert refusal(lambda: fetch(tmp_path / "out")).code == code
    assert not hub.fetched("model.safetensors")
    assert not hub.fetched("pytorch_model.bin")


def test_what_is_too_large_is_not_fetched(hub: Hub, settings: Any, tmp_path: Path) -> None:
    settings.MODEL_LIMIT_BYTES = 100_000
    assert refusal(lambda: fetch(tmp_path / "out")).code == "model_too_large"
    assert not (tmp_path / "out").exists()


def test_what_is_not_there_is_told_apart(hub: Hub, settings: Any, tmp_path: Path) -> None:
    assert refusal(lambda: fetch(tmp_path, repo="tiny/absent")).code == "hub_repo_not_found"
    assert refusal(lambda: fetch(tmp_path, revision="absent")).code == "hub_revision_not_found"
    hub.gated = True
    assert refusal(lambda: fetch(tmp_path)).code == "hub_gated"


def test_a_token_opens_what_is_private_and_stays_with_the_hub(hub: Hub, settings: Any, tmp_path: Path) -> None:
    hub.token = "hf_" + "secret"
    assert refusal(lambda: fetch(tmp_path)).code == "hub_repo_not_found"
    settings.HUB_TOKEN = hub.token
    fetch(tmp_path / "out")


def test_a_hub_that_cannot_be_reached_is_named(hub: Hub, settings: Any, tmp_path: Path) -> None:
    hub.close()
    error = refusal(lambda: fetch(tmp_path))
    assert error.code == "hub_unreachable"
    assert settings.HUB_URL.removeprefix("http://") in error.message
    assert "TUNEYARD_HUB_URL" in error.hint


def test_a_server_that_is_no_hub_is_refused(hub: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(Hub, "sibling", lambda self, name: {"rfilename": name})
    assert refusal(lambda: fetch(tmp_path)).code == "hub_unreachable"


@pytest.mark.parametrize("target", ["http://127.0.0.2:1", "http://localhost:1", "http://[::1]:1", "http://10.0.0.1:1"])
def test_a_redirect_into_the_private_network_is_refused(hub: Hub, tmp_path: Path, target: str) -> None:
    hub.redirect_to = target
    error = refusal(lambda: fetch(tmp_path / "out"))
    assert error.code == "private_address"
    assert not (tmp_path / "out" / "model.safetensors").exists()


def test_a_name_that_changes_its_address_in_between_is_refused(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS rebinding: public when it is looked at, loopback when it is connected to."""
    monkeypatch.setattr(hub_client, "_addresses", lambda host: ["93.184.215.14"])
    hub.redirect_to = hub.url.replace("127.0.0.1", "localhost")
    assert refusal(lambda: fetch(tmp_path / "out")).code == "private_address"
    assert not (tmp_path / "out" / "model.safetensors").exists()


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True), ("2606:4700::1111", True), ("127.0.0.1", False), ("10.1.2.3", False), ("172.16.0.1", False),
        ("192.168.1.1", False), ("169.254.169.254", False), ("100.64.0.1", False), ("0.0.0.0", False), ("::1", False),
        ("fe80::1%eth0", False), ("fd00::1", False), ("::ffff:127.0.0.1", False), ("::ffff:10.0.0.1", False),
        ("224.0.0.1", False),
    ],
)  # fmt: skip
def test_private_addresses_are_known(address: str, public: bool) -> None:
    assert hub_client._is_public(address) is public


def test_no_token_is_ever_logged(hub: Hub, settings: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    settings.HUB_TOKEN = "hf_" + "hidden"
    with caplog.at_level(logging.DEBUG):
        fetch(tmp_path / "out")
    assert settings.HUB_TOKEN not in caplog.text
    assert settings.HUB_TOKEN not in json.dumps(hub.seen)
