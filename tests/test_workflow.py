"""What GitHub runs: the workflow, the commands that it calls, and the summary that it shows."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from check_jsonschema import main as check_jsonschema
from ruamel.yaml import YAML

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parents[1]
FILE = ROOT / ".github" / "workflows" / "ci.yml"
TEXT = FILE.read_text()
WORKFLOW = YAML(typ="safe").load(TEXT)

SCHEMA = "vendor.github-workflows"
TIMEOUTS = "custom.github-workflows-require-timeout"


def steps() -> list[dict[str, Any]]:
    return [step for job in WORKFLOW["jobs"].values() for step in job["steps"]]


def commands() -> list[str]:
    return [step["run"] for step in steps() if "run" in step]


def follows(schema: str, file: Path) -> bool:
    """By one of the schemas that check-jsonschema brings along; it asks no network for them."""
    return check_jsonschema.main(args=["--builtin-schema", schema, str(file)], standalone_mode=False) == 0


def audit(folder: Path) -> subprocess.CompletedProcess[str]:
    """zizmor, at its most pedantic, without a network."""
    command = [Path(sys.executable).with_name("zizmor"), "--offline", "--no-progress", "--pedantic", str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def changed(folder: Path, old: str, new: str) -> Path:
    """A copy of the workflow with another text in it, where zizmor looks for workflows."""
    assert old in TEXT
    file = folder / ".github" / "workflows" / "ci.yml"
    file.parent.mkdir(parents=True)
    file.write_text(TEXT.replace(old, new))
    return file


def test_the_workflow_is_one(tmp_path: Path) -> None:
    assert follows(SCHEMA, FILE)
    assert not follows(SCHEMA, changed(tmp_path, "runs-on:", "runs_on:"))


def test_a_job_that_hangs_ends(tmp_path: Path) -> None:
    assert follows(TIMEOUTS, FILE)
    assert not follows(TIMEOUTS, changed(tmp_path, "timeout-minutes: 90", "continue-on-error: false"))


def test_an_auditor_finds_nothing() -> None:
    done = audit(ROOT / ".github")

    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("@3d3c42e5aac5ba805825da76410c181273ba90b1", "@v7", "unpinned-uses"),
        ("permissions: {}", "permissions: write-all", "excessive-permissions"),
        ("persist-credentials: false", "fetch-depth: 1", "artipacked"),
        ("make test JUNIT=junit", "make ${{ github.event.pull_request.title }}", "template-injection"),
    ],
)
def test_the_auditor_can_find_something(tmp_path: Path, old: str, new: str, told: str) -> None:
    done = audit(changed(tmp_path, old, new).parents[1])

    assert done.returncode != 0
    assert told in done.stdout


def test_each_action_is_pinned_with_its_version_beside_it() -> None:
    """People read the version, machines take the commit."""
    used = re.findall(r"uses: (.*)", TEXT)

    assert len(used) == 2
    assert all(re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", one) for one in used)


def test_it_runs_the_readme_s_test_command() -> None:
    assert [command for command in commands() if command.startswith("make")] == ["make test JUNIT=junit"]
    assert "$ make test " in (ROOT / "README.md").read_text()


def test_it_calls_what_there_is() -> None:
    targets = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert targets
    for command in commands():
        program, *words = command.split()
        assert words[0] in targets[1].split() if program == "make" else (ROOT / words[0]).is_file()


def test_results_are_published_whatever_they_are() -> None:
    """Those of a failed run above all."""
    assert [step.get("if") for step in steps()] == [None, None, "${{ !cancelled() }}", "${{ !cancelled() }}"]


@pytest.mark.parametrize(
    ("arguments", "written"),
    [
        (["test", "JUNIT=a folder"], ['--junit-xml="a folder/fast.xml"', '--junit-xml="a folder/integration.xml"']),
        (["test-fast", "JUNIT=junit"], ['--junit-xml="junit/fast.xml"']),
        (["test"], []),
    ],
)
def test_make_writes_junit_where_it_is_told_to(arguments: list[str], written: list[str]) -> None:
    done = subprocess.run(
        ["make", "--dry-run", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": "/usr/bin:/bin"},
    )

    assert re.findall(r'--junit-xml="[^"]*"', done.stdout) == written


# The summary


@pytest.fixture(scope="module")
def summary() -> ModuleType:
    found = importlib.util.spec_from_file_location("summary", ROOT / ".ci" / "summary.py")
    assert found
    assert found.loader
    module = importlib.util.module_from_spec(found)
    sys.modules["summary"] = module  # dataclasses look there
    found.loader.exec_module(module)
    return module


SAMPLE = """
import pytest
def test_passes(): pass
def test_fails(): assert "<b>" == "c"
def test_skips(): pytest.skip("no reason")
@pytest.fixture
def broken(): raise ValueError("in the fixture")
def test_errs(broken): pass
class TestOthers:
    def test_passes(self): pass
"""


def test_a_run_becomes_a_table_and_its_failures(pytester: pytest.Pytester, summary: ModuleType) -> None:
    """As pytest writes them."""
    pytester.makepyfile(test_sample=SAMPLE)
    pytester.runpytest_inprocess("--disable-plugin-autoload", "--junit-xml=junit/fast.xml")
    told = summary.main(pytester.path / "junit")

    assert told.startswith("### ❌ 5 tests: 2 passed, 2 failed, 1 skipped\n")
    assert re.search(r"^\| test_sample \| 1 \| 2 \| 1 \| \d+\.\d \|$", told, re.MULTILINE)
    assert re.search(r"^\| test_sample.TestOthers \| 1 \| 0 \| 0 \| \d+\.\d \|$", told, re.MULTILINE)
    assert re.search(r"^\| \*\*all\*\* \| 2 \| 2 \| 1 \| \d+\.\d \|$", told, re.MULTILINE)
    assert re.findall("<summary>(.*)</summary>", told) == ["test_sample test_fails", "test_sample test_errs"]
    assert "&lt;b&gt;" in told
    assert "in the fixture" in told


PASSED = (
    '<testsuites><testsuite><testcase classname="tests.test_a" name="test_x" time="1.25"/></testsuite></testsuites>'
)


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({}, "### No test ran\n"),
        ({"fast.xml": PASSED, "integration.xml": PASSED}, "### ✅ 2 tests: 2 passed, 0 failed, 0 skipped\n"),
        ({"fast.xml": PASSED, "integration.xml": PASSED[:60]}, "### ❌ 2 tests: 1 passed, 1 failed, 0 skipped\n"),
    ],
    ids=["none", "two files", "half a file"],
)
def test_the_headline_says_what_there_is(tmp_path: Path, summary: ModuleType, files: dict[str, str], told: str) -> None:
    for name, content in files.items():
        (tmp_path / name).write_text(content)

    assert summary.main(tmp_path).startswith(told)


def test_a_summary_stays_as_small_as_github_wants_it(tmp_path: Path, summary: ModuleType) -> None:
    failed = f'<testcase classname="t" name="n"><failure>{"x" * 50_000}</failure></testcase>'
    (tmp_path / "fast.xml").write_text(f"<testsuite>{failed * 70}</testsuite>")
    told = summary.main(tmp_path)

    assert "... and 20 more." in told
    assert len(told.encode()) < 200_000


def test_it_speaks_without_any_package(tmp_path: Path) -> None:
    """`make test` may have failed to install them."""
    (tmp_path / "fast.xml").write_text(PASSED)
    command = [sys.executable, "-I", "-S", str(ROOT / ".ci" / "summary.py"), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={})

    assert "| tests.test_a | 1 | 0 | 0 | 1.2 |" in done.stdout
