"""The catalog over folders: lookup, overrides, broken files, the compiled index and reloading."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from opsconductor.catalog import compiler, forked
from opsconductor.catalog.catalog import Catalog, CatalogSource, load_catalog, shipped_folder
from opsconductor.model.errors import OpsError
from tests.unit.catalog.trees import good, legacy, write


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Paths of the files whose content was read."""
    seen: list[str] = []
    real = compiler._read_bytes

    def spy(path: str, most: int) -> bytes:
        seen.append(path)
        return real(path, most)

    monkeypatch.setattr(compiler, "_read_bytes", spy)
    yield seen


def load(*folders: Path, cache: Path | None = None) -> Catalog:
    return load_catalog(folders, cache_dir=cache)


def errors(catalog: Catalog) -> list[str]:
    return [f"{Path(p.file or '').name}: {p.message}" for p in catalog.problems if p.level == "error"]


def test_tools_are_found_by_any_spelling(tmp_path: Path) -> None:
    catalog = load(write(tmp_path, get_service=good("Get-Service")))
    for name in ("Get-Service", "get_service", "GET SERVICE", "get.service"):
        entry = catalog.get(name)
        assert (entry.id, entry.tool_name, entry.executable) == ("get_service", "Get-Service", "yes")
        assert entry.definition.operations["usage"].parse is None
    assert catalog.find("get-servic") is None
    assert catalog.location_of("Get Service") == ("get_service", "automation-service")
    assert catalog.location_of("nobody") is None
    with pytest.raises(OpsError, match="did you mean Get-Service"):
        catalog.get("get-servic")


def test_a_broken_file_is_reported_and_takes_nothing_else_down(tmp_path: Path) -> None:
    catalog = load(write(tmp_path, du=good(), ls="a: [", df=good("df").replace("read", "reed")))
    assert [entry.id for entry in catalog.entries()] == ["du"]
    assert {Path(problem.file or "").name for problem in catalog.problems} == {"ls.yaml", "df.yaml"}
    with pytest.raises(OpsError, match=r"df\.yaml:12:5.*'reed'"):
        catalog.get("df")


def test_two_files_of_one_folder_with_one_name_are_an_error_with_both_paths(tmp_path: Path) -> None:
    write(tmp_path, asset_query=good("asset-query"), du=good())
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "asset_query.yaml").write_text(good("Asset Query"))
    catalog = load(tmp_path)
    assert [entry.id for entry in catalog.entries()] == ["du"]
    duplicates = [p for p in catalog.problems if p.code == "definition_duplicate"]
    assert sorted(Path(p.file or "").parent.name for p in duplicates) == ["linux", "other"]
    assert all(str(tmp_path / "other") in p.message or str(tmp_path / "linux") in p.message for p in duplicates)


def test_later_folders_override_earlier_ones_and_say_so(tmp_path: Path) -> None:
    shipped = write(tmp_path / "shipped", du=good(), df=good("df"))
    site = write(tmp_path / "site", du=good(location="asset-service"))
    top = tmp_path / "top"
    top.mkdir()
    (top / "du.yaml").write_text(good(location="my-service"))
    catalog = load(shipped, site, top)
    entry = catalog.get("du")
    assert entry.execution_location == "my-service"
    assert entry.overrides == str(site / "linux" / "du.yaml")
    assert entry.path == top / "du.yaml"
    assert catalog.get("df").overrides is None
    assert catalog.problems == ()


@pytest.mark.parametrize("broken", ["a: [", good(location="x").replace("read", "reed")])
def test_a_broken_override_hides_the_tool_rather_than_dropping_what_the_site_asked_for(
    tmp_path: Path, broken: str
) -> None:
    shipped = write(tmp_path / "shipped", du=good(), df=good("df"))
    catalog = load(shipped, write(tmp_path / "site", du=broken))
    assert [entry.id for entry in catalog.entries()] == ["df"]
    assert any("is not loaded from" in message for message in errors(catalog))


def test_the_older_format_loads_and_is_run_by_a_definition_below_it(tmp_path: Path) -> None:
    shipped = write(tmp_path / "shipped", du=good())
    alone = load(write(tmp_path / "site", disk=legacy("disk")))
    assert (alone.get("disk").executable, alone.get("disk").legacy) == ("no", True)
    joined = load(shipped, write(tmp_path / "over", du=legacy("DU")), cache=tmp_path / "cache")
    entry = joined.get("du")
    assert (entry.executable, entry.legacy, entry.execution_location) == ("partial", True, "asset-service")
    assert entry.definition.operations["usage"].argv == ("du", "--", "{path}")
    assert {p.level for p in joined.problems} == {"warning"}
    again = load(shipped, tmp_path / "over", cache=tmp_path / "cache").get("du")
    assert again.definition == entry.definition
    assert again.overrides == entry.overrides == str(shipped / "linux" / "du.yaml")


def test_quality_files_hidden_files_and_odd_things_are_not_definitions(tmp_path: Path) -> None:
    write(tmp_path, du=good())
    (tmp_path / "linux" / "du.quality.yaml").write_text("rules: {}")
    (tmp_path / "linux" / ".du.yaml").write_text("a: [")
    (tmp_path / "linux" / "README.md").write_text("hello")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "x.yaml").write_text("a: [")
    (tmp_path / "linux" / "gone.yaml").symlink_to(tmp_path / "nowhere")
    (tmp_path / "linux" / "round").symlink_to(tmp_path / "linux")
    os.mkfifo(tmp_path / "linux" / "pipe.yaml")
    catalog = load(tmp_path)
    assert [p for p in catalog.problems if p.code != "definition_duplicate"] == []
    (tmp_path / "linux" / "round").unlink()
    assert [entry.id for entry in load(tmp_path).entries()] == ["du"]


def test_a_folder_that_is_missing_is_a_problem_and_the_others_load(tmp_path: Path) -> None:
    catalog = load(write(tmp_path / "a", du=good()), tmp_path / "missing", cache=tmp_path / "cache")
    assert len(catalog) == 1
    assert [problem.file for problem in catalog.problems] == [str(tmp_path / "missing")]


def test_a_warm_start_reads_no_definition(tmp_path: Path, reads: list[str]) -> None:
    tools = write(tmp_path / "tools", du=good(), df=good("df"), bad="a: [")
    first = load(tools, cache=tmp_path / "cache")
    assert len(reads) == 3
    second = load(tools, cache=tmp_path / "cache")
    assert len(reads) == 3
    assert [e.digest for e in second.entries()] == [e.digest for e in first.entries()]
    assert second.get("du").definition == first.get("du").definition
    assert second.problems == first.problems
    assert second.search("folders")[0].id == "df"


def test_only_what_changed_is_read_again(tmp_path: Path, reads: list[str]) -> None:
    tools = write(tmp_path / "tools", du=good(), df=good("df"), ls=good("ls"))
    load(tools, cache=tmp_path / "cache")
    reads.clear()
    write(tools, df=good("df", description="Another one."), id=good("id"))
    (tools / "linux" / "ls.yaml").unlink()
    catalog = load(tools, cache=tmp_path / "cache")
    assert sorted(Path(path).stem for path in reads) == ["df", "id"]
    assert [entry.id for entry in catalog.entries()] == ["df", "du", "id"]
    assert catalog.get("df").definition.description == "Another one."
    assert catalog.get("du").definition.description == load(tools).get("du").definition.description


@pytest.mark.parametrize("harm", ["truncate", "flip header", "flip body", "version", "empty", "noise", "folder"])
def test_a_harmed_index_is_ignored_and_made_again(tmp_path: Path, harm: str) -> None:
    tools, cache = write(tmp_path / "tools", du=good(), df=good("df")), tmp_path / "cache"
    load(tools, cache=cache)
    (path,) = cache.iterdir()
    data = bytearray(path.read_bytes())
    if harm == "truncate":
        del data[-10:]
    elif harm == "flip header":
        data[40] ^= 1
    elif harm == "flip body":
        data[data.index(b"Sizes of folders")] ^= 1
    elif harm == "version":
        data[7] ^= 255
    elif harm == "empty":
        data.clear()
    elif harm == "noise":
        data = bytearray(os.urandom(5000))
    path.unlink()
    if harm == "folder":
        path.mkdir()
    else:
        path.write_bytes(data)
    catalog = load(tools, cache=cache)
    assert [entry.definition.description for entry in catalog.entries()] == ["Sizes of folders and files."] * 2
    if harm != "folder":
        assert path.read_bytes() != bytes(data)
        assert [entry.id for entry in load(tools, cache=cache).entries()] == ["df", "du"]


def test_a_definition_harmed_in_the_index_is_read_from_its_file(tmp_path: Path) -> None:
    tools, cache = write(tmp_path / "tools", du=good()), tmp_path / "cache"
    load(tools, cache=cache)
    (path,) = cache.iterdir()
    data = bytearray(path.read_bytes())
    data[data.rindex(b"Sizes of folders")] ^= 1  # the last one lies in the blob
    path.write_bytes(data)
    assert load(tools, cache=cache).get("du").definition.description == "Sizes of folders and files."


def test_an_unwritable_cache_costs_nothing_but_time(tmp_path: Path) -> None:
    tools = write(tmp_path / "tools", du=good())
    (tmp_path / "file").write_text("")
    assert len(load(tools, cache=tmp_path / "file" / "cache")) == 1


def test_many_starting_at_once_leave_one_whole_index(tmp_path: Path) -> None:
    tools, cache = write(tmp_path / "tools", du=good(), df=good("df")), tmp_path / "cache"
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: len(load(tools, cache=cache)), range(24)))
    assert found == [2] * 24
    assert [path.suffix for path in cache.iterdir()] == [".idx"]


def test_many_files_are_read_by_several_processes_with_the_same_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"tool_{number}" for number in range(20)]
    tools = write(tmp_path, **{name: good(name) for name in names}, broken="a: [")
    alone = load(tools)
    monkeypatch.setattr(forked, "MIN_ITEMS_PER_PROCESS", 5)
    monkeypatch.setattr(threading, "active_count", lambda: 1)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2})
    processes: list[int] = []
    real = os.fork

    def fork() -> int:
        processes.append(os.getpid())
        return real()

    monkeypatch.setattr(os, "fork", fork)
    many = load(tools)
    assert len(processes) == 2
    assert [e.definition for e in many.entries()] == [e.definition for e in alone.entries()]
    assert many.problems == alone.problems


def test_a_reading_process_that_dies_costs_nothing_but_time() -> None:
    parent = os.getpid()

    def work(items: list[str]) -> bytes:
        if os.getpid() != parent:
            os._exit(7)
        return ",".join(items).encode()

    child = forked._start(work, ["a"])  # type: ignore[arg-type]
    assert child is not None
    assert forked._collect(child) is None


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_source_looks_again_only_after_its_interval(tmp_path: Path) -> None:
    tools, clock = write(tmp_path, du=good()), Clock()
    source = CatalogSource([tools], None, check_every_s=2.0, monotonic=clock)
    first = source.current()
    write(tools, df=good("df"))
    clock.now = 1.9
    assert source.current() is first
    clock.now = 2.1
    second = source.current()
    assert [entry.id for entry in second.entries()] == ["df", "du"]
    assert [entry.id for entry in first.entries()] == ["du"]
    clock.now = 10
    assert source.current() is second


def test_a_file_that_turns_broken_keeps_its_last_good_definition_and_is_reported(tmp_path: Path) -> None:
    tools, clock = write(tmp_path / "tools", du=good(), df=good("df")), Clock()
    cache = tmp_path / "cache"
    source = CatalogSource([tools], cache, check_every_s=0, monotonic=clock)
    source.current()
    write(tools, du="tool_name: [", new="a: [")
    catalog = source.current()
    assert catalog.get("du").definition.description == "Sizes of folders and files."
    assert catalog.find("new") is None
    assert len(errors(catalog)) == 2
    assert any("last good definition" in problem.message for problem in catalog.problems)
    assert source.current() is catalog
    write(tools, ls=good("ls"))
    assert source.current().find("du") is not None
    assert load(tools, cache=cache).find("du") is None, "a new process has no memory of what a file once said"
    write(tools, du=good(description="Mended."))
    assert source.current().get("du").description == "Mended."
    (tools / "linux" / "du.yaml").unlink()
    assert source.current().find("du") is None


def test_search_ranks_names_over_tags_over_descriptions(tmp_path: Path) -> None:
    catalog = load(
        write(
            tmp_path,
            disk=good("disk", description="Nothing here."),
            disk_usage=good("disk-usage", description="Nothing here."),
            other=good("other", description="All about the disk").replace("tags: [disk]", "tags: []"),
            none=good("none", description="Nothing here.").replace("tags: [disk]", "tags: []"),
        )
    )
    assert [entry.id for entry in catalog.search("Disk")] == ["disk", "disk_usage", "other"]
    assert catalog.search("disk usage")[0].id == "disk_usage"
    assert [entry.id for entry in catalog.search("disk linux", limit=1)] == ["disk"]
    assert catalog.search("") == []
    assert catalog.search("zebra") == []


def test_lint_adds_examples_and_quality_to_the_problems_of_loading(tmp_path: Path) -> None:
    tools = write(tmp_path, du=good().replace("argv: [du, --, /var]", "argv: [du, /var]"), bad="a: [")
    (tools / "linux" / "du.quality.yaml").write_text("rules: {executable: todo}\n")
    found = {(Path(p.file or "").name, p.line) for p in load(tools).lint()}
    assert {("bad.yaml", 2), ("du.yaml", 16), ("du.quality.yaml", 1)} <= found


def test_the_shipped_definitions_load_without_a_problem() -> None:
    catalog = load(shipped_folder())
    assert errors(catalog) == []
    assert len(catalog) > 0
