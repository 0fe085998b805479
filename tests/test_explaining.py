"""Causes told apart on evidence alone: certificates, log lines and configurations, without a lab."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from tests import issuers
from tests.issuers import Authority
from tests.test_generation import LABS
from tests.test_zoo import DEEP, FLAT
from topology.description import catalog, loading
from topology.description.model import Topology
from topology.explaining import cells, certificates, chains, configuration, gathering, log_lines, reasoning
from topology.explaining.asking import Target
from topology.explaining.callers import Asker, placed
from topology.explaining.chains import Shown, Trust
from topology.explaining.configuration import Effective
from topology.explaining.evidence import Evidence, Finding, Hop, Peer, Received, Sent, Stale, Standing
from topology.explaining.reasoning import Explanation
from topology.nginx import reading
from topology.nginx.reading import Mounts
from topology.pki import issuing, zoo
from topology.pki.zoo import Scene
from topology.proof import callers, expectation
from topology.proof.checking import Verdict
from topology.proof.expectation import REFUSED, Caller, Check
from topology.proof.probing import Observation
from topology.runtime import differing, last_words
from topology.runtime.differing import Difference
from topology.runtime.gateways import File, Insides, Refused
from topology.runtime.last_words import Around
from topology.runtime.running import RunningLab

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
    """Of services with TLS of their own, too."""
    topology = loading.load(LABS / f"{lab}.yaml").topology
    otherwise = []
    for check in (*expectation.checks(topology), *callers.checks(topology)):
        tls = check.tls != "plain"
        asked = Target(check.host, topology.hosts[check.host].domain, "127.0.0.1", 1, check.path, tls,
                       check.port or (443 if tls else 80), check.port)  # fmt: skip
        expected, _ = gathering.expectation_of(topology, asked, check.shown)
        if expected != check.expected:
            otherwise.append((check.id, check.expected, expected))

    assert otherwise == []


# Files of one's own: what the topology says of whoever has them


@pytest.fixture(scope="module")
def issuer(pki: Path) -> Authority:
    """The authority that the server trusts for its callers."""
    folder = pki / "authorities" / "server_ca"
    key = serialization.load_pem_private_key((folder / "key.pem").read_bytes(), None)
    return Authority(x509.load_pem_x509_certificate((folder / "certificate.pem").read_bytes()), key)


def said_of(pki: Path, certificate: bytes, path: str = "/mtls/health", host: str = "server") -> int | str | None:
    lab = RunningLab(TOPOLOGY, None, {}, pki / "authorities", pki / "identities")
    target = Target(host, TOPOLOGY.hosts[host].domain, "127.0.0.1", 1, path, True, 443)
    asker = placed(Asker("own.pem", None, chain=certificates.read(certificate)), lab, target)
    expected, _ = gathering.expectation_of(TOPOLOGY, target, asker.caller, asker.worth)
    return expected


def test_a_copy_of_an_identity_s_certificate_gets_what_the_identity_gets(pki: Path) -> None:
    assert said_of(pki, (pki / "identities" / "bro" / "certificate.pem").read_bytes()) == 200


def test_whoever_a_trusted_authority_signed_gets_in_and_nobody_else(pki: Path, issuer: Authority) -> None:
    """Dates, purpose and signature decide, as the topology's own authorities have signed; not the gateways' files."""
    assert said_of(pki, issuer.client("bro")[0]) == 200
    assert said_of(pki, issuer.client("somebody")[0]) == 200
    assert said_of(pki, issuer.client("bro", end=NOW - timedelta(minutes=1))[0]) == 400
    assert said_of(pki, issuer.client("bro", purposes=["serverAuth"])[0]) == 400
    assert said_of(pki, ROOT.client("bro")[0]) == 400
    assert said_of(pki, ROOT.client("bro")[0], "/boot/health") == 400


def test_where_nobody_is_asked_for_a_certificate_none_matters(pki: Path) -> None:
    assert said_of(pki, ROOT.client("bro")[0], "/node/health", "client") == 200


def test_a_list_of_identities_lets_in_whoever_the_authority_named_so(pki: Path, issuer: Authority) -> None:
    named = parsed(
        "      /mtls/: {service: mtls, client_certificate: required}", "      /mtls/: {service: mtls, allow: [bro]}"
    )
    lab = RunningLab(named, None, {}, pki / "authorities", pki / "identities")
    target = Target("server", "ec3.lab.test", "127.0.0.1", 1, "/mtls/health", True, 443)

    def said(certificate: bytes) -> int | str | None:
        asker = placed(Asker("own.pem", None, chain=certificates.read(certificate)), lab, target)
        return gathering.expectation_of(named, target, asker.caller, asker.worth)[0]

    assert said(issuer.client("bro")[0]) == 200
    assert said(issuer.client("BRO")[0]) == 403


def parsed(old: str, new: str) -> Topology:
    text = (LABS / "two-host.yaml").read_text()
    assert old in text
    return loading.parse(text.replace(old, new), LABS / "two-host.yaml", catalog.kinds(LABS / "two-host.yaml")).topology


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


# What nginx does not take up

SYNTAX = 'unexpected "}" in /etc/nginx/lab/routes.conf:3'


def refusing(tmp_path: Path, said: str = SYNTAX, **around: Any) -> Explanation:
    """The server's gateway answered 403 to nobody, and refuses what lies on disk."""
    (tmp_path / "routes.conf").write_text("location /mtls/ {\n    return 403\n}\n")
    refused = Refused(said, ("correct it",), (tmp_path / "routes.conf", 3), NOW - timedelta(hours=1), NOW)
    hop = Hop("server", "/mtls/", {"status": 403, "listener": "https", "client_verify": "NONE"}, refused=refused,
              **{"effective": settings("server", "/mtls/health"), **around})  # fmt: skip
    sent = Sent("https://ec3.lab.test/mtls/health", "server", "ec3.lab.test", "/mtls/health")
    return reasoning.explain(Evidence(sent, Received(403), TOPOLOGY, (hop,), expected=403, now=NOW))


def test_a_configuration_that_was_refused_is_told_with_its_line(tmp_path: Path) -> None:
    """What lies on disk cannot be read: so it is not what decided."""
    found = refusing(tmp_path, effective=Effective())

    assert found.finding.cause == "reload-refused"
    assert f"[emerg] {SYNTAX}" in found.finding.why
    assert [(one.file, one.line, one.text) for one in found.directives] == [(str(tmp_path / "routes.conf"), 3, "}")]


def test_a_refused_configuration_that_decided_nothing_is_told_beside(tmp_path: Path) -> None:
    found = refusing(tmp_path)

    assert found.finding.cause == "no-certificate"
    assert any(SYNTAX in one for one in found.finding.also)


def test_a_file_that_decided_and_was_refused_is_the_cause(tmp_path: Path) -> None:
    """Not that somebody forgot to reload: a reload would change nothing."""
    holds = settings("server", "/mtls/health")
    stale = Stale(holds.value("ssl_crl"), "not-reloaded", "it changed", "reload the gateway")
    found = refusing(tmp_path, stale=(stale,))

    assert found.finding.cause == "reload-refused"
    assert "reload the gateway" not in found.finding.fix


# What lies on disk is not what the topology makes


def test_an_answer_that_nothing_explains_is_told_by_what_differs(tmp_path: Path) -> None:
    missing = Difference(tmp_path / "nginx.conf", 7, "", "ssl_reject_handshake on;")
    hop = Hop("server", "", {"status": 200}, differences=(missing,))
    sent = Sent("https://nobody.test/", "server", "nobody.test", "/")
    evidence = Evidence(sent, Received(200), TOPOLOGY, (hop,), expected=REFUSED)
    found = reasoning.explain(evidence).finding

    assert found.cause == "not-as-generated"
    assert "nginx.conf:7 lacks `ssl_reject_handshake on;`" in found.why
    assert reasoning.explain(replace(evidence, expected=200)).finding.cause != "not-as-generated"


def test_differences_are_told_with_their_lines() -> None:
    file = Path("nginx.conf")
    found = list(differing.between(file, "a;\nb off;\n\nc;\n", "a;\nb on;\n\nc;\nd;\n"))

    assert [(one.line, one.here, one.wanted) for one in found] == [(2, "b off;", "b on;"), (4, "", "d;")]
    assert list(differing.between(file, "a;\n", "a;\n")) == []


# Wrong cells of `check`


def wrong(caller: str, status: int, route: str = "/boot/") -> Verdict:
    shown = Caller(caller)
    check = Check("server", route, caller, "direct", "1.3", f"{route}health", 400, "", shown)
    return Verdict(check, Observation(status, "", "", "", 0))


def test_of_many_cells_each_kind_is_looked_into_and_none_is_left_without_a_cause() -> None:
    """First those that differ in what they should have got, or got; then as many others as there is room for."""
    groups = [[wrong(f"caller {n}", 200)] for n in range(cells.MOST + 5)]
    groups += [[wrong("one", 403)], [wrong("two", 200, "/mtls/")]]
    chosen, alike = cells.shared(groups)
    kinds = {cells.kind_of(group) for group in chosen}

    assert len(chosen) == cells.MOST
    assert len(alike) == len(groups) - cells.MOST
    assert {cells.kind_of(group) for group in groups} == kinds


def test_a_refusal_of_the_application_does_not_hide_that_it_should_not_have_been_asked(tmp_path: Path) -> None:
    """Whoever is let in where a guard is missing may get any answer from behind it."""
    folder = tmp_path / "nginx"
    shutil.copytree(TWO_HOST / "server" / "nginx", folder)
    routes = (folder / "routes.conf").read_text()
    guard = "    if ($ssl_client_verify != SUCCESS) {\n        return 403;\n    }\n"
    assert guard in routes
    (folder / "routes.conf").write_text(routes.replace(guard, ""))
    read = reading.read(folder / "nginx.conf", prefix="/etc/nginx", mounts=Mounts.of({"/etc/nginx/lab": folder}))
    holds = configuration.effective(read, 443, "ec3.lab.test", "/mtls/health")
    access = {"status": 501, "listener": "https", "upstream": "10.0.0.9:8080", "client_verify": "NONE"}
    hop = Hop("server", "/mtls/", access, (), read, holds, peers=(Peer("mtls", "running", "", ("10.0.0.9",)),))
    sent = Sent("https://ec3.lab.test/mtls/health", "server", "ec3.lab.test", "/mtls/health")
    found = reasoning.cause_of(Evidence(sent, Received(501), TOPOLOGY, (hop,), expected=403))

    assert found.cause == "guard-missing"


# Services that terminate TLS themselves

NODE_TLS = loading.load(LABS / "node-tls.yaml").topology


def of_service(status: int, expected: int | str) -> Explanation:
    sent = Sent("https://strict.lab.test:3300/", "strict", "strict.lab.test", "/", port=3300)
    hop = Hop("strict", "/", None)
    return reasoning.explain(Evidence(sent, Received(status), NODE_TLS, (hop,), expected=expected, now=NOW))


def test_what_a_service_answers_on_its_own_connections_is_no_answer_of_the_gateway() -> None:
    assert of_service(200, 200).finding.cause == "passed"
    assert of_service(404, 200).finding.cause == "application"
    assert of_service(200, REFUSED).finding.cause == "service-lets-in"
    assert of_service(200, 200).maker == "the service node of strict"


# Who limits


def limited(status: int, **told: Any) -> Finding:
    """A 503 of the gateway of the server, or of the service behind it."""
    access = {"status": status, "listener": "https", **told}
    line = log_lines.parse(
        '2026/11/25 22:00:00 [error] 30#30: *5 limiting requests, excess: 0.983 by zone "few", client: 10.0.0.1, '
        'server: ec3.lab.test, request: "GET /boot/ HTTP/1.1", host: "ec3.lab.test"'
    )
    assert line is not None
    lines = () if "upstream" in told else (line,)
    hop = Hop("server", "/boot/", access, lines, None, settings("server", "/boot/"), peers=(Peer("boot", "running"),))
    sent = Sent("https://ec3.lab.test/boot/", "server", "ec3.lab.test", "/boot/")
    return reasoning.cause_of(Evidence(sent, Received(status), TOPOLOGY, (hop,)))


@pytest.mark.parametrize("status", [429, 503])
def test_a_limit_of_the_gateway_is_told_from_the_same_status_of_the_application(status: int) -> None:
    assert limited(status).cause == "too-many-requests"
    assert limited(status, upstream="10.0.0.9:8080", upstream_status=str(status)).cause == "application"


OWN_WORDS = {
    "too-many-connections": (503, 'limiting connections by zone "few"'),
    "no-space": (500, 'pwrite() "/tmp/client_body/0000000001" failed (28: No space left on device)'),
    "no-more-connections": (500, "1024 worker_connections are not enough while connecting to upstream"),
}


@pytest.mark.parametrize("cause", OWN_WORDS)
def test_a_gateway_that_has_no_more_to_give_says_so(cause: str) -> None:
    status, words = OWN_WORDS[cause]
    line = log_lines.parse(
        f"2026/11/25 22:00:00 [error] 30#30: *5 {words}, client: 10.0.0.1, server: ec3.lab.test, "
        'request: "GET / HTTP/1.1"'
    )
    assert line is not None
    hop = Hop("server", "/boot/", {"status": status, "listener": "https"}, (line,), None, settings("server", "/boot/"))
    sent = Sent("https://ec3.lab.test/boot/", "server", "ec3.lab.test", "/boot/")

    assert reasoning.cause_of(Evidence(sent, Received(status), TOPOLOGY, (hop,))).cause == cause


# Halted containers


def halted(failure: str, status: int | None, peers: tuple[Peer, ...], gateways: Mapping[str, Standing]) -> Finding:
    host, prefix = ("client", "/mtls/") if gateways else ("server", "/boot/")
    access = {"status": 499, "upstream": "10.0.0.9:443", "seconds": 15}
    hop = Hop(host, prefix, access, (), None, settings(host, f"{prefix}health"), peers=peers)
    sent = Sent(f"https://x.test{prefix}", host, "x.test", prefix)
    return reasoning.cause_of(Evidence(sent, Received(status, failure), TOPOLOGY, (hop,), gateways=gateways))


def test_what_was_paused_is_told_from_what_is_slow() -> None:
    """Connections to both open; one of them will never answer."""
    paused, busy = Peer("boot", "paused"), Peer("boot", "running")

    assert halted("timeout", None, (paused,), {}).cause == "upstream-paused"
    assert halted("timeout", None, (busy,), {}).cause == "upstream-slow"
    assert (
        halted("timeout", None, (), {"server": Standing("paused", "lab-server-gateway-1")}).cause == "upstream-paused"
    )
    assert "exited" in halted("timeout", None, (), {"server": Standing("exited")}).why


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


def test_a_line_that_cannot_be_read_is_named_as_it_lies_on_this_machine(tmp_path: Path) -> None:
    said = '[emerg] 1#1: unexpected "}" in /etc/nginx/lab/routes.conf:12'

    assert f"{tmp_path}/routes.conf:12" in told(said, Around(mounts={"/etc/nginx/lab": tmp_path}))


def test_listeners_that_could_not_be_bound_are_named_and_not_their_number() -> None:
    bind = "[emerg] 1#1: bind() to 0.0.0.0:443 failed (98: Address already in use)\n"

    assert "0.0.0.0:443" in last_words.emergency(bind * 5 + "[emerg] 1#1: still could not bind()\n")
    assert "0.0.0.0:443" in told(bind + "[emerg] 1#1: still could not bind()\n", Around())


MISMATCH = '[emerg] 1#1: SSL_CTX_use_PrivateKey("/c/server.key") failed (SSL: error:05800074:x509 certificate \
routines::key values mismatch)'


def test_a_chain_in_the_wrong_order_is_told_from_another_key(tmp_path: Path) -> None:
    """nginx takes the first certificate of a file for its own."""
    leaf, key = ABOVE.server("a.test")
    (tmp_path / "server.key").write_bytes(key)
    (tmp_path / "server.pem").write_bytes(ABOVE.pem + leaf)
    around = Around(mounts={"/c": tmp_path})

    assert "certificate number 2" in told(MISMATCH, around)
    (tmp_path / "server.pem").write_bytes(ROOT.server("a.test")[0])
    assert "not the key of the certificate beside it" in told(MISMATCH, around)


def test_a_list_that_the_gateway_s_user_may_not_read_is_named(tmp_path: Path) -> None:
    """Not the key alone can be unreadable."""
    crl = tmp_path / "clients.crl.pem"
    crl.write_text("")
    crl.chmod(0o600)
    tmp_path.chmod(0o755)
    said = '[emerg] 1#1: X509_LOOKUP_load_file("/c/clients.crl.pem") failed (SSL: error:8000000D:system \
library::Permission denied:calling fopen(/c/clients.crl.pem, r))'

    assert "clients.crl.pem belongs to" in told(said, Around(user=crl.stat().st_uid + 7, mounts={"/c": tmp_path}))


@pytest.mark.parametrize("said", [
    "no ssl_client_certificate for ssl_verify_client", "no proxy_ssl_trusted_certificate for proxy_ssl_verify",
])  # fmt: skip
def test_verification_without_anybody_to_believe_is_said(said: str) -> None:
    assert f"set {said.split()[1]}" in told(f"[emerg] 1#1: {said}", Around())


def test_words_that_mean_nothing_special_stay_as_they_are() -> None:
    assert last_words.meaning("2026/11/25 22:00:00 [notice] 1#1: start worker processes", Around()) == ()
