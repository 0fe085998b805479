"""The partner's real world: an authority, a server and a client certificate that openssl alone has made.

The partner's side is fixtures/partner: scripts and a hand-written configuration that know nothing of mtls-lab.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.integration.conftest import ask
from topology import cli
from topology.generation import planning
from topology.proof.probing import Direct, Files, tls_context
from topology.pytest_plugin import TestedLab, brought_up
from topology.runtime import engine

pytestmark = pytest.mark.integration

PARTNER = Path(__file__).parents[2] / "fixtures" / "partner"
API = "api.partner.test"
DEADLINE_SECONDS = 20


@dataclass(frozen=True)
class Partner:
    """Our lab, and the partner's side of it on the network that stands for the internet."""

    tested: TestedLab
    files: Path
    container: Any

    def log(self) -> list[str]:
        """What the partner's servers have seen."""
        return bytes(self.container.logs()).decode(errors="replace").splitlines()

    def since(self, act: Callable[[], Any], until: str) -> list[str]:
        """What they see of an act: their log from before it up to a line that has the text."""
        before = len(self.log())
        act()
        deadline = time.monotonic() + DEADLINE_SECONDS
        while until not in "\n".join(seen := self.log()[before:]):
            assert time.monotonic() < deadline, f"no {until!r} in {seen}"
            time.sleep(0.05)
        return seen

    def get(self, path: str, identity: str | None = None, **options: Any) -> requests.Response:
        return ask(self.tested, "desk", path, identity, **options)


@pytest.fixture(scope="module")
def partner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Partner]:
    """Files and keys are made anew: no key is in git."""
    folder = tmp_path_factory.mktemp("partner")
    for name in ("topology.yaml", "make-certificates", "nginx.conf", "serve"):
        shutil.copy(PARTNER / name, folder)
    subprocess.run(["sh", "make-certificates"], cwd=folder, check=True)
    with brought_up(folder / "topology.yaml", tmp_path_factory.mktemp("stacks")) as tested:
        container = stand_in(tested, folder)
        try:
            start(container)
            yield Partner(tested, folder / "certificates", container)
        finally:
            container.remove(force=True, v=True)


def stand_in(tested: TestedLab, folder: Path) -> Any:
    """The partner's servers, in the image of our gateway, under their full name on the lab's internet."""
    client = engine.connect()
    owner = (planning.UNPRIVILEGED_USER,) * 2 if os.geteuid() == 0 else (os.geteuid(), os.getegid())
    folder.chmod(0o755)
    if os.geteuid() == 0:
        for path in (folder / "certificates", *(folder / "certificates").iterdir()):
            os.chown(path, *owner)
    image = planning.plan(tested.lab.description).host("desk").gateway_image
    container = client.containers.create(
        image,
        ["sh", "/partner/serve"],
        user=f"{owner[0]}:{owner[1]}",
        read_only=True,
        tmpfs={"/tmp": ""},
        cap_drop=["ALL"],
        volumes={str(folder): {"bind": "/partner", "mode": "ro"}},
        network=tested.lab.internet,
    )
    network = client.networks.get(tested.lab.internet)
    network.disconnect(container)
    network.connect(container, aliases=[API])
    return container


def start(container: Any) -> None:
    """Returns when all of the partner's servers listen."""
    container.start()
    deadline = time.monotonic() + DEADLINE_SECONDS
    knock = "for port in 443 8441 8442 8443; do exec 3<>/dev/tcp/127.0.0.1/$port || exit 1; done"
    while container.exec_run(["bash", "-c", knock]).exit_code != 0:
        assert time.monotonic() < deadline, container.logs()
        time.sleep(0.1)


def test_a_call_reaches_the_partner_as_the_identity_that_it_issued_to_us(partner: Partner) -> None:
    """With the path, the query and the name that it expects, and nothing about whom the call comes from."""
    answer = partner.get("/partner/bills/7?paid=no")

    assert answer.status_code == 200, answer.text
    assert answer.text.splitlines() == [
        "caller CN=us,O=Our Company\\, Ltd,C=DE",
        f"host {API}",
        "path /v1/bills/7?paid=no",
        "forwarded for ",
    ]


def test_without_the_identity_the_partner_refuses(partner: Partner) -> None:
    """Its own answer comes through: 400, in its own words."""
    answer = partner.get("/nobody/")

    assert answer.status_code == 400
    assert "No required SSL certificate was sent" in answer.text


def test_a_route_to_the_partner_has_guards_of_our_own(partner: Partner) -> None:
    """Whom our gateway turns away never reaches the partner."""
    assert partner.get("/clerks/").status_code == 403
    assert partner.get("/clerks/", "clerk").status_code == 200
    assert not [line for line in partner.log() if "-> 403" in line]


UNBELIEVED = {
    "impostor": "upstream SSL certificate verify error: (2",
    "misnamed": "upstream SSL certificate verify error: (62:hostname mismatch)",
    "expired": "upstream SSL certificate verify error: (10:certificate has expired)",
}
"""Who is not believed -> what our gateway's log says of it."""


@pytest.mark.parametrize("who", UNBELIEVED)
def test_a_server_that_is_not_believed_gets_no_request(partner: Partner, who: str) -> None:
    """Another authority of the same name, another server's certificate, one that has expired: 502, and the reason in
    our gateway's log.  The other side sees the connection closed before a word is said."""
    answers: list[requests.Response] = []
    seen = partner.since(lambda: answers.append(partner.get(f"/{who}/secret")), f"{who}: <<< TLS 1.3, Alert")

    assert answers[0].status_code == 502
    assert [line for line in seen if "ClientHello" in line]
    assert not [line for line in seen if line.startswith(f"{who}: GET ")]
    assert UNBELIEVED[who] in "".join(partner.tested.hosts["desk"].get_logs("gateway"))


def test_a_request_that_reached_it_would_be_seen(partner: Partner) -> None:
    """The test above can fail: somebody who believes the impostor asks it."""
    command = (
        "{ printf 'GET /secret HTTP/1.0\\r\\n\\r\\n'; sleep 5; } | timeout 4 openssl s_client -quiet"
        " -connect 127.0.0.1:8441 -cert certificates/us.pem -key certificates/us.key"
    )
    partner.since(
        lambda: partner.container.exec_run(["sh", "-c", command], workdir="/partner"), "impostor: GET /secret"
    )


def test_public_authorities_do_not_vouch_for_the_partner(partner: Partner) -> None:
    """`trust: system`, and the partner's authority is its own: 502, and it sees no request."""
    assert partner.get("/public/unbelieved").status_code == 502
    partner.since(lambda: partner.get("/partner/believed"), "api: GET /v1/believed")

    assert not [line for line in partner.log() if "GET /v1/unbelieved" in line]


def test_the_partner_s_own_people_come_in_with_certificates_that_it_issued(partner: Partner) -> None:
    """Their authority and their revocation list decide, though we hold no key of theirs."""
    assert as_theirs(partner, "them") == 200
    assert as_theirs(partner, "former") == 400


def as_theirs(partner: Partner, name: str) -> int:
    endpoint = partner.tested.running.endpoints["desk"]
    shown = Files(partner.files / f"{name}.pem", partner.files / f"{name}.key")
    context = tls_context(partner.tested.running.anchor("desk"), shown, "1.3")
    url = f"https://desk.lab.test:{endpoint.https}/node/health"
    with requests.Session() as session:
        session.trust_env = False
        session.mount(url, Direct(endpoint.address, context))
        return session.get(url, timeout=10).status_code


def test_every_cell_that_can_be_derived_is_right(partner: Partner) -> None:
    """Refusals at our gateway, on routes to the partner too."""
    wrong = [verdict for verdict in map(partner.tested.ask, partner.tested.checks) if not verdict.ok]

    assert not wrong
    assert {check.route for check in partner.tested.checks if check.via == API} >= {"/clerks/", "/partner/"}


def test_what_cannot_be_derived_is_left_out_and_said_so(partner: Partner, capsys: pytest.CaptureFixture[str]) -> None:
    """What the partner answers, who holds its keys, whom its certificate for us is good for."""
    lab = partner.tested.lab
    place = [str(lab.description.file), "--out", str(lab.out), "--instance", str(lab.instance)]
    capsys.readouterr()

    assert cli.main(["check", *place, "--only", "desk /clerks/"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "desk /partner/: left out: what api.partner.test answers is for others to say" in told
    assert "who holds a key of their_people's is not ours to know" in told
    assert "who issued us is not said" in told

    assert cli.main(["check", *place, "--only", "desk /clerks/", "--json"]) == 0
    machine = capsys.readouterr()
    assert all(cell["route"] == "/clerks/" for cell in json.loads(machine.out))
    assert "left out" in machine.err


def test_a_partner_that_is_away_hurts_nobody_else(partner: Partner) -> None:
    """Its name is looked up when it is called: the gateway starts and reloads without it, and finds it again."""
    network = engine.connect().networks.get(partner.tested.lab.internet)
    network.disconnect(partner.container)
    gateway = partner.tested.hosts["desk"]
    assert gateway.exec_in_container(["nginx", "-s", "reload"], "gateway")[2] == 0
    try:
        wait_for(lambda: partner.get("/partner/").status_code, 502)
        assert partner.get("/node/health", "clerk").status_code == 200
    finally:
        network.connect(partner.container, aliases=[API])
    wait_for(lambda: partner.get("/partner/").status_code, 200)


def wait_for(observe: Callable[[], int], wanted: int) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while (seen := observe()) != wanted:
        assert time.monotonic() < deadline, f"still {seen}, not {wanted}"
        time.sleep(0.2)


def test_the_gateway_holds_what_it_needs_and_no_more(partner: Partner) -> None:
    """Their root to verify them by, our identity to show, and no revocation list where they gave us none."""
    folder = partner.tested.lab.certificates("desk")
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}

    assert found == {
        "server.pem", "server.key", "client-authorities.pem", "client-authorities.crl.pem",
        "upstream/theirs.pem", "identities/us.pem", "identities/us.key",
    }  # fmt: skip
    assert re.search(r"proxy_ssl_verify_depth 4;", (partner.tested.lab.folder / "desk/nginx/routes.conf").read_text())
