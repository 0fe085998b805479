"""What lint found, as people and machines read it; and its rules, as a page.

python -m topology.report.linting > docs/lint.md
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from topology.linting.catalog import THEMES
from topology.linting.findings import ERROR, NOTE, WARNING, Finding, Rule

STYLES = {ERROR: "bold red", WARNING: "yellow", NOTE: "dim"}

FIXTURES = "../fixtures/lint"

HEAD = """\
# Lint: what is wrong with a gateway before anybody finds out

Written by `make generate` from the rules in [topology/linting/rules](../topology/linting/rules). `mtls-lab lint`
reads nginx configurations as nginx does (includes, inheritance, which location is chosen) and looks for what makes
mutual TLS weaker than it seems, or keeps it from working. It starts nothing and changes nothing.

```console
mtls-lab lint                              # the gateways of ./topology.yaml, as they lie in compose/
mtls-lab lint fixtures/labs/two-host.yaml --json
mtls-lab lint /etc/nginx/nginx.conf        # any nginx
mtls-lab lint nginx/nginx.conf --mount certs:/etc/nginx/certs
                                           # one whose container has other files elsewhere
mtls-lab lint a/nginx.conf b/nginx.conf    # two that call each other: what one asks for, and the other shows
```

Of any configuration give the file that nginx reads first. A file of conf.d or a snippet is taken
as part of an http block that says nothing else. Certificates, revocation lists and keys are looked at where
they are at hand; `--mount FOLDER:PATH` says where on this machine the gateway's PATH is, as with `docker run -v`. In
a lab, what the topology says counts: a route that it opens is no finding, and an identity that a route attaches is
lent to whoever calls it only where it says `lends: everyone`. `--ignore RULE` leaves a rule out.

| level | means |
|---|---|
| error | somebody gets in who must not, or nobody gets in, or nginx does not start |
| warning | it works, until a caller that nobody thought of, or a change elsewhere |
| note | nothing is wrong; an answer may surprise |

Exit codes: 0 nothing but notes; 1 an error or a warning; 2 a file that cannot be read, with file and line. `--json`
prints a list of `{"rule", "level", "file", "line", "message", "why", "fix"}`.

It reads `proxy_*` of http; `grpc_*`, `uwsgi_*` and `stream` have no rules. A rule judges what is written: what a
running gateway answers is what `mtls-lab check` is for.

## What people see, and the rules that name its cause

| you see | rules |
|---|---|
{symptoms}

## The rules
"""

SYMPTOMS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("502, or another service's answer, after a container was made anew", ("name-looked-up-once",)),
    ("`host not found in upstream` at start", ("name-looked-up-once",)),
    ("400, The plain HTTP request was sent to HTTPS port", ("plain-to-tls",)),
    ("a redirect to the wrong port or scheme", ("absolute-redirect",)),
    ("headers that vanish in one location", ("headers-cancelled", "header-not-overwritten")),
    ("a changed file that the container does not see", ("file-mounted-alone",)),
    ("`cannot load certificate key ... Permission denied`", ("key-out-of-reach",)),
    ("`no start line`, `key values mismatch`", ("no-certificate-in-file", "key-of-another")),
    ("413, although the limit was raised", ("body-limit-on-the-way", "body-before-guard")),
    ("the upstream's name as Host: 400, 404 or the default server", ("host-of-upstream", "egress-name")),
    ("400 for client certificates below two intermediates (2, 20)", ("verification-depth",)),
    ("502, upstream certificate verify error 20, with the right root", ("verification-depth", "trust-without-root")),
    ("400, unsupported certificate purpose (26)", ("certificate-for-another-purpose",)),
    ("400 on open pages, too", ("certificate-out-of-date", "identity-spread")),
    ("400 for everybody since `ssl_crl` is set (3), or since today (12)", ("crl-incomplete", "crl-out-of-date")),
    ("curl accepts a server, Go, Python or browsers do not", ("certificate-without-name", "certificate-not-strict")),
    ("400 or 403 through the gateway, 200 directly", ("identity-missing",)),
    ("a browser's fetch fails, curl works", ("preflight-refused",)),
    ("421 now and then", ("shared-certificate", "egress-name")),
    ("400 Request Header Or Cookie Too Large, or 431, behind the gateway", ("whole-certificate-passed-on",)),
    ("client certificates refused since an update (67, 68)", ("weak-authority", "old-protocols")),
    ("certificate is not yet valid (9)", ("certificate-out-of-date",)),
)
"""What people report, and the rules that name a cause of it in a configuration."""


def as_json(findings: Sequence[Finding]) -> list[dict[str, object]]:
    return [
        {
            "rule": one.rule,
            "level": one.level,
            "file": str(one.place.file),
            "line": one.place.line,
            "message": one.message,
            "why": " ".join(one.why.split()),
            "fix": one.fix,
        }
        for one in findings
    ]


def show(findings: Sequence[Finding], looked_at: int, servers: int) -> None:
    """Prints each finding, and why with the first of its rule.  looked_at: how many gateways; servers: of theirs all.

    That nothing was found is not said of a file in which there was nothing to look for.
    """
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    told: set[str] = set()
    for one in findings:
        line = Text(f"{one.place}: ").append(one.level, style=STYLES[one.level]).append(f": {one.message} [{one.rule}]")
        console.print(line, soft_wrap=True)
        if one.rule not in told:
            console.print(Text(f"  why: {' '.join(one.why.split())}", style="dim"), soft_wrap=True)
        console.print(Text(f"  do:  {one.fix}"), soft_wrap=True)
        told.add(one.rule)
    if not findings:
        found = "nothing found" if servers else "no server is in what was read, so nothing was looked at"
        print(f"{counted(looked_at, 'gateway')}: {found}")


def summary(findings: Sequence[Finding]) -> str:
    """Such as `2 errors, 1 note`."""
    found = Counter(one.level for one in findings)
    return ", ".join(counted(found[level], level) for level in (ERROR, WARNING, NOTE) if found[level])


def counted(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def page() -> str:
    """docs/lint.md."""
    symptoms = "\n".join(f"| {seen} | {', '.join(map(linked, names))} |" for seen, names in SYMPTOMS)
    return HEAD.replace("{symptoms}", symptoms) + "\n".join(sections())


def linked(name: str) -> str:
    return f"[{name}](#{name})"


def sections() -> Iterator[str]:
    for theme, rules in THEMES:
        yield f"\n### {theme}\n"
        for one in rules:
            yield from section(one)


def section(rule: Rule) -> Iterator[str]:
    yield f"#### {rule.name}\n"
    yield f"*{rule.level}* · [bites]({FIXTURES}/{rule.name}/bad.conf) · [does not]({FIXTURES}/{rule.name}/good.conf)\n"
    yield f"{rule.why}\n"
    yield f"**Do:** {rule.fix}\n"


if __name__ == "__main__":
    print(page(), end="")
