"""From a topology to files: pure, complete, and safe to print."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from topology.description import loading
from topology.description.loading import Description
from topology.generation import planning, rendering, writing
from topology.generation.addressing import Network, Networks
from topology.generation.planning import Surroundings
from topology.runtime.stacks import published_fields

ROOT = Path(__file__).parents[1]
LABS = ROOT / "fixtures" / "labs"
LAB_FILES = sorted(LABS.glob("*.yaml"))


def files(description: Description, networks: Networks | None = None) -> dict[str, str]:
    moved = {h: Surroundings(networks.internet, network) for h, network in networks.inside.items()} if networks else {}
    return rendering.render(planning.plan(description, moved))


def changed(before: str, after: str) -> set[str]:
    """Paths that differ between the stacks of two texts."""
    kinds = loading.catalog.kinds(LABS / "two-host.yaml")
    old, new = (files(loading.parse(text, LABS / "x.yaml", kinds)) for text in (before, after))
    return {path for path in old.keys() | new.keys() if old.get(path) != new.get(path)}


@pytest.mark.parametrize("file", LAB_FILES, ids=[file.stem for file in LAB_FILES])
def test_the_checked_in_stacks_are_what_their_topology_says(file: Path) -> None:
    """Not one byte else: no hand edit, no forgotten generation, no stray file."""
    description = loading.load(file)

    assert description.topology.name == file.stem
    assert writing.differences(ROOT / "compose" / file.stem, files(description)) == ()


def test_all_labs_can_be_up_at_once() -> None:
    """No two of them ask for the same port on this machine."""
    asked = [
        (port, f"{file.stem} {name} {field}")
        for file in LAB_FILES
        for name, host in loading.load(file).topology.hosts.items()
        for field, port in published_fields(host)
        if port is not None
    ]
    first = dict(reversed(asked))

    assert [place for port, place in asked if first[port] != place] == []


def test_generation_does_not_depend_on_the_process() -> None:
    """Another run, with other hash seeds, from another folder, gives the same bytes."""
    script = (
        "import sys, json, pathlib\n"
        "from topology.description import loading\n"
        "from topology.generation import planning, rendering\n"
        "print(json.dumps(rendering.render(planning.plan(loading.load(pathlib.Path(sys.argv[1]))))))"
    )
    command = [sys.executable, "-c", script, str(LABS / "guarded.yaml")]
    environment = {"PYTHONHASHSEED": "7", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd="/", env=environment, capture_output=True, text=True, check=True)

    assert json.loads(done.stdout) == files(loading.load(LABS / "guarded.yaml"))


def test_nothing_of_the_author_s_machine_is_in_them() -> None:
    for text in files(loading.load(LABS / "guarded.yaml")).values():
        assert str(ROOT) not in text


TWO_HOST = (LABS / "two-host.yaml").read_text()


def test_one_more_service_changes_its_host_alone() -> None:
    after = TWO_HOST.replace(
        "      boot: {kind: boot}\n", "      boot: {kind: boot}\n      more: {kind: node}\n"
    ).replace("      /boot/: {service: boot}\n", "      /boot/: {service: boot}\n      /more/: {service: more}\n")

    assert {path.split("/")[0] for path in changed(TWO_HOST, after)} == {"server"}


def test_a_guard_changes_one_file() -> None:
    """What a reviewer sees of `client_certificate: required` is the guard."""
    after = TWO_HOST.replace("/boot/: {service: boot}", "/boot/: {service: boot, client_certificate: required}")

    assert changed(TWO_HOST, after) == {"server/nginx/routes.conf", "server/pages/index.html"}


def test_a_lab_that_is_moved_keeps_its_compose_files() -> None:
    """Where the default networks are taken, variables move it; the gateways' configuration alone names addresses."""
    description = loading.load(LABS / "two-host.yaml")
    moved = Networks(Network("192.168.1"), {"server": Network("192.168.2"), "client": Network("192.168.3")})
    here, there = files(description), files(description, moved)

    assert {path for path in here if here[path] != there[path]} == {
        "server/nginx/nginx.conf",
        "client/nginx/nginx.conf",
    }
    assert "192.168.3.2:8080" in there["client/nginx/nginx.conf"]


def test_a_dollar_in_an_environment_means_itself() -> None:
    """Compose would take it for a variable."""
    compose = files(loading.load(LABS / "guarded.yaml"))["vault/compose.yaml"]

    assert 'PRICE: "$$5 {each}"' in compose


def test_a_secret_is_named_and_not_written() -> None:
    text = TWO_HOST.replace("{kind: fast}", "{kind: fast, environment: {TOKEN: {from_env: LAB_TOKEN}}}")
    description = loading.parse(text, LABS / "x.yaml", loading.catalog.kinds(LABS / "two-host.yaml"))

    assert 'TOKEN: "${LAB_TOKEN-}"' in files(description)["client/compose.yaml"]
    assert planning.from_environment(description.topology) == ("LAB_TOKEN",)


@pytest.mark.parametrize(
    ("common_name", "printed"),
    [
        ("bro", '"CN=partners intermediate,O=guarded|CN=bro"'),
        ("a,b", '"CN=partners intermediate,O=guarded|CN=a\\\\,b"'),
        ("é", '"CN=partners intermediate,O=guarded|CN=\\\\C3\\\\A9"'),
    ],
)
def test_a_guard_names_its_caller_as_nginx_does(common_name: str, printed: str) -> None:
    """RFC 2253, and in nginx's quotes: a backslash is written twice."""
    text = (LABS / "guarded.yaml").read_text().replace("alice: {authority: partners}",
        f"alice: {{authority: partners, common_name: '{common_name}'}}")  # fmt: skip
    description = loading.parse(text, LABS / "x.yaml", loading.catalog.kinds(LABS / "two-host.yaml"))

    assert f"if ($caller = {printed}) {{" in files(description)["vault/nginx/routes.conf"]


def test_every_location_sets_every_header() -> None:
    """nginx passes on what is not named in the same level: a location without the list would let a caller forge it."""
    for path, text in files(loading.load(LABS / "guarded.yaml")).items():
        if path.endswith("routes.conf"):
            passes = text.count("proxy_pass ")
            assert (
                text.count("include lab/service-headers.conf;") + text.count("include lab/egress-headers.conf;")
                == passes
            )


def test_each_identity_has_an_upstream_of_its_own() -> None:
    """Connections and TLS sessions are kept per upstream: shared, they would lend one identity to another route."""
    routes = files(loading.load(LABS / "guarded.yaml"))["office/nginx/routes.conf"]
    blocks = [block for block in routes.split("\n# ") if "proxy_pass https" in block]
    seen: dict[str, set[str]] = {}
    for block in blocks:
        upstream = block.split("proxy_pass https://")[1].split(";")[0]
        shown = block.split("proxy_ssl_certificate ")[1].split(";")[0] if "proxy_ssl_certificate " in block else ""
        seen.setdefault(upstream, set()).add(shown)

    assert len(seen) == 4
    assert all(len(identities) == 1 for identities in seen.values())


def test_what_begins_with_a_dot_is_not_published(tmp_path: Path) -> None:
    """`.env` and `.git` beside pages; `.well-known` is made for callers."""
    for path in (".env", ".git/config", "below/.htpasswd", ".well-known/security.txt", "index.html"):
        (tmp_path / "site" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "site" / path).touch()
    text = "name: a\nhosts: {web: {domain: a.test, tls: false, routes: {/f/: {files: site}}}}\n"
    made = files(loading.parse(text, tmp_path / "topology.yaml", {}))

    assert {path for path in made if path.startswith("web/files/")} == {
        "web/files/f/f/.well-known/security.txt",
        "web/files/f/f/index.html",
    }
