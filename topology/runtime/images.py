"""Base image and service images: pulled, bootstrapped or built, and only when they are not there yet.

An image's tag is a hash of its sources, so building again only when sources change follows from asking for the tag.
The same Dockerfiles serve a machine with Docker Hub and one with package registries alone: there the base image is
bootstrapped from Debian's packages (by mmdebstrap, the one process that is started here).

A company whose proxy opens TLS has a CA that is trusted on the host, but in no container.  It is put into the build
context as `company-ca.pem`; build stages take it up, final stages never copy from there.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from topology.description.sources import files
from topology.errors import InvalidInput, NoEngine, NotReady
from topology.runtime import engine
from topology.runtime.progress import Progress

if TYPE_CHECKING:
    from docker import DockerClient

PUBLIC_BASE = "debian:trixie-slim"
OWN_BASE = "mtls-lab/base:trixie"
SUITE = "trixie"
COMPANY_CA = "company-ca.pem"
HOST_BUNDLES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt")
SHOWN_LINES = 20
PEM_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----")
SOURCES = """\
deb http://deb.debian.org/debian trixie main
deb http://deb.debian.org/debian trixie-updates main
deb http://security.debian.org/debian-security trixie-security main
"""


@dataclass(frozen=True)
class Image:
    """An image that has to exist: its tag, the folder with its Dockerfile, its build arguments."""

    tag: str
    folder: Path
    arguments: Mapping[str, str] = field(default_factory=dict)


def ensure(images: Iterable[Image], progress: Progress, client: DockerClient | None = None) -> None:
    """Builds those that are missing, in parallel.  Raises NotReady with the end of the build's output.

    client: the engine, if not this machine's.
    """
    client = client or engine.connect()
    missing = [image for image in images if not exists(client, image.tag)]
    if not missing:
        return
    base = ensure_base(client, progress)
    ca = company_ca()
    with ThreadPoolExecutor(max_workers=max(2, (os.cpu_count() or 2) // 2)) as pool:
        for done in [pool.submit(build, client, image, base, ca, progress) for image in missing]:
            done.result()


def exists(client: DockerClient, tag: str) -> bool:
    from docker.errors import ImageNotFound

    try:
        client.images.get(tag)
    except ImageNotFound:
        return False
    return True


# Images of other machines


def provide(target: DockerClient, images: Sequence[Image], ready: Iterable[str], progress: Progress) -> None:
    """Sees to it that an engine has images.  ready: names of images that are not ours to build.

    Ours are built here and carried over; where that engine's machine is of another kind, or no engine runs here, they
    are built there.  Ready ones come from their registry, or from here where that fails.  Raises NotReady.
    """
    missing = [image for image in images if not exists(target, image.tag)]
    here = engine_here()
    if missing and (here is None or architecture(here) != architecture(target)):
        ensure(missing, progress, target)
    elif missing and here is not None:
        ensure(missing, progress, here)
        for image in missing:
            if not exists(target, image.tag):  # there and here can be one engine
                carry(image.tag, here, target, progress)
    for name in ready:
        if not exists(target, name):
            fetch(name, here, target, progress)


def engine_here() -> DockerClient | None:
    try:
        return engine.connect()
    except NoEngine:
        return None


def architecture(client: DockerClient) -> str:
    return str(client.version()["Arch"])


def fetch(name: str, here: DockerClient | None, target: DockerClient, progress: Progress) -> None:
    from docker.errors import APIError

    progress.step(f"{name}: pulling")
    try:
        target.images.pull(name)
    except APIError as error:
        if here is None or not exists(here, name):
            raise NotReady(f"{name} cannot be pulled there, and is not here: {error.explanation or error}") from error
        carry(name, here, target, progress)


def carry(name: str, source: DockerClient, target: DockerClient, progress: Progress) -> None:
    """Saves an image on one engine and loads it on another, without keeping all of it in memory.  Raises NotReady."""
    from docker.errors import APIError, ImageLoadError

    progress.step(f"{name}: carrying over")
    try:
        target.images.load(source.api.get_image(name))
    except (APIError, ImageLoadError) as error:
        raise NotReady(f"{name} cannot be carried over: {error}") from error


# The base image


def ensure_base(client: DockerClient, progress: Progress) -> str:
    """The image that all others start from: Debian's own where it can be had, else one made of Debian's packages.

    Raises NotReady where neither is possible, with what to do.
    """
    from docker.errors import APIError, ImageNotFound

    for tag in (PUBLIC_BASE, OWN_BASE):
        if exists(client, tag):
            return tag
    progress.step(f"{PUBLIC_BASE}: pulling")
    try:
        client.images.pull(PUBLIC_BASE)
        return PUBLIC_BASE
    except (APIError, ImageNotFound) as error:
        progress.step(f"{PUBLIC_BASE}: cannot be pulled: {str(error.explanation or error).strip()}")
    return bootstrap(client, progress)


def can_bootstrap() -> bool:
    return shutil.which("mmdebstrap") is not None and os.geteuid() == 0


def bootstrap(client: DockerClient, progress: Progress) -> str:
    """Debian trixie, minimal, from Debian's packages, as an image under a tag of our own."""
    if not can_bootstrap():
        raise NotReady(
            f"the base image {PUBLIC_BASE} cannot be pulled, and it can be made on Debian or Ubuntu, "
            f"as root, with mmdebstrap alone: `apt-get install mmdebstrap` there, or load the image with `docker load`"
        )
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "base.tar"
        progress.step(f"{OWN_BASE}: bootstrapping from Debian's packages")
        done = subprocess.run(bootstrap_command(archive), input=SOURCES, capture_output=True, text=True, check=False)
        if done.returncode:
            raise NotReady(f"mmdebstrap could not make {OWN_BASE}:\n{last_lines(done.stderr.splitlines())}")
        with archive.open("rb") as content:
            client.api.import_image_from_data(content, *split_tag(OWN_BASE))
    progress.step(f"{OWN_BASE}: ready")
    return OWN_BASE


def bootstrap_command(archive: Path) -> list[str]:
    """Minimal, and without documentation and translations, like Debian's own slim image.  Sources on standard input."""
    left_out = ["/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*"]
    return [
        "mmdebstrap", "--variant=minbase", "--quiet",
        *(f"--dpkgopt=path-exclude={pattern}" for pattern in left_out),
        "--dpkgopt=path-include=/usr/share/doc/*/copyright",
        SUITE, str(archive), "-",
    ]  # fmt: skip


def split_tag(tag: str) -> tuple[str, str]:
    name, _, version = tag.partition(":")
    return name, version


# Building


def build(client: DockerClient, image: Image, base: str, ca: bytes, progress: Progress) -> None:
    """Builds one image.  base: what its Dockerfile starts from; ca: a company's CAs, for build stages."""
    from docker.errors import APIError

    progress.step(f"{image.tag}: building")
    lines: list[str] = []
    try:
        stream = client.api.build(
            fileobj=io.BytesIO(context(image.folder, ca)),
            custom_context=True,
            tag=image.tag,
            buildargs={"BASE": base, **image.arguments},
            labels={"mtls-lab.image": split_tag(image.tag)[0]},
            rm=True,
            forcerm=True,
            decode=True,
        )
        failed = False
        for message in stream:
            failed = failed or "error" in message
            for line in str(message.get("stream") or message.get("error") or "").splitlines():
                if line.strip():
                    lines.append(line.rstrip())
                    progress.detail(f"{image.tag}: {line.rstrip()}")
    except APIError as error:
        raise NotReady(failure(image, [*lines, str(error.explanation)])) from error
    if failed:
        raise NotReady(failure(image, lines))
    progress.step(f"{image.tag}: built")


def failure(image: Image, lines: list[str]) -> str:
    step = next((line for line in reversed(lines) if line.startswith("Step ")), "before the first step")
    return f"{image.tag} could not be built from {image.folder}; {step}\n{last_lines(lines)}"


def last_lines(lines: list[str]) -> str:
    return "\n".join(f"  {line}" for line in lines[-SHOWN_LINES:])


def context(folder: Path, ca: bytes) -> bytes:
    """The build context as a tar: the folder's sources, and the company's CAs where there are any."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for path in files(folder):
            tar.add(folder / path, arcname=path.as_posix(), recursive=False)
        if ca:
            entry = tarfile.TarInfo(COMPANY_CA)
            entry.size = len(ca)
            entry.mode = 0o644
            tar.addfile(entry, io.BytesIO(ca))
    return buffer.getvalue()


# A company's CA


def company_ca() -> bytes:
    """The CAs that this host trusts beyond the public ones, as PEM; empty where there are none.

    MTLS_LAB_CA_BUNDLE names the file where the host keeps its bundle elsewhere (macOS: export it from the keychain).
    Raises InvalidInput where that file cannot be read.
    """
    named = os.environ.get("MTLS_LAB_CA_BUNDLE")
    bundle = Path(named) if named else next((Path(p) for p in HOST_BUNDLES if Path(p).is_file()), None)
    if bundle is None:
        return b""
    try:
        return beyond_public(bundle.read_bytes())
    except OSError as error:
        if named is None:
            return b""
        raise InvalidInput(f"MTLS_LAB_CA_BUNDLE={named}: cannot be read: {error.strerror}") from error


def beyond_public(bundle: bytes) -> bytes:
    """Those certificates of a bundle that are not in the public set (certifi has Mozilla's).

    Compared as bytes: some public roots are not what strict parsers accept.
    """
    import certifi

    public = set(blocks(Path(certifi.where()).read_text()))
    return "".join(block + "\n" for block in blocks(bundle.decode("latin-1")) if block not in public).encode()


def blocks(text: str) -> list[str]:
    return [match.group().replace("\r\n", "\n") for match in PEM_CERTIFICATE.finditer(text)]
