"""Certificates by ACME: how long one takes, and what a renewal costs those who call meanwhile."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass

from tests.integration.driving import Callers
from topology.pytest_plugin import TestedLab
from topology.runtime import engine, looking

HOST, DOMAIN, PATH = "shop", "shop.acme.test", "/node/health"
REQUESTS = 1000
SECONDS = 60
RENEW = ["certbot", "renew", "--force-renewal", "--no-random-sleep-on-renew"]


@dataclass(frozen=True)
class Renewal:
    """first: seconds from the moment at which the challenge could be reached; requests, failed: during one renewal."""

    first: float
    requests: int
    failed: int


def measure(tested: TestedLab) -> Renewal:
    """tested: the lab `acme`, up.  Raises AssertionError where certbot does not do its work."""
    certbot = looking.container_of(engine.connect(), tested.lab, HOST, "certbot")
    said = re.search(rf"{DOMAIN}: got a certificate in ([0-9.]+) s", certbot.logs().decode())
    if said is None:
        raise AssertionError(f"certbot got no certificate: {certbot.logs().decode()}")
    with Callers(tested.running, HOST, PATH, at_once=4) as callers:
        code, output = certbot.exec_run(RENEW)
        if code:
            raise AssertionError(f"certbot did not renew: {output.decode()}")
        await_requests(callers, len(callers.answers) + REQUESTS)
    return Renewal(float(said[1]), len(callers.answers), len(callers.failed))


def await_requests(callers: Callers, wanted: int) -> None:
    """The gateway takes the new certificate up within a second; requests go on well beyond that."""
    deadline = time.monotonic() + SECONDS
    while len(callers.answers) < wanted:
        if time.monotonic() > deadline:
            raise AssertionError(f"{len(callers.answers)} requests were made in the time for {wanted}")
        time.sleep(0.05)
