"""Verdicts as people read them: a table per host, callers against routes, wrong cells marked; as JSON; as JUnit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from xml.etree import ElementTree

from rich.console import Console
from rich.table import Table
from rich.text import Text

from topology.explaining.reasoning import Explanation
from topology.proof.checking import NOT_SENT, Verdict
from topology.proof.expectation import LeftOut
from topology.report import explanation

WRONG = "✗"

Reasons = Mapping[str, Explanation]
"""Id of a wrong cell -> why it got its answer, as far as that is known."""

NONE: Reasons = {}


def show(verdicts: Sequence[Verdict], left_out: Sequence[LeftOut] = (), reasons: Reasons = NONE) -> None:
    """Prints tables for each host, a line for each family of checks beyond them, each wrong cell with what was expected
    and why, what has no cells, and the sum."""
    console = Console(highlight=False)
    groups: dict[tuple[str, str], list[Verdict]] = {}
    for verdict in verdicts:
        if not verdict.check.request:
            groups.setdefault((verdict.check.host, verdict.check.family), []).append(verdict)
    for (host, family), found in groups.items():
        for one in tables(host if family == "route" else f"{host}, {family}", found, console.width):
            console.print(one)
    for line in family_lines([verdict for verdict in verdicts if verdict.check.request]):
        console.print(Text(line))
    wrong = [verdict for verdict in verdicts if not verdict.ok]
    for line in (*wrong_lines(wrong, reasons), *not_sent_lines(wrong), *left_out_lines(left_out)):
        console.print(Text(line))
    as_expected = len(verdicts) - len(wrong)
    console.print(Text(f"{len(verdicts)} cells: {as_expected} as the topology says, {len(wrong)} wrong"))


def family_lines(verdicts: Sequence[Verdict]) -> Iterator[str]:
    """How many kinds were tried on how many routes, for each family; a table of them would fill screens."""
    for family in dict.fromkeys(verdict.check.family for verdict in verdicts):
        cells = [verdict for verdict in verdicts if verdict.check.family == family]
        kinds = len({verdict.check.request for verdict in cells})
        routes = len({(verdict.check.host, verdict.check.route) for verdict in cells})
        yield f"{family}: {len(cells)} cells, {kinds} kinds on {routes} routes"


def wrong_lines(wrong: Sequence[Verdict], reasons: Reasons) -> Iterator[str]:
    """Of each cell that was sent, and why it got its answer as far as that is known."""
    told: set[int] = set()
    for verdict in wrong:
        if verdict.observed == NOT_SENT:
            continue
        yield f"{WRONG} {explained(verdict)}"
        if (reason := reasons.get(verdict.check.id)) is not None:
            again = id(reason) in told
            yield explanation.in_a_word(reason) if again else explanation.in_short(reason, verdict.check.id)
            told.add(id(reason))


def not_sent_lines(wrong: Sequence[Verdict]) -> list[str]:
    """One line for all cells of a route that were not sent for the same reason."""
    found = Counter(
        (one.check.host, one.check.route, one.observation.detail) for one in wrong if one.observed == NOT_SENT
    )
    return [
        f"{WRONG} {host} {route}: {number} more cells were not sent, and count as wrong: {why}"
        for (host, route, why), number in found.items()
    ]


def left_out_lines(left_out: Sequence[LeftOut]) -> list[str]:
    return [f"- {absent.host} {absent.route}".rstrip() + f": left out: {absent.why}" for absent in left_out]


def tables(title: str, verdicts: Sequence[Verdict], width: int) -> Iterator[Table]:
    """Callers against routes: as many routes side by side as fit a width in characters, the others below."""
    callers = list(dict.fromkeys(verdict.check.caller for verdict in verdicts))
    columns = list(dict.fromkeys(column_of(verdict) for verdict in verdicts))
    room = max(width - max(map(len, callers)) - 4, 20)
    group: list[str] = []
    for column in columns:
        if group and sum(len(one) + 3 for one in [*group, column]) > room:
            yield table(title, verdicts, callers, group)
            group = []
        group.append(column)
    yield table(title, verdicts, callers, group)


def table(title: str, verdicts: Sequence[Verdict], callers: Sequence[str], columns: Sequence[str]) -> Table:
    made = Table(title=title, title_justify="left", title_style="bold")
    made.add_column("caller", no_wrap=True)
    for column in columns:
        made.add_column(column, overflow="fold")
    for caller in callers:
        cells = [[v for v in verdicts if v.check.caller == caller and column_of(v) == column] for column in columns]
        made.add_row(caller, *(cell(found) for found in cells))
    return made


def column_of(verdict: Verdict) -> str:
    """The route; the path below it where that leads on to another host's route."""
    check = verdict.check
    beyond = check.path.rpartition("/")[0] + "/"
    shown = beyond if beyond.startswith(check.route) else check.route
    return shown if check.via == "direct" else f"{shown} -> {check.via}"


def cell(verdicts: Sequence[Verdict]) -> Text:
    """One caller on one route: a status, or one for each TLS version or order of calls where they differ.

    Wrong ones carry a mark.
    """
    if not verdicts:
        return Text("")
    marks = [f"{v.observed}" if v.ok else f"{WRONG} {v.observed} (expected {v.check.expected})" for v in verdicts]
    if len(set(marks)) > 1:
        marks = [f"{v.check.request or v.check.tls}: {mark}" for v, mark in zip(verdicts, marks, strict=True)]
    ok = all(verdict.ok for verdict in verdicts)
    return Text("\n".join(dict.fromkeys(marks)), style="" if ok else "bold red")


def explained(verdict: Verdict) -> str:
    detail = f" {verdict.observation.detail.strip()}" if verdict.observation.status is None else ""
    request = f" (request {verdict.observation.request_id})" if verdict.observation.request_id else ""
    return f"{verdict.check.id}: got {verdict.observed}.{detail} {verdict.check.why}{request}"


def as_json(verdicts: Iterable[Verdict], reasons: Reasons = NONE) -> list[dict[str, object]]:
    return [
        {
            "id": v.check.id,
            "host": v.check.host,
            "route": v.check.route,
            "caller": v.check.caller,
            "via": v.check.via,
            "tls": v.check.tls,
            "path": v.check.path,
            "family": v.check.family,
            "request": v.check.request,
            "expected": v.check.expected,
            "observed": v.observed,
            "ok": v.ok,
            "why": v.check.why,
            "request_id": v.observation.request_id,
            "explanation": explanation.as_json(reasons[v.check.id]) if v.check.id in reasons else None,
        }
        for v in verdicts
    ]


def junit(verdicts: Sequence[Verdict], reasons: Reasons = NONE) -> str:
    """JUnit XML with one test case per cell."""
    wrong = sum(not verdict.ok for verdict in verdicts)
    suite = ElementTree.Element("testsuite", name="mtls-lab check", tests=str(len(verdicts)), failures=str(wrong))
    for verdict in verdicts:
        case = ElementTree.SubElement(
            suite, "testcase", classname=f"mtls-lab.{verdict.check.host}", name=verdict.check.id,
            time=f"{verdict.observation.seconds:.3f}",
        )  # fmt: skip
        if not verdict.ok:
            failure = ElementTree.SubElement(case, "failure", message=explained(verdict))
            if verdict.check.id in reasons:
                failure.text = explanation.in_short(reasons[verdict.check.id], verdict.check.id)
    ElementTree.indent(suite)
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"
