"""Every kind of key for authorities, identities and hosts at once; and a lab close to its certificates' end."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import pytest
from cryptography import x509

from tests.integration.driving import Driven
from topology.description.model import KeyType
from topology.generation.inventory import OK
from topology.runtime import certificates

pytestmark = pytest.mark.integration

KINDS = get_args(KeyType)
HOST = """
  h{n}:
    domain: h{n}.keys.test
    tls: {{authority: ca{n}, key: {kind}}}
    client_certificates: {{authority: [ca0, ca1, ca2, ca3, ca4]}}
    routes:
      /pages/: {{files: pages, client_certificate: required}}
      /next/: {{host: h{next}, to: /pages/, identity: i{n}}}
"""


def topology() -> str:
    """A host, an authority and an identity for each kind of key; each host but the last calls the next one."""
    numbered = list(enumerate(KINDS))
    authorities = "".join(
        f"  ca{n}: {{key: {kind}, intermediate: {str(n % 2 == 1).lower()}}}\n" for n, kind in numbered
    )
    identities = "".join(f"  i{n}: {{authority: ca{(n + 1) % len(KINDS)}, key: {kind}}}\n" for n, kind in numbered)
    hosts = "".join(HOST.format(n=n, kind=kind, next=(n + 1) % len(KINDS)) for n, kind in numbered[:-1])
    last = HOST.format(n=len(KINDS) - 1, kind=KINDS[-1], next=0).rsplit("      /next/", 1)[0]  # routes in a circle
    return f"name: keys\nauthorities:\n{authorities}identities:\n{identities}hosts:{hosts}{last}"


class Earlier(datetime):
    """Eighty days ago: of what is issued for ninety days then, a ninth is left now."""

    @classmethod
    def now(cls, *_: Any) -> Any:
        return datetime.now(UTC) - timedelta(days=80)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Driven, dict[str, int]]]:
    """The lab, brought up with certificates that were issued eighty days ago; and these certificates' serials."""
    folder = tmp_path_factory.mktemp("keys")
    (folder / "pages").mkdir()
    (folder / "pages" / "index.html").write_text("in\n")
    driven = Driven.of(topology(), folder, f"keys-{secrets.token_hex(3)}")
    with pytest.MonkeyPatch.context() as earlier:
        earlier.setattr(certificates, "datetime", Earlier)
        certificates.issue(driven.lab)
    before = serials(driven)
    with driven.up_meanwhile(topology()):
        yield driven, before


def serials(driven: Driven) -> dict[str, int]:
    files = [*driven.lab.folder.glob("*/*/certificate.pem"), *driven.lab.folder.glob("*/*/server.pem")]
    return {
        str(file.relative_to(driven.lab.folder)): x509.load_pem_x509_certificates(file.read_bytes())[0].serial_number
        for file in files
    }


def test_every_kind_of_key_serves_and_gets_in(
    keys: tuple[Driven, dict[str, int]], capsys: pytest.CaptureFixture[str]
) -> None:
    """Each kind before each other kind of authority, from outside and as a gateway's identity, over TLS 1.2 and 1.3."""
    driven, _ = keys
    capsys.readouterr()

    assert driven.run("check", "--json") == 0
    cells = json.loads(capsys.readouterr().out)
    assert all(cell["ok"] for cell in cells)
    let_in = {
        (cell["host"], cell["caller"]) for cell in cells if cell["route"] == "/pages/" and cell["observed"] == 200
    }
    assert {(f"h{n}", f"i{k}") for n in range(len(KINDS)) for k in range(len(KINDS))} <= let_in


def test_up_renews_ahead_of_the_end_and_nothing_more(keys: tuple[Driven, dict[str, int]]) -> None:
    """Leaves and revocation lists; authorities have years left, and those who trust them need not learn of others."""
    driven, before = keys
    after = serials(driven)
    renewed = {path for path in before if before[path] != after[path]}

    assert renewed == {path for path in before if not path.startswith("authorities")}
    assert len(renewed) == 2 * len(KINDS)
    now = datetime.now(UTC)
    assert {one.state for one in certificates.look(driven.lab, now)} == {OK}
    for n in range(len(KINDS)):
        assert driven.served(f"h{n}").serial_number == after[f"h{n}/certificates-{driven.instance}/server.pem"]
