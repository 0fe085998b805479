"""What holds for every session of tests."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest


def pytest_configure() -> None:
    """Shells start what runs in the background with Ctrl-C ignored; what tests start would inherit that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection() -> None:
    """What is loaded and collected now stays until the session ends: there is no garbage to look for."""
    gc.disable()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Nor need the collector of garbage look at all that again later.

    It did, some thousand times over: a tenth of the time that the fast tests take.
    """
    gc.freeze()
    gc.set_threshold(20_000)  # what tests leave behind is little, and was looked for 2,500 times
    gc.enable()
    if not any(item.get_closest_marker("integration") for item in session.items):
        wait_for_no_disk()


def wait_for_no_disk() -> None:
    """Fast tests read what they wrote a moment ago, and none of them pulls the plug: they waited for a disk some two
    thousand times."""
    os.fsync = lambda _: None


@pytest.fixture(scope="session")
def rsa_key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key of 2048 bits, as OpenSSL's own command writes it: such keys take long to find, so one does for all."""
    file = tmp_path_factory.mktemp("rsa") / "key.pem"
    subprocess.run(["openssl", "genpkey", "-algorithm", "RSA", "-out", file], check=True, capture_output=True)
    return file


@pytest.fixture(scope="module")
def quick_bundles() -> Iterator[None]:
    """Bundles whose password is stretched once, and not thousands of times, for tests that ask nothing of it.

    Each of the usual ones takes longer than all else that an identity is issued.
    """
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.serialization import PrivateFormat

    from topology.pki import issuing

    def bundle(name: str, credential: issuing.Credential) -> bytes:
        builder = PrivateFormat.PKCS12.encryption_builder().kdf_rounds(1).hmac_hash(hashes.SHA256())
        return issuing.packed(name, credential, builder.build(issuing.BUNDLE_PASSWORD.encode()))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(issuing, "bundle", bundle)
        yield


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The two-host lab's certificates, as `up` would lay them down."""
    from topology.description import loading
    from topology.generation import certificates, planning

    folder = tmp_path_factory.mktemp("pki")
    description = loading.load(Path(__file__).parents[1] / "fixtures" / "labs" / "two-host.yaml")
    issued = certificates.issue(planning.wanted_certificates(description), {}, datetime.now(UTC))
    for path, content in issued.files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return folder
