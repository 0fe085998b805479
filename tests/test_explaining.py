"""Causes told apart on evidence alone: certificates, log lines and configurations, without a lab."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests import issuers
from tests.issuers import Authority
from tests.test_generation import LABS
from tests.test_zoo import DEEP, FLAT
from topology.description import loading
from topology.explaining import certificates, chains, configuration, gathering, log_lines, reasoning
from topology.explaining.asking import Target
from topology.explaining.chains import Shown, Trust
from topology.explaining.evidence import Evidence, Finding, Hop, Peer, Received, Sent
from topology.nginx import reading
from topology.nginx.reading import Mounts
from topology.pki import issuing, zoo
from topology.pki.zoo import Scene
from topology.proof import callers, expectation
from topology.proof.expectation import REFUSED
from topology.runtime import last_words
from topology.runtime.gateways import File, Insides
from topology.runtime.last_words import Around

NOW = datetime.now(UTC)
ROOT = issuers.root("acme root")
TWIN = issuers.root("acme root")
ABOVE = issuers.below(ROOT, "acme one")
BELOW = issuers.below(ABOVE, "acme two")
TWO_HOST = Path(__file__).parents[1] / "compose" / "two-host"
TOPOLOGY = loading.load(LABS / "two-host.yaml").topology


def shown(
    leaf: tuple[bytes, bytes], *sent: Authority, anchors: tuple[Authority, ...] = (ROOT,), depth: int = 1,
    known: tuple[Authority, ...] = (), crls: bytes | None = None, purpose: str = chains.CLIENT,
) -> Shown:  # fmt: skip
    chain = certificates.read(leaf[0] + b"".join(one.pem for one in sent))
    trusted = certificates.read(b"".join(one.pem for one in anchors))
    lists = certificates.read_lists(crls or b"")
    by_name = {f"known {n}": certificates.read(one.pem)[0] for n, one in enumerate(known)}
    return Shown(chain, Trust(trusted, lists, depth, crls is not None, purpose), NOW, by_name)


# What OpenSSL calls 2, 20 and 21 with one voice

SAME_NUMBER = {
    "impostor": shown(TWIN.client("bro")),
    "bad-signature": shown(ROOT.client("bro", damaged=True)),
    "other-authority": shown(issuers.root("stranger").client("bro")),
    "intermediate-missing": shown(ABOVE.client("bro"), known=(ABOVE,)),
    "too-deep": shown(BELOW.client("bro"), BELOW, ABOVE),
    "root-missing": shown(ABOVE.client("bro"), anchors=(ABOVE,)),
}


@pytest.mark.parametrize("code", [2, 20, 21])
@pytest.mark.parametrize("kind", SAME_NUMBER)
def test_the_number_does_not_tell_and_the_certificates_do(kind: str, code: int) -> None:
    main, _ = chains.cause(SAME_NUMBER[kind], code)

    assert main is not None
    assert main.kind == kind


OF_ONE_NUMBER = {
    3: (shown(ROOT.client("bro"), crls=b""), "crl-missing"),
    9: (shown(ROOT.client("bro", start=NOW + timedelta(minutes=10))), "not-yet-valid"),
    10: (shown(ROOT.client("bro", start=NOW - timedelta(9), end=NOW - timedelta(1))), "expired"),
    12: (shown(ROOT.client("bro"), crls=ROOT.crl(end=NOW - timedelta(hours=1))), "crl-expired"),
    23: (shown(ROOT.client("bro", serial=77), crls=ROOT.crl([77])), "revoked"),
    26: (shown(ROOT.client("bro", purposes=["serverAuth"])), "wrong-purpose"),
    34: (shown(ROOT.client("bro", critical=True)), "unknown-critical"),
    66: (shown(ROOT.client("bro", bits=1024)), "weak-key"),
}


@pytest.mark.parametrize("code", OF_ONE_NUMBER)
def test_a_flaw_has_the_number_that_openssl_gives_it(code: int) -> None:
    what, kind = OF_ONE_NUMBER[code]
    main, _ = chains.cause(what, code)

    assert main is not None
    assert main.kind == kind


GOOD = {
    "directly below the root": shown(ROOT.client("bro"), crls=ROOT.crl()),
    "without a purpose": shown(ROOT.client("bro", purposes=None)),
    "below an intermediate that is sent": shown(ABOVE.client("bro"), ABOVE, crls=ROOT.crl() + ABOVE.crl()),
    "below an intermediate that is trusted": shown(ABOVE.client("bro"), anchors=(ROOT, ABOVE)),
    "two intermediates, and a depth of two": shown(BELOW.client("bro"), ABOVE, BELOW, depth=2),
    "the right one of two roots of one name": shown(ROOT.client("bro"), anchors=(TWIN, ROOT)),
    "a server's": shown(ROOT.server("a.test"), purpose=chains.SERVER),
}


@pytest.mark.parametrize("name", GOOD)
def test_nothing_is_found_on_a_good_certificate(name: str) -> None:
    """A cause that is found everywhere tells nothing."""
    assert chains.flaws(GOOD[name]) == ()


# Callers of `check`: one cause each, by hand

CAUSES = {
    "impostor-authority": "impostor", "impostor-without-identifiers": "impostor",
    "impostor-with-real-identifier": "bad-signature", "impostor-and-its-root": "impostor",
    "server-certificate": "other-authority", "servers-authority": "other-authority",
    "foreign-key-identifier": "foreign-key-identifier", "tampered": "bad-signature", "purpose-any": "wrong-purpose",
    "purpose-code-signing": "wrong-purpose", "usage-encipherment": "wrong-usage", "usage-certificates": "wrong-usage",
    "authority-as-caller": "wrong-usage", "unknown-critical-extension": "unknown-critical",
    "intermediate-missing": "intermediate-missing", "intermediate-expired": "expired",
    "intermediate-not-yet-valid": "not-yet-valid", "intermediate-revoked": "revoked",
    "intermediate-without-crl": "crl-missing", "intermediate-ca-false": "issuer-not-authority",
    "intermediate-usage": "issuer-may-not-sign", "intermediate-for-servers": "wrong-purpose",
    "intermediate-tampered": "bad-signature", "chain-too-long": "too-deep", "path-length": "path-length",
    "rsa-1024": "weak-key", "sha-1": "weak-digest",
}  # fmt: skip


@pytest.mark.parametrize("scene", [FLAT, DEEP], ids=["flat", "deep"])
@pytest.mark.parametrize("kind", callers.KINDS)
def test_every_kind_of_caller_has_the_flaw_that_its_name_says_and_good_ones_have_none(kind: str, scene: Scene) -> None:
    authorities = [scene.root, *([scene.leaves] if scene.is_deep else [])]
    revoked = [(one, [issuing.reserved_revoked_serial(one.certificate)]) for one in authorities]
    lists = b"".join(issuing.crl_pem(issuing.issue_crl(one, serials, now=NOW)) for one, serials in revoked)
    known = [certificates.read(issuing.certificate_pem(one.certificate))[0] for one in authorities]
    what = Shown(
        certificates.read(zoo.show(kind, scene).certificate_pem()),
        Trust((known[0],), certificates.read_lists(lists)), NOW, {str(n): one for n, one in enumerate(known)},
    )  # fmt: skip
    found = chains.flaws(what)

    assert next((flaw.kind for flaw in found), None) == CAUSES.get(kind)


def test_whoever_is_refused_inside_of_tls_without_a_flaw_of_the_chain_is_known() -> None:
    bad = {name for name, kind in callers.KINDS.items() if kind.worth is callers.BAD}

    assert bad - CAUSES.keys() == {"name-constraints"}  # OpenSSL alone judges names, and says so by its number


@pytest.mark.parametrize("lab", [file.stem for file in sorted(LABS.glob("*.yaml"))])
def test_explain_expects_what_check_expects(lab: str) -> None:
    topology = loading.load(LABS / f"{lab}.yaml").topology
    differing = []
    for check in (*expectation.checks(topology), *callers.checks(topology)):
        if check.port is None:
            tls = check.tls != "plain"
            asked = Target(check.host, topology.hosts[check.host].domain, "127.0.0.1", 1, check.path, tls,
                           443 if tls else 80)  # fmt: skip
            expected, _ = gathering.expectation_of(topology, asked, check.shown)
            if expected != check.expected:
                differing.append((check.id, check.expected, expected))

    assert differing == []


def test_a_refused_handshake_is_as_it_should_be_where_the_topology_says_so() -> None:
    sent = Sent("https://ec3.lab.test/", "server", "ec3.lab.test", "/")
    refused = Evidence(sent, Received(None, "handshake refused"), TOPOLOGY, expected=REFUSED)

    assert reasoning.explain(refused).as_expected is True
    assert reasoning.explain(replace(refused, received=Received(200))).as_expected is False
    assert reasoning.explain(replace(refused, received=Received(None, "timeout"))).as_expected is False


@pytest.mark.parametrize(
    ("given", "otherwise"), [({}, False), ({"host": "EC3.lab.test:9443"}, False), ({"Host": "other.lab.test"}, True)]
)
def test_of_another_host_s_name_the_topology_says_nothing(given: dict[str, str], otherwise: bool) -> None:
    sent = Sent("https://ec3.lab.test/", "server", "ec3.lab.test", "/", headers=given)

    assert gathering.is_named_otherwise(TOPOLOGY, sent) is otherwise


def test_too_many_certificates_are_told_from_a_wrong_key() -> None:
    line = log_lines.parse(
        "2026/11/25 22:00:00 [info] 30#30: *5 SSL_do_handshake() failed (SSL: error:0A000098:SSL routines::excessive "
        "message size) while SSL handshaking, client: 10.0.0.1, server: 0.0.0.0:443"
    )
    assert line is not None
    sent = Sent("https://ec3.lab.test/", "server", "ec3.lab.test", "/")
    hop = Hop("server", errors=(line,))

    found = reasoning.cause_of(Evidence(sent, Received(None, "connection reset"), TOPOLOGY, (hop,)))

    assert found.cause == "chain-too-large"


# Clocks


def refused(clock: datetime) -> Finding:
    """bro's certificate begins in ten minutes' time, by the clock of the gateway that refuses it."""
    leaf = ROOT.client("bro", start=NOW - timedelta(minutes=5))
    line = log_lines.parse(
        "2026/11/25 22:00:00 [info] 30#30: *5 client SSL certificate verify error: (9:certificate is not yet valid) "
        'while reading client request headers, client: 10.0.0.1, server: ec3.lab.test, request: "GET / HTTP/1.1"'
    )
    assert line is not None
    holds = settings("server", "/mtls/health")
    files = {holds.value("ssl_client_certificate"): ROOT.pem, holds.value("ssl_crl"): ROOT.crl()}
    hop = Hop("server", "/mtls/", {"status": 400}, (line,), None, holds, files, now=clock)
    sent = Sent("https://ec3.lab.test/", "server", "ec3.lab.test", "/", shown=certificates.read(leaf[0]), caller="bro")
    return reasoning.cause_of(Evidence(sent, Received(400), TOPOLOGY, (hop,), now=NOW))


def test_a_clock_that_is_behind_is_told_from_a_certificate_that_is_too_new() -> None:
    """25: the certificate began five minutes ago; the gateway's clock is ten minutes behind."""
    found = refused(NOW - timedelta(minutes=10))

    assert found.cause == "clock-skew"
    assert "600 s behind" in found.why


def test_with_clocks_that_agree_there_is_no_skew() -> None:
    assert refused(NOW).cause == "other-verification"


# Configurations


def settings(host: str, uri: str, port: int = 443) -> configuration.Effective:
    folder = TWO_HOST / host / "nginx"
    read = reading.read(folder / "nginx.conf", prefix="/etc/nginx", mounts=Mounts.of({"/etc/nginx/lab": folder}))
    return configuration.effective(read, port, TOPOLOGY.hosts[host].domain, uri)


@pytest.mark.parametrize(
    ("uri", "location"),
    [("/mtls/health", "/mtls/"), ("/boot/../mtls/", "/mtls/"), ("//mtls/", "/mtls/"), ("/%6dtls/x?y", "/mtls/"),
     ("/mtls", "/"), ("/404.html", "= /404.html"), ("/Mtls/", "/")],
)  # fmt: skip
def test_the_location_is_the_one_that_nginx_takes(uri: str, location: str) -> None:
    found = settings("server", uri).location

    assert found is not None
    assert str(found) == f"location {location}"


def test_a_setting_is_known_with_its_line() -> None:
    found = settings("server", "/mtls/").one("ssl_verify_client")

    assert found is not None
    assert found.place.file.read_text().splitlines()[found.place.line - 1].strip() == f"{found};"


def test_a_name_that_no_server_has_meets_the_default_one() -> None:
    folder = TWO_HOST / "server" / "nginx"
    read = reading.read(folder / "nginx.conf", prefix="/etc/nginx", mounts=Mounts.of({"/etc/nginx/lab": folder}))

    assert configuration.effective(read, 443, "nobody.test", "/").value("ssl_reject_handshake") == "on"


# The upstream's address


def unreached(*peers: Peer) -> str:
    holds = settings("server", "/boot/")
    address = next(iter(holds.upstream_servers("boot"))).value
    line = log_lines.parse(
        "2026/11/25 22:00:00 [error] 30#30: *5 connect() failed (111: Connection refused) while connecting to upstream,"
        f' client: 10.0.0.1, server: ec3.lab.test, request: "GET / HTTP/1.1", upstream: "http://{address}/"'
    )
    assert line is not None
    hop = Hop("server", "/boot/", {"status": 502, "upstream": address}, (line,), None, holds, peers=peers)
    sent = Sent("https://ec3.lab.test/boot/", "server", "ec3.lab.test", "/boot/")
    return reasoning.cause_of(Evidence(sent, Received(502), TOPOLOGY, (hop,))).cause


def test_a_recreated_container_is_told_from_one_that_is_down_and_from_a_wrong_port() -> None:
    """1: whoever has the address decides."""
    kept = next(iter(settings("server", "/boot/").upstream_servers("boot"))).value.partition(":")[0]

    assert unreached(Peer("boot", "running", "", ("172.19.0.9",))) == "upstream-address-changed"
    assert unreached(Peer("boot", "running", "", (kept,))) == "upstream-wrong-port"
    assert unreached(Peer("boot", "exited", "", ())) == "upstream-down"


# Mounts


def test_a_file_that_is_mounted_by_itself_keeps_what_it_was(tmp_path: Path) -> None:
    """6: replaced on this machine, and the container goes on with the old one."""
    (tmp_path / "server.pem").write_bytes(b"new")
    inside = Insides(
        {"/etc/nginx/server.pem": File(b"old", NOW)}, NOW, NOW, {"/etc/nginx/server.pem": tmp_path / "server.pem"}, True
    )
    (found,) = gathering.stale(inside)

    assert found.cause == "stale-mount"
    assert "mounted by itself" in found.why
    assert not list(gathering.stale(replace(inside, files={"/etc/nginx/server.pem": File(b"new", NOW)})))


# Last words

KEY = '[emerg] 1#1: cannot load certificate key "/c/server.key": BIO_new_file() failed (SSL: error:8000000D:system \
library::Permission denied:calling fopen(/c/server.key, r))'
NO_START = '[emerg] 1#1: cannot load certificate "/c/server.key": PEM_read_bio_X509_AUX() failed (SSL: no start line)'
NOT_FOUND = '[emerg] 1#1: host not found in upstream "keycloack:80" in /etc/nginx/lab/nginx.conf:25'


def told(log: str, around: Around) -> str:
    return " ".join(last_words.meaning(log, around))


def test_an_unknown_name_is_a_slip_or_another_network_or_not_started_yet() -> None:
    """3."""
    assert "did you mean keycloak?" in told(NOT_FOUND, Around({"keycloak": "running"}))
    named = NOT_FOUND.replace("keycloack", "keycloak")
    assert "none of the networks" in told(named, Around({"keycloak": "running"}))
    assert "start it first" in told(named, Around({"keycloak": "created"}, frozenset({"keycloak"})))
    assert "nginx.conf:25" in told(named, Around())


def test_who_may_not_read_a_key_is_said_with_owner_and_mode(tmp_path: Path) -> None:
    """7: the key's own mode, or that of a folder above it."""
    folder = tmp_path / "certificates"
    folder.mkdir()
    key = folder / "server.key"
    key.write_text("")
    key.chmod(0o600)
    tmp_path.chmod(0o700)  # above what is mounted, and therefore nothing that counts
    around = Around(user=key.stat().st_uid + 7, mounts={"/c": folder})
    folder.chmod(0o755)

    assert "mode 0600" in told(KEY, around)
    assert "chown" in told(KEY, around)
    folder.chmod(0o700)
    assert f"may not enter {folder}" in told(KEY, around)


def test_no_start_line_is_a_folder_an_empty_file_or_another_format(tmp_path: Path) -> None:
    around = Around(mounts={"/c": tmp_path})
    file = tmp_path / "server.key"
    file.mkdir()
    assert "is a folder" in told(NO_START, around)
    file.rmdir()
    file.write_bytes(b"")
    assert "is empty" in told(NO_START, around)
    file.write_bytes(b"\x30\x82")
    assert "is binary" in told(NO_START, around)


def test_words_that_mean_nothing_special_stay_as_they_are() -> None:
    assert last_words.meaning("2026/11/25 22:00:00 [notice] 1#1: start worker processes", Around()) == ()
