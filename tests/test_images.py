"""Images: named by their sources, built once, with a company's CA for build stages alone."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import certifi
import pytest
from docker.errors import ImageNotFound

from topology.description.sources import content_hash, files
from topology.errors import InvalidInput, NotReady
from topology.runtime import images
from topology.runtime.images import Image
from topology.runtime.progress import SILENT

PEM = "-----BEGIN CERTIFICATE-----\nMIIBcompany\n-----END CERTIFICATE-----"


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    for name, text in {"Dockerfile": "FROM x\n", "app/main.py": "print()\n", "notes.md": "n\n"}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_the_same_sources_have_the_same_hash(sources: Path) -> None:
    """Whatever the clock and the order of files say."""
    before = content_hash(sources, {"A": "1", "B": "2"})
    os.utime(sources / "Dockerfile", (0, 0))

    assert content_hash(sources, {"B": "2", "A": "1"}) == before


@pytest.mark.parametrize("change", ["content", "name", "mode", "argument"])
def test_any_change_has_another_hash(sources: Path, change: str) -> None:
    before = content_hash(sources, {})
    if change == "content":
        (sources / "app/main.py").write_text("print(1)\n")
    elif change == "name":
        (sources / "app/main.py").rename(sources / "app/other.py")
    elif change == "mode":
        (sources / "app/main.py").chmod(0o755)

    assert content_hash(sources, {"A": "1"} if change == "argument" else {}) != before


def test_what_docker_ignores_changes_nothing(sources: Path) -> None:
    (sources / ".dockerignore").write_text("# comment\n*.md\ndist\n**/*.log\n!keep.md\n")
    before = content_hash(sources, {})
    (sources / "notes.md").write_text("changed\n")
    (sources / "dist").mkdir()
    (sources / "dist" / "x").write_text("x")
    (sources / "app" / "deep.log").write_text("x")
    (sources / "__pycache__").mkdir()
    (sources / "__pycache__" / "x.pyc").write_text("x")

    assert content_hash(sources, {}) == before
    (sources / "keep.md").write_text("kept\n")
    assert Path("keep.md") in files(sources)


def names(context: bytes) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(context)) as tar:
        return tar.getnames()


def test_a_company_s_ca_is_in_the_build_context_and_not_in_the_name(sources: Path) -> None:
    assert "company-ca.pem" in names(images.context(sources, PEM.encode()))
    assert "company-ca.pem" not in names(images.context(sources, b""))
    assert Path("company-ca.pem") not in files(sources)


def test_what_a_host_trusts_beyond_the_public_is_its_company_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = tmp_path / "bundle.crt"
    bundle.write_text(Path(certifi.where()).read_text() + PEM + "\n")
    monkeypatch.setenv("MTLS_LAB_CA_BUNDLE", str(bundle))

    assert images.company_ca().decode().strip() == PEM


def test_a_bundle_that_is_not_there_is_bad_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MTLS_LAB_CA_BUNDLE", str(tmp_path / "nowhere"))

    with pytest.raises(InvalidInput, match=r"MTLS_LAB_CA_BUNDLE=.*cannot be read"):
        images.company_ca()


def test_a_build_that_fails_shows_its_step_and_its_end(sources: Path) -> None:
    messages = [
        {"stream": "Step 1/2 : FROM x\n"},
        {"stream": "Step 2/2 : RUN make\n"},
        {"stream": "cc: no such file\n"},
    ]
    messages += [{"error": "The command returned a non-zero code: 2"}]
    client: Any = SimpleNamespace(api=SimpleNamespace(build=lambda **_: iter(messages)))

    with pytest.raises(NotReady) as caught:
        images.build(client, Image("mtls-lab/x:1", sources), "base", b"", SILENT)

    assert "mtls-lab/x:1 could not be built" in str(caught.value)
    assert "Step 2/2 : RUN make" in str(caught.value)
    assert "cc: no such file" in str(caught.value)


@pytest.mark.parametrize("folder", sorted((Path(__file__).parents[1] / "services").glob("*/Dockerfile")), ids=str)
def test_final_stages_take_nothing_of_a_company_s_ca(folder: Path) -> None:
    """It is named in build stages alone, and with a wildcard: the file builds by hand without it."""
    text = folder.read_text()
    final = text[text.rindex("FROM ") :]

    assert "company" not in final
    assert text.startswith(("ARG BASE=debian:trixie-slim", "# nginx")) or "ARG BASE=debian:trixie-slim" in text
    assert "company-ca.pem ./" not in text
    assert "USER 10001:10001" in final


class StandIn:
    """An engine that has images and is handed others, without any of their content."""

    def __init__(self, arch: str, *tags: str) -> None:
        self.tags, self.arch, self.pulls = set(tags), arch, True
        self.images = self.api = self

    def version(self) -> dict[str, str]:
        return {"Arch": self.arch}

    def get(self, tag: str) -> None:
        if tag not in self.tags:
            raise ImageNotFound(tag)

    def get_image(self, tag: str) -> str:
        self.get(tag)
        return tag

    def load(self, tag: str) -> None:
        self.tags.add(tag)

    def pull(self, tag: str) -> None:
        if not self.pulls:
            raise ImageNotFound(tag)
        self.tags.add(tag)


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The engines on which something was built."""
    found: list[Any] = []

    def build(wanted: Any, _: Any, client: Any = None) -> None:
        found.append(client)
        client.tags |= {image.tag for image in wanted}

    monkeypatch.setattr(images, "ensure", build)
    return found


def provide(here: Any, there: Any, monkeypatch: pytest.MonkeyPatch, *ready: str) -> None:
    monkeypatch.setattr(images, "engine_here", lambda: here)
    images.provide(there, [Image("mtls-lab/node:1", Path())], ready, SILENT)


def test_images_are_built_here_and_carried_over(built: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    here, there = StandIn("amd64"), StandIn("amd64")
    provide(here, there, monkeypatch)
    assert (built, there.tags) == ([here], {"mtls-lab/node:1"})


def test_what_the_other_engine_has_is_not_built(built: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    provide(None, StandIn("amd64", "mtls-lab/node:1"), monkeypatch)
    assert built == []


@pytest.mark.parametrize("here", [StandIn("arm64"), None], ids=["another processor", "no engine here"])
def test_images_that_would_not_run_there_are_built_there(
    here: Any, built: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    there = StandIn("amd64")
    provide(here, there, monkeypatch)
    assert built == [there]


@pytest.mark.usefixtures("built")
def test_ready_images_come_from_their_registry_and_else_from_here(monkeypatch: pytest.MonkeyPatch) -> None:
    here, there = StandIn("amd64", "postgres:17"), StandIn("amd64")
    provide(None, there, monkeypatch, "redis:8")
    there.pulls = False
    provide(here, there, monkeypatch, "postgres:17")
    assert there.tags >= {"redis:8", "postgres:17"}

    with pytest.raises(NotReady, match="nginx:1 cannot be pulled there, and is not here"):
        provide(here, there, monkeypatch, "nginx:1")
