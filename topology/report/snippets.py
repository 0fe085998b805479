"""Code that calls one route of a lab, in the languages that people ask for.

`calls` decides what is called, as whom and with which files; the templates below `templates/snippets` print it.  Every
snippet verifies the server against the one authority that vouches for it, and prints status and body.
"""

from __future__ import annotations

import json
import shlex
import textwrap
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import cache

import jinja2

from topology.description.wording import shown as printable
from topology.errors import InvalidInput
from topology.generation import rendering
from topology.report.calls import Call, choices

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


def language(name: str) -> str:
    """A language's name as `LANGUAGES` has it; InvalidInput with the choices where it is not known."""
    found = SYNONYMS.get(name.casefold(), name.casefold())
    if found not in LANGUAGES:
        raise InvalidInput(f"{printable(name)}: no snippets in that; {choices(name, (*LANGUAGES, PAGE))}")
    return found


def code(name: str, request: Call) -> str:
    """The code in one language, as it is to be saved."""
    template = environment().get_template(LANGUAGES[name].template)
    return heading(LANGUAGES[name], request) + template.render(values(request))


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
    """What templates may print: a call's fields, and what follows from them."""
    names = [field.name for field in fields(request)] + ["base", "url", "family", "address_and_port"]
    return {name: getattr(request, name) for name in names} | {"listen": LISTEN}


@cache
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


def nginx_string(value: str) -> str:
    """A quoted nginx string; InvalidInput for a path that nginx would read a variable in."""
    if "$" in value:
        raise InvalidInput(
            f"{printable(value)}: nginx takes $ in a path for a variable, and cannot be told otherwise; "
            "move the lab, or ask for another language"
        )
    return rendering.nginx_string(value)


def text(value: str) -> str:
    """A string literal in double quotes, which Python, JavaScript, Java and Go read alike."""
    return json.dumps(value, ensure_ascii=False)


def location(path: str) -> str:
    """A file as Spring's settings name it, in the properties format, inside of a text block of Java's."""
    escaped = "file:" + path.replace("\\", "\\\\")
    return text(escaped)[1:-1]
