"""Artifacts stay inside of their folder, and are what they say they are."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opsconductor.model.errors import OpsError
from opsconductor.security.redaction import Redactor
from opsconductor.services.kit.artifacts import ArtifactStore, safe_name


def store(folder: Path) -> ArtifactStore:
    ids = iter(f"id-{number}" for number in range(9))
    return ArtifactStore(folder / "artifacts", ids.__next__)


@given(st.text(max_size=300))
def test_a_safe_name_is_one_plain_file_name(name: str) -> None:
    safe = safe_name(name)
    assert 1 <= len(safe) <= 128
    assert "/" not in safe
    assert "\0" not in safe
    assert not safe.startswith(".")


@pytest.mark.parametrize("execution_id", ["e1", "..", ".", "../../up"])
async def test_a_file_is_taken_and_found_below_the_root(tmp_path: Path, execution_id: str) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"content")
    artifacts = store(tmp_path)
    taken = await artifacts.take(execution_id, source, name="../x.pcap", media_type="application/vnd.tcpdump.pcap")
    kept = artifacts.find(execution_id, taken.id)
    assert (tmp_path / "artifacts") in kept.resolve().parents
    assert (taken.size, taken.sha256) == (7, hashlib.sha256(b"content").hexdigest())
    assert kept.read_bytes() == b"content"
    assert kept.stat().st_mode & 0o777 == 0o600
    assert not source.exists()


async def test_secrets_are_masked_across_the_borders_of_reading(tmp_path: Path) -> None:
    source, secret = tmp_path / "source", b"hunter2hunter2"
    source.write_bytes(b"x" * (1024 * 1024 - 5) + secret + b"end")
    artifacts = store(tmp_path)
    taken = await artifacts.take("e1", source, name="o", media_type="text/plain", redactor=Redactor([secret.decode()]))
    assert artifacts.find("e1", taken.id).read_bytes() == b"x" * (1024 * 1024 - 5) + b"***end"


async def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OpsError) as caught:
        await store(tmp_path).take("e1", tmp_path / "absent", name="o", media_type="text/plain")
    assert caught.value.code == "output_spool_failed"


def test_what_was_never_stored_is_not_found(tmp_path: Path) -> None:
    for execution_id, artifact_id in (("e1", "id"), ("..", ".."), ("", "")):
        with pytest.raises(OpsError) as caught:
            store(tmp_path).find(execution_id, artifact_id)
        assert caught.value.code == "not_found"
