"""From `tls: {acme: true}` to files: who asks whom for a certificate, and who trusts what comes."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from topology.description import loading
from topology.description.loading import Description
from topology.errors import InvalidInput, NotReady
from topology.generation import acme, certificates, planning, rendering
from topology.generation.certificates import issue, read_certificates
from topology.proof import expectation
from topology.runtime import acme as running_acme
from topology.runtime import execution, stacks
from topology.runtime.execution import OUT, Answer
from topology.runtime.lab import Lab

LABS = Path(__file__).parents[1] / "fixtures" / "labs"
TEXT = (LABS / "acme.yaml").read_text()
OUTSIDE = TEXT.replace("{acme: true}", "{acme: true, directory: 'https://acme.example/directory'}")
WITHOUT = TEXT.replace("    tls: {acme: true}", "    tls: {}")
NOW = datetime.now(UTC)
FOREIGN_ROOT = issue(
    certificates.Wanted("x", (certificates.WantedAuthority("r", "ecdsa-p256", 99, False),), (), (), ()), {}, NOW
).files["authorities/r/certificate.pem"]


def parsed(text: str) -> Description:
    return loading.parse(text, LABS / "x.yaml", loading.catalog.kinds(LABS / "acme.yaml"))


def files(text: str) -> dict[str, str]:
    return {path: str(content) for path, content in rendering.render(planning.plan(parsed(text))).items()}


LAB = files(TEXT)


def test_the_challenge_is_answered_before_the_redirect() -> None:
    """And on an ACME host alone; everything else on port 80 is redirected as ever."""
    nginx = LAB["shop/nginx/nginx.conf"]
    plain = nginx[nginx.index("server_name shop.acme.test") : nginx.index("listen 443 ssl;")]

    assert "location /.well-known/acme-challenge/ {" in plain
    assert plain.index("root /srv/challenges;") < plain.index("return 301")
    assert "acme-challenge" not in LAB["desk/nginx/nginx.conf"]
    assert "return 301 https://$host$https_port$request_uri;" in LAB["desk/nginx/nginx.conf"]


def test_a_link_among_the_challenges_leads_nowhere() -> None:
    """certbot's container could make one to a key in the gateway's, and anybody could ask for that in plain HTTP."""
    challenges = LAB["shop/nginx/nginx.conf"].partition("location /.well-known/acme-challenge/ {")[2].partition("}")[0]

    assert "disable_symlinks on from=$document_root;" in challenges


def test_a_gateway_needs_no_certificate_to_start() -> None:
    assert "ssl_certificate " not in LAB["shop/nginx/nginx.conf"]
    assert "include /tmp/certificate.conf;" in LAB["shop/nginx/nginx.conf"]
    assert f"command: [bash, {acme.START}]" in LAB["shop/compose.yaml"]
    assert "start.sh" not in LAB["desk/compose.yaml"]


def test_the_lab_s_own_server_is_a_stack_of_its_own() -> None:
    """Beside the hosts, and only where a host asks it."""
    settings = json.loads(LAB["acme/pebble/pebble.json"])["pebble"]

    assert settings["managementListenAddress"].startswith("127.0.0.1:")
    assert settings["httpPort"] == 80
    assert "ports:" not in LAB["acme/compose.yaml"]
    assert 'PEBBLE_WFE_NONCEREJECT: "0"' in LAB["acme/compose.yaml"]
    for other in (OUTSIDE, WITHOUT):
        assert not [path for path in files(other) if path.startswith("acme/")]


def test_the_directory_is_all_that_differs_on_a_real_machine() -> None:
    """The same containers; certbot asks another server, and the port can be had from outside."""
    here, there = LAB, files(OUTSIDE)
    differing = {path for path in here.keys() & there.keys() if here[path] != there[path]}

    assert differing == {"shop/compose.yaml", "shop/pages/index.html", "desk/nginx/routes.conf"}
    assert 'ACME_DIRECTORY: "https://acme.example/directory"' in there["shop/compose.yaml"]
    assert "REQUESTS_CA_BUNDLE" not in there["shop/compose.yaml"]
    assert '"${MTLS_LAB_ADDRESS:-127.0.0.1}:${MTLS_LAB_HTTP_PORT-9680}:80"' in there["shop/compose.yaml"]
    assert "MTLS_LAB_ADDRESS" not in there["desk/compose.yaml"]
    assert "proxy_ssl_trusted_certificate /etc/ssl/certs/ca-certificates.crt;" in there["desk/nginx/routes.conf"]


def test_an_egress_route_trusts_the_acme_server_s_root_without_a_revocation_list() -> None:
    routes = LAB["desk/nginx/routes.conf"]

    assert "proxy_ssl_trusted_certificate /etc/nginx/certificates/upstream/acme.pem;" in routes
    assert "proxy_ssl_crl" not in routes
    assert "proxy_ssl_verify on;" in routes


def test_the_acme_server_moves_nobody_s_address() -> None:
    """It comes last on the network that stands for the internet."""
    before = files(WITHOUT)["shop/compose.yaml"]
    address = next(line for line in before.splitlines() if "internet: {ipv4_address" in line).split('"')[1]

    assert f'"{address}"' in LAB["shop/compose.yaml"]
    assert f'"{address}"' not in LAB["acme/compose.yaml"]


def test_certbot_has_the_keys_and_the_gateway_reads_them() -> None:
    compose = LAB["shop/compose.yaml"]

    assert "{type: volume, source: letsencrypt, target: /etc/letsencrypt}" in compose
    assert "{type: volume, source: letsencrypt, target: /etc/letsencrypt, read_only: true" in compose
    assert "docker.sock" not in "".join(LAB.values())


# Trust


def issued(text: str, root: bytes = b"") -> dict[str, bytes]:
    existing = {certificates.acme_root(certificates.DEFAULT_LAYOUT): root} if root else {}
    return dict(issue(planning.wanted_certificates(parsed(text)), existing, NOW).files)


def test_those_who_verify_the_host_get_the_root_and_nobody_who_verifies_clients() -> None:
    """The ACME server's leaves are good for clients as well."""
    found = {path for path, content in issued(TEXT, FOREIGN_ROOT).items() if FOREIGN_ROOT in content}

    assert found == {
        "authorities/acme/certificate.pem",
        "desk/certificates/upstream/acme.pem",
        "shop/certificates/acme/root.pem",
    }


def test_before_the_server_has_said_its_root_the_rest_is_issued() -> None:
    """The server itself needs a certificate to start with, and certbot has to know who vouches for it."""
    found = issued(TEXT)
    server = read_certificates(found["acme/certificates/server.pem"])[0]

    assert server.issuer == read_certificates(found["authorities/lab_ca/certificate.pem"])[0].subject
    assert found["shop/certificates/acme/server-authority.pem"] == found["authorities/lab_ca/certificate.pem"]
    assert found["acme/certificates/upstream/lab_ca.pem"] == found["authorities/lab_ca/certificate.pem"]
    assert "authorities/acme/certificate.pem" not in found
    assert "shop/certificates/server.pem" not in found
    assert not [path for path in found if path.startswith("acme/") and "key.pem" in path]


def test_a_root_is_taken_up_and_kept_by_every_run() -> None:
    """Whoever issues, `up` or `certificates`: what the server has said once stays until it says something else."""
    wanted = planning.wanted_certificates(parsed(TEXT))
    first = issue(wanted, {"authorities/acme/certificate.pem": FOREIGN_ROOT}, NOW).files

    assert issue(wanted, first, NOW).files == first
    outside = planning.wanted_certificates(parsed(OUTSIDE))
    gone = first.keys() - issue(outside, first, NOW).files.keys()
    assert {path for path in gone if certificates.is_outdated(path)} == {
        "acme/certificates/server.pem",
        "acme/certificates/server.key",
        "acme/certificates/upstream/lab_ca.pem",
        "acme/certificates/upstream/lab_ca.crl.pem",
        "shop/certificates/acme/root.pem",
        "shop/certificates/acme/server-authority.pem",
        "desk/certificates/upstream/acme.pem",
    }


def test_the_first_authority_that_is_ours_vouches_for_the_server() -> None:
    text = TEXT.replace("  lab_ca: {} ", "  theirs: {certificate: theirs.pem}\n  lab_ca: {} ")
    described = parsed(TEXT).topology
    theirs = described.authorities["lab_ca"].model_copy(update={"certificate": "theirs.pem"})
    topology = described.model_copy(update={"authorities": {"theirs": theirs, **described.authorities}})

    assert text != TEXT
    assert acme.signer(topology) == "lab_ca"


def test_who_gets_in_does_not_depend_on_where_the_certificate_comes_from() -> None:
    assert [check.id for check in expectation.checks(parsed(TEXT).topology)] == [
        check.id for check in expectation.checks(parsed(WITHOUT).topology)
    ]


# The script that starts a gateway


@pytest.fixture
def gateway(tmp_path: Path) -> Any:
    """start.sh with a folder in the place of the container's, and an nginx that writes down how it is called."""
    script = LAB["shop/nginx/start.sh"]
    script = script.replace("/tmp/", f"{tmp_path}/").replace("/etc/letsencrypt", str(tmp_path / "letsencrypt"))
    (tmp_path / "start.sh").write_text(script)
    nginx = tmp_path / "bin" / "nginx"
    nginx.parent.mkdir()
    nginx.write_text(
        f'#!/bin/bash\necho "$*" >>{tmp_path}/calls\n[[ $* == *-t* ]] && exec test ! -e {tmp_path}/broken\nexit 0\n'
    )
    nginx.chmod(0o755)
    live = tmp_path / "letsencrypt" / "live" / "shop.acme.test"
    live.mkdir(parents=True)

    class Gateway:
        def start(self, *arguments: str) -> int:
            """Returns when the script is through, as it never is with a real nginx, and ends what it left behind."""
            started = subprocess.Popen(
                ["bash", str(tmp_path / "start.sh"), *arguments],
                env={"PATH": f"{nginx.parent}:{os.environ['PATH']}"},
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
            try:
                return started.wait(10)
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(started.pid, signal.SIGKILL)

        def certificate(self) -> None:
            for name in ("fullchain.pem", "privkey.pem"):
                (live / name).write_text("pem")

        @property
        def include(self) -> str:
            return (tmp_path / "certificate.conf").read_text()

        def break_it(self) -> None:
            (tmp_path / "broken").touch()

    return Gateway()


def test_without_a_certificate_the_gateway_starts_and_refuses_handshakes(gateway: Any) -> None:
    assert gateway.start() == 0
    assert gateway.include == "ssl_reject_handshake on;\n"


def test_with_a_certificate_the_gateway_starts_with_it(gateway: Any) -> None:
    gateway.certificate()

    assert gateway.start() == 0
    assert gateway.include.splitlines()[0].endswith("/live/shop.acme.test/fullchain.pem;")
    assert gateway.start("up-to-date") == 0


def test_with_a_broken_certificate_the_gateway_starts_and_refuses_handshakes(gateway: Any) -> None:
    gateway.certificate()
    gateway.break_it()

    assert gateway.start() == 0
    assert gateway.include == "ssl_reject_handshake on;\n"
    assert gateway.start("up-to-date") == 1


def test_a_certificate_that_the_gateway_has_not_taken_up_is_told(gateway: Any) -> None:
    assert gateway.start() == 0
    gateway.certificate()

    assert gateway.start("up-to-date") == 1


# Running


class Container:
    """A container that answers commands as it is told."""

    name = "lab-acme-pebble-1"

    def __init__(self, code: int, said: str, health: str = "healthy") -> None:
        self.answer = Answer(code, ((OUT, said.encode()),))
        self.attrs = {"State": {"Health": {"Status": health}}}

    def reload(self) -> None:
        pass


@pytest.fixture(autouse=True)
def no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execution, "run", lambda container, _command: container.answer)


SERVER = acme.Server("lab-acme", "image", "10.0.0.9", "/etc/tls/upstream/lab_ca.pem")


def test_the_root_is_asked_for_over_verified_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    command = acme.root_command(SERVER)

    assert command[command.index("--cacert") + 1] == "/etc/tls/upstream/lab_ca.pem"
    assert "--insecure" not in command
    assert command[-1] == "https://localhost:15000/roots/0"


def test_a_server_that_does_not_answer_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running_acme, "SERVER_SECONDS", 0)

    with pytest.raises(NotReady, match="lab-acme-pebble-1: the lab's ACME server does not answer: refused"):
        running_acme.read_root(Container(7, "refused\n"), SERVER)


def test_what_certbot_says_is_told_with_the_host() -> None:
    assert running_acme.obtain(Container(0, "noise\nshop.lab.test: fine\n"), "shop") == "shop.lab.test: fine"
    with pytest.raises(NotReady, match=r"^host shop: shop.lab.test: no certificate: why$"):
        running_acme.obtain(Container(1, "shop.lab.test: no certificate: why\n"), "shop")


def test_an_interval_that_is_no_number_is_refused_before_anything_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    for wrong in ("soon", "0", "-5", "\u0666\u0660"):
        monkeypatch.setenv("MTLS_LAB_ACME_INTERVAL", wrong)
        with pytest.raises(InvalidInput, match=f"^MTLS_LAB_ACME_INTERVAL={wrong}: not a number of seconds"):
            stacks.environment_values(Lab(parsed(TEXT), Path("out")))
