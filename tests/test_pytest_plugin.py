"""The plugin's options, outcomes and reports, in sessions of their own with a lab that only pretends to run."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

from topology.errors import LabError, NoEngine, NotReady
from topology.proof import readiness
from topology.report import scene
from topology.runtime.claims import Claim, all_claims
from topology.testing import evidence, session, tested
from topology.testing.choice import Choice, Standing
from topology.testing.owner import Interrupted, Owner, ask

pytest_plugins = ["pytester"]

SHARED = (evidence, session, tested)
"""Modules that a session in this process has to find here, as pytester forgets those that it loads."""

TOPOLOGY = """
name: pretended
authorities:
  ssl_ca: {}
identities:
  bro: {authority: ssl_ca}
hosts:
  web:
    domain: web.pretended.test
    publish: {https: 9443}
    client_certificates: {authority: ssl_ca}
    services:
      app: {image: app, port: 8080, health: /health}
    routes:
      /app/: {service: app, client_certificate: required}
"""

ROUTES = """\
# /app/ -> service app: any client certificate
location /app/ {
    if ($guard) {
        return 403;
    }
    proxy_pass http://app/;
}

# Everything else.
location / {
    root /srv/pages;
}
location = /404.html {
    internal;
}
"""

PRETENDING = (
    '''
import os, signal
from contextlib import contextmanager
from pathlib import Path
import pytest
from topology.errors import NoEngine, NotReady
from topology.proof import expectation, probing
from topology.proof.probing import Observation
from topology.runtime.running import as_published
from topology.runtime.logs import Line
from topology.testing import evidence, session, tested
from topology.testing.choice import Standing
from topology.testing.tested import TestedLab

HERE = Path(__file__).parent

def note(what):
    with (HERE / "events").open("a") as file:
        file.write(what + "\\n")

def find(choice, lab, progress):
    if "NO_ENGINE" in os.environ:
        raise NoEngine("no Docker engine answers; install Docker")
    if "NOT_READY" in os.environ:
        raise NotReady("the lab runs, but does not answer")
    note(f"up {lab.out.name} {lab.instance}")
    if "INTERRUPTED" in os.environ:
        signal.raise_signal(signal.SIGINT)
    return Standing(lab.out, lab.instance, {})

def end(choice, lab):
    if "HANGING" in os.environ:
        raise NotReady("it hangs")
    if not choice.stays:
        note("down")

@contextmanager
def opened(lab, values):
    running = as_published(lab.topology, lab.instance, lab.authorities, lab.identities)
    yield TestedLab(lab, running, {}, expectation.checks(lab.topology), {})

patch = pytest.MonkeyPatch()
patch.setattr(session, "find", find)
patch.setattr(session, "end", end)
patch.setattr(tested, "opened", opened)
patch.setattr(probing, "probe", lambda check, running, shown: Observation(418, "", "", "0123-4567", 0.1))
LINE = '{"uri":"/app/health","request_id":"%s"}'
patch.setattr(evidence, "way", lambda tested, asked: [Line("", "web", "gateway", LINE % asked.request_id)])
patch.setattr(evidence, "routes", lambda tested, host: ROUTES)

@pytest.hookimpl(trylast=True)
def pytest_unconfigure():
    """The session shares its modules with the tests that started it."""
    patch.undo()

ROUTES = """'''
    + ROUTES
    + '''"""
'''
)


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A folder with a topology and a lab that pretends."""
    for name in ("CI", "GITHUB_ACTIONS", "GITHUB_WORKSPACE", "NO_ENGINE", "NOT_READY", "INTERRUPTED", "HANGING"):
        monkeypatch.delenv(name, raising=False)
    # Slow to load, or to collect garbage after each session, and not needed.
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p no:hypothesispytest -p no:anyio -p no:unraisableexception")
    pytester.makefile(".yaml", topology=TOPOLOGY)
    pytester.makeconftest(PRETENDING)
    return pytester


def events(project: pytest.Pytester) -> list[str]:
    file = project.path / "events"
    return file.read_text().splitlines() if file.is_file() else []


TWO_TESTS = """
def test_one(lab):
    assert lab.lab.topology.name == "pretended"

def test_two(lab):
    assert lab.url("web") == "https://web.pretended.test:9443"
"""


def test_one_lab_serves_a_session_and_is_taken_down(project: pytest.Pytester) -> None:
    project.makepyfile(TWO_TESTS)

    project.runpytest().assert_outcomes(passed=2)
    assert [event.split()[0] for event in events(project)] == ["up", "down"]


def test_no_lab_is_started_for_tests_that_need_none(project: pytest.Pytester) -> None:
    project.makepyfile("def test_sums(): assert 1 + 1 == 2")

    project.runpytest().assert_outcomes(passed=1)
    assert events(project) == []


def test_an_interruption_while_the_lab_starts_takes_it_down(
    project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a process of its own, with workers, and killed ones among them: `tests/integration/test_pytest_plugin.py`."""
    monkeypatch.setenv("INTERRUPTED", "1")
    project.makepyfile(TWO_TESTS)

    assert project.runpytest(no_reraise_ctrlc=True).ret == pytest.ExitCode.INTERRUPTED
    assert [event.split()[0] for event in events(project)] == ["up", "down"]


def test_without_an_engine_tests_are_skipped_on_a_laptop(
    project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_ENGINE", "1")
    project.makepyfile(TWO_TESTS)

    result = project.runpytest()
    result.assert_outcomes(skipped=2)
    result.stdout.fnmatch_lines(["tests without a lab: no Docker engine answers; install Docker"])


def test_without_an_engine_tests_fail_in_ci(project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_ENGINE", "1")
    monkeypatch.setenv("CI", "true")
    project.makepyfile(TWO_TESTS)

    result = project.runpytest()
    result.assert_outcomes(errors=2)
    result.stdout.fnmatch_lines(["*no Docker engine answers; install Docker*"])


def test_a_lab_that_does_not_come_up_fails_on_a_laptop_too(
    project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOT_READY", "1")
    project.makepyfile(TWO_TESTS)

    project.runpytest().assert_outcomes(errors=2)


def test_a_topology_with_a_fault_is_told_with_its_place(project: pytest.Pytester) -> None:
    (project.path / "topology.yaml").write_text(TOPOLOGY.replace("service: app", "servce: app"))
    project.makepyfile("def test_cells(lab, cell): lab.verify(cell)")

    result = project.runpytest()
    result.stdout.fnmatch_lines(["*topology.yaml:*did you mean 'service'?*"])
    assert result.ret != 0


def test_a_lab_that_is_kept_says_how_to_go_on(project: pytest.Pytester) -> None:
    project.makepyfile(TWO_TESTS)

    result = project.runpytest("--lab-keep")
    result.stdout.fnmatch_lines(
        [
            "the lab stays up; see it: mtls-lab status */topology.yaml --out */.mtls-lab --instance pytest-*",
            "take it down: mtls-lab down */topology.yaml --out */.mtls-lab --instance pytest-*",
        ]
    )
    assert [event.split()[:2] for event in events(project)] == [["up", ".mtls-lab"]]


def test_a_lab_that_is_used_again_has_the_same_name_each_time(project: pytest.Pytester) -> None:
    project.makepyfile(TWO_TESTS)
    project.runpytest("--lab-reuse")
    project.runpytest("--lab-reuse")

    assert len(events(project)) == 2
    assert len(set(events(project))) == 1


def test_somebody_elses_lab_is_named_by_its_instance(project: pytest.Pytester) -> None:
    project.makepyfile(TWO_TESTS)
    result = project.runpytest("--lab-external", "--lab-instance", "mine")

    assert events(project) == ["up compose mine"]
    result.stdout.no_fnmatch_line("*take it down*")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--lab-external", "--lab-keep"], "*--lab-keep and --lab-external*"),
        (["--lab-external", "--lab-reuse"], "*--lab-reuse and --lab-external*"),
        (["--lab-instance", "mine"], "*--lab-instance is for --lab-external*"),
    ],
)
def test_options_that_contradict_each_other_are_refused(
    project: pytest.Pytester, options: list[str], message: str
) -> None:
    result = project.runpytest(*options)

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([message])


def test_a_lab_that_cannot_be_taken_down_fails_the_session(
    project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HANGING", "1")
    monkeypatch.setattr(tempfile, "tempdir", str(project.path))  # the stacks are left there
    project.makepyfile(TWO_TESTS)

    result = project.runpytest()
    result.assert_outcomes(passed=2)
    assert result.ret == pytest.ExitCode.INTERNAL_ERROR
    result.stderr.fnmatch_lines(["ERROR: the lab could not be taken down: it hangs", "try again: mtls-lab down *"])


FAILING = """
def test_cells(lab, cell):
    lab.verify(cell)

def test_mine(lab):
    lab.ask(lab.checks[0])
    assert 1 == 2

def test_none(lab):
    assert 1 == 2
"""
FIRST_CELL = "test_cells[web /app/ none 403 (TLS 1.2)]"


def test_a_failing_item_shows_the_scene_in_the_terminal_and_in_junit(project: pytest.Pytester) -> None:
    """Log lines by the request's id, the location that answered, a curl line; from a worker, too, which has the lab
    of the session.  Several workers share one: `tests/integration/test_pytest_plugin.py`."""
    project.makepyfile(FAILING)
    result = project.runpytest("-n1", "--junitxml=report.xml", "-k", "none")

    scene = [
        "web: its gateway logged",
        '{"uri":"/app/health","request_id":"0123-4567"}',
        "location /app/ {",
        "    proxy_pass http://app/;",
        "ask again",
        "curl --include --path-as-is --tlsv1.2 --tls-max 1.2 --resolve web.pretended.test:9443:127.0.0.1 --cacert *",
    ]
    result.stdout.fnmatch_lines(["*web /app/health as none, request 0123-4567*", *scene], consecutive=False)
    cases = ElementTree.parse(project.path / "report.xml").iter("testcase")
    told = {case.get("name"): "".join(failure.text or "" for failure in case.iter("failure")) for case in cases}
    assert all(part.rstrip("*") in told[FIRST_CELL] for part in scene)
    assert "its gateway logged" not in told["test_none"], "it sent no request"
    assert [event.split()[0] for event in events(project)] == ["up", "down"]


def test_a_failing_assertion_after_a_request_shows_the_scene(project: pytest.Pytester) -> None:
    project.makepyfile(FAILING)

    project.runpytest("-k", "mine").stdout.fnmatch_lines(["E*assert 1 == 2", "*request 0123-4567*", "location /app/ {"])


def test_on_github_a_failing_item_is_an_annotation_with_the_scene(
    project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_WORKSPACE", str(project.path.parent))
    file = project.makepyfile(FAILING)
    place = file.relative_to(project.path.parent)

    result = project.runpytest("-k", "mine")
    [line] = [line for line in result.outlines if line.startswith("::error ")]
    assert line.startswith(f"::error file={place},line=4,title={file.name}%3A%3Atest_mine::assert 1 == 2")
    assert "%0Alocation /app/ {%0A" in line
    assert "%0Aask again%0Acurl " in line


def test_a_request_to_what_the_topology_does_not_have_is_refused_with_the_choices(project: pytest.Pytester) -> None:
    project.makepyfile("""
        import pytest
        from topology.errors import InvalidInput

        @pytest.mark.parametrize(("host", "identity"), [("shop", None), ("web", "sis")])
        def test_unknown(lab, host, identity):
            with pytest.raises(InvalidInput, match="not in the topology; there are (web|bro)"):
                lab.get(host, "/app/", identity)
    """)

    project.runpytest().assert_outcomes(passed=2)


def test_elsewhere_nothing_is_annotated(project: pytest.Pytester) -> None:
    project.makepyfile(FAILING)

    project.runpytest("-k", "mine").stdout.no_fnmatch_line("::error*")


# The parts


@pytest.mark.parametrize(
    ("uri", "first"),
    [
        ("/app/health?deep=1", "# /app/ -> service app: any client certificate"),
        ("/other", "# Everything else."),
        ("/404.html", "location = /404.html {"),
    ],
)
def test_the_location_is_the_one_that_nginx_chooses(uri: str, first: str) -> None:
    block = scene.location_block(ROUTES, uri)

    assert block.splitlines()[0] == first
    assert block.endswith("\n}")


def test_the_location_of_a_generated_route_is_found() -> None:
    """The checked-in routes of a real lab."""
    routes = (Path(__file__).parents[1] / "compose/two-host/client/nginx/routes.conf").read_text()

    block = scene.location_block(routes, "/mtls/health")
    assert block.startswith("# /mtls/ -> host server, /mtls/ as bro: everyone\nlocation /mtls/ {")
    assert "proxy_pass https://server.as.bro;" in block
    assert block.count("location") == 1


def test_what_would_end_an_annotation_is_escaped() -> None:
    line = scene.annotation(Path("/a,b/test.py"), 3, "a::b", "50%\nnext")

    assert line == "::error file=/a%2Cb/test.py,line=3,title=a%3A%3Ab::50%25%0Anext"


class Answering(Owner):
    """Has a lab up, or not, without an engine."""

    def __init__(self, told: Standing | LabError) -> None:
        super().__init__(Choice(Path("topology.yaml"), None, "pytest-1"))
        self.answers = [told]

    def brought_up(self) -> Standing | LabError:
        return self.answers.pop()


def test_a_worker_is_told_where_the_lab_is() -> None:
    standing = Standing(Path("/stacks"), "pytest-1", {"web": {"NAME": "value"}})
    owner = Answering(standing)

    assert [ask(owner.listen()), ask(owner.listen())] == [standing, standing]
    owner.end()


@pytest.mark.parametrize("error", [NoEngine("none answers"), NotReady("a container died")])
def test_a_worker_is_told_why_there_is_no_lab(error: LabError) -> None:
    owner = Answering(error)

    with pytest.raises(type(error), match=str(error)):
        ask(owner.listen())
    owner.end()


def test_who_does_not_know_the_key_is_told_nothing() -> None:
    owner = Answering(Standing(Path("/stacks"), "pytest-1", {}))
    known = owner.listen()

    with pytest.raises(NotReady, match="cannot be asked"):
        ask({**known, "key": "guessed"})
    assert ask(known).instance == "pytest-1"
    owner.end()


def test_a_worker_without_its_controller_is_told() -> None:
    with pytest.raises(NotReady, match="workers have to run on its machine"):
        ask({"address": "/nowhere/socket", "key": "any"})


def test_after_the_end_nothing_is_started() -> None:
    owner = Owner(Choice(Path("topology.yaml"), None, "pytest-1"))
    owner.end()

    with pytest.raises(Interrupted):
        owner.find()


def test_no_word_is_left_of_a_lab_that_no_engine_could_start(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of it can be up: `doctor` has nothing to look for."""
    monkeypatch.setenv("XDG_STATE_HOME", str(built / "state"))
    lab = Choice(built / "topology.yaml", None, "pytest-1").load(built / "stacks")
    there: list[Claim] = []

    def none_answers(*_: object, **__: object) -> None:
        there.extend(all_claims())
        raise NoEngine("none answers")

    monkeypatch.setattr(readiness, "bring_up", none_answers)
    with pytest.raises(NoEngine):
        session.start_own(lab)
    assert there == [Claim("pretended", "pytest-1")]
    assert list(all_claims()) == []


# What makes a lab that was left up the one that is wanted

BUILT = TOPOLOGY.replace("{image: app,", "{build: app, environment: {TOKEN: {from_env: SHOP_TOKEN}},")


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A topology with a service of its own, which takes a variable from the environment."""
    monkeypatch.setenv("SHOP_TOKEN", "one")
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "Dockerfile").write_text("FROM scratch\n")
    (tmp_path / "topology.yaml").write_text(BUILT)
    return tmp_path


def content(folder: Path) -> str:
    return session.content_hash(Choice(folder / "topology.yaml", None, "pytest-1").load(folder / "stacks"))


def test_the_same_content_is_known_again(built: Path) -> None:
    assert content(built) == content(built)


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "topology.yaml").write_text(BUILT.replace("web.pretended", "shop.pretended")),
        lambda folder: (folder / "topology.yaml").write_text(
            BUILT.replace("{authority: ssl_ca}\nhosts", "{authority: ssl_ca, days: 7}\nhosts")
        ),
        lambda folder: (folder / "app" / "Dockerfile").write_text("FROM scratch\nUSER 10001\n"),
        lambda _: os.environ.update(SHOP_TOKEN="two"),
    ],
    ids=["topology", "certificate", "sources", "environment"],
)
def test_other_content_is_noticed(built: Path, change: Callable[[Path], object]) -> None:
    before = content(built)
    change(built)

    assert content(built) != before


@pytest.mark.parametrize(("content", "age", "current"), [("a", 60, True), ("b", 60, False), ("a", 13 * 60 * 60, False)])
def test_a_lab_is_current_with_the_same_content_for_half_a_day(content: str, age: float, current: bool) -> None:
    left = session.Remembered("a", ("1",), time.time() - age, {})

    assert session.is_current(left, content) is current


@pytest.mark.parametrize("text", ["", "{", "[]", '{"content": "a"}', '{"content": "a", "containers": 3, "proven": 1}'])
def test_what_was_remembered_and_cannot_be_read_is_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "memory.json").write_text(text)

    assert session.read(tmp_path / "memory.json") is None
