"""Each field by itself: is it known, is it there, is its value of the right type?  Read off the model."""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
from pydantic.fields import FieldInfo

from topology.description.catalog import near_name, suggestion
from topology.description.model import FromEnvironment, Frozen, Topology
from topology.description.positions import Document, Path
from topology.errors import Fault

NOT_BUILT = {
    "Authority": ("certificate",),
    "Identity": ("certificate", "key_file"),
    "Host": ("pages",),
    "Service": ("tls",),
    "Route": ("files", "url", "trust"),
}
"""Fields that a topology will be able to have; refused until something comes of them."""


def faults(document: Document) -> Iterator[Fault]:
    """Every field that is unknown, missing, or of the wrong type."""
    yield from model_faults(document, (), document.value, Topology)


def model_faults(document: Document, path: Path, value: Any, model: type[Frozen]) -> Iterator[Fault]:
    if not isinstance(value, dict):
        hint = "; write {} for the defaults" if value is None else ""
        yield document.fault(path, f"must be a mapping{hint}")
        return
    fields = model.model_fields
    misspelt = {near_name(name, fields) for name in value if name not in fields}
    for name, one in value.items():
        if name in NOT_BUILT.get(model.__name__, ()):
            yield document.fault((*path, name), "not supported yet; remove it")
        elif name not in fields:
            yield document.fault((*path, name), f"unknown field; {suggestion(name, fields)}")
        else:
            yield from field_faults(document, (*path, name), one, fields[name])
    for name, field in fields.items():
        instead = [name, *NOT_BUILT.get(model.__name__, ())]
        if field.is_required() and name not in misspelt and not any(one in value for one in instead):
            yield document.fault((*path, name), f"is missing; {field.description or 'it is required'}")


def field_faults(document: Document, path: Path, value: Any, field: FieldInfo) -> Iterator[Fault]:
    annotation = Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation
    yield from value_faults(document, path, value, annotation)


def value_faults(document: Document, path: Path, value: Any, wanted: Any) -> Iterator[Fault]:
    """Compares a value with a type annotation of the model."""
    special = SPECIAL.get(str(path[-1]) if len(path) > 2 else "")
    if special and (found := special(document, path, value)) is not None:
        yield from found
        return
    origin, arguments = get_origin(wanted), get_args(wanted)
    if origin is Annotated:
        yield from bounded_faults(document, path, value, arguments)
    elif origin in (Union, types.UnionType):
        inner = [one for one in arguments if one is not type(None)]
        yield from value_faults(document, path, value, inner[0] if len(inner) == 1 else str)
    elif origin is Literal:
        if value not in arguments or isinstance(value, bool):
            choices = [str(one) for one in arguments]
            yield document.fault(path, f"must be {' or '.join(choices)}{near(value, choices)}")
    elif origin is tuple:
        yield from list_faults(document, path, value, arguments[0])
    elif isinstance(origin, type) and issubclass(origin, Mapping):
        yield from mapping_faults(document, path, value, arguments[1])
    elif isinstance(wanted, type) and issubclass(wanted, Frozen):
        yield from model_faults(document, path, value, wanted)
    elif wrong := type_fault(value, wanted):
        yield document.fault(path, wrong)


def near(value: Any, choices: list[str]) -> str:
    found = suggestion(str(value), choices)
    return f"; {found}" if found.startswith("did") else ""


def type_fault(value: Any, wanted: Any) -> str | None:
    if wanted is bool:
        return None if isinstance(value, bool) else "must be true or false"
    if wanted is int:
        return None if isinstance(value, int) and not isinstance(value, bool) else "must be a whole number"
    if isinstance(value, str):
        return None if value else "is empty; write something or remove it"
    quote = "; put it in quotes" if isinstance(value, bool | int | float) else ""
    return f"must be text{quote}"


def bounded_faults(document: Document, path: Path, value: Any, arguments: tuple[Any, ...]) -> Iterator[Fault]:
    found = list(value_faults(document, path, value, arguments[0]))
    yield from found
    if found or not isinstance(value, int):
        return
    for bound in arguments[1:]:
        inner = getattr(bound, "metadata", None) or [bound]
        for one in inner:
            if isinstance(one, annotated_types.Ge) and not value >= one.ge:  # type: ignore[operator]
                yield document.fault(path, f"must be at least {one.ge}")
            if isinstance(one, annotated_types.Le) and not value <= one.le:  # type: ignore[operator]
                yield document.fault(path, f"must be at most {one.le}")


def list_faults(document: Document, path: Path, value: Any, wanted: Any) -> Iterator[Fault]:
    if not isinstance(value, tuple):
        yield document.fault(path, "must be a list; write it in [brackets]")
        return
    seen = set()
    for n, one in enumerate(value):
        yield from value_faults(document, (*path, n), one, wanted)
        if isinstance(one, str) and one in seen:
            yield document.fault((*path, n), f"{one} stands twice; remove one")
        seen.add(one if isinstance(one, str) else None)


def mapping_faults(document: Document, path: Path, value: Any, wanted: Any) -> Iterator[Fault]:
    if not isinstance(value, dict):
        yield document.fault(path, "must be a mapping")
        return
    for name, one in value.items():
        yield from value_faults(document, (*path, name), one, wanted)


# Fields whose value may have one of two forms


def tls_faults(document: Document, path: Path, value: Any) -> Iterator[Fault] | None:
    if path[0] != "hosts" or len(path) != 3 or isinstance(value, dict):
        return None
    return iter(
        () if value is False else [document.fault(path, "must be false, or a mapping with authority, key, days")]
    )


def authority_faults(document: Document, path: Path, value: Any) -> Iterator[Fault] | None:
    if len(path) != 4 or path[-2] != "client_certificates":
        return None
    if value == ():
        return iter([document.fault(path, "is empty; name an authority, or remove client_certificates")])
    return list_faults(document, path, value if isinstance(value, tuple) else (value,), str)


def environment_faults(document: Document, path: Path, value: Any) -> Iterator[Fault] | None:
    if len(path) != 5 or not isinstance(value, dict):
        return None
    return environment_values(document, path, value)


def environment_values(document: Document, path: Path, value: Mapping[str, Any]) -> Iterator[Fault]:
    for name, one in value.items():
        here = (*path, name)
        if isinstance(one, dict):
            yield from model_faults(document, here, one, FromEnvironment)
        elif not isinstance(one, str):
            yield document.fault(here, "must be text; put it in quotes")
        elif "\0" in one:
            yield document.fault(here, "holds a NUL character, which no environment can hold")


SPECIAL = {"tls": tls_faults, "authority": authority_faults, "environment": environment_faults}
