"""Keeps one certificate from an ACME server: gets the first one, and each next one well before the last one expires.

    python3 renewal.py        looks for ever, every ACME_INTERVAL seconds, sooner after a failure
    python3 renewal.py once   looks now, says in one line what came of it, and exits 0 where there is a good certificate

Environment: ACME_DIRECTORY (the server's URL), ACME_DOMAINS (the certificate's name, then its further names),
ACME_INTERVAL (seconds), and, where the server is the lab's own, ACME_ROOT (a file: the authority that everybody trusts
now; a certificate below another one is replaced) and REQUESTS_CA_BUNDLE (a file: who vouches for the server itself).

The gateway serves what lies in CHALLENGES, and takes up what appears below LETSENCRYPT by itself.
"""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import json
import os
import re
import secrets
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature

LETSENCRYPT = Path("/etc/letsencrypt")
CHALLENGES = Path("/srv/challenges")
SCRATCH = Path("/tmp")  # noqa: S108 - the container's memory file system
CHALLENGE_PATH = ".well-known/acme-challenge"

LEFT_BEFORE_RENEWAL = 1 / 3
"""A certificate with less of its life left than this is renewed: 30 days of 90, as ACME servers advise."""

FIRST_PAUSE = 15
"""Seconds after the first failure.  Each further one waits four times as long: Let's Encrypt takes five an hour."""

GATEWAY_SECONDS = 60
"""How long a gateway that is starting has until it serves challenges."""

SERVER_SECONDS = 10
"""How long an ACME server has to answer."""

CERTBOT_SECONDS = 300


@dataclass(frozen=True)
class Settings:
    directory: str
    domains: tuple[str, ...]
    interval: float
    root: Path | None

    @staticmethod
    def read(environment: Mapping[str, str]) -> Settings:
        root = environment.get("ACME_ROOT")
        return Settings(
            directory=environment["ACME_DIRECTORY"],
            domains=tuple(environment["ACME_DOMAINS"].split()),
            interval=float(environment.get("ACME_INTERVAL") or 43200),
            root=Path(root) if root else None,
        )


@dataclass(frozen=True)
class Outcome:
    """What one look came to.  line: for people; finished: on the machine's monotonic clock."""

    good: bool
    line: str
    finished: float


# Is there anything to do?


def reason_to_renew(settings: Settings, now: datetime) -> str | None:
    """Why the certificate that is there will not do, or None where it will.  OSError where it cannot be looked at."""
    chain = read_chain(LETSENCRYPT / "live" / settings.domains[0] / "fullchain.pem")
    if not chain:
        return "there is none"
    leaf = chain[0]
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(x509.DNSName)
    if set(names) != set(settings.domains):
        return "its names changed"
    if server_of(settings.domains[0]) != settings.directory:
        return "it comes from another ACME server"
    if settings.root is not None and not is_below(chain, read_chain(settings.root)):
        return "the ACME server has a new root"
    life = leaf.not_valid_after_utc - leaf.not_valid_before_utc
    if leaf.not_valid_after_utc - now < life * LEFT_BEFORE_RENEWAL:
        return f"it expires at {leaf.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"
    return None


def read_chain(file: Path) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(file.read_bytes())
    except (FileNotFoundError, ValueError):
        return []


def is_below(chain: Sequence[x509.Certificate], roots: Sequence[x509.Certificate]) -> bool:
    """Whether a chain, leaf first, ends below one of the roots."""
    for root in roots:
        with contextlib.suppress(ValueError, TypeError, InvalidSignature):
            chain[-1].verify_directly_issued_by(root)
            return True
    return False


def server_of(name: str) -> str:
    """The ACME server that the certificate came from, as certbot has written it down."""
    try:
        text = (LETSENCRYPT / "renewal" / f"{name}.conf").read_text()
    except FileNotFoundError:
        return ""
    found = re.search(r"^server\s*=\s*(\S+)$", text, re.MULTILINE)
    return found[1] if found else ""


# Getting one


def look(settings: Settings) -> Outcome:
    """Gets a certificate where one is needed.  Never raises for what a server or a file system does."""
    domain = settings.domains[0]
    try:
        reason = reason_to_renew(settings, datetime.now(UTC))
        if reason is None:
            return Outcome(True, f"{domain}: the certificate is good", time.monotonic())
        await_gateway(domain)
        began = time.monotonic()
        failure = unreachable(settings.directory) or order(settings)
        seconds = time.monotonic() - began
    except OSError as error:
        failure = f"{error.filename or error}: {error.strerror or 'failed'}"
        if isinstance(error, PermissionError):
            failure += "; the volume belongs to another user: remove it, or run as that user (MTLS_LAB_USER)"
    if failure:
        return Outcome(False, f"{domain}: no certificate: {failure}", time.monotonic())
    return Outcome(True, f"{domain}: got a certificate in {seconds:.1f} s ({reason})", time.monotonic())


def await_gateway(domain: str) -> None:
    """Returns when this host's own gateway serves challenges; TimeoutError where it does not."""
    token = secrets.token_hex(16)
    file = CHALLENGES / CHALLENGE_PATH / token
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(token)
    deadline = time.monotonic() + GATEWAY_SECONDS
    try:
        while (seen := fetched(f"http://{domain}/{CHALLENGE_PATH}/{token}")) != token:
            if time.monotonic() > deadline:
                raise TimeoutError(
                    0, f"this host's gateway does not serve challenges ({seen[:100]})", f"http://{domain}"
                )
            time.sleep(0.1)
    finally:
        file.unlink(missing_ok=True)


def fetched(url: str) -> str:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=2) as answer:  # the gateway beside this container
            return str(answer.read(200).decode(errors="replace"))
    except (OSError, http.client.HTTPException, ValueError) as error:
        return str(error)


def unreachable(directory: str) -> str:
    """Why the ACME server cannot be asked, empty where it can.  certbot would take long to say so, and at length."""
    server = f"the ACME server {directory} cannot be reached"
    context = ssl.create_default_context(cafile=os.environ.get("REQUESTS_CA_BUNDLE"))
    try:
        with urllib.request.urlopen(directory, timeout=SERVER_SECONDS, context=context) as answer:  # noqa: S310 - https
            found = json.load(answer)
    except urllib.error.HTTPError as error:
        return f"{server}: it answers {error.code}; is it the right URL?"
    except urllib.error.URLError as error:
        return f"{server}: {in_words(error.reason)}"
    except (TimeoutError, OSError) as error:
        return f"{server}: {in_words(error)}"
    except (ValueError, http.client.HTTPException):
        found = None  # whatever it speaks, it is not HTTP with JSON
    return "" if isinstance(found, dict) and "newOrder" in found else f"{directory} is not an ACME server's directory"


def in_words(error: object) -> str:
    if isinstance(error, socket.gaierror):
        return "its name does not resolve; is it the right URL?"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({error.verify_message}); is it the right URL?"
    if isinstance(error, TimeoutError):
        return "it does not answer; is it up?"
    return f"{getattr(error, 'strerror', None) or error}; is it up?".lower()


def order(settings: Settings) -> str:
    """Has certbot get a certificate; returns what went wrong, empty for nothing.

    A test server forgets its accounts when it is started anew: then, and only then, ours is thrown away.
    """
    code, output = run(certbot(settings))
    if code and is_unknown_account():
        forget_account(settings.directory)
        code, output = run(certbot(settings))
    return explained(output) if code else ""


def certbot(settings: Settings) -> list[str]:
    """The command; where it puts things, and how it answers challenges, stands in cli.ini."""
    names = [word for domain in settings.domains for word in ("--domain", domain)]
    return [
        "certbot", "certonly", "--server", settings.directory,
        "--cert-name", settings.domains[0], *names, "--renew-with-new-domains", "--force-renewal",
    ]  # fmt: skip


def run(command: Sequence[str]) -> tuple[int, str]:
    try:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=CERTBOT_SECONDS
        )
    except subprocess.TimeoutExpired:
        return 1, f"certbot had not finished after {CERTBOT_SECONDS} seconds"
    return done.returncode, done.stdout


def is_unknown_account() -> bool:
    """Whether the server said that it does not know us.

    The error's name (RFC 8555, 6.7) stands in certbot's log alone, which it begins anew each time.
    """
    try:
        return "urn:ietf:params:acme:error:accountDoesNotExist" in (SCRATCH / "logs" / "letsencrypt.log").read_text()
    except FileNotFoundError:
        return False


def forget_account(directory: str) -> None:
    """Throws away the account with one server; certbot keeps it below the server's host, port and path."""
    folder = LETSENCRYPT / "accounts" / directory.partition("://")[2]
    for parent, folders, files in os.walk(folder, topdown=False):
        for name in files:
            (Path(parent) / name).unlink()
        for name in folders:
            path = Path(parent) / name
            path.unlink() if path.is_symlink() else path.rmdir()


# What went wrong

PROBLEM = re.compile(r"Domain:\s*(\S+)\s+Type:\s*(\S+)\s+Detail:\s*(.+?)(?=\n\s*\n|\n\s*Domain:|\Z)", re.DOTALL)
"""What certbot prints of each name that an ACME server did not accept."""

UNKNOWN_DOMAIN = re.compile("no such host|NXDOMAIN|SERVFAIL|resolv|looking up", re.IGNORECASE)
OF_NO_USE = ("Ask for help", "See the logfile", "Saving debug log", "Some challenges")


def explained(output: str) -> str:
    """One line of what certbot printed: what is wrong, and what to do."""
    if problems := PROBLEM.findall(output):
        return "; ".join(f"{one_line(detail)} ({advice(domain, kind, detail)})" for domain, kind, detail in problems)
    return last_words(output)


def advice(domain: str, kind: str, detail: str) -> str:
    path = f"http://{domain}/{CHALLENGE_PATH}/"
    if kind == "dns" or UNKNOWN_DOMAIN.search(detail):
        return f"{domain} does not resolve for the ACME server; let its DNS record lead to this machine"
    if kind == "connection":
        return f"the ACME server has to reach {path} on port 80 of this machine"
    if kind == "unauthorized":
        return f"something else answers {path}; this host's gateway has to"
    return kind


def last_words(output: str) -> str:
    """certbot's last line that says something: it ends with advice on where its log is."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    telling = [line for line in lines if not line.startswith(OF_NO_USE)]
    return one_line(telling[-1] if telling else "certbot failed and said nothing")


def one_line(text: str) -> str:
    return " ".join(text.split())[:400].rstrip(".")


# One at a time, now or for ever


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """One look at a time: somebody may ask for one while the loop is at it."""
    with (SCRATCH / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def remember(outcome: Outcome) -> Outcome:
    (SCRATCH / "outcome.json").write_text(json.dumps(asdict(outcome)))
    return outcome


def last_outcome() -> Outcome | None:
    try:
        return Outcome(**json.loads((SCRATCH / "outcome.json").read_text()))
    except (FileNotFoundError, ValueError):
        return None


def once(settings: Settings) -> Outcome:
    """Looks now; where a look was under way already, what that came to is the answer."""
    asked = time.monotonic()
    with alone():
        last = last_outcome()
        meanwhile = last if last is not None and last.finished > asked else None
        if meanwhile is not None and not meanwhile.good:
            return meanwhile
        outcome = remember(look(settings))
        return meanwhile if meanwhile is not None and outcome.good else outcome


def keep(settings: Settings, stopped: Callable[[float], bool]) -> None:
    """Looks for ever.  stopped: waits that many seconds at most, and says whether it is time to stop."""
    failures = 0
    while True:
        with alone():
            outcome = remember(look(settings))
        print(outcome.line, flush=True)
        failures = 0 if outcome.good else failures + 1
        if stopped(pause(settings.interval, failures)):
            return


def pause(interval: float, failures: int) -> float:
    """Seconds until the next look."""
    return min(interval, FIRST_PAUSE * 4.0 ** (failures - 1)) if failures else interval


def main(arguments: Sequence[str]) -> int:
    socket.setdefaulttimeout(10)
    try:
        settings = Settings.read(os.environ)
    except (KeyError, ValueError) as error:
        print(f"the environment is not what it should be: {error}; see ACME_DIRECTORY, ACME_DOMAINS, ACME_INTERVAL")
        return 2
    if list(arguments) == ["once"]:
        outcome = once(settings)
        print(outcome.line)
        return 0 if outcome.good else 1
    stop = threading.Event()
    for one in (signal.SIGTERM, signal.SIGINT):
        signal.signal(one, lambda *_: stop.set())
    keep(settings, stop.wait)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
