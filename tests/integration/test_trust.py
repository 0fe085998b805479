"""A lab's authority in real trust stores: accepted after `trust install`, refused again after `trust uninstall`.

All of it on machines of its own, see `machines`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.machines import HOME, SERVED, Machine, lab_files, later, machine

pytestmark = pytest.mark.integration

TOPOLOGY = """
name: shop
authorities:
  ssl_ca: {}
  server_ca: {}
identities:
  bro: {authority: server_ca}
hosts:
  web:
    domain: web.shop.test
    client_certificates: {authority: server_ca}
    routes: {}
"""
CERTIFICATES = "/lab/compose/shop/web/certificates"
AUTHORITY = "/lab/compose/shop/authorities/ssl_ca/certificate.pem"
URL = f"https://web.shop.test:{SERVED}/"
DATABASE = f"{HOME}/.pki/nssdb"
PROFILE = f"{HOME}/.mozilla/firefox/a1b2.default"
LOCAL = "/usr/local/share/ca-certificates"
BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
CACERTS = "/etc/ssl/certs/java/cacerts"

REFUSES = {"system": 60, "java": 35}
"""How curl and our Java program end where the authority of a server is unknown to them."""


@pytest.fixture
def topology(tmp_path: Path) -> Path:
    file = tmp_path / "topology.yaml"
    file.write_text(TOPOLOGY)
    return file


@pytest.fixture
def here(machine_sources: Path, topology: Path, tmp_path: Path) -> Iterator[Machine]:
    """A machine with the lab's certificates, which serves its host, and on which nobody trusts it."""
    with machine(
        machine_sources, lab_files(topology, tmp_path / "out"), extra_hosts={"web.shop.test": "127.0.0.1"}
    ) as made:
        made.serve(
            certificate=f"{CERTIFICATES}/server.pem", key=f"{CERTIFICATES}/server.key", authority=AUTHORITY,
            name="web.shop.test",
        )  # fmt: skip
        yield made


def asked(here: Machine, store: str) -> int:
    """How a client that reads a store ends which asks the lab's host: 0 where it trusts."""
    return {
        "system": lambda: here.run("curl", "--silent", "--show-error", URL, user="person"),
        "java": lambda: here.run("java", "-cp", "/opt/java", "Get", URL, user="person"),
        "nss": lambda: nss_client(here, DATABASE),
        "firefox": lambda: nss_client(here, PROFILE),
    }[store]().code


def nss_client(here: Machine, database: str) -> object:
    return here.run(
        "tstclnt", "-h", "web.shop.test", "-p", str(SERVED), "-d", f"sql:{database}", "-Q", user="person"
    )  # fmt: skip


def condition(here: Machine) -> dict[str, str]:
    """All stores as they are: the system's byte for byte, the others entry for entry."""
    links = f"ls -A /etc/ssl/certs; readlink /etc/ssl/certs/*; ls -A {LOCAL}"
    databases = here.must("find", HOME, "-name", "cert9.db", "-printf", "%h\n").split()
    return {
        "system": here.must("sh", "-c", f"sha256sum {BUNDLE}; {links}"),
        "java": here.must("sh", "-c", "keytool -list -cacerts -storepass changeit 2>/dev/null | sort"),
        "home": here.must("find", HOME, "-printf", "%p %u %m\n"),
        "nss": "".join(here.must("certutil", "-L", "-d", f"sql:{folder}") for folder in databases),
    }


def install(here: Machine, *options: str, user: str = "root", **environment: str) -> str:
    answer = here.mtls_lab("trust", "install", *options, "--yes", user=user, **environment)
    assert answer.code == 0, answer.told
    return answer.out


def uninstall(here: Machine, *options: str, user: str = "root", **environment: str) -> str:
    answer = here.mtls_lab("trust", "uninstall", *options, "--yes", user=user, **environment)
    assert answer.code == 0, answer.told
    return answer.out


def refused(here: Machine, *arguments: str, user: str = "root", code: int = 2) -> str:
    """What stands on standard error when a command is refused, and no store has changed."""
    before = condition(here)
    answer = here.mtls_lab("trust", *arguments, user=user)
    assert answer.code == code, answer.told
    assert "Traceback" not in answer.err
    assert condition(here) == before
    return answer.err


@pytest.mark.parametrize("store", ["system", "java"])
def test_clients_of_a_store_accept_the_lab_until_it_is_uninstalled(here: Machine, store: str) -> None:
    """curl reads the system's store, a Java program Java's; afterwards each store is what it was."""
    before = condition(here)
    assert asked(here, store) == REFUSES[store]

    assert "added mtls-lab.shop.ssl_ca." in install(here, "--store", store)
    assert asked(here, store) == 0

    assert "removed mtls-lab.shop.ssl_ca." in uninstall(here, "--store", store)
    assert asked(here, store) == REFUSES[store]
    assert condition(here) == before


def test_a_database_for_chromium_is_made_and_goes_again(here: Machine) -> None:
    """An NSS client accepts the lab with it; afterwards not even a folder is left."""
    before = condition(here)

    install(here, "--store", "nss", user="person")
    assert asked(here, "nss") == 0

    uninstall(here, "--store", "nss", user="person")
    assert condition(here) == before


def firefox(here: Machine) -> None:
    here.must("mkdir", "--parents", PROFILE, user="person")
    here.must("certutil", "-N", "--empty-password", "-d", f"sql:{PROFILE}", user="person")


def test_a_firefox_profile_accepts_the_lab_until_it_is_uninstalled(here: Machine) -> None:
    firefox(here)
    before = condition(here)
    assert asked(here, "firefox") != 0

    install(here, "--store", "nss", user="person")
    assert asked(here, "firefox") == 0

    uninstall(here, "--store", "nss", user="person")
    assert asked(here, "firefox") != 0
    assert condition(here) == before


def test_the_authority_is_trusted_for_servers_alone_and_that_of_clients_not_at_all(here: Machine) -> None:
    install(here, "--store", "nss", user="person")
    listed = here.must("certutil", "-L", "-d", f"sql:{DATABASE}", user="person")

    assert [line.split()[1] for line in listed.splitlines() if "mtls-lab" in line] == ["C,,"]
    assert "server_ca" not in listed


def test_an_authority_of_clients_can_be_named(here: Machine) -> None:
    before = condition(here)

    assert "mtls-lab.shop.server_ca." in install(here, "--store", "java", "--authority", "server_ca")
    assert asked(here, "java") == REFUSES["java"]

    uninstall(here, "--store", "java")
    assert condition(here) == before


def test_java_on_debian_follows_the_system_s_store_there_and_back(here: Machine) -> None:
    """Debian's own command would leave the authority in Java's store."""
    before = condition(here)

    install(here, "--store", "system")
    assert asked(here, "java") == 0

    uninstall(here, "--store", "system")
    assert asked(here, "java") == REFUSES["java"]
    assert condition(here) == before


def test_all_stores_at_once_under_sudo_with_the_browsers_of_whoever_called(here: Machine) -> None:
    firefox(here)
    before = condition(here)

    told = json.loads(install(here, "--json", SUDO_USER="person"))
    assert [(one["store"], one["action"]) for one in told] == [
        ("system", "added"),
        ("nss", "added"),
        ("java", "added"),
    ]
    assert [asked(here, store) for store in ("system", "firefox", "java")] == [0, 0, 0]
    assert here.must("find", HOME, "-not", "-user", "person") == ""

    uninstall(here, SUDO_USER="person")
    assert condition(here) == before


def test_a_second_time_nothing_changes_and_it_says_so(here: Machine) -> None:
    firefox(here)
    stores = ("--store", "system", "--store", "nss", "--store", "java")
    install(here, *stores, SUDO_USER="person")
    before = condition(here)

    told = install(here, *stores, SUDO_USER="person")

    assert told.count("is there already") == 4  # two databases
    assert condition(here) == before


def test_uninstalling_what_is_not_there_is_no_fault(here: Machine) -> None:
    assert uninstall(here, user="person").count("nothing of this lab is there") == 2


@pytest.mark.parametrize("store", ["system", "java"])
def test_without_rights_it_is_refused_with_what_to_do(here: Machine, store: str) -> None:
    told = refused(here, "install", "--store", store, "--yes", user="person")

    assert "run this again as root (sudo)" in told
    assert "nothing was changed" in told


def test_without_a_terminal_and_without_agreement_nothing_changes(here: Machine) -> None:
    told = refused(here, "install")

    assert "mtls-lab.shop.ssl_ca." in told
    assert "say --yes" in told


def foreign(here: Machine) -> str:
    """Somebody else's authority that is called like the lab's."""
    name = "/O=shop/CN=ssl_ca"
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "/tmp/foreign.key"]
    here.must("openssl", "req", "-x509", *key, "-days", "30", "-subj", name, "-out", "/tmp/foreign.pem")
    here.must("chmod", "a+r", "/tmp/foreign.pem")
    return "/tmp/foreign.pem"


def put_in(here: Machine, store: str, file: str, name: str) -> None:
    """As a person would, without mtls-lab."""
    if store == "system":
        here.must("cp", file, f"{LOCAL}/{name}.crt")
        here.must("update-ca-certificates")
    elif store == "java":
        options = ["-noprompt", "-cacerts", "-storepass", "changeit"]
        here.must("keytool", "-importcert", *options, "-alias", name, "-file", file)
    else:
        firefox(here)
        here.must("certutil", "-A", "-n", name, "-t", "C,,", "-i", file, "-d", f"sql:{PROFILE}", user="person")


@pytest.mark.parametrize("store", ["system", "java", "nss"])
def test_a_foreign_authority_of_the_same_name_is_refused_and_untouched(here: Machine, store: str) -> None:
    put_in(here, store, foreign(here), "not-ours")

    user = "person" if store == "nss" else "root"
    told = refused(here, "install", "--store", store, "--yes", user=user)

    assert "another authority called CN=ssl_ca,O=shop is there" in told
    assert "not ours" in told


@pytest.mark.parametrize("store", ["system", "java", "nss"])
def test_an_entry_that_only_looks_like_ours_is_never_removed(here: Machine, store: str) -> None:
    """Its name says mtls-lab, this lab, this authority; its certificate is not the one that the name says."""
    put_in(here, store, foreign(here), "mtls-lab.shop.ssl_ca.00112233445566778899")
    before = condition(here)

    user = "person" if store == "nss" else "root"
    assert "nothing of this lab is there" in uninstall(here, "--store", store, user=user)
    assert condition(here) == before


@pytest.mark.parametrize("store", ["system", "java", "nss"])
def test_what_somebody_trusts_already_by_another_name_stays_theirs(here: Machine, store: str) -> None:
    put_in(here, store, AUTHORITY, "by-hand")
    before = condition(here)
    chosen = ("--store", store, "--yes")
    user = "person" if store == "nss" else "root"

    told = here.mtls_lab("trust", "install", *chosen, user=user).out
    assert "is there already, as by-hand" in told
    uninstall(here, "--store", store, user=user)

    assert condition(here) == before
    assert "by-hand" in "".join(before.values())


def test_an_authority_that_was_issued_anew_takes_the_place_of_the_old_one(
    here: Machine, topology: Path, tmp_path: Path
) -> None:
    firefox(here)
    before = condition(here)
    stores = ("--store", "system", "--store", "nss", "--store", "java")
    old = json.loads(install(here, *stores, "--json", SUDO_USER="person"))[0]["entry"]

    here.put("/lab", later(topology, tmp_path / "out"))
    told = install(here, *stores, SUDO_USER="person")
    assert told.count(f"removed {old}") == 4
    assert old not in "".join(condition(here).values())

    here.must("rm", "-r", "/lab/compose")
    uninstall(here, SUDO_USER="person")
    assert condition(here) == before


def test_two_instances_of_a_lab_are_told_apart(here: Machine, topology: Path, tmp_path: Path) -> None:
    """Their authorities have one name, but each goes alone."""
    other = later(topology, tmp_path / "out")
    here.put("/lab", {path.replace("/authorities/", "/authorities-mine/"): content for path, content in other.items()})
    firefox(here)
    stores = ("--store", "system", "--store", "nss", "--store", "java")
    install(here, *stores, SUDO_USER="person")
    before = condition(here)

    install(here, *stores, "--instance", "mine", SUDO_USER="person")
    uninstall(here, *stores, "--instance", "mine", SUDO_USER="person")

    assert condition(here) == before
    assert [asked(here, store) for store in ("system", "nss", "firefox", "java")] == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("store", "tool", "package"),
    [
        ("nss", "/usr/bin/certutil", "apt-get install libnss3-tools"),
        ("system", "/usr/sbin/update-ca-certificates", "apt-get install ca-certificates"),
        ("java", "/usr/lib/jvm/java-21-openjdk-amd64/bin/keytool", "keytool"),
    ],
)
def test_a_missing_tool_is_named_with_its_package(here: Machine, store: str, tool: str, package: str) -> None:
    here.must("sh", "-c", f"rm $(readlink --canonicalize {tool.replace('amd64', '*')})")

    answer = here.mtls_lab("trust", "install", "--store", store, "--yes")

    assert answer.code == 2, answer.told
    assert package in answer.err
    assert here.must("ls", LOCAL) == ""


@pytest.mark.parametrize(("store", "file"), [("system", BUNDLE), ("java", CACERTS), ("nss", f"{PROFILE}/cert9.db")])
def test_a_damaged_store_is_left_as_it_is(here: Machine, store: str, file: str) -> None:
    firefox(here)
    here.must("sh", "-c", f"echo garbage > {file}")

    answer = here.mtls_lab("trust", "install", "--store", store, "--yes", SUDO_USER="person")

    assert answer.code == 2, answer.told
    assert str(Path(file).parent if store == "nss" else file) in answer.err
    assert here.must("cat", file) == "garbage\n"
    assert here.must("ls", LOCAL) == ""


def test_certificates_that_were_put_into_the_bundle_by_hand_are_not_lost(here: Machine) -> None:
    """Debian's command would drop them when it makes the bundle anew."""
    here.must("sh", "-c", f"cat {foreign(here)} >> {BUNDLE}")

    told = refused(here, "install", "--store", "system", "--yes")

    assert "1 of its certificates were put in by hand" in told


def test_a_failure_in_the_middle_says_what_was_done_and_what_was_not(here: Machine) -> None:
    """A Firefox with a primary password lets nobody change its trust without it."""
    firefox(here)
    here.must("sh", "-c", f"rm {PROFILE}/*; echo secret > {PROFILE}/pw", user="person")
    here.must("certutil", "-N", "-f", f"{PROFILE}/pw", "-d", f"sql:{PROFILE}", user="person")
    before = condition(here)

    answer = here.mtls_lab("trust", "install", "--yes", SUDO_USER="person")

    assert answer.code == 1, answer.told
    assert f"{PROFILE}: could not be changed" in answer.err
    assert f"changed: {LOCAL}; not changed: {PROFILE}, {CACERTS}" in answer.err
    assert asked(here, "system") == 0
    assert condition(here)["nss"] == before["nss"]

    uninstall(here, SUDO_USER="person")
    assert condition(here) == before


def test_export_writes_what_others_can_trust_by_hand(here: Machine) -> None:
    answer = here.mtls_lab("trust", "export", "--to", "lab.pem")

    assert answer.code == 0, answer.told
    assert "certutil -user -addstore Root lab.pem" in answer.err
    assert here.run("curl", "--silent", "--cacert", "lab.pem", URL).code == 0
