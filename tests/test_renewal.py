"""What certbot's container decides by itself: when to renew, how often to try, what to tell."""

from __future__ import annotations

import importlib.util
import json
import socketserver
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from topology.pki import issuing
from topology.pki.issuing import Issuer

NOW = datetime.now(UTC)
DOMAIN = "shop.lab.test"
DIRECTORY = "https://pebble:14000/dir"


@pytest.fixture
def renewal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """services/certbot/renewal.py, with folders of its own."""
    file = Path(__file__).parents[1] / "services" / "certbot" / "renewal.py"
    spec = importlib.util.spec_from_file_location("renewal", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "renewal", module)
    spec.loader.exec_module(module)
    for name in ("LETSENCRYPT", "CHALLENGES", "SCRATCH"):
        folder = tmp_path / name.lower()
        folder.mkdir()
        monkeypatch.setattr(module, name, folder)
    return module


def authority(name: str) -> Issuer:
    key = issuing.new_key("ecdsa-p256")
    return Issuer(issuing.issue_root(issuing.authority_name("lab", name), key, days=3650, now=NOW), key)


ROOT = authority("root")


@pytest.fixture
def settings(renewal: ModuleType, tmp_path: Path) -> Any:
    """A host with a certificate for 90 days, as certbot leaves it, below the root that everybody trusts."""
    root = tmp_path / "root.pem"
    root.write_bytes(issuing.certificate_pem(ROOT.certificate))
    leaf = issuing.issue_server(DOMAIN, (), issuing.new_key("ecdsa-p256"), ROOT, days=90, now=NOW)
    live = renewal.LETSENCRYPT / "live" / DOMAIN
    live.mkdir(parents=True)
    (live / "fullchain.pem").write_bytes(leaf.certificate_pem())
    (renewal.LETSENCRYPT / "renewal").mkdir()
    (renewal.LETSENCRYPT / "renewal" / f"{DOMAIN}.conf").write_text(f"[renewalparams]\nserver = {DIRECTORY}\n")
    return renewal.Settings(directory=DIRECTORY, domains=(DOMAIN,), interval=43200, root=root)


def test_a_good_certificate_is_left_alone(renewal: ModuleType, settings: Any) -> None:
    assert renewal.reason_to_renew(settings, NOW) is None
    assert renewal.reason_to_renew(settings, NOW + timedelta(days=59)) is None


def test_it_is_renewed_when_a_third_of_its_life_is_left(renewal: ModuleType, settings: Any) -> None:
    """30 days of 90: well before the end, with time for many attempts."""
    assert renewal.reason_to_renew(settings, NOW + timedelta(days=61)).startswith("it expires at ")


def test_other_reasons_to_renew(renewal: ModuleType, settings: Any, tmp_path: Path) -> None:
    """Each of them alone."""
    other = tmp_path / "other.pem"
    other.write_bytes(issuing.certificate_pem(authority("other").certificate))

    def reason(**changes: Any) -> str | None:
        return str(renewal.reason_to_renew(renewal.Settings(**{**vars(settings), **changes}), NOW))

    assert reason(domains=(DOMAIN, f"www.{DOMAIN}")) == "its names changed"
    assert reason(directory="https://acme.example/dir") == "it comes from another ACME server"
    assert reason(root=other) == "the ACME server has a new root"
    assert reason(domains=("new.lab.test",)) == "there is none"


def test_a_certificate_from_outside_of_the_lab_is_asked_for_no_root(renewal: ModuleType, settings: Any) -> None:
    assert renewal.reason_to_renew(renewal.Settings(**{**vars(settings), "root": None}), NOW) is None


def test_failures_are_tried_again_ever_more_slowly(renewal: ModuleType) -> None:
    """Four times within the first half hour: Let's Encrypt takes five failures an hour."""
    pauses = [renewal.pause(43200, failures) for failures in range(1, 9)]

    assert pauses == [15, 60, 240, 960, 3840, 15360, 43200, 43200]
    assert renewal.pause(43200, 0) == 43200
    assert renewal.pause(1, 3) == 1


CERTBOT_SAID = f"""\
Saving debug log to /tmp/logs/letsencrypt.log
Requesting a certificate for {DOMAIN}

Certbot failed to authenticate some domains (authenticator: webroot). The Certificate Authority reported these problems:
  Domain: {DOMAIN}
  Type:   TYPE
  Detail: DETAIL
    over two lines

Hint: The Certificate Authority failed to download the temporary challenge files created by Certbot.

Some challenges have failed.
Ask for help or search for solutions at https://community.letsencrypt.org. See the logfile for more details.
"""
UNRESOLVED = f"{DOMAIN} does not resolve for the ACME server; let its DNS record lead to this machine"
PATH = f"http://{DOMAIN}/.well-known/acme-challenge/"


@pytest.mark.parametrize(
    ("kind", "detail", "advice"),
    [
        ("unauthorized", "The key did not match", f"something else answers {PATH}; this host's gateway has to"),
        ("connection", "refused", f"the ACME server has to reach {PATH} on port 80 of this machine"),
        ("connection", "lookup x: no such host", UNRESOLVED),
        ("dns", "NXDOMAIN", UNRESOLVED),
    ],
)
def test_what_went_wrong_is_one_line_with_what_to_do(renewal: ModuleType, kind: str, detail: str, advice: str) -> None:
    said = renewal.explained(CERTBOT_SAID.replace("TYPE", kind).replace("DETAIL", detail))

    assert said == f"{detail} over two lines ({advice})"


def test_anything_else_is_told_in_certbot_s_last_words(renewal: ModuleType) -> None:
    said = "Saving debug log to /x\nAn unexpected error occurred:\nToo many certificates\nAsk for help or search\n"

    assert renewal.explained(said) == "Too many certificates"
    assert renewal.explained("") == "certbot failed and said nothing"


def test_a_server_whose_name_does_not_resolve_is_told_at_once(renewal: ModuleType) -> None:
    said = renewal.unreachable("https://ca.nowhere.invalid/dir")

    assert said == (
        "the ACME server https://ca.nowhere.invalid/dir cannot be reached: its name does not resolve; "
        "is it the right URL?"
    )


@pytest.fixture
def mail_server() -> Iterator[str]:
    """The URL of something that does not speak HTTP."""

    class Greeting(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(b"220 mail.lab.test ESMTP\r\n")
            self.rfile.readline()

    with socketserver.TCPServer(("127.0.0.1", 0), Greeting) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()


def test_what_does_not_speak_http_is_told(renewal: ModuleType, mail_server: str) -> None:
    """A wrong port: neither as the ACME server nor as the gateway is it a reason to fall over."""
    assert renewal.unreachable(mail_server) == f"{mail_server} is not an ACME server's directory"
    assert "ESMTP" in renewal.fetched(mail_server)


def fake_certbot(renewal: ModuleType, monkeypatch: pytest.MonkeyPatch, *results: tuple[int, str]) -> list[list[str]]:
    """Stands in for the network and certbot; returns the commands.  results: exit code and log, in turn."""
    commands: list[list[str]] = []
    log = renewal.SCRATCH / "logs" / "letsencrypt.log"
    log.parent.mkdir()

    def run(command: list[str]) -> tuple[int, str]:
        commands.append(command)
        code, text = results[len(commands) - 1]
        log.write_text(text)
        return code, "An unexpected error occurred:\nno such account" if code else ""

    monkeypatch.setattr(renewal, "run", run)
    monkeypatch.setattr(renewal, "await_gateway", lambda _: None)
    monkeypatch.setattr(renewal, "unreachable", lambda _: "")
    return commands


def test_an_account_is_thrown_away_where_the_server_does_not_know_it(
    renewal: ModuleType, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lab's server forgets; accounts with other servers stay."""
    accounts = renewal.LETSENCRYPT / "accounts"
    for server in ("pebble:14000/dir", "acme.example/dir"):
        (accounts / server / "0a").mkdir(parents=True)
        (accounts / server / "0a" / "regr.json").write_text("{}")
    commands = fake_certbot(
        renewal, monkeypatch, (1, "urn:ietf:params:acme:error:accountDoesNotExist"), (0, "")
    )  # fmt: skip

    assert renewal.order(settings) == ""
    assert len(commands) == 2
    assert list((accounts / "pebble:14000" / "dir").iterdir()) == []
    assert (accounts / "acme.example/dir/0a/regr.json").is_file()


def test_an_account_stays_where_anything_else_goes_wrong(
    renewal: ModuleType, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (renewal.LETSENCRYPT / "accounts/pebble:14000/dir/0a").mkdir(parents=True)
    commands = fake_certbot(renewal, monkeypatch, (1, "urn:ietf:params:acme:error:rateLimited"))

    assert renewal.order(settings) == "no such account"
    assert len(commands) == 1
    assert (renewal.LETSENCRYPT / "accounts/pebble:14000/dir/0a").is_dir()


def test_the_loop_looks_until_it_is_stopped(
    renewal: ModuleType, settings: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A good certificate: again after the interval.  A failure: sooner, and said."""
    failing = renewal.Settings(**{**vars(settings), "domains": ("new.lab.test",)})
    fake_certbot(renewal, monkeypatch, (1, ""), (1, ""))
    waits: list[float] = []

    def stopped(seconds: float) -> bool:
        waits.append(seconds)
        return len(waits) > 1

    renewal.keep(failing, stopped)
    renewal.keep(settings, stopped)

    assert waits == [15, 60, 43200]
    assert capsys.readouterr().out.splitlines() == [
        "new.lab.test: no certificate: no such account",
        "new.lab.test: no certificate: no such account",
        f"{DOMAIN}: the certificate is good",
    ]
    assert json.loads((renewal.SCRATCH / "outcome.json").read_text())["good"] is True


@pytest.mark.parametrize(("name", "value"), [("ACME_INTERVAL", "soon"), ("ACME_DIRECTORY", None)])
def test_an_environment_that_makes_no_sense_is_told(
    renewal: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    value: str | None,
) -> None:
    for variable, good in {"ACME_DIRECTORY": DIRECTORY, "ACME_DOMAINS": DOMAIN, "ACME_INTERVAL": "60"}.items():
        monkeypatch.setenv(variable, good)
    monkeypatch.delenv(name) if value is None else monkeypatch.setenv(name, value)

    assert renewal.main(["once"]) == 2
    assert capsys.readouterr().out.startswith("the environment is not what it should be: ")


def test_a_volume_of_somebody_else_s_is_told(
    renewal: ModuleType, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: object) -> list[object]:
        raise PermissionError(13, "Permission denied", "/etc/letsencrypt/live")

    monkeypatch.setattr(renewal, "read_chain", refuse)

    outcome = renewal.look(settings)
    assert not outcome.good
    assert "the volume belongs to another user" in outcome.line
