"""Static folders and a host's own pages: what is served, and what is not."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.integration.conftest import ask, opened
from topology.proof import checking
from topology.pytest_plugin import TestedLab, brought_up
from topology.report import matrix
from topology.runtime import looking

pytestmark = pytest.mark.integration

TOPOLOGY = """
name: files
authorities: {ssl_ca: {}, client_ca: {}}
identities:
  bro: {authority: client_ca}
hosts:
  web:
    domain: web.files.test
    pages: pages
    client_certificates: {authority: client_ca}
    routes:
      /public/: {files: public}
      /public/private/: {files: private, client_certificate: required}
      /no-index/: {files: no-index}
  desk:
    domain: desk.files.test
    routes:
      /theirs/: {host: web, to: /public/}
"""
BIG = bytes(range(256)) * (32 * 4096)  # 32 MiB, each place of which is known
TYPES = {
    "page.html": "text/html",
    "style.css": "text/css",
    "script.js": "application/javascript",
    "data.json": "application/json",
    "picture.svg": "image/svg+xml",
    "picture.png": "image/png",
    "notes.txt": "text/plain",
    "paper.pdf": "application/pdf",
    "letters.woff2": "font/woff2",
    "big.bin": "application/octet-stream",
    "unknown.xyz123": "application/octet-stream",
    "no-ending": "application/octet-stream",
}
KEY = "/etc/nginx/certificates/server.key"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestedLab]:
    """Folders of all kinds of files, and nothing behind the gateway."""
    folder = tmp_path_factory.mktemp("site")
    contents: dict[str, bytes] = {f"public/{name}": name.encode() for name in TYPES} | {
        "public/index.html": b"the public index",
        "public/big.bin": BIG,
        "public/below/index.html": b"the index below",
        "public/without/page.html": b"no index beside it",
        "public/with space/wäre.html": b"odd names",
        "public/.env": b"a secret",
        "public/.git/config": b"a secret",
        "public/.well-known/security.txt": b"Contact: mailto:security@lab.test",
        "private/index.html": b"the private index",
        "private/secret.txt": b"for holders of a certificate",
        "no-index/notes.txt": b"notes",
        "pages/index.html": b"the host's own index",
        "pages/404.html": b"the host's own 404",
        "pages/about/index.html": b"about the host",
    }
    for name, content in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    (folder / "topology.yaml").write_text(TOPOLOGY)
    with brought_up(folder / "topology.yaml", tmp_path_factory.mktemp("stacks")) as tested:
        yield tested


def status_and_text(tested: TestedLab, path: str, identity: str | None = None) -> tuple[int, str]:
    """Of a path that is sent as it stands here."""
    with opened(tested, "web", path, identity) as answer:
        return answer.status, answer.read().decode(errors="replace")


def test_every_cell_of_its_matrix_is_as_expected(site: TestedLab) -> None:
    verdicts = checking.run(site.checks, site.running)

    assert [matrix.explained(verdict) for verdict in verdicts if not verdict.ok] == []


@pytest.mark.parametrize("name", TYPES)
def test_a_file_has_its_type(site: TestedLab, name: str) -> None:
    answer = ask(site, "web", f"/public/{name}", method="HEAD")

    assert answer.status_code == 200
    assert answer.headers["Content-Type"].partition(";")[0] == TYPES[name]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/public/", "the public index"),
        ("/public/below/", "the index below"),
        ("/public/with%20space/w%C3%A4re.html", "odd names"),
        ("/public/notes.txt?version=2", "notes.txt"),
        ("/public//below/./../notes.txt", "notes.txt"),
        ("/", "the host's own index"),
        ("/about/", "about the host"),
    ],
)
def test_a_folder_is_its_index_and_a_file_itself(site: TestedLab, path: str, text: str) -> None:
    assert status_and_text(site, path) == (200, text)


@pytest.mark.parametrize(
    ("path", "leads_to"),
    [
        ("/public", "/public/"),
        ("/public/below", "/public/below/"),
        ("/public/below?x=1", "/public/below/?x=1"),
        ("/about", "/about/"),
        ("/public/with%20space", "/public/with%20space/"),
    ],
)
def test_a_folder_without_its_slash_leads_to_it(site: TestedLab, path: str, leads_to: str) -> None:
    answer = ask(site, "web", path)

    assert (answer.status_code, answer.headers["Location"]) == (301, leads_to)


def test_a_folder_s_name_writes_no_header(site: TestedLab) -> None:
    """A redirect says the name with its line break, and says it as an address does."""
    folder = looking.mounted(site.lab, "web", "/srv/files") / "public" / "public" / "x\nX-Made-Up: yes"
    folder.mkdir()
    try:
        answer = ask(site, "web", "/public/x%0AX-Made-Up:%20yes")
    finally:
        folder.rmdir()

    assert (answer.status_code, answer.headers["Location"]) == (301, "/public/x%0AX-Made-Up:%20yes/")
    assert "X-Made-Up" not in answer.headers


def test_so_it_does_through_another_host(site: TestedLab) -> None:
    """A redirect of the second gateway, below the prefix of the first."""
    answer = ask(site, "desk", "/theirs/below")

    assert (answer.status_code, answer.headers["Location"]) == (301, "/theirs/below/")
    assert ask(site, "desk", "/theirs/below/").text == "the index below"


@pytest.mark.parametrize("path", ["/no-index/", "/public/without/", "/public/nothing", "/nothing", "/404.html"])
def test_what_is_not_there_is_the_host_s_own_404(site: TestedLab, path: str) -> None:
    """With its status; no folder is ever listed; the page itself has no address."""
    answer = ask(site, "web", path)

    assert (answer.status_code, answer.text) == (404, "the host's own 404")
    assert answer.headers["Content-Type"] == "text/html"


def test_a_file_beside_no_index_is_served(site: TestedLab) -> None:
    assert status_and_text(site, "/no-index/notes.txt") == (200, "notes")


@pytest.mark.parametrize(
    "path",
    ["/public/.env", "/public/.git/config", "/public/%2eenv", "/public/below/../.env", "/public/.git/", "/.env"],
)
def test_what_begins_with_a_dot_is_not_served(site: TestedLab, path: str) -> None:
    """Neither copied into the stack nor, where somebody puts it there by hand, answered."""
    folder = looking.mounted(site.lab, "web", "/srv/files") / "public" / "public"
    assert not (folder / ".env").exists()
    (folder / ".git").mkdir(exist_ok=True)
    for name in (".env", ".git/config"):
        (folder / name).write_text("a secret")
    try:
        assert status_and_text(site, path) == (404, "the host's own 404")
    finally:
        for name in (".env", ".git/config"):
            (folder / name).unlink()


def test_well_known_addresses_are_the_exception(site: TestedLab) -> None:
    """RFC 8615: made for callers."""
    assert status_and_text(site, "/public/.well-known/security.txt")[0] == 200


@pytest.mark.parametrize(
    "path",
    [
        "/public/../../../../etc/passwd",
        "/public/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        "/public/..%2f..%2f..%2fetc/passwd",
        "/public/..%252f..%252fetc/passwd",
        "/public/..%5c..%5cetc/passwd",
        "/public../private/index.html",
        "/public/..;/private/index.html",
        "/public/below/..%00/index.html",
        "//etc/passwd",
        "/public//etc/passwd",
        "/public+private/public/private/secret.txt",
    ],
)
def test_no_path_leads_out_of_the_folder(site: TestedLab, path: str) -> None:
    """Sent byte for byte; nginx has put the path right, or refused it, before any file is looked for."""
    status, text = status_and_text(site, path)

    assert status in (400, 404)
    assert "root:" not in text
    assert "certificate" not in text


@pytest.mark.parametrize(
    "path",
    [
        "/public/private/secret.txt",
        "/public/./private/secret.txt",
        "/public/x/../private/secret.txt",
        "/public//private/secret.txt",
        "/public/%70rivate/secret.txt",
    ],
)
def test_a_guarded_folder_inside_an_open_one_is_guarded_by_every_path(site: TestedLab, path: str) -> None:
    assert status_and_text(site, path)[0] == 403
    assert status_and_text(site, path, "bro") == (200, "for holders of a certificate")


@pytest.mark.parametrize("target", [KEY, "/etc/passwd", "../../public+private/public/private/secret.txt", "/etc/nginx"])
def test_a_link_is_not_followed(site: TestedLab, target: str) -> None:
    """Put there by hand: it would lead to the gateway's own files, the server's key among them."""
    link = looking.mounted(site.lab, "web", "/srv/files") / "public" / "public" / "link"
    link.symlink_to(target)
    try:
        for path in ("/public/link", "/public/link/", "/public/link/nginx.conf"):
            status, text = status_and_text(site, path)
            assert status in (301, 403, 404)
            assert not any(secret in text for secret in ("PRIVATE KEY", "root:", "holders", "worker_processes"))
    finally:
        link.unlink()


def test_a_big_file_arrives_whole(site: TestedLab) -> None:
    answer = ask(site, "web", "/public/big.bin")

    assert answer.content == BIG
    assert ask(site, "desk", "/theirs/big.bin").content == BIG


@pytest.mark.parametrize("host", ["web", "desk"])
@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [
        ("bytes=0-0", 0, 0),
        ("bytes=1000000-1000099", 1_000_000, 1_000_099),
        (f"bytes={len(BIG) - 10}-", len(BIG) - 10, len(BIG) - 1),
        ("bytes=-10", len(BIG) - 10, len(BIG) - 1),
    ],
)
def test_a_part_of_it_can_be_asked_for(site: TestedLab, host: str, asked: str, first: int, last: int) -> None:
    """Also through two gateways."""
    path = "/public/big.bin" if host == "web" else "/theirs/big.bin"
    answer = ask(site, host, path, headers={"Range": asked})

    assert answer.status_code == 206
    assert answer.headers["Content-Range"] == f"bytes {first}-{last}/{len(BIG)}"
    assert answer.content == BIG[first : last + 1]


def test_a_part_beyond_its_end_is_refused(site: TestedLab) -> None:
    answer = ask(site, "web", "/public/big.bin", headers={"Range": f"bytes={len(BIG)}-"})

    assert (answer.status_code, answer.headers["Content-Range"]) == (416, f"bytes */{len(BIG)}")


def test_what_has_not_changed_is_not_sent_again(site: TestedLab) -> None:
    etag = ask(site, "web", "/public/notes.txt").headers["ETag"]

    assert ask(site, "web", "/public/notes.txt", headers={"If-None-Match": etag}).status_code == 304


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_files_are_read_alone(site: TestedLab, method: str) -> None:
    assert ask(site, "web", "/public/notes.txt", method=method, data=b"x").status_code == 405


# The article's site


def test_the_site_has_pages_files_and_applications_behind_tls(tls_only: TestedLab) -> None:
    """React, Next.js and FastAPI, each below its prefix; port 80 leads to 443; 404 is the site's own page."""
    own = (tls_only.lab.description.file.parent / "tls-only" / "pages" / "404.html").read_text()
    missing = ask(tls_only, "site", "/nowhere")

    for path in ("/", "/files/", "/files/below/", "/react/", "/react/greet/bro", "/next/", "/fast/docs"):
        answer = ask(tls_only, "site", path)
        assert (answer.status_code, answer.headers["Content-Type"].partition(";")[0]) == (200, "text/html"), path
    assert ask(tls_only, "site", "/next/", scheme="http").headers["Location"] == "https://site.lab.test/next/"
    assert (missing.status_code, missing.text) == (404, own)
    assert ask(tls_only, "site", "/files/empty/").status_code == 404
    assert json.loads(ask(tls_only, "site", "/fast/health", name="www.site.lab.test").text)["status"] == "ok"
