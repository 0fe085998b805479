"""nginx configurations, read as nginx reads them."""

from __future__ import annotations

from pathlib import Path

import pytest

from topology.nginx.reading import Configuration, Mounts, Unreadable, parse, read
from topology.nginx.tree import Block

STACKS = Path(__file__).parents[1] / "compose"


def gateway(folder: Path) -> Configuration:
    """A checked-in gateway, as its container has it."""
    folders = {"/etc/nginx/lab": folder / "nginx", "/etc/nginx/certificates": folder / "certificates"}
    return read(folder / "nginx" / "nginx.conf", prefix="/etc/nginx", mounts=Mounts.of(folders, strict=True))


def written(folder: Path, text: str, **others: str) -> Configuration:
    (folder / "nginx.conf").write_text(text)
    for name, content in others.items():
        (folder / f"{name}.conf").write_text(content)
    return read(folder / "nginx.conf")


def location(found: Configuration, prefix: str) -> Block:
    return next(one for one in found.root.below("location") if one.directive.arguments == (prefix,))


def test_a_gateway_is_read_with_all_that_it_includes() -> None:
    folder = STACKS / "guarded" / "office"
    found = gateway(folder)
    alice = location(found, "/as-alice/")
    identity = alice.one("proxy_ssl_certificate")

    assert {file.name for file in found.files} == {"nginx.conf", "routes.conf", "egress-headers.conf"}
    assert identity is not None
    assert identity.value == "/etc/nginx/certificates/identities/alice.pem"
    line = (folder / "nginx" / "routes.conf").read_text().splitlines()[identity.place.line - 1]
    assert "identities/alice.pem" in line
    assert alice.value("ssl_session_cache") == "none"
    assert alice.around("server") in found.servers
    assert found.here(identity.value) == folder / "certificates" / "identities" / "alice.pem"


def test_what_a_file_says_holds_wherever_it_is_included() -> None:
    found = gateway(STACKS / "guarded" / "vault")

    assert len([one for one in found.root.below("location") if one.directive.arguments == ("/alice/",)]) == 2


def test_the_innermost_level_cancels_all_those_around_it(tmp_path: Path) -> None:
    text = """
        http {
            proxy_set_header A 1; proxy_set_header B 2; ssl_crl "a b.pem";
            server {
                location /inherits/ { }
                location /cancels/ { proxy_set_header C 3; }
            }
        }
    """
    found = written(tmp_path, text)

    assert [one.value for one in location(found, "/inherits/").in_force("proxy_set_header")] == ["A", "B"]
    assert [one.value for one in location(found, "/cancels/").in_force("proxy_set_header")] == ["C"]
    assert location(found, "/cancels/").value("ssl_crl") == "a b.pem"
    assert location(found, "/cancels/").value("ssl_verify_client", "off") == "off"


def test_rewriting_and_passing_on_hold_in_their_own_block_alone(tmp_path: Path) -> None:
    text = "http { server { location /a/ { return 403; proxy_pass http://a; location /a/b/ { } } } }"
    inner = location(written(tmp_path, text), "/a/b/")

    assert inner.in_force("return") == ()
    assert inner.in_force("proxy_pass") == ()


def test_patterns_include_what_is_there(tmp_path: Path) -> None:
    found = written(tmp_path, "http { include a*.conf; include none*.conf; }", a2="x 2;", a1="x 1;")

    assert [one.value for one in found.http[0].own("x")] == ["1", "2"]


def test_what_comes_with_nginx_need_not_be_here(tmp_path: Path) -> None:
    assert written(tmp_path, "http { include /nowhere/mime.types; x 1; }").http[0].own("x")


def test_the_longest_mount_decides(tmp_path: Path) -> None:
    mounts = Mounts.of({"/etc/nginx": tmp_path / "a", "/etc/nginx/certificates": tmp_path / "b"}, strict=True)

    assert mounts.here("/etc/nginx/x.conf") == tmp_path / "a" / "x.conf"
    assert mounts.here("/etc/nginx/certificates/x.pem") == tmp_path / "b" / "x.pem"
    assert mounts.here("/etc/nginx-other/x") is None
    assert Mounts().here("/etc/ssl/x") == Path("/etc/ssl/x")


UNREADABLE = [
    ("http {\n  a b;\n  c d\n}\n", 3, 'no ";" before "}"'),
    ("a b;\nc d", 2, "end of the file"),
    ("http { a b; }\n}\n", 2, 'unexpected "}"'),
    ("http {\n server {\n", 2, 'expecting "}"'),
    ("a 'x\n y", 1, 'expecting "\'"'),
    ("a b;\n;", 2, 'unexpected ";"'),
    ("a b;\n{ }", 2, 'unexpected "{"'),
    ("a b;\n include gone.conf;", 2, "gone.conf"),
    ("a b;\n include nginx.conf;", 2, "includes itself"),
    ("a b;\n include broken.conf;", 2, "broken.conf:1"),
]


@pytest.mark.parametrize(("text", "line", "words"), UNREADABLE)
def test_what_is_no_configuration_is_told_with_its_line(tmp_path: Path, text: str, line: int, words: str) -> None:
    with pytest.raises(Unreadable) as caught:
        written(tmp_path, text, broken="x y")

    assert words in str(caught.value)
    assert f".conf:{line}: " in str(caught.value) or words == "broken.conf:1"
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_text_is_told_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "nginx.conf"
    file.write_bytes(b"a b;\n\xff;")

    with pytest.raises(Unreadable, match=r"nginx\.conf:2: not UTF-8 text"):
        read(file)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match=r"nginx\.conf: cannot be read: No such file"):
        read(tmp_path / "nginx.conf")


def test_comments_and_quotes_are_no_directives() -> None:
    found = parse("# a b;\nset $x '# no { comment; }'; # c d;\n", Path("x.conf"))

    assert [(one.name, one.arguments, one.place.line) for one in found] == [("set", ("$x", "# no { comment; }"), 2)]
