"""Downloads from a small hub on loopback, which also fails."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes.small_hub import SmallHub, SmallRepository, small_hub
from huggingface_hub import constants, file_download

from harness.catalog.hub import download as download_
from harness.catalog.hub.download import download
from harness.catalog.hub.errors import HubUnreachable
from harness.catalog.hub.repository import Repository, look_up
from harness.contract import HarnessError

NAME = "someone/a-model"
WEIGHTS = bytes(range(256)) * 40
FILES = {
    "config.json": b'{"model_type": "bert"}',
    "tokenizer.json": b"{}",
    "README.md": b"# A model",
    "model.safetensors": WEIGHTS,
    "pytorch_model.bin": b"pickled" * 1000,
    "onnx/model.onnx": b"x" * 2000,
    "modeling_bert.py": b"raise SystemExit",
}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[SmallHub]:
    """A hub with one repository, as HF_ENDPOINT would name it, and no pauses between two tries."""
    with small_hub({NAME: SmallRepository(dict(FILES))}) as found:
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "ENDPOINT", found.endpoint)
        template = found.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(file_download.time, "sleep", lambda _: None)
        monkeypatch.setattr(download_, "KEPT_FREE", 0)
        monkeypatch.delenv("HF_TOKEN", raising=False)
        yield found


def only(hub: SmallHub) -> SmallRepository:
    return hub.repositories[NAME]


def names(repository: Repository) -> list[str]:
    return [file.name for file in repository.files]


def left_in(cache: Path) -> list[str]:
    """Files of contents in the cache, complete or not."""
    return sorted(path.name for path in cache.glob("models--*/blobs/*"))


def test_what_a_model_needs_is_downloaded_and_nothing_else(hub: SmallHub, tmp_path: Path) -> None:
    found = look_up(NAME)
    assert names(found) == ["tokenizer.json", "config.json", "model.safetensors"]
    assert found.size == sum(len(FILES[name]) for name in names(found))
    arrived: list[int] = []
    folder = download(found, tmp_path, arrived.append)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        name: FILES[name] for name in names(found)
    }
    assert (folder, sum(arrived)) == (found.folder(tmp_path), found.size)
    before = len(hub.requests)
    assert download(found, tmp_path) == folder
    assert len(hub.requests) == before, "what is in the cache is not asked for again"


def test_a_revision_is_pinned_to_its_commit(hub: SmallHub, tmp_path: Path) -> None:
    only(hub).revisions = ("main", "v1")
    found = look_up(NAME, "v1")
    assert found.commit == only(hub).commit
    download(found, tmp_path)
    assert all(found.commit in line for line in hub.requests if "resolve" in line)
    with pytest.raises(HarnessError, match=r"no such branch, tag or commit\. Fix: .*`revision`"):
        look_up(NAME, "v2")


def test_split_weights_are_taken_whole(hub: SmallHub) -> None:
    parts = {f"model-0000{n}-of-00002.safetensors": WEIGHTS for n in (1, 2)}
    index = {"model.safetensors.index.json": b"{}", "config.json": b"{}"}
    only(hub).files = {**parts, **index, "consolidated.safetensors": WEIGHTS}
    assert sorted(names(look_up(NAME))) == sorted([*parts, *index])
    only(hub).files = {**parts, **index, "model.safetensors": WEIGHTS}
    assert not set(names(look_up(NAME))) & set(parts)


def test_pickled_weights_must_be_asked_for(hub: SmallHub) -> None:
    only(hub).files = {n: data for n, data in FILES.items() if n != "model.safetensors"}
    with pytest.raises(HarnessError, match=r"found pytorch_model\.bin, .* Fix: --allow-pickle"):
        look_up(NAME)
    assert "pytorch_model.bin" in names(look_up(NAME, pickled=True))


def test_code_must_be_asked_for(hub: SmallHub) -> None:
    assert "modeling_bert.py" not in names(look_up(NAME))
    assert "modeling_bert.py" in names(look_up(NAME, code=True))


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors"])
def test_a_repository_without_a_model_is_refused(hub: SmallHub, missing: str) -> None:
    only(hub).files = {"config.json": b"{}", "model.safetensors": WEIGHTS}
    del only(hub).files[missing]  # type: ignore[attr-defined]
    with pytest.raises(HarnessError, match=rf"expected {NAME} to hold {missing}, found .* Fix: "):
        look_up(NAME)


# ---- faults of the hub


def refused(hub: SmallHub, cache: Path, words: str) -> None:
    with pytest.raises(HarnessError, match=words) as error:
        download(look_up(NAME), cache)
    assert "Fix: " in str(error.value)
    snapshot = cache / "models--someone--a-model" / "snapshots" / only(hub).commit
    assert not (snapshot / "model.safetensors").exists()
    assert not [name for name in left_in(cache) if name.endswith(".incomplete")]


def test_a_gated_repository_says_where_to_ask_and_how_to_sign_in(
    hub: SmallHub, tmp_path: Path
) -> None:
    only(hub).gated = True
    page = f"{hub.endpoint}/{NAME}"
    refused(hub, tmp_path, f"gated, found none with no token.*{page}, then `hf auth login`.*HF_TOK")


def test_a_repository_that_is_not_there(hub: SmallHub) -> None:
    with pytest.raises(HarnessError, match=r"someone/other at .*Fix: correct `checkpoint` in"):
        look_up("someone/other")


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("gone", "a file that .* lists"),
        ("truncated", "a file of it ends early"),
        ("wrong", r"model\.safetensors of .* to have the digest .* It is removed"),
    ],
)
def test_a_file_that_is_not_whole_is_never_used(
    hub: SmallHub, tmp_path: Path, fault: str, words: str
) -> None:
    only(hub).faults["model.safetensors"] = fault
    refused(hub, tmp_path, words)
    only(hub).faults.clear()
    folder = download(look_up(NAME), tmp_path)
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS


def test_what_is_cut_off_goes_on_where_it_stopped(
    hub: SmallHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    only(hub).faults["model.safetensors"] = "cut"
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", len(WEIGHTS) // 4)
    folder = download(look_up(NAME), tmp_path)
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert hub.requests[-1].endswith(f"bytes={len(WEIGHTS) // 2}-")


def test_a_hub_that_stops_sending_is_given_up(
    hub: SmallHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    only(hub).faults["model.safetensors"] = "slow"
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.02)
    refused(hub, tmp_path, "in time, found none.*HF_HUB_DOWNLOAD_TIMEOUT")


def test_no_hub_at_all(hub: SmallHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(HubUnreachable, match=r"127\.0\.0\.1:9 to answer, .* HF_ENDPOINT"):
        look_up(NAME)


def test_offline_says_which_variable(hub: SmallHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(HubUnreachable, match="found HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE set"):
        look_up(NAME)
    assert hub.requests == []


# ---- the disk


def test_a_disk_without_room_is_told_before_the_download(
    hub: SmallHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download_, "KEPT_FREE", 10**18)
    with pytest.raises(HarnessError, match=r"expected 0\.0 MB for .* free\. Fix: make room"):
        download(look_up(NAME), tmp_path)
    assert not any("resolve" in line for line in hub.requests)


def test_a_disk_that_fills_up_meanwhile_keeps_no_half_of_a_file(
    hub: SmallHub, tmp_path: Path
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(HarnessError, match=r"found a full disk\. Nothing half written is left"):
        download(look_up(NAME), tmp_path, full)
    assert left_in(tmp_path) == []


def test_a_file_that_was_spoilt_on_the_disk_is_found(hub: SmallHub, tmp_path: Path) -> None:
    found = look_up(NAME)
    weights = download(found, tmp_path) / "model.safetensors"
    weights.write_bytes(WEIGHTS[::-1])
    with pytest.raises(HarnessError, match="to have the digest"):
        download(found, tmp_path)
    weights = download(found, tmp_path) / "model.safetensors"
    assert weights.read_bytes() == WEIGHTS
    weights.write_bytes(WEIGHTS[:-1])
    assert download(found, tmp_path).joinpath("model.safetensors").read_bytes() == WEIGHTS


def test_only_what_was_borrowed_is_given_back(hub: SmallHub, tmp_path: Path) -> None:
    found = look_up(NAME)
    download_.borrow(found, tmp_path)
    download(found, tmp_path)
    assert download_.give_back(found, tmp_path)
    assert list(tmp_path.glob("models--*")) == []
    download(found, tmp_path)
    download_.borrow(found, tmp_path)
    assert not download_.give_back(found, tmp_path)
    assert found.missing(tmp_path) == []


def test_a_download_can_be_given_up(hub: SmallHub, tmp_path: Path) -> None:
    class GivenUp(BaseException):
        pass

    def give_up(_: Any) -> None:
        raise GivenUp

    with pytest.raises(GivenUp):
        download(look_up(NAME), tmp_path, give_up)
    assert left_in(tmp_path) == []
