"""Makes a repeated request safe: the work happens once, and the same request again gets the recorded answer.

A request that must not run twice is on disk, fsynced, before anything starts; idempotent reads are remembered in
memory only, so that they cost no disk write. Called by `Service.execute_plan` and by nobody else. One inbox file
belongs to one process.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import msgspec

from opsconductor.model.errors import OpsError
from opsconductor.model.outcome import PlanResponse
from opsconductor.services.kit.inbox_store import Accept, Answer, InboxStore
from opsconductor.services.kit.requests import Claim

log = logging.getLogger(__name__)

_PURGE_ROWS = 500
_PURGE_EVERY_S = 60.0
_MAX_EPOCHS = 10_000
_ENTRY_BYTES = 2_000
_Key = tuple[str, str]


class _Remembered(msgspec.Struct, frozen=True):
    body_sha256: bytes
    response: PlanResponse
    weight_bytes: int
    at: float


def _weight(response: PlanResponse) -> int:
    """About how much memory a response holds: its texts, and as much again for parsed data."""
    texts = (value for result in response.step_results for value in result.output.values() if isinstance(value, str))
    return _ENTRY_BYTES * (1 + len(response.step_results)) + 2 * sum(map(len, texts))


class _Recent:
    """The latest answers, bounded by number, memory and age (seconds of `time.monotonic`)."""

    def __init__(self, *, max_entries: int, max_bytes: int, retention_s: float) -> None:
        self._entries: OrderedDict[_Key, _Remembered] = OrderedDict()
        self._max_entries, self._max_bytes, self._retention_s = max_entries, max_bytes, retention_s
        self._bytes = 0

    def get(self, key: _Key) -> _Remembered | None:
        entry = self._entries.get(key)
        return entry if entry is not None and time.monotonic() - entry.at <= self._retention_s else None

    def put(self, key: _Key, body_sha256: bytes, response: PlanResponse) -> None:
        if (old := self._entries.pop(key, None)) is not None:
            self._bytes -= old.weight_bytes
        entry = _Remembered(body_sha256, response, _weight(response), time.monotonic())
        self._entries[key] = entry
        self._bytes += entry.weight_bytes
        while len(self._entries) > self._max_entries or (self._bytes > self._max_bytes and len(self._entries) > 1):
            self._bytes -= self._entries.popitem(last=False)[1].weight_bytes


def _check_body(claim: Claim, body_sha256: bytes) -> None:
    if claim.body_sha256 != body_sha256:
        raise OpsError(
            "idempotency_key_reused",
            f"the key {claim.key[:100]!r} was used before with another body; send this work under a key of its own",
            execution_id=claim.execution_id,
        )


class Inbox:
    """Remembers requests by tenant and key. `path` is made when the first request must go to disk."""

    def __init__(
        self,
        path: Path,
        *,
        now: Callable[[], datetime],
        retention_s: float = 7 * 86_400.0,
        max_remembered: int = 10_000,
        max_remembered_bytes: int = 64 * 1024**2,
    ) -> None:
        self._path = path
        self._now = now
        self._retention_s = retention_s
        self._recent = _Recent(max_entries=max_remembered, max_bytes=max_remembered_bytes, retention_s=retention_s)
        self._running: dict[_Key, Claim] = {}
        self._epochs: OrderedDict[_Key, int] = OrderedDict()
        self._store: InboxStore | None = None
        self._may_exist = True
        self._queue: list[tuple[Accept | Answer, asyncio.Future[None]]] = []
        self._flusher: asyncio.Task[None] | None = None
        self._purged_at = 0.0

    async def admit(self, claim: Claim, *, lost: Callable[[], PlanResponse]) -> PlanResponse | None:
        """Take a claim: None means that the caller runs it now and must call `finish` or `abandon`.

        A recorded response means that it ran before; `lost()` makes the response of one that was started by a process
        that is gone. Raises OpsError: `epoch_stale`, `execution_in_progress`, `idempotency_key_reused`,
        `service_not_ready` (the disk refused; nothing was started).
        """
        key = (claim.scope, claim.key)
        store = self._open_store() if claim.durable else self._existing_store()
        self._check_epoch(claim, store)
        if (running := self._running.get(key)) is not None:
            _check_body(claim, running.body_sha256)
            raise OpsError(
                "execution_in_progress",
                f"execution {claim.execution_id} is still running under this key; ask again later",
                execution_id=claim.execution_id,
            )
        if (recent := self._recent.get(key)) is not None:
            _check_body(claim, recent.body_sha256)
            return recent.response
        if store is not None and (row := store.find(*key)) is not None:
            _check_body(claim, row.body_sha256)
            return await self._recorded(claim, row.response, lost)
        self._running[key] = claim
        self._note_epoch(claim)
        if claim.durable:
            await self._accept(key, claim)
        return None

    async def finish(self, claim: Claim, response: PlanResponse) -> None:
        """Record the answer of an admitted claim. A disk that refuses is logged; the answer is true all the same."""
        key = (claim.scope, claim.key)
        try:
            if claim.durable:
                await self._write(Answer(claim, msgspec.json.encode(response)))
        except OpsError as error:
            log.error("the answer of execution %s could not be recorded: %s", claim.execution_id, error.message)
        finally:
            self._recent.put(key, claim.body_sha256, response)
            self._running.pop(key, None)

    def abandon(self, claim: Claim) -> None:
        """Give up an admitted claim without an answer: repeated, a durable one is `outcome_unknown`."""
        self._running.pop((claim.scope, claim.key), None)

    async def check(self) -> None:
        """Raise OpsError(`service_not_ready`) when the file cannot be opened."""
        self._open_store()

    async def close(self) -> None:
        """Write what is queued and close the file."""
        if self._flusher is not None:
            await self._flusher
        if self._store is not None:
            self._store.close()
            self._store = None

    def _existing_store(self) -> InboxStore | None:
        """The file, if there is one: a request that needs no disk does not make it."""
        if self._store is None and self._may_exist:
            self._may_exist = self._path.exists()  # nobody else makes it: once absent, absent until we need it
            return self._open_store() if self._may_exist else None
        return self._store

    def _open_store(self) -> InboxStore:
        if self._store is None:
            self._store = InboxStore(self._path)
        return self._store

    def _check_epoch(self, claim: Claim, store: InboxStore | None) -> None:
        key = (claim.scope, claim.execution_id)
        highest = self._epochs.get(key)
        if highest is None:
            highest = store.highest_epoch(*key) if store is not None else 0
        if claim.epoch < highest:
            raise OpsError(
                "epoch_stale",
                f"execution {claim.execution_id} is owned by epoch {highest}; this request is of epoch {claim.epoch}",
                execution_id=claim.execution_id,
                epoch=claim.epoch,
                highest_epoch=highest,
            )

    def _note_epoch(self, claim: Claim) -> None:
        key = (claim.scope, claim.execution_id)
        self._epochs[key] = max(claim.epoch, self._epochs.pop(key, 0))
        if len(self._epochs) > _MAX_EPOCHS:
            self._epochs.popitem(last=False)

    async def _recorded(self, claim: Claim, response: bytes | None, lost: Callable[[], PlanResponse]) -> PlanResponse:
        if response is not None:
            return msgspec.json.decode(response, type=PlanResponse)
        log.warning("execution %s was started before and its end is not known; not run again", claim.execution_id)
        answer = lost()
        await self._write(Answer(claim, msgspec.json.encode(answer)))
        return answer

    async def _accept(self, key: _Key, claim: Claim) -> None:
        try:
            await self._write(Accept(claim, self._now().timestamp()))
        except BaseException:
            self._running.pop(key, None)
            raise

    async def _write(self, change: Accept | Answer) -> None:
        """Commit one change; those that come while another commit runs share the next one."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append((change, done))
        if self._flusher is None or self._flusher.done():
            self._flusher = asyncio.ensure_future(self._flush())
        await done

    async def _flush(self) -> None:
        while self._queue:
            batch, self._queue = self._queue, []
            _settle(batch, await self._commit([change for change, _ in batch]))

    async def _commit(self, changes: list[Accept | Answer]) -> OpsError | None:
        try:
            store = self._open_store()
            await asyncio.to_thread(store.write, changes)
            await self._purge(store)
        except OpsError as error:
            return error
        except RuntimeError as error:  # the interpreter is going down and takes no more threads
            return OpsError("service_not_ready", f"the inbox takes no more requests: {error}")
        return None

    async def _purge(self, store: InboxStore) -> None:
        """Forget a few old requests, now and then."""
        if time.monotonic() - self._purged_at < _PURGE_EVERY_S:
            return
        self._purged_at = time.monotonic()
        try:
            await asyncio.to_thread(store.purge, self._now().timestamp() - self._retention_s, limit=_PURGE_ROWS)
        except OpsError as error:
            log.warning("old requests could not be forgotten: %s", error.message)


def _settle(batch: list[tuple[Accept | Answer, asyncio.Future[None]]], error: OpsError | None) -> None:
    for _, done in batch:
        if done.done():
            continue
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)
