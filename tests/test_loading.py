"""What a good topology resolves to, and what is never read at all."""

from __future__ import annotations

import time
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzzing import rounds
from topology.description import loading
from topology.description.model import FromEnvironment, Host, Kind, Route, ServerCertificate, Topology
from topology.errors import Fault, InvalidInput, InvalidTopology

LABS = Path(__file__).parents[1] / "fixtures" / "labs"
KINDS = {
    name: Kind(name=name, folder=Path("services") / name, port=port, health="/health", base_path=name == "next")
    for name, port in {"fast": 8000, "next": 3000, "node": 3200, "boot": 8080}.items()
}
SMALL = "name: small\nauthorities: {ca: {}, staff: {}}\nhosts:\n  web:\n    domain: web.small.test\n"


def resolved(text: str | bytes, file: Path = Path("topology.yaml")) -> Topology:
    return loading.parse(text, file, KINDS).topology


def web(*lines: str) -> Host:
    """Host `web` of a small lab, with these further lines."""
    return resolved(SMALL + "".join(f"    {line}\n" for line in lines)).hosts["web"]


def faults(text: str | bytes, file: Path = Path("topology.yaml")) -> list[str]:
    with pytest.raises(InvalidTopology) as caught:
        loading.parse(text, file, KINDS)
    return str(caught.value).splitlines()


def test_the_two_host_lab_resolves() -> None:
    """Authority, common name, address, port, health and prefix are filled in where the author left them out."""
    lab = resolved((LABS / "two-host.yaml").read_bytes())
    server, client, bro = lab.hosts["server"], lab.hosts["client"], lab.identities["bro"]

    assert list(lab.authorities) == ["ssl_ca", "server_ca"]
    assert (bro.authority, bro.common_name, bro.san, bro.days) == ("server_ca", "bro", ("bro@two-host.test",), 90)
    assert server.tls == ServerCertificate(authority="ssl_ca", key="ecdsa-p256", days=90)
    assert server.client_certificates is not None
    assert server.client_certificates.authority == ("server_ca",)
    assert server.client_certificates.verify == "per-route"
    assert (server.services["mtls"].port, server.services["mtls"].health) == (8080, "/health")
    assert server.routes["/mtls/"] == Route(service="mtls", client_certificate="required", strip_prefix=True)
    assert client.client_certificates is None
    assert client.routes["/next/"].strip_prefix is False, "Next.js is built for its prefix"
    assert client.routes["/mtls/"] == Route(host="server", to="/mtls/", identity="bro", lends="everyone")
    assert (client.publish.http, client.publish.https) == (8080, 8443)


def test_the_pro_dev_lab_resolves() -> None:
    """`verify: always` behind TLS, and a host in plain HTTP that has no certificate of its own."""
    lab = resolved((LABS / "pro-dev.yaml").read_bytes())
    pro, laptop = lab.hosts["pro"], lab.hosts["laptop"]

    assert pro.client_certificates is not None
    assert pro.client_certificates.verify == "always"
    assert laptop.tls is None
    assert (laptop.publish.http, laptop.publish.https) == (6080, None)
    assert laptop.routes["/pro-dev-proxy/"] == Route(host="pro", to="/", identity="bro", lends="everyone")


@pytest.mark.parametrize("file", sorted(LABS.glob("*.yaml")), ids=lambda file: file.stem)
def test_every_lab_of_the_fixtures_loads_with_the_kinds_that_are_shipped(file: Path) -> None:
    """The services that a lab names are there, whole."""
    assert loading.load(file).topology.name == file.stem


def test_a_host_chooses_its_own_authority() -> None:
    """The first authority is a default only."""
    tls = web("tls: {authority: staff, days: 30}").tls
    assert tls is not None
    assert (tls.authority, tls.days) == ("staff", 30)


def test_client_authorities_are_a_list_or_a_name() -> None:
    """Both are the same to a reader."""
    for written, read in (("staff", ("staff",)), ("[staff, ca]", ("staff", "ca"))):
        asked = web(f"client_certificates: {{authority: {written}}}").client_certificates
        assert asked is not None
        assert asked.authority == read


def test_allow_implies_required() -> None:
    """Nobody has to write both."""
    text = SMALL.replace("hosts:", "identities: {bro: {authority: staff}}\nhosts:") + (
        "    client_certificates: {authority: staff}\n"
        "    services: {node: {kind: node}}\n"
        "    routes: {/node/: {service: node, allow: [bro]}}\n"
    )
    assert resolved(text).hosts["web"].routes["/node/"].client_certificate == "required"


def test_a_route_has_the_last_word_on_its_prefix() -> None:
    """strip_prefix: the route, else the kind, else true."""
    routes = web(
        "services: {node: {kind: node}, own: {image: 'web:1', port: 80, health: /}}",
        "routes: {/a/: {service: node, strip_prefix: false}, /b/: {service: node}, /c/: {service: own}}",
    ).routes
    assert [route.strip_prefix for route in routes.values()] == [False, True, True]


def test_a_service_may_differ_from_its_kind() -> None:
    """The author's port and health come before the kind's."""
    service = web("services: {node: {kind: node, port: 99, health: /up}}").services["node"]
    assert (service.port, service.health) == (99, "/up")


def test_environment_values_are_literal() -> None:
    """`$`, quotes and lines mean themselves; a value may come from the caller's environment."""
    environment = (
        web(
            "services:",
            "  node:",
            "    kind: node",
            "    environment: {A: '$HOME', B: '', C: \"x; {y}\\n'z'\", D: {from_env: TOKEN}}",
        )
        .services["node"]
        .environment
    )
    assert environment == {"A": "$HOME", "B": "", "C": "x; {y}\n'z'", "D": FromEnvironment(from_env="TOKEN")}


def test_common_names_hold_what_a_person_is_called() -> None:
    """Only what ends or starts something in a configuration is refused."""
    for name in ("Zoë", "Bro, Inc. + #1 <x>", "a=b", "x" * 64):
        text = SMALL.replace("hosts:", f"identities: {{bro: {{authority: ca, common_name: '{name}'}}}}\nhosts:")
        assert resolved(text).identities["bro"].common_name == name


def test_alternative_names_are_dns_names_uris_and_addresses() -> None:
    """Those that an application reads a caller from."""
    names = ("web.test", "*.web.test", "spiffe://lab.test/bro", "urn:uuid:1-2", "bro+a@lab.test", "localhost")
    written = ", ".join(f'"{name}"' for name in names)
    text = SMALL.replace("hosts:", f"identities: {{bro: {{authority: ca, san: [{written}]}}}}\nhosts:")
    assert resolved(text).identities["bro"].san == names


@pytest.mark.parametrize("name", ["\u017ftaff.web.test", "bro@\u212aing.test", "\u0131.web.test"])
def test_letters_that_only_look_like_ascii_when_folded_are_refused(name: str) -> None:
    """Long s, the Kelvin sign and the dotless i are no part of a DNS name."""
    text = SMALL.replace("hosts:", f'identities: {{bro: {{authority: ca, san: ["{name}"]}}}}\nhosts:')
    with pytest.raises(InvalidTopology, match="cannot stand on a certificate"):
        resolved(text)


def test_images_are_named_as_registries_name_them() -> None:
    """Registry with a port, path, tag and digest."""
    digest = "a" * 64
    for image in ("nginx", "nginx:1.27", "localhost:5000/a/b_c:T-1", f"reg.test/a@sha256:{digest}", "a/b--c__d.e"):
        assert web(f"services: {{a: {{image: '{image}', port: 80, health: /}}}}").services["a"].image == image


def test_a_folder_is_found_beside_the_topology(tmp_path: Path) -> None:
    """Paths are relative to the file, wherever the command was started."""
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "Dockerfile").touch()
    text = SMALL + "    services: {app: {build: app, port: 80, health: /}}\n"
    assert resolved(text, tmp_path / "topology.yaml").hosts["web"].services["app"].build == "app"


def with_a_link(tmp_path: Path, link: str, target: str) -> list[str]:
    """The faults of a topology with a folder of files that has a symbolic link."""
    for folder in ("site/below", "private"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "page.html").touch()
    (tmp_path / "site" / link).symlink_to(target)
    text = SMALL + "    routes: {/files/: {files: site}}\n"
    try:
        loading.parse(text, tmp_path / "topology.yaml", KINDS)
    except InvalidTopology as error:
        return [f"{fault.path}: {fault.message}" for fault in error.faults]
    return []


@pytest.mark.parametrize(
    ("link", "target"),
    [("key", "../private/page.html"), ("below/key", "/etc/hostname"), ("folder", "../private"), ("again", "below")],
)
def test_no_link_publishes_what_lies_elsewhere(tmp_path: Path, link: str, target: str) -> None:
    """It would be copied into a host's folder, and into git."""
    what = f"has a symbolic link '{link}' to a folder or out of it, which is not followed; put a copy in its place"

    assert with_a_link(tmp_path, link, target) == [f"hosts.web.routes./files/.files: {what}"]


def test_a_link_to_a_file_beside_it_is_that_file(tmp_path: Path) -> None:
    assert with_a_link(tmp_path, "other.html", "below/page.html") == []


def test_hosts_may_call_each_other() -> None:
    """On different routes; nor is it a circle where every round takes a piece of the path away."""
    text = SMALL.replace("web.small.test\n", "web.small.test\n    routes: {/: {host: shop, to: /}}\n") + (
        "  shop:\n"
        "    domain: shop.small.test\n"
        "    services: {node: {kind: node}}\n"
        "    routes: {/: {service: node}, /web/: {host: web, to: /}}\n"
    )
    assert set(resolved(text).hosts) == {"web", "shop"}


def test_a_chain_that_is_too_long_is_told_once() -> None:
    """Hundreds of gateways in a row are a slip."""
    hosts = "".join(f"  h{n}: {{domain: h{n}.a.test, routes: {{/: {{host: h{n + 1}, to: /}}}}}}\n" for n in range(150))
    text = "name: a\nauthorities: {ca: {}}\nhosts:\n" + hosts + "  h150: {domain: h150.a.test}\n"
    assert faults(text) == [
        "topology.yaml:4:40: hosts.h0.routes./.host: passes more than 100 gateways; shorten the chain of routes"
    ]


def test_anchors_that_nothing_refers_to_are_fine() -> None:
    """Not even a warning, if a name stands twice."""
    assert web("aliases: [&a one.small.test, &a two.small.test]").aliases == ("one.small.test", "two.small.test")


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"])
def test_lines_and_columns_hold_for_files_of_windows(start: bytes, end: str) -> None:
    """A byte order mark is no column, and a line end of two characters is one line."""
    text = SMALL.replace("domain", "domian").replace("\n", end)
    assert faults(start + text.encode()) == [
        "topology.yaml:5:5: hosts.web.domian: unknown field; did you mean 'domain'?"
    ]


def test_columns_count_characters() -> None:
    """As editors do, not bytes."""
    assert faults(SMALL + "    ? ü\n    : {ä: 1}\n")[0].startswith("topology.yaml:6:7: hosts.web.ü: unknown field")


def test_a_large_file_is_not_read_to_its_end(tmp_path: Path) -> None:
    """A little more than a megabyte tells enough; memory stays far below the file's size."""
    file = tmp_path / "topology.yaml"
    with file.open("wb") as written:
        written.truncate(64 * 1024 * 1024)
    tracemalloc.start()
    try:
        with pytest.raises(InvalidTopology, match="1:1: the file is larger than 1024 KiB"):
            loading.load(file)
        assert tracemalloc.get_traced_memory()[1] < 16 * 1024 * 1024
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nowhere.yaml", "No such file or directory; write one there, or name another file"),
        (".", "Is a directory; name a file in it"),
        ("x" * 300, "File name too long; name a file that can be read"),
    ],
)
def test_what_cannot_be_read_is_one_line(tmp_path: Path, name: str, words: str) -> None:
    """With the reason, and what to do."""
    with pytest.raises(InvalidInput) as caught:
        loading.load(tmp_path / name)
    assert str(caught.value) == f"{tmp_path / name}: cannot be read: {words}"


def test_a_thousand_services_take_no_time() -> None:
    """Half a second of a busy core; the bound is generous, for slower machines."""
    services = "".join(f"      s{n}: {{image: 'web:1', port: 80, health: /}}\n" for n in range(1000))
    routes = "".join(f"      /s{n}/: {{service: s{n}}}\n" for n in range(1000))
    started = time.process_time()
    assert len(resolved(f"{SMALL}    services:\n{services}    routes:\n{routes}").hosts["web"].services) == 1000
    assert time.process_time() - started < 5


GOOD = (LABS / "two-host.yaml").read_text()
MARKS = ["{", "}", "[", "]", ":", "#", "'", '"', "? ", "- ", "|\n", "&a ", "*a", "!x ", "<<: ", "\t", "\n"]
VALUES = ["null", "[]", "{}", "true", "404", "1e9", "-1", ".inf", "2024-01-01", "/", "//", "/../", "bro"]
DAMAGE = st.one_of(st.text(max_size=6), st.sampled_from([*MARKS, *VALUES, '"\\uD800"', '"\\UFFFFFFFF"']))


@settings(max_examples=rounds(100), deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(GOOD)), st.integers(0, 12), DAMAGE), min_size=1, max_size=4))
def test_no_damage_to_a_good_file_ends_in_a_traceback(damage: list[tuple[int, int, str]]) -> None:
    """Pieces cut out and others put in: it still loads, or every fault is a line with its place."""
    text = GOOD
    for place, length, piece in damage:
        text = text[:place] + piece + text[place + length :]
    assert all(fault.line >= 1 and fault.column >= 1 and fault.message.isprintable() for fault in told(text))


def told(text: str) -> tuple[Fault, ...]:
    """The faults of a text; none where it loads.  Any other exception goes through."""
    try:
        loading.parse(text, Path("topology.yaml"), KINDS)
    except InvalidTopology as error:
        return error.faults or (Fault("nothing told", 0, 0, "", ""),)
    return ()
