"""The hosts file of a machine where it is mounted, as in every container; and all of it together: names that lead to
the running lab, and an authority that is trusted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.machines import Machine, machine
from topology.pytest_plugin import TestedLab

pytestmark = pytest.mark.integration

TOPOLOGY = """
name: shop
authorities:
  ssl_ca: {}
hosts:
  web:
    domain: web.shop.test
    aliases: [www.shop.test]
    routes: {}
"""
HOSTS = "/etc/hosts"


@pytest.fixture
def here(machine_sources: Path) -> Iterator[Machine]:
    with machine(machine_sources, {"topology.yaml": TOPOLOGY.encode()}) as made:
        yield made


def leads_to(here: Machine, name: str) -> str:
    return here.run("getent", "ahostsv4", name).out.split(" ")[0]


def test_names_lead_to_this_machine_until_the_block_is_removed(here: Machine) -> None:
    """The file is a mount there, and cannot be replaced; it comes back byte for byte."""
    before = here.must("cat", HOSTS), here.must("stat", "--format", "%a %u %g", HOSTS)
    assert leads_to(here, "web.shop.test") == ""

    assert here.mtls_lab("hosts", "--install", "--yes").out == "/etc/hosts: installed the block of mtls-lab shop\n"
    assert {leads_to(here, name) for name in ("web.shop.test", "www.shop.test")} == {"127.0.0.1"}
    assert here.mtls_lab("hosts", "--install").out == "/etc/hosts: mtls-lab shop is there already\n"

    assert here.mtls_lab("hosts", "--remove", "--yes").code == 0
    assert (here.must("cat", HOSTS), here.must("stat", "--format", "%a %u %g", HOSTS)) == before
    assert here.must("sh", "-c", "ls -A /etc | grep hosts") == "hosts\n"


def test_a_file_that_is_no_mount_is_replaced_and_keeps_its_owner(here: Machine) -> None:
    here.must("sh", "-c", "printf '127.0.0.1 localhost' > /lab/hosts; chown person /lab/hosts; chmod 664 /lab/hosts")

    assert here.mtls_lab("hosts", "--install", "--yes", "--file", "hosts").code == 0
    assert here.must("stat", "--format", "%a %U", "/lab/hosts") == "664 person\n"
    assert "www.shop.test" in here.must("cat", "/lab/hosts")

    here.mtls_lab("hosts", "--remove", "--yes", "--file", "hosts")
    assert here.must("cat", "/lab/hosts") == "127.0.0.1 localhost"


def test_without_rights_it_says_what_to_do_and_changes_nothing(here: Machine) -> None:
    before = here.must("cat", HOSTS)

    answer = here.mtls_lab("hosts", "--install", "--yes", user="person")

    assert answer.code == 2
    assert answer.err.splitlines()[-1] == "/etc/hosts: you may not change it; run this again as root (sudo)"
    assert here.must("cat", HOSTS) == before


def test_another_address_for_a_name_is_refused(here: Machine) -> None:
    here.must("sh", "-c", f"echo '10.1.2.3 www.shop.test' >> {HOSTS}")

    answer = here.mtls_lab("hosts", "--install", "--yes")

    assert answer.code == 2
    assert "gives www.shop.test the address 10.1.2.3, and not 127.0.0.1" in answer.err
    assert leads_to(here, "www.shop.test") == "10.1.2.3"


def test_with_names_and_trust_curl_opens_the_lab_by_its_url_alone(terminated: TestedLab, machine_sources: Path) -> None:
    """On the network of the machine that the lab runs on, where its ports are published."""
    topology = terminated.lab.description.file
    instance = terminated.running.instance or ""
    authority = f"compose/terminated/authorities-{instance}/ssl_ca/certificate.pem"
    files = {
        "topology.yaml": Path(topology).read_bytes(),
        authority: (terminated.running.authorities / "ssl_ca" / "certificate.pem").read_bytes(),
    }
    url = f"https://web.lab.test:{terminated.running.endpoints['web'].https}/health"
    with machine(machine_sources, files, network_mode="host") as here:
        assert here.run("curl", "--silent", url).code == 6  # no such name

        assert here.mtls_lab("hosts", "--install", "--instance", instance, "--yes").code == 0
        assert here.run("curl", "--silent", url).code == 60  # an authority that nobody knows

        chosen = ("--instance", instance, "--store", "system", "--yes")
        assert here.mtls_lab("trust", "install", *chosen).code == 0
        assert here.run("curl", "--silent", "--fail", url, user="person").code == 0

        assert here.mtls_lab("trust", "uninstall", *chosen).code == 0
        assert here.run("curl", "--silent", url).code == 60
