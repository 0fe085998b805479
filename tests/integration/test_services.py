"""The sample services behind their gateways, and the images that they run from."""

from __future__ import annotations

import io
import json
import re
import ssl
import tarfile
from typing import Any

import pytest

from tests.integration.conftest import ask, whoami
from topology.pytest_plugin import TestedLab
from topology.runtime import engine, images, looking

pytestmark = pytest.mark.integration

SERVICES = [
    ("server", "/boot/", "boot", None),
    ("server", "/mtls/", "mtls", "bro"),
    ("client", "/fast/", "fast", None),
    ("client", "/next/", "next", None),
    ("client", "/node/", "node", None),
]
EVERY = pytest.mark.parametrize(("host", "route", "service", "identity"), SERVICES)


@EVERY
def test_health_says_which_service_is_well(
    lab: TestedLab, host: str, route: str, service: str, identity: str | None
) -> None:
    answer = ask(lab, host, f"{route}health", identity)

    assert (answer.status_code, answer.json()) == (200, {"status": "ok", "service": service})


@EVERY
def test_greet_greets(lab: TestedLab, host: str, route: str, service: str, identity: str | None) -> None:
    answer = ask(lab, host, f"{route}greet/d%C3%A4nish", identity)

    assert answer.json() == {"service": service, "greeting": "Hello, dänish"}


@EVERY
def test_whoami_tells_what_the_service_saw(
    lab: TestedLab, host: str, route: str, service: str, identity: str | None
) -> None:
    """The path without the prefix, unless the service is built for it."""
    seen = whoami(lab, host, route, identity, params={"a": "1"}, headers={"X-Own": "kept"})

    assert set(seen) == {"service", "method", "path", "query", "headers", "remote"}
    assert (seen["service"], seen["method"], seen["query"]) == (service, "GET", "a=1")
    assert seen["path"] == ("/next/whoami" if service == "next" else "/whoami")
    assert seen["headers"]["x-own"] == "kept"
    assert re.fullmatch(r"(::ffff:)?[0-9.]+", seen["remote"])


def test_the_next_js_page_works_with_its_assets_below_its_prefix(lab: TestedLab) -> None:
    """Rendered on the server; every script and style that it names is there."""
    page = ask(lab, "client", "/next/")
    assets = set(re.findall(r'(?:src|href)="(/[^"]+\.(?:js|css))"', page.text))

    assert page.status_code == 200
    assert "Rendered on the server at" in page.text
    assert len(assets) >= 3
    for asset in assets:
        assert asset.startswith("/next/_next/")
        assert ask(lab, "client", asset).status_code == 200
    assert ask(lab, "client", "/next/about/").status_code == 200


def test_the_fastapi_docs_work_below_their_prefix(lab: TestedLab) -> None:
    """The page, the schema and the scripts that it names; nothing from elsewhere."""
    page = ask(lab, "client", "/fast/docs")
    named = set(re.findall(r"(?:src=|href=|url: )[\"']([^\"']+)[\"']", page.text))

    assert page.status_code == 200
    assert "/fast/openapi.json" in named
    for path in named:
        assert path.startswith("/fast/"), path
        assert ask(lab, "client", path).status_code == 200
    schema = ask(lab, "client", "/fast/openapi.json").json()
    assert schema["servers"] == [{"url": "/fast"}]


def test_a_partner_that_is_no_route_is_the_gateway_s_answer(lab: TestedLab) -> None:
    assert ask(lab, "client", "/fast/partner/nowhere").status_code == 404


# Images


@pytest.fixture(scope="module")
def built(lab: TestedLab) -> dict[str, Any]:
    found = {container.image.tags[0]: container.image for container in looking.containers(engine.connect(), lab.lab)}
    assert len(found) == 5
    return found


def test_images_run_as_nobody_special(built: dict[str, Any]) -> None:
    """Also when somebody starts them without Compose."""
    assert {image.attrs["Config"]["User"] for image in built.values()} == {"10001:10001"}


def test_no_final_image_holds_a_company_s_ca(built: dict[str, Any]) -> None:
    """Neither as a file of its own nor in a bundle or trust store, nor a trace of it in the history."""
    content = {
        (tag, member.name): layer.extractfile(member).read()  # type: ignore[union-attr]
        for tag, image in built.items()
        for layer in layers(image)
        for member in layer
        if member.isfile() and re.search(r"\.crt$|\.pem$|cacerts$|^tmp/|^build/|^app/[^/]+$", member.name)
    }
    # What Debian itself ships is public, even where other bundles have dropped it since.
    public = b"".join(text for (_, name), text in content.items() if name.startswith("usr/share/ca-certificates/"))
    companies = [block for block in images.blocks(images.company_ca().decode()) if body(block) not in public]

    for block in companies:
        der = ssl.PEM_cert_to_DER_cert(block)
        assert [where for where, text in content.items() if body(block) in text or der in text] == []
    assert not [name for _, name in content if images.COMPANY_CA in name]
    for image in built.values():
        assert images.COMPANY_CA not in json.dumps(image.history())


def body(block: str) -> bytes:
    """The first line of a PEM block's content: enough to find it, whatever the line ends are."""
    return block.splitlines()[1].encode()


def layers(image: Any) -> list[tarfile.TarFile]:
    archive = tarfile.open(fileobj=io.BytesIO(b"".join(image.save())))  # noqa: SIM115 - read once, in memory
    manifest = archive.extractfile("manifest.json")
    assert manifest is not None
    return [tarfile.open(fileobj=archive.extractfile(name)) for name in json.load(manifest)[0]["Layers"]]


def test_no_build_tools_are_in_the_final_images(lab: TestedLab) -> None:
    for host, service, tool in (
        ("server", "boot", "mvn"),
        ("server", "boot", "javac"),
        ("client", "node", "npm"),
        ("client", "next", "npm"),
        ("client", "fast", "pip"),
    ):
        command = ["bash", "-c", f"command -v {tool}"]
        assert lab.hosts[host].exec_in_container(command, service)[2] != 0, (service, tool)
