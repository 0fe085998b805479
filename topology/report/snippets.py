"""Code that calls one route of a lab, in the languages that people ask for.

What is called, as whom and with which files is decided here; the templates below `templates/snippets` print it.  Every
snippet verifies the server against the one authority that vouches for it, and prints status and body.
"""

from __future__ import annotations

import ipaddress
import json
import re
import shlex
import textwrap
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache

import jinja2

from topology.description.model import Topology
from topology.description.wording import shown as printable
from topology.description.wording import suggestion
from topology.errors import InvalidInput, NotReady
from topology.generation.rendering import nginx_string
from topology.pki.issuing import BUNDLE_PASSWORD
from topology.proof import expectation
from topology.proof.expectation import NOBODY, Check
from topology.report.addresses import port_part, shown
from topology.runtime.running import RunningLab

URL_CHARACTERS = re.compile(r"/[A-Za-z0-9\-._~!$&'()*+,;=:@/?%]*")
"""What may stand in a path with its query (RFC 3986); anything else is percent-encoded there."""

WIDTH = 110
"""Characters in a line of comment."""

LISTEN = "127.0.0.1:8000"
"""Where the nginx of a snippet listens."""


@dataclass(frozen=True)
class Language:
    """A language that snippets are printed in.

    title: its name for people; fence: its name in Markdown; comment: what begins one; file: what the code is saved as;
    run: what runs it then; needs: what has to be installed; template: below `templates/snippets`.
    """

    title: str
    fence: str
    comment: str
    file: str
    run: str
    needs: str
    template: str


LANGUAGES: Mapping[str, Language] = {
    "curl": Language("curl", "sh", "#", "call.sh", "sh call.sh", "curl 7.76 or later", "curl.sh.jinja"),
    "python": Language("Python: requests", "python", "#", "call.py", "python call.py", "requests", "requests.py.jinja"),
    "httpx": Language("Python: httpx", "python", "#", "call.py", "python call.py", "httpx", "httpx.py.jinja"),
    "java": Language("Java", "java", "//", "Call.java", "java Call.java", "JDK 21 or later", "java.java.jinja"),
    "spring": Language(
        "Spring Boot: RestClient", "java", "//", "Call.java", "java -cp 'lib/*' Call.java",
        "Spring Boot 4 with spring-boot-starter-restclient, its jars in lib "
        "(`mvn dependency:copy-dependencies -DoutputDirectory=lib`)", "spring.java.jinja",
    ),
    "webclient": Language(
        "Spring Boot: WebClient", "java", "//", "Call.java", "java -cp 'lib/*' Call.java",
        "Spring Boot 4 with spring-boot-starter-webclient, its jars in lib "
        "(`mvn dependency:copy-dependencies -DoutputDirectory=lib`)", "webclient.java.jinja",
    ),
    "node": Language("Node.js", "js", "//", "call.mjs", "node call.mjs", "Node.js 20 or later", "node.mjs.jinja"),
    "go": Language("Go", "go", "//", "call.go", "go run call.go", "Go 1.21 or later", "go.go.jinja"),
    "nginx": Language(
        "nginx", "nginx", "#", "call.conf", 'nginx -e /dev/stderr -p "$PWD/" -c call.conf',
        f"nginx 1.19.5 or later; it attaches the certificate for whoever asks http://{LISTEN} in plain HTTP",
        "nginx.conf.jinja",
    ),
}  # fmt: skip

SYNONYMS = {"requests": "python", "restclient": "spring", "javascript": "node"}

PAGE = "all"
"""In the place of a language: all of them, as a page of Markdown."""


@dataclass(frozen=True)
class Shown:
    """An identity's files: certificate and key in PEM, both in a PKCS#12 bundle, and the bundle's password."""

    certificate: str
    key: str
    bundle: str
    password: str


@dataclass(frozen=True)
class Call:
    """One request to one route.

    route: the route's prefix as the topology has it, `/` for a port that leads to a service; address, port: where a
    connection goes; authority: the file that the server is verified against, None in plain HTTP; shown: None for
    nobody.
    """

    lab: str
    host: str
    route: str
    identity: str | None
    scheme: str
    domain: str
    port: int
    path: str
    address: str
    authority: str | None
    shown: Shown | None

    @property
    def base(self) -> str:
        return f"{self.scheme}://{self.domain}{port_part(self.port, 443 if self.scheme == 'https' else 80)}"

    @property
    def url(self) -> str:
        return self.base + self.path

    @property
    def family(self) -> int:
        return ipaddress.ip_address(self.address).version

    @property
    def address_and_port(self) -> str:
        return f"[{self.address}]:{self.port}" if self.family == 6 else f"{self.address}:{self.port}"


# What to call


def call(lab: RunningLab, host: str | None, identity: str | None, route: str | None) -> Call:
    """The request that a snippet sends, from what the caller of the command said of it.

    host: None for the only one; identity: None for nobody; route: a route, a path below one, or `:PORT/` for the TLS
    of a service; None for the first route that lets this caller in, a guarded one before an open one.
    Raises InvalidInput with the choices where there is no such thing, NotReady where no port is known.
    """
    name = host_of(lab.topology, host)
    if identity is not None and identity not in lab.topology.identities:
        raise InvalidInput(f"--as {printable(identity)}: no such identity; {choices(lab.topology.identities, identity)}")
    prefix, path, passed = destination(lab.topology, name, identity, route)
    described, endpoint = lab.topology.hosts[name], lab.endpoints[name]
    encrypted = described.tls is not None or passed is not None
    if identity is not None and not encrypted:
        raise InvalidInput(f"--as {identity}: {name} speaks plain HTTP, where nobody can show a certificate")
    port = endpoint.passed.get(passed) if passed is not None else endpoint.https if encrypted else endpoint.http
    if port is None:
        field = f"services.NAME.tls.publish for {passed}" if passed else f"publish.{'https' if encrypted else 'http'}"
        raise NotReady(
            f"{name} is not up, and its topology leaves the port to Docker (hosts.{name}.{field}); "
            "run `mtls-lab up` first"
        )
    return Call(
        lab=lab.topology.name, host=name, route=prefix, identity=identity,
        scheme="https" if encrypted else "http", domain=described.domain, port=port, path=path,
        address=endpoint.address, authority=shown(lab.anchor(name)) if encrypted else None,
        shown=files(lab, identity) if identity is not None else None,
    )  # fmt: skip


def host_of(topology: Topology, name: str | None) -> str:
    if name is None and len(topology.hosts) == 1:
        return next(iter(topology.hosts))
    if name is None:
        raise InvalidInput(f"--host is missing: which of {', '.join(topology.hosts)}?")
    if name not in topology.hosts:
        raise InvalidInput(f"--host {printable(name)}: no such host; {choices(topology.hosts, name)}")
    return name


def destination(topology: Topology, host: str, identity: str | None, route: str | None) -> tuple[str, str, int | None]:
    """(route's prefix, path to request, port that the gateway passes on to a service or None)."""
    cells = [check for check in expectation.checks(topology) if check.host == host]
    own = [check for check in cells if check.caller == (identity or NOBODY)]
    welcome = {where(check) for check in own if check.expected == 200}
    if route is None:
        check = most_telling(cells, welcome, identity)
        return (prefix_of(check), check.path, check.port) if check else ("/", "/", None)
    if not (URL_CHARACTERS.fullmatch(route) or re.fullmatch(rf":[0-9]{{1,5}}({URL_CHARACTERS.pattern})?", route)):
        raise InvalidInput(
            f"--route {printable(route)}: a path that starts with /, other characters than RFC 3986's "
            "percent-encoded; or :PORT/ for a service with TLS of its own"
        )
    asked = route if "/" in route else f"{route}/"
    prefixes = list(dict.fromkeys(check.route for check in cells))
    if asked in prefixes:
        here = [check for check in cells if check.route == asked]
        check = next((one for one in here if where(one) in welcome), here[0])
        return prefix_of(check), check.path, check.port
    if around := [prefix for prefix in prefixes if asked.startswith(prefix)]:
        check = next(one for one in cells if one.route == max(around, key=len))
        return prefix_of(check), asked[asked.index("/") :], check.port
    if asked == "/":
        return "/", "/", None
    raise InvalidInput(f"--route {printable(route)}: {host} has no such route; {choices(prefixes, route)}")


def most_telling(cells: list[Check], welcome: set[tuple[str, str]], identity: str | None) -> Check | None:
    """A route that lets the caller in, and, where it comes as somebody, nobody else than identities; else any."""
    open_to_all = {where(check) for check in cells if check.caller == NOBODY and check.expected == 200}
    wanted = [welcome - open_to_all] if identity is not None else []
    for acceptable in (*wanted, welcome):
        for check in cells:
            if where(check) in acceptable:
                return check
    return cells[0] if cells else None


def where(check: Check) -> tuple[str, str]:
    return check.route, check.path


def prefix_of(check: Check) -> str:
    return check.route[check.route.index("/") :]


def choices(known: object, word: str) -> str:
    """The valid words, the probable one first."""
    names = [str(name) for name in known] if isinstance(known, (list, Mapping)) else []
    near = suggestion(word, names)
    return f"{near} (there are {', '.join(names)})" if near.startswith("did you mean") and len(names) > 1 else near


def files(lab: RunningLab, identity: str) -> Shown:
    folder = lab.identities / identity
    certificate, key, bundle = (shown(folder / name) for name in ("certificate.pem", "key.pem", "bundle.p12"))
    return Shown(certificate, key, bundle, BUNDLE_PASSWORD)


# Printing


def language(name: str) -> str:
    """A language's name as `LANGUAGES` has it; InvalidInput with the choices where it is not known."""
    found = SYNONYMS.get(name.casefold(), name.casefold())
    if found not in LANGUAGES:
        raise InvalidInput(f"{printable(name)}: no snippets in that; there are {', '.join(LANGUAGES)}, and {PAGE}")
    return found


def code(name: str, request: Call) -> str:
    """The code in one language, as it is to be saved."""
    return heading(LANGUAGES[name], request) + environment().get_template(LANGUAGES[name].template).render(
        values(request)
    )


def heading(language: Language, request: Call) -> str:
    """What the code does and how it is run, as comments."""
    who = f"{request.identity} calls" if request.identity else "Calls"
    said = f"{who} {request.host}. Save as {language.file}, run: {language.run}. Needs {language.needs}."
    lines = textwrap.wrap(said, WIDTH - len(language.comment), break_long_words=False, break_on_hyphens=False)
    return "".join(f"{language.comment} {line}\n" for line in lines)


def page(request: Call) -> str:
    """All languages as one page of Markdown."""
    blocks = [(name, language, code(name, request).rstrip("\n")) for name, language in LANGUAGES.items()]
    return environment().get_template("page.md.jinja").render(values(request), blocks=blocks)


def as_json(name: str, request: Call) -> dict[str, object]:
    found = LANGUAGES[name]
    described = {"language": name, "file": found.file, "run": found.run, "needs": found.needs}
    return described | asdict(request) | {"url": request.url, "code": code(name, request)}


def values(request: Call) -> dict[str, object]:
    derived = ("base", "url", "family", "address_and_port")
    fields = {name: getattr(request, name) for name in request.__dataclass_fields__}
    return fields | {name: getattr(request, name) for name in derived} | {"listen": LISTEN}


@cache
def environment() -> jinja2.Environment:
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("topology.report", "templates/snippets"),
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # noqa: S701 - programs, not HTML; each value is quoted as its language wants it
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters["shell"] = lambda value: shlex.quote(str(value))
    made.filters["text"] = text
    made.filters["location"] = location
    made.filters["nginx_string"] = nginx_string
    return made


def text(value: str) -> str:
    """A string literal in double quotes, which Python, JavaScript, Java and Go read alike."""
    return json.dumps(value, ensure_ascii=False)


def location(path: str) -> str:
    """A file as Spring's settings name it, in the properties format, inside of a text block of Java's."""
    escaped = "file:" + path.replace("\\", "\\\\")
    return text(escaped)[1:-1]
