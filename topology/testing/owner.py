"""Who has the session's lab up: the process that outlives all others, under pytest-xdist the controller.

A worker asks it over a socket.  So there is one lab for all workers, it is taken down once, and neither an interruption
nor a killed worker leaves anything of it running.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import shutil
import tempfile
import threading
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path
from typing import TYPE_CHECKING

from topology.errors import InvalidInput, LabError, NoEngine, NotReady
from topology.runtime.progress import Progress
from topology.testing.choice import Choice, Standing, commands

if TYPE_CHECKING:
    from topology.runtime.lab import Lab

ERRORS: dict[str, type[LabError]] = {error.__name__: error for error in (NoEngine, NotReady, InvalidInput)}


class Interrupted(NotReady):
    """The session ends while its lab is being brought up."""


class Owner:
    """Brings the session's lab up when it is first asked for, and takes it down when the session ends."""

    def __init__(self, choice: Choice) -> None:
        self.choice = choice
        self.lock = threading.Lock()
        self.ending = threading.Event()
        self.begun: Lab | None = None
        self.told: Standing | LabError | None = None
        self.temporary: Path | None = None
        self.listener: Listener | None = None
        self.key = secrets.token_hex(32)

    def find(self) -> Standing:
        """The lab, up; raises the same error again where it did not come up: nobody waits for it twice."""
        with self.lock:
            if self.told is None:
                self.told = self.brought_up()
        if isinstance(self.told, LabError):
            raise self.told
        return self.told

    def brought_up(self) -> Standing | LabError:
        from topology.testing import session

        try:
            self.stop_if_ending()
            self.begun = self.choice.load(self.folder())
            return session.find(self.choice, self.begun, Progress(self.stop_if_ending, self.stop_if_ending))
        except LabError as error:
            return error

    def folder(self) -> Path:
        """One that goes with the lab."""
        self.temporary = self.temporary or Path(tempfile.mkdtemp(prefix="mtls-lab-"))
        return self.temporary

    def stop_if_ending(self, _: str = "") -> None:
        if self.ending.is_set():
            raise Interrupted("the session ended while its lab was being brought up")

    def end(self) -> None:
        """Takes down what was brought up, or is just being brought up; once.  Raises LabError where that fails."""
        self.ending.set()
        if self.listener is not None:
            self.listener.close()
        with self.lock:
            found, self.told = self.told, Interrupted("the session has ended")
            begun, self.begun = self.begun, None
        if begun is not None and not isinstance(found, NoEngine):
            from topology.testing import session

            session.end(self.choice, begun)
        if self.temporary is not None:  # where the lab could not be taken down, it is needed to try again
            shutil.rmtree(self.temporary, ignore_errors=True)

    def commands(self) -> tuple[str, str]:
        """How the lab is looked at, and taken down."""
        return commands(self.choice, self.choice.out or self.folder())

    def farewell(self) -> tuple[str, ...]:
        """How to go on with a lab that stays up, or why there is none; empty for one that is somebody else's."""
        if isinstance(self.told, NoEngine):
            return (f"tests without a lab: {self.told}",)
        if self.choice.external or not self.choice.stays or not isinstance(self.told, Standing):
            return ()
        status, down = self.commands()
        return (f"the lab stays up; see it: {status}", f"take it down: {down}")

    # For workers

    def listen(self) -> dict[str, str]:
        """Lets workers ask, and returns what one has to know for that.  The first call opens the socket."""
        if self.listener is None:
            self.listener = Listener(family="AF_UNIX", authkey=self.key.encode())
            threading.Thread(target=self.serve, args=(self.listener,), daemon=True).start()
        return {"address": str(self.listener.address), "key": self.key}

    def serve(self, listener: Listener) -> None:
        while not self.ending.is_set():
            try:
                connection = listener.accept()
            except AuthenticationError:
                continue
            except (OSError, EOFError):
                if self.ending.is_set():
                    return  # closed
                continue  # who knocked is gone
            threading.Thread(target=self.answer, args=(connection,), daemon=True).start()

    def answer(self, connection: Connection) -> None:
        with connection, contextlib.suppress(OSError):  # a worker that was killed waits for nothing
            try:
                connection.send_bytes(self.find().as_json())
            except LabError as error:
                kind = next((name for name, known in ERRORS.items() if isinstance(error, known)), NotReady.__name__)
                connection.send_bytes(json.dumps({"error": kind, "message": str(error)}).encode())


def ask(owner: dict[str, str]) -> Standing:
    """A worker's question to the controller: returns when the lab is up.

    owner: what `listen` returned.  Raises the controller's error; NotReady where the controller cannot be asked.
    """
    try:
        with Client(owner["address"], "AF_UNIX", authkey=owner["key"].encode()) as connection:
            said = connection.recv_bytes()
    except (OSError, EOFError, AuthenticationError) as error:
        raise NotReady(
            f"the pytest process that has the lab up cannot be asked ({error or 'it is gone'}); "
            "workers have to run on its machine"
        ) from error
    read = json.loads(said)
    if "error" in read:
        raise ERRORS[read["error"]](read["message"])
    return Standing.from_json(said)
