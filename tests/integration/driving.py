"""A lab in a folder of its own, driven by the command line as people do, and callers that ask while it changes."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import requests
from cryptography import x509

from topology import cli
from topology.description.loading import load
from topology.proof.probing import Direct, Files, tls_context
from topology.runtime import engine, execution, looking
from topology.runtime.lab import Lab
from topology.runtime.running import RunningLab


@dataclass(frozen=True)
class Driven:
    """folder: holds the topology and the stacks; instance: whose containers it has."""

    folder: Path
    instance: str

    @classmethod
    def of(cls, text: str, folder: Path, instance: str) -> Self:
        made = cls(folder, instance)
        made.write(text)
        return made

    @property
    def file(self) -> Path:
        return self.folder / "topology.yaml"

    @property
    def out(self) -> Path:
        return self.folder / "compose"

    @property
    def lab(self) -> Lab:
        return Lab(load(self.file), self.out, self.instance)

    @property
    def running(self) -> RunningLab:
        return looking.running(self.lab)

    def write(self, text: str) -> None:
        self.file.write_text(text)

    def run(self, *words: str) -> int:
        """A command on this lab; returns its exit code."""
        instance = [] if "generate" in words else ["--instance", self.instance]
        folder = "--stacks" if "sign" in words else "--out"
        return cli.main([*words, str(self.file), *instance, folder, str(self.out)])

    def up(self) -> int:
        return self.run("up", "--ports", "auto", "--json")

    @contextlib.contextmanager
    def up_meanwhile(self, text: str) -> Iterator[Self]:
        """Up while the context lasts; down afterwards with its first topology, whatever became of that."""
        try:
            assert self.up() == 0
            yield self
        finally:
            self.write(text)
            self.run("down")

    def container(self, host: str, service: str) -> Any:
        return looking.container_of(engine.connect(), self.lab, host, service)

    def execute(self, host: str, service: str, *command: str, **environment: str) -> tuple[int, str]:
        """A command in a container: its exit code, and what it printed."""
        answer = execution.run(self.container(host, service), command, environment=environment)
        return answer.code, answer.told

    def started(self) -> dict[str, tuple[str, str]]:
        """`host/service` -> id and start of its container."""
        return {
            f"{c.labels['mtls-lab.host']}/{c.labels['mtls-lab.service']}": (str(c.id), c.attrs["State"]["StartedAt"])
            for c in looking.everywhere(self.lab)
        }

    def served(self, host: str) -> x509.Certificate:
        """The certificate that a gateway shows now, verified."""
        running = self.running
        context = tls_context(running.anchor(host), None, "1.3")
        with (
            socket.create_connection(("127.0.0.1", running.endpoints[host].https or 0), timeout=10) as connection,
            context.wrap_socket(connection, server_hostname=running.topology.hosts[host].domain) as tls,
        ):
            return x509.load_der_x509_certificate(tls.getpeercert(binary_form=True) or b"")

    def get(self, host: str, path: str, shown: Files | None = None) -> int:
        """The status of a verified request to a gateway, on a connection of its own."""
        return status(self.running, host, path, shown)


def status(running: RunningLab, host: str, path: str, shown: Files | None = None) -> int:
    url = f"https://{running.topology.hosts[host].domain}:{running.endpoints[host].https}"
    with requests.Session() as session:
        session.trust_env = False
        session.mount(url, Direct("127.0.0.1", tls_context(running.anchor(host), shown, "1.3")))
        return session.get(url + path, timeout=10).status_code


@dataclass
class Callers:
    """Requests without end while the context lasts, each on a connection of its own, fully verified.

    answers: the statuses, and what went wrong where there was none.
    """

    running: RunningLab
    host: str
    path: str
    at_once: int = 2
    answers: list[int | str] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)
    threads: list[threading.Thread] = field(default_factory=list)

    @property
    def failed(self) -> list[int | str]:
        return [answer for answer in self.answers if answer != 200]

    def ask(self) -> None:
        while not self.stop.is_set():
            try:
                self.answers.append(status(self.running, self.host, self.path))
            except requests.RequestException as error:
                self.answers.append(str(error))

    def __enter__(self) -> Self:
        self.threads = [threading.Thread(target=self.ask) for _ in range(self.at_once)]
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        for thread in self.threads:
            thread.join()
