"""Certificates by ACME, for real: certbot asks pebble, the gateway answers the challenge and takes up what comes."""

from __future__ import annotations

import contextlib
import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.integration.conftest import eventually
from tests.integration.driving import Callers, Driven
from topology.generation import acme as acme_plan
from topology.proof import checking, expectation
from topology.proof.probing import Direct, Files, tls_context
from topology.runtime import engine, machines, stacks
from topology.runtime.lab import label_filters
from topology.runtime.preparation import surroundings_of, variables
from topology.runtime.progress import SILENT
from topology.runtime.task import Task, proves_nothing

pytestmark = pytest.mark.integration

TEXT = (Path(__file__).parents[2] / "fixtures" / "labs" / "acme.yaml").read_text()
DOMAIN = "shop.acme.test"
LIVE = f"/etc/letsencrypt/live/{DOMAIN}"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driven]:
    with Driven.of(TEXT, tmp_path_factory.mktemp("acme"), "acme-test").up_meanwhile(TEXT) as made:
        yield made


def root(shop: Driven) -> Path:
    return shop.lab.authorities / "acme" / "certificate.pem"


# The first certificate


def test_certbot_says_what_it_did_and_how_long_it_took(shop: Driven) -> None:
    """In one line of its log; `make bench` shows the figure."""
    said = shop.container("shop", "certbot").logs().decode()

    assert re.search(rf"^{DOMAIN}: got a certificate in [0-9.]+ s \(there is none\)$", said, re.MULTILINE), said


def test_the_gateway_shows_a_certificate_of_the_acme_server_s_for_all_names(shop: Driven) -> None:
    served = shop.served("shop")
    names = served.extensions.get_extension_for_class(x509.SubjectAlternativeName).value

    assert names.get_values_for_type(x509.DNSName) == [DOMAIN, f"www.{DOMAIN}"]
    assert "Pebble Intermediate" in served.issuer.rfc4514_string()


def test_the_challenge_was_answered_in_plain_http_by_the_gateway(shop: Driven) -> None:
    """A real exchange: the ACME server's own address asked for each name; everything else on port 80 is redirected."""
    network = shop.container("acme", "pebble").attrs["NetworkSettings"]["Networks"]
    address = next(iter(network.values()))["IPAddress"]
    lines = [line for line in shop.container("shop", "gateway").logs().decode().splitlines() if line.startswith("{")]
    asked_for = [one for one in map(json.loads, lines) if one["remote"] == address and one["status"] == 200]

    assert {one["host"] for one in asked_for} == {DOMAIN, f"www.{DOMAIN}"}
    assert all(one["listener"] == "http" for one in asked_for)
    assert all(one["uri"].startswith("/.well-known/acme-challenge/") for one in asked_for)
    endpoint = shop.running.endpoints["shop"]
    url = f"http://{DOMAIN}:{endpoint.http}"
    with requests.Session() as session:
        session.trust_env = False
        session.mount(url, Direct("127.0.0.1", None))
        assert session.get(f"{url}/node/health", allow_redirects=False, timeout=10).status_code == 301
        assert session.get(f"{url}/.well-known/acme-challenge/x", allow_redirects=False, timeout=10).status_code == 404


def test_the_files_lie_as_certbot_s_users_know_them(shop: Driven) -> None:
    """/etc/letsencrypt/live/DOMAIN: four links into archive/; the key is for its owner alone."""
    _, listed = shop.execute("shop", "certbot", "ls", "-l", LIVE)
    _, mode = shop.execute("shop", "certbot", "stat", "--dereference", "--format=%a %u", f"{LIVE}/privkey.pem")
    _, user = shop.execute("shop", "gateway", "id", "-u")
    _, pem = shop.execute("shop", "certbot", "cat", f"{LIVE}/fullchain.pem")

    for name in ("cert", "chain", "fullchain", "privkey"):
        assert re.search(rf"{name}\.pem -> \.\./\.\./archive/{DOMAIN}/{name}[0-9]+\.pem", listed), listed
    assert mode.split() == ["600", user.strip()]
    assert x509.load_pem_x509_certificates(pem.encode())[0] == shop.served("shop")


def test_the_containers_are_as_hard_as_the_others(shop: Driven) -> None:
    """Nobody special, read-only, no capabilities, and no way to the engine."""
    for host, service in (("shop", "certbot"), ("acme", "pebble"), ("shop", "gateway")):
        attributes = shop.container(host, service).attrs
        assert attributes["Config"]["User"].split(":")[0] not in ("", "0")
        assert attributes["HostConfig"]["ReadonlyRootfs"] is True
        assert attributes["HostConfig"]["CapDrop"] == ["ALL"]
        assert attributes["HostConfig"]["RestartPolicy"]["Name"] == "unless-stopped"
        assert not [mount for mount in attributes["Mounts"] if "docker.sock" in mount["Source"]]
        assert not [mount for mount in attributes["Mounts"] if "authorities" in mount["Source"]]


def test_every_caller_gets_its_answer(shop: Driven) -> None:
    """Mutual TLS under a server certificate by ACME, and the desk's calls, verified against the ACME server's root."""
    checks = expectation.checks(shop.lab.topology)
    verdicts = checking.run(checks, shop.running)

    assert len(verdicts) == 48
    assert [verdict for verdict in verdicts if not verdict.ok] == []


def test_nobody_becomes_a_client_with_what_the_acme_server_signs(shop: Driven, tmp_path: Path) -> None:
    """Its leaves are good for clients as well, so no gateway may take its root for an authority of clients."""
    shown = Files(tmp_path / "certificate.pem", tmp_path / "key.pem")
    shown.key.touch(0o600)
    for file, name in ((shown.certificate, "fullchain"), (shown.key, "privkey")):
        file.write_text(shop.execute("shop", "certbot", "cat", f"{LIVE}/{name}.pem")[1])
    leaf = x509.load_pem_x509_certificates(shown.certificate.read_bytes())[0]

    assert ExtendedKeyUsageOID.CLIENT_AUTH in leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert shop.get("shop", "/node/health", shown) == 400


def test_the_acme_server_s_keys_cannot_be_had_by_other_containers(shop: Driven) -> None:
    """The interface that gives out the root's key listens inside of its own container alone."""
    script = "exec 3<>/dev/tcp/{}/{}"
    network = shop.container("acme", "pebble").attrs["NetworkSettings"]["Networks"]
    address = next(iter(network.values()))["IPAddress"]

    assert shop.execute("desk", "gateway", "bash", "-c", script.format(address, acme_plan.PORT))[0] == 0
    assert shop.execute("desk", "gateway", "bash", "-c", script.format(address, acme_plan.MANAGEMENT_PORT))[0] != 0


def test_up_twice_is_harmless(shop: Driven, capsys: pytest.CaptureFixture[str]) -> None:
    """No container is started anew, no certificate asked for, no gateway reloaded."""
    before, served = shop.started(), shop.served("shop")
    capsys.readouterr()

    assert shop.up() == 0
    told = capsys.readouterr().err
    assert f"{DOMAIN}: the certificate is good" in told
    assert "reloaded" not in told
    assert shop.started() == before
    assert shop.served("shop") == served


def test_status_shows_who_is_at_it(shop: Driven, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert shop.run("status", "--json") == 0
    told = json.loads(capsys.readouterr().out)

    assert told["hosts"]["shop"]["certbot"] == {"health": "healthy"}
    assert told["pebble"] == {"health": "healthy"}


def test_compose_alone_is_enough(shop: Driven) -> None:
    """A host's stack without its volumes, started by Compose and nothing else, gets its certificate and shows it."""
    old, lab = shop.served("shop"), shop.lab
    found = machines.find(lab.topology, {})
    task = Task(lab, {}, found, ["shop"], {}, proves_nothing, stacks.compose_up, SILENT)
    values = variables(task, "shop", surroundings_of(lab, {}, found, found.reached)["shop"])
    stacks.run_compose([*stacks.compose_command(lab, "shop"), "down", "--volumes"], values)
    stacks.run_compose([*stacks.compose_command(lab, "shop"), "up", "--detach", "--no-build"], values)

    def shows_another() -> bool:
        with contextlib.suppress(OSError):  # until it has one, the gateway refuses handshakes
            return shop.served("shop").serial_number != old.serial_number
        return False

    eventually(shows_another, 60)
    eventually(lambda: shop.get("desk", "/shop/health") == 200)
    assert shop.up() == 0


# Bad luck


def test_an_acme_server_that_was_started_anew_is_taken_up(shop: Driven) -> None:
    """It has forgotten our account and has another root: there is a new certificate, and all trust the new root."""
    old_root, old = root(shop).read_bytes(), shop.served("shop")
    shop.container("acme", "pebble").restart()

    assert shop.up() == 0
    assert root(shop).read_bytes() != old_root
    assert shop.served("shop").serial_number != old.serial_number
    assert shop.get("desk", "/shop/health") == 200
    _, accounts = shop.execute("shop", "certbot", "ls", "/etc/letsencrypt/accounts/pebble:14000/dir")
    assert len(accounts.split()) == 1


def forget_certificate(shop: Driven) -> None:
    """As after a loss of the volume: the gateway still has its certificate in memory, certbot has none."""
    code, said = shop.execute("shop", "certbot", "sh", "-c", "rm -r /etc/letsencrypt/live /etc/letsencrypt/archive "
                              "/etc/letsencrypt/renewal")  # fmt: skip
    assert code == 0, said


@contextlib.contextmanager
def domain_elsewhere(shop: Driven) -> Iterator[Any]:
    """The gateway keeps its address, but for the ACME server its domain does not lead there any more."""
    gateway = shop.container("shop", "gateway")
    network = next(n for n in engine.connect().networks.list(names=[shop.lab.internet]) if n.name == shop.lab.internet)
    settings = gateway.attrs["NetworkSettings"]["Networks"][shop.lab.internet]
    network.disconnect(gateway)
    network.connect(gateway, ipv4_address=settings["IPAMConfig"]["IPv4Address"])
    try:
        yield network
    finally:
        network.disconnect(gateway)
        network.connect(gateway, ipv4_address=settings["IPAMConfig"]["IPv4Address"], aliases=settings["Aliases"])


def test_a_domain_that_does_not_resolve_is_said_and_what_ran_keeps_running(
    shop: Driven, capsys: pytest.CaptureFixture[str]
) -> None:
    before = shop.started()
    forget_certificate(shop)
    with domain_elsewhere(shop):
        capsys.readouterr()

        assert shop.up() == 4
        told = capsys.readouterr().err.strip().splitlines()
        assert told[-1].startswith(f"host shop: {DOMAIN}: no certificate: ")
        assert f"{DOMAIN} does not resolve for the ACME server; let its DNS record lead to this machine" in told[-1]
        assert shop.started() == before
        assert shop.get("shop", "/node/health") == 200
    assert shop.up() == 0


def test_a_wrong_answer_to_the_challenge_is_said_and_what_ran_keeps_running(
    shop: Driven, capsys: pytest.CaptureFixture[str]
) -> None:
    """Somebody else answers under the domain, with 200 and a page of their own."""
    before = shop.started()
    forget_certificate(shop)
    client = engine.connect()
    image = shop.container("shop", "node").attrs["Config"]["Image"]
    script = "require('http').createServer((request, response) => response.end('welcome')).listen(80)"
    somebody = client.containers.create(image, ["node", "-e", script], labels={"mtls-lab.test": "acme"})
    try:
        with domain_elsewhere(shop) as network:
            network.connect(somebody, aliases=[DOMAIN, f"www.{DOMAIN}"])
            somebody.start()
            ready = ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/80"]
            eventually(lambda: somebody.exec_run(ready)[0] == 0)
            capsys.readouterr()

            assert shop.up() == 4
            told = capsys.readouterr().err.strip().splitlines()
            assert told[-1].startswith(f"host shop: {DOMAIN}: no certificate: ")
            assert f"something else answers http://{DOMAIN}/.well-known/acme-challenge/" in told[-1]
            assert shop.started() == before
            assert shop.get("shop", "/node/health") == 200
            somebody.remove(force=True)
    finally:
        with contextlib.suppress(Exception):
            somebody.remove(force=True)
    assert shop.up() == 0


@contextlib.contextmanager
def address_taken(stopped: Any) -> Iterator[None]:
    """Somebody else has a stopped container's address for as long as the context lasts."""
    ((name, network),) = stopped.attrs["NetworkSettings"]["Networks"].items()
    client = engine.connect()
    somebody = client.containers.create(stopped.image, entrypoint=["sleep", "600"], labels={"mtls-lab.test": "acme"})
    try:
        client.networks.get(name).connect(somebody, ipv4_address=network["IPAMConfig"]["IPv4Address"])
        somebody.start()
        yield
    finally:
        somebody.remove(force=True)


def test_an_acme_server_that_is_down_is_said_and_what_ran_keeps_running(
    shop: Driven, capsys: pytest.CaptureFixture[str]
) -> None:
    """By certbot, which will try again; by up, where the server cannot be had back; and the next up mends it."""
    before, served = shop.started(), shop.served("shop")
    pebble = shop.container("acme", "pebble")
    pebble.stop()
    code, said = shop.execute("shop", "certbot", "python3", "renewal.py", "once", ACME_DOMAINS=f"{DOMAIN} new.{DOMAIN}")
    assert code == 1
    said = said.strip()
    assert said.startswith(f"{DOMAIN}: no certificate: the ACME server {acme_plan.DIRECTORY} cannot be reached: ")
    assert said.endswith("; is it up?")
    assert "\n" not in said
    assert shop.served("shop") == served

    with address_taken(pebble):
        capsys.readouterr()
        assert shop.up() == 4
        assert "Address already in use" in capsys.readouterr().err.strip().splitlines()[-1]
        assert shop.served("shop") == served
    assert shop.up() == 0
    assert {name: one for name, one in shop.started().items() if name != "acme/pebble"} == {
        name: one for name, one in before.items() if name != "acme/pebble"
    }


def test_a_directory_that_nobody_has_is_said_and_what_ran_keeps_running(
    shop: Driven, capsys: pytest.CaptureFixture[str]
) -> None:
    """The setting for a real machine, with a slip in it."""
    gateway, context = shop.started()["shop/gateway"], tls_context(root(shop), None, "1.3")
    port = shop.running.endpoints["shop"].https or 0
    shop.write(TEXT.replace("{acme: true}", '{acme: true, directory: "https://ca.nowhere.test/dir"}'))
    try:
        capsys.readouterr()
        assert shop.up() == 4
        last = capsys.readouterr().err.strip().splitlines()[-1]
        assert last == (
            f"host shop: {DOMAIN}: no certificate: the ACME server https://ca.nowhere.test/dir cannot be reached: "
            "its name does not resolve; is it the right URL?"
        )
        assert shop.started()["shop/gateway"] == gateway
        with (
            socket.create_connection(("127.0.0.1", port), timeout=10) as connection,
            context.wrap_socket(connection, server_hostname=DOMAIN) as tls,
        ):
            assert tls.version() == "TLSv1.3"
    finally:
        shop.write(TEXT)
    assert shop.up() == 0


# Renewal


@pytest.fixture
def short_lived(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Driven]:
    """The lab with an ACME server that issues for 45 seconds, and a certbot that looks every second."""
    monkeypatch.setattr(acme_plan, "VALID_SECONDS", 45)
    monkeypatch.setenv("MTLS_LAB_ACME_INTERVAL", "1")
    with Driven.of(TEXT, tmp_path, "acme-renew").up_meanwhile(TEXT) as made:
        yield made


def test_it_renews_by_itself_before_the_end_and_no_request_fails(short_lived: Driven) -> None:
    """Nobody asks for it: certbot sees that a third is left, the gateway reloads, and requests run on all the while."""
    first = short_lived.served("shop")
    before = short_lived.started()
    with Callers(short_lived.running, "shop", "/node/health") as callers:
        eventually(lambda: short_lived.served("shop").serial_number != first.serial_number, 60)
        until = len(callers.answers) + 300
        eventually(lambda: len(callers.answers) >= max(until, 1000), 60)

    second = short_lived.served("shop")
    assert second.not_valid_before_utc < first.not_valid_after_utc
    assert callers.failed == []
    assert len(callers.answers) >= 1000
    assert short_lived.started() == before


# The end


def test_down_leaves_nothing(shop: Driven) -> None:
    """No container, no network, no volume; but the certificates for the world, where there are such."""
    filters = {"label": label_filters(shop.lab)}
    client = engine.connect()
    assert {volume.attrs["Labels"]["mtls-lab.volume"] for volume in client.volumes.list(filters=filters)} == {
        "letsencrypt",
        "challenges",
    }
    shop.write(TEXT.replace("{acme: true}", '{acme: true, directory: "https://ca.nowhere.test/dir"}'))
    assert shop.run("down") == 0
    kept = client.volumes.list(filters=filters)
    assert [volume.attrs["Labels"]["mtls-lab.volume"] for volume in kept] == ["letsencrypt"]

    shop.write(TEXT)
    assert shop.run("down") == 0
    assert client.volumes.list(filters=filters) == []
    assert client.networks.list(filters=filters) == []
    assert client.containers.list(all=True, filters=filters) == []
