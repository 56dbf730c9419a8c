"""An absent program comes with the package that brings it."""

from __future__ import annotations

from opsconductor.model.errors import OpsError
from opsconductor.services.kit.capabilities import with_remedy
from tests.harness import shipped_catalog

ABSENT = OpsError("program_not_found", "dig is not installed", program="dig")


def test_the_package_is_named_where_the_definition_knows_it() -> None:
    told = with_remedy(ABSENT, shipped_catalog().get("dig").definition)
    assert told.message.startswith("dig is not installed; the package that brings it: Debian: ")
    assert told.context == {"program": "dig"}


def test_other_errors_and_unknown_packages_stay_as_they_are() -> None:
    other = OpsError("command_failed", "exit code 1")
    assert with_remedy(other, shipped_catalog().get("dig").definition) is other
    assert with_remedy(ABSENT, shipped_catalog().get("Get-Service").definition) is ABSENT
    assert with_remedy(ABSENT, None) is ABSENT
