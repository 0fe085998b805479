"""A running lab as a test has it: its cells, its certificates, and requests that leave a trace."""

from __future__ import annotations

import os
import subprocess
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast
from uuid import uuid4

import pytest

from topology.errors import InvalidInput
from topology.proof import expectation, probing
from topology.proof.checking import Verdict
from topology.proof.expectation import NOBODY, Caller, Check
from topology.proof.probing import Files
from topology.report.matrix import explained
from topology.runtime import looking, stacks
from topology.runtime.lab import Lab
from topology.runtime.running import Endpoint, RunningLab
from topology.testing.choice import Values

if TYPE_CHECKING:
    import requests

REMEMBERED = 20


@dataclass(frozen=True)
class Asked:
    """A request that a test sent.

    caller, shown: who called, and with which files; port: one that the gateway passes on to a service; tls: `1.2`,
    `1.3` or `plain`; at: when, in seconds since 1970; test: which one, as pytest names it.
    """

    host: str
    path: str
    caller: str
    shown: Files | None
    port: int | None
    tls: str
    request_id: str
    at: float
    test: str


@dataclass(frozen=True, repr=False)
class TestedLab:
    """A running lab in a test.

    hosts: name -> testcontainers' DockerCompose of that host's stack (logs, exec, containers);
    checks: all cells; shown: the certificates that callers show; asked: the last requests, oldest first.
    """

    __test__ = False

    lab: Lab
    running: RunningLab
    hosts: Mapping[str, Any]
    checks: tuple[Check, ...]
    shown: Mapping[Caller, Files]
    asked: deque[Asked] = field(default_factory=lambda: deque(maxlen=REMEMBERED), compare=False)

    def __repr__(self) -> str:
        """A line for failing tests, where pytest shows it."""
        return f"<lab {self.lab.topology.name}, instance {self.lab.instance}>"

    def find_ports(self, *hosts: str) -> None:
        """Reads the published ports again: where Docker chooses them, a recreated gateway has others."""
        found = looking.look(self.lab)[0].endpoints
        endpoints = cast("dict[str, Endpoint]", self.running.endpoints)
        endpoints.update({host: found[host] for host in hosts or found})

    def ask(self, check: Check) -> Verdict:
        """Sends one cell's request and judges the answer."""
        at = time.time()
        observation = probing.probe(check, self.running, self.shown)
        self.asked.append(
            Asked(
                check.host, check.path, check.caller, self.shown.get(check.shown), check.port, check.tls,
                observation.request_id, at, current_test(),
            )
        )  # fmt: skip
        return Verdict(check, observation)

    def verify(self, check: Check) -> None:
        """Fails the test, with the rule that was broken, where a cell's answer is not the expected one."""
        verdict = self.ask(check)
        if not verdict.ok:
            pytest.fail(explained(verdict), pytrace=False)

    def url(self, host: str) -> str:
        """Such as `https://shop.test:32768`: where a host's gateway is reached, under its own name."""
        described, endpoint = self.lab.topology.hosts[host], self.running.endpoints[host]
        port = endpoint.https if described.tls else endpoint.http
        return f"{'https' if described.tls else 'http'}://{described.domain}:{port}"

    def get(self, host: str, path: str, identity: str | None = None, **options: Any) -> requests.Response:
        """`request("GET", ...)`."""
        return self.request("GET", host, path, identity, **options)

    def request(
        self, method: str, host: str, path: str, identity: str | None = None, **options: Any
    ) -> requests.Response:
        """Sends a request to a host's gateway from outside, verified, as an identity or as nobody.

        options: what `requests.Session.request` takes; redirects are not followed unless they say so.
        Raises InvalidInput where the topology has no such host or identity, and what requests raises.
        """
        import requests
        from requests.structures import CaseInsensitiveDict

        for name, known in ((host, self.lab.topology.hosts), (identity, self.lab.topology.identities)):
            if name is not None and name not in known:
                raise InvalidInput(f"{name}: not in the topology; there are {', '.join(known)}")
        described, endpoint = self.lab.topology.hosts[host], self.running.endpoints[host]
        shown = identity_files(self.running, identity)
        context = probing.tls_context(self.running.anchor(host), shown, "1.3") if described.tls else None
        headers = CaseInsensitiveDict({"X-Request-ID": str(uuid4())})
        headers.update(options.pop("headers", {}))
        tls = "1.3" if described.tls else "plain"
        at, url = time.time(), self.url(host) + path
        settings = {"timeout": probing.TIMEOUT_SECONDS, "allow_redirects": False, **options}
        self.asked.append(
            Asked(host, path, identity or NOBODY, shown, None, tls, headers["X-Request-ID"], at, current_test())
        )
        with requests.Session() as session:
            session.trust_env = False
            session.mount(self.url(host), probing.Direct(endpoint.address, context))
            return session.request(method, url, headers=headers, **settings)


def identity_files(running: RunningLab, identity: str | None) -> Files | None:
    if identity is None:
        return None
    folder = running.identities / identity
    return Files(folder / "certificate.pem", folder / "key.pem")


def current_test() -> str:
    """The id of the running test; pytest names it in the environment, with the phase behind it."""
    return os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" (")[0]


@contextmanager
def opened(lab: Lab, values: Values) -> Iterator[TestedLab]:
    """A lab that runs, for tests, until the context ends; starts and stops nothing.  Raises NoEngine, NotReady."""
    running = looking.running(lab)
    checks = expectation.checks(lab.topology, running.held_elsewhere)
    hosts = {host: host_stack(lab, host, values.get(host, {})) for host in lab.topology.hosts}
    with probing.credentials(checks, running, datetime.now(UTC)) as shown:
        yield TestedLab(lab, running, hosts, checks, shown)


def host_stack(lab: Lab, host: str, values: Mapping[str, str]) -> Any:
    """One host's stack as testcontainers knows it, under this lab's project name and with its environment."""
    from testcontainers.compose import DockerCompose

    class HostStack(DockerCompose):
        @cached_property
        def compose_command_property(self) -> list[str]:
            return stacks.compose_command(lab, host)

        def _run_command(
            self,
            cmd: str | list[str],
            context: str | None = None,  # noqa: ARG002 - the signature is testcontainers'
        ) -> subprocess.CompletedProcess[bytes]:
            # A command that fails inside a container is a result, not an accident; anything else is one.
            return stacks.run_compose(list(cmd), values, check="exec" not in cmd)

    return HostStack(context=lab.folder / host, wait=False)
