"""Documentation is true: links lead somewhere, YAML in it is accepted, and the tutorial's commands run as written."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
_LINK = re.compile(r"\]\(([^)#:]+)(#[^)]*)?\)")
_BLOCK = re.compile(r"^( *)```(\w+)\n(.*?)^\1```", re.S | re.M)


def blocks(page: Path, language: str) -> list[str]:
    return [body for _, name, body in _BLOCK.findall(page.read_text(encoding="utf-8")) if name == language]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files(page: Path) -> None:
    found = [match[0] for match in _LINK.findall(page.read_text(encoding="utf-8"))]
    assert [link for link in found if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_yaml_blocks_are_accepted(page: Path, tmp_path: Path) -> None:
    from opsconductor.bootstrap.runtime import LocalRuntime
    from opsconductor.catalog.catalog import load_catalog
    from opsconductor.engine.plan_reader import read_plan
    from opsconductor.engine.validation import Rules, Validator

    for text in blocks(page, "yaml"):
        document = yaml.safe_load(text)
        if "steps" in document:
            runtime = LocalRuntime()
            plan = read_plan(text.encode(), file=page.name)
            Validator(runtime.catalog(), runtime.router(), rules=Rules(default_target="local")).check(plan)
        elif "tool_name" in document:
            name = document["tool_name"].lower().replace("-", "_")
            (tmp_path / f"{name}.yaml").write_text(text, encoding="utf-8")
            catalog = load_catalog([tmp_path], cache_dir=None)
            assert [problem.render() for problem in catalog.problems if problem.level == "error"] == []


@pytest.mark.slow
def test_the_tutorial_runs_as_written(tmp_path: Path) -> None:
    page = ROOT / "docs" / "tutorial.md"
    (tmp_path / "look.yaml").write_text(blocks(page, "yaml")[0], encoding="utf-8")
    program = Path(sys.executable).parent / "opsconductor"
    script = "\n".join(["set -e", *blocks(page, "sh")]).replace("./dev ", f"{program} ")
    environ = {**os.environ, "OPSCONDUCTOR_HOME": str(tmp_path / "home")}
    words = ["sh", "-c", script]
    ran = subprocess.run(words, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stderr
    assert "did you mean 'path'" in ran.stderr
    assert "transport_unavailable" in ran.stderr
    assert "look: completed" in ran.stdout
    assert "exit code 2" in ran.stdout
    assert "exit code 1" in ran.stdout
