"""Every certificate that a lab issues, before NSS (which Firefox has, and Chromium on Linux) and Java's keytool."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial

import pytest

from tests import chains
from tests.chains import Chain
from tests.integration.machines import Machine, machine
from tests.judging import der
from topology.pki import forging, issuing

pytestmark = pytest.mark.integration

REVOKED = "identities/gone/certificate.pem"

NSS = """
certutil -N --empty-password -d sql:.
for file in root* between* client* server*; do
    case "$file" in root*) trust=CT,, ;; *) trust=,, ;; esac
    if [ -e "$file" ]; then certutil -A -n "$file" -t "$trust" -i "$file" -d sql:.; fi
done
for file in list*; do
    echo "== $file"
    crlutil -I -i "$file" -d sql:. && echo "list is valid" || true
done
for file in root* between* client* server*; do
    case "$file" in client*) usage=C ;; server*) usage=V ;; *) usage=L ;; esac
    echo "== $file"
    if [ -e "$file" ]; then certutil -V -e -u "$usage" -n "$file" -d sql:. || true; fi
done
"""
"""A database that trusts roots alone; its verdict on each certificate, for what that one is for."""

KEYTOOL = """
store="-keystore store.p12 -storepass mtls-lab"
for file in root*; do
    echo "== $file"
    keytool -importcert -noprompt -alias "$file" -file "$file" $store
done
for file in between* client* server*; do
    echo "== $file"
    if [ -e "$file" ]; then keytool -importcert -alias "$file" -file "$file" $store </dev/null; fi
done
for file in list*; do
    echo "== $file"
    keytool -printcrl -file "$file" $store
done
"""
"""A store takes a certificate in without a question where one that it trusts already vouches for it."""

SECTION = re.compile(r"^== (.*)\n", re.MULTILINE)


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    with machine(tmp_path_factory.mktemp("machine"), {}) as made:
        yield made


def nss(here: Machine, judged: Mapping[str, Chain]) -> dict[str, str]:
    """What NSS has against chains: the path of a leaf, or what else is meant -> its words."""
    return complaints(here, judged, NSS, lambda _, told: " is valid" in told)


def keytool(here: Machine, judged: Mapping[str, Chain]) -> dict[str, str]:
    """What keytool has against chains and their revocation lists."""

    def accepted(file: str, told: str) -> bool:
        return ("Verified by" if file.startswith("list") else "was added to keystore") in told and "arning" not in told

    return complaints(here, judged, KEYTOOL, accepted)


JUDGES: Mapping[str, Callable[[Machine, Mapping[str, Chain]], dict[str, str]]] = {"NSS": nss, "keytool": keytool}


def complaints(
    here: Machine, judged: Mapping[str, Chain], script: str, accepted: Callable[[str, str], bool]
) -> dict[str, str]:
    """Runs a judge's script in a new folder with all certificates and lists; it tells of each file in a section."""
    files = named(judged)
    folder = here.must("mktemp", "--directory").strip()
    here.put(folder, {file: content for file, (_, content) in files.items()})
    answer = here.run("sh", "-ec", f"exec 2>&1; cd {folder}\n{script}")
    assert answer.code == 0, answer.told
    _, *parts = SECTION.split(answer.out)
    told = dict(zip(parts[::2], parts[1::2], strict=True))
    return {path: told.get(file, "") for file, (path, _) in files.items() if not accepted(file, told.get(file, ""))}


def named(judged: Mapping[str, Chain]) -> dict[str, tuple[str, bytes]]:
    """The files that scripts look for -> (the path of a leaf, else the file's own name; content), each once."""
    every = judged.values()
    others = {
        "root": dict.fromkeys(der(chain.root) for chain in every),
        "between": dict.fromkeys(der(one) for chain in every for one in chain.between),
        "list": dict.fromkeys(der(one) for chain in every for one in chain.crls),
    }
    names = [(f"{kind}-{number}", content) for kind, found in others.items() for number, content in enumerate(found)]
    files = {name: (name, content) for name, content in names}
    for number, (path, chain) in enumerate(judged.items()):
        purpose = "server" if chain.purpose == issuing.SERVER_AUTH else "client"
        files[f"{purpose}-{number}"] = (path, der(chain.leaf))
    return files


@pytest.mark.parametrize(
    ("judge", "kind_of_key"),
    [(judge, kind) for judge in JUDGES for kind in chains.KINDS_OF_KEY if (judge, kind) != ("NSS", "ed25519")],
)
def test_every_shape_passes(here: Machine, judge: str, kind_of_key: str) -> None:
    """Roots, intermediates, servers, clients and revocation lists, for every kind of key and of name."""
    said = JUDGES[judge](here, chains.every_shape(kind_of_key))

    assert {path: told for path, told in said.items() if path != REVOKED} == {}
    assert (REVOKED in said) is (judge == "NSS")  # keytool reads lists, and asks none


def test_nss_knows_no_ed25519(here: Machine) -> None:
    """Nor do browsers: such keys are for servers and programs."""
    judged = chains.every_shape("ed25519")

    assert judged.keys() <= nss(here, judged).keys()


@pytest.mark.parametrize("judge", JUDGES)
def test_the_acme_server_s_own_certificate_passes(here: Machine, judge: str) -> None:
    file = "acme/certificates/server.pem"

    assert JUDGES[judge](here, {file: chains.lab("acme")[file]}) == {}


BAD: Mapping[str, tuple[Callable[[], Chain], Mapping[str, str]]] = {
    "nothing": (partial(chains.forged, forging.genuine), {}),
    "expired": (partial(chains.forged, forging.expired), {"NSS": "expired"}),
    "not yet valid": (partial(chains.forged, forging.not_yet_valid), {}),  # NSS forgives a clock that is a day late
    "for servers": (partial(chains.forged, forging.wrong_purpose), {"NSS": "not approved"}),
    "revoked": (partial(chains.forged, forging.revoked), {"NSS": "revoked"}),
    "of another authority": (
        partial(chains.forged, forging.other_authority),
        {"NSS": "issuer", "keytool": "not added"},
    ),
    "signed by another key": (chains.signed_by_another_key, {"NSS": "signature", "keytool": "not added"}),
}
"""What is wrong -> how it is made, and which judges notice, in which words.  keytool looks at who signed alone."""


@pytest.mark.parametrize("wrong", BAD)
def test_what_is_wrong_is_noticed(here: Machine, wrong: str) -> None:
    make, noticed = BAD[wrong]
    chain = make()
    told = {name: said for name, judge in JUDGES.items() if (said := judge(here, {wrong: chain}))}

    assert told.keys() == noticed.keys()
    assert all(said.keys() == {wrong} and noticed[judge] in said[wrong] for judge, said in told.items()), told
