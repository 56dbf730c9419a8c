"""Bounds of one service, made once from the settings by bootstrap and handed to every part of the kit."""

from __future__ import annotations

import msgspec

from opsconductor.model.limits import InputLimits
from opsconductor.settings import Settings


class ServiceLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What one service allows. Times in seconds, sizes in bytes; names are those of the settings where one exists."""

    max_plan_steps: int = 10_000
    max_concurrent_steps: int = 64
    step_timeout_s: float = 86_400.0
    kill_grace_s: float = 2.0
    max_spool_bytes: int = 2 * 1024**3
    max_kept_bytes: int = 64 * 1024**2
    """Most output of one stream that stays in memory, whatever a definition asks for."""
    max_event_text_bytes: int = 1024**2
    """Most text of one stream that travels as step.output events; the result has the rest."""
    max_parse_bytes: int = 16 * 1024**2
    """Largest text that a parser is given; parsers hold several times that in memory."""
    allowed_env: frozenset[str] = frozenset({"LANG", "LC_ALL", "TZ"})
    default_target: str = ""
    inputs: InputLimits = InputLimits()


def limits_from(settings: Settings) -> ServiceLimits:
    """The bounds that the settings ask for."""
    return ServiceLimits(
        max_plan_steps=settings.max_plan_steps,
        max_concurrent_steps=settings.max_concurrent_steps,
        step_timeout_s=settings.step_timeout_s,
        kill_grace_s=settings.kill_grace_s,
        max_spool_bytes=settings.max_spool_bytes,
        allowed_env=frozenset(name.strip() for name in settings.allowed_env.split(",") if name.strip()),
        default_target=settings.default_target,
        inputs=InputLimits(max_input_bytes=settings.max_input_bytes, max_argv_bytes=settings.max_argv_bytes),
    )
