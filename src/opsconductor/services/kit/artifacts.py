"""Files that came out of steps: kept under `<root>/<execution>/`, named so that nothing can lead outside of it.

Called by the command runner (output too long for the result) and by handlers (captures, pictures), in a thread.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from opsconductor.model.errors import OpsError
from opsconductor.model.outcome import Artifact
from opsconductor.security.redaction import Redactor
from opsconductor.services.kit.secret_inputs import NO_SECRETS

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_CHUNK_BYTES = 1024 * 1024


def safe_name(name: str) -> str:
    """A single file name made of `name`: no separators, no leading dot, at most 128 characters, never empty."""
    folded = _UNSAFE.sub("_", name).lstrip(".")[:128]
    return folded or "_"


class ArtifactStore:
    """Takes files over and finds them again. `new_id` gives unique ids of letters, digits and '-'."""

    def __init__(self, root: Path, new_id: Callable[[], str]) -> None:
        self._root = root
        self._new_id = new_id

    async def take(
        self, execution_id: str, source: Path, *, name: str, media_type: str, redactor: Redactor = NO_SECRETS
    ) -> Artifact:
        """Move the file `source` into the store, with secrets masked, and say what it is.

        Raises OpsError(`output_spool_failed`) when the file cannot be read or written; `source` may then remain.
        """
        try:
            return await asyncio.to_thread(self._take, execution_id, source, name, media_type, redactor)
        except OSError as error:
            raise OpsError("output_spool_failed", f"artifact {name}: cannot be stored: {error}") from error

    def find(self, execution_id: str, artifact_id: str) -> Path:
        """The file of an artifact. Raises OpsError(`not_found`)."""
        folder = self._root / safe_name(execution_id)
        wanted = safe_name(artifact_id) + "_"
        found = [path for path in folder.iterdir() if path.name.startswith(wanted)] if folder.is_dir() else []
        if not found:
            raise OpsError("not_found", f"execution {execution_id[:128]} has no artifact {artifact_id[:128]!r}")
        return found[0]

    def _take(self, execution_id: str, source: Path, name: str, media_type: str, redactor: Redactor) -> Artifact:
        artifact_id = self._new_id()
        folder = self._root / safe_name(execution_id)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        kept = folder / f"{safe_name(artifact_id)}_{safe_name(name)}"
        if redactor:
            _copy_masked(source, kept, redactor)
            source.unlink()
        else:
            shutil.move(source, kept)
        kept.chmod(0o600)
        with kept.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        size = kept.stat().st_size
        return Artifact(id=artifact_id, name=safe_name(name), media_type=media_type, size=size, sha256=digest)


def _copy_masked(source: Path, kept: Path, redactor: Redactor) -> None:
    stream = redactor.stream()
    with source.open("rb") as reader, kept.open("xb") as writer:
        while chunk := reader.read(_CHUNK_BYTES):
            writer.write(stream.feed(chunk))
        writer.write(stream.flush())
