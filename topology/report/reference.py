"""The fields of a topology as a page of Markdown, read off the model: what can be written, and what it means.

python -m topology.report.reference > docs/topology.md
"""

from __future__ import annotations

import json
import types
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
from pydantic.fields import FieldInfo

from topology.description.model import (
    Authority,
    ClientCertificates,
    Frozen,
    Host,
    Identity,
    Publish,
    Route,
    ServerCertificate,
    Service,
    ServiceFile,
    ServiceTls,
    Topology,
)
from topology.description.shapes import fields_of

SECTIONS: tuple[tuple[str, type[Frozen]], ...] = (
    ("The file", Topology),
    ("`authorities.NAME`", Authority),
    ("`identities.NAME`", Identity),
    ("`hosts.NAME`", Host),
    ("`hosts.NAME.tls`", ServerCertificate),
    ("`hosts.NAME.client_certificates`", ClientCertificates),
    ("`hosts.NAME.publish`", Publish),
    ("`hosts.NAME.services.NAME`", Service),
    ("`hosts.NAME.services.NAME.tls`", ServiceTls),
    ("`hosts.NAME.routes.PREFIX`", Route),
    ("`service.yaml` of a kind, in `services/`", ServiceFile),
)
"""Where a mapping stands, and what it holds; in the order of the page."""

EITHER = {"tls": "false, or a mapping", "authority": "a name, or a list of names"}
"""Fields that may have one of two forms."""

TWO_FORMS = ((Host, "tls"), (ClientCertificates, "authority"))

HEAD = """\
# The topology file, field by field

Written by `make generate` from the model that reads topologies; an example with comments is
[two-host](../fixtures/labs/two-host.yaml). A field that stands in no table is refused, and so is what contradicts
itself, each with its line and what to do. Paths are relative to the topology file.

## A first one, and editors

`mtls-lab init [DIR]` writes a topology with comments, ready for `mtls-lab up`, and beside it `topology.schema.json`,
a JSON Schema (draft 2020-12) read off the same model. The first line of the topology names it:

    # yaml-language-server: $schema=topology.schema.json

Editors with the YAML language server, such as VS Code with its YAML extension, then complete fields, show what they
mean, and mark what is wrong while you type. `mtls-lab schema > topology.schema.json` writes the schema anew after an
update. Nothing is ever overwritten by `init`.

The schema knows each field, and what goes together within one mapping. What lies further apart, such as a route to a
host that is not there or a port that is taken twice, the commands tell.

## Faults for machines

With `--json` every command that reads a topology prints what is wrong with it, all at once, as a list on standard
error, and exits with 2:

    $ mtls-lab generate topology.yaml --json
    [
      {
        "file": "topology.yaml",
        "line": 14,
        "column": 7,
        "path": "hosts.server.routes./mtls/.servce",
        "message": "unknown field; did you mean 'service'?"
      }
    ]

Lines and columns count from 1; `path` is empty where the file cannot be read as YAML at all. A file that is not there
has no faults, and stays a line of text.
"""


def page() -> str:
    """The page, complete."""
    return "\n".join([HEAD, *(section(title, model) for title, model in SECTIONS)])


def section(title: str, model: type[Frozen]) -> str:
    rows = [row(model, name, field) for name, field in fields_of(model).items()]
    return "\n".join(
        [
            f"## {title}\n",
            f"{summary(model)}\n",
            "| field | value | default | meaning |",
            "|---|---|---|---|",
            *rows,
            "",
        ]
    )


def summary(model: type[Frozen]) -> str:
    """What a mapping is, in a sentence."""
    return (model.__doc__ or "").strip().split("\n")[0].split(".  ")[0].rstrip(".") + "."


def row(model: type[Frozen], name: str, field: FieldInfo) -> str:
    annotation = Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation
    value = EITHER[name] if (model, name) in TWO_FORMS else " ".join(words(annotation))
    return f"| `{name}` | {value} | {default(field)} | {field.description} |"


def default(field: FieldInfo) -> str:
    """What holds where the field is left out; empty where nothing does, or the meaning says it."""
    if field.is_required():
        return "required"
    value = field.default
    return (
        f"`{value if isinstance(value, str) else json.dumps(value)}`"
        if isinstance(value, str | bool | int) and value != ""
        else ""
    )


def words(annotation: Any) -> Iterator[str]:
    """A type of the model in words."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        yield from words(arguments[0])
        yield from bounds(arguments[1:])
    elif origin in (Union, types.UnionType):
        yield " or ".join(" ".join(words(one)) for one in arguments if one is not type(None))
    elif origin is Literal:
        yield " or ".join(f"`{one}`" for one in arguments)
    elif origin is tuple:
        yield "a list"
    elif any(isinstance(one, type) and issubclass(one, Mapping | Frozen) for one in (origin, annotation)):
        yield "a mapping"
    else:
        yield {bool: "`true` or `false`", int: "a whole number", str: "text"}[annotation]


def bounds(constraints: tuple[Any, ...]) -> Iterator[str]:
    for constraint in constraints:
        for one in getattr(constraint, "metadata", None) or [constraint]:
            if isinstance(one, annotated_types.Ge):
                yield f"from {one.ge}"
            if isinstance(one, annotated_types.Le):
                yield f"to {one.le}"


if __name__ == "__main__":
    print(page(), end="")
