"""Which texts of a step are secret: the values given to inputs that the tool's definition calls secret.

The redactor made of them masks everything that leaves the step. Called by the step runner.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from opsconductor.engine.secrets import texts_of
from opsconductor.model.errors import ErrorInfo
from opsconductor.model.names import canonical
from opsconductor.model.tool import ToolDefinition
from opsconductor.security.redaction import Redactor

NO_SECRETS = Redactor(())


def _secret_names(definition: ToolDefinition) -> Iterable[str]:
    for name, spec in definition.inputs.items():
        if spec.secret:
            yield from map(canonical, (name, *spec.aliases))


def redactor_for(definition: ToolDefinition, inputs: Mapping[str, Any]) -> Redactor:
    """The redactor of a step from the inputs as given: names in any spelling, aliases included."""
    secret = frozenset(_secret_names(definition))
    if not secret:
        return NO_SECRETS
    found = [text for name, value in inputs.items() if canonical(name) in secret for text in texts_of(value)]
    return Redactor(found) if found else NO_SECRETS


def redacted_error(redactor: Redactor, error: ErrorInfo) -> ErrorInfo:
    """The error with secrets masked in its message and context."""
    if not redactor:
        return error
    return msgspec.structs.replace(error, message=redactor.text(error.message), context=redactor.data(error.context))
