"""Each field by itself: is it known, is it there, is its value of the right type?  Read off the model."""

from __future__ import annotations

import re
import types
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
from pydantic.fields import FieldInfo

from topology.description.model import FILLED_IN, FromEnvironment, Frozen, Topology
from topology.description.positions import Document, Path
from topology.description.wording import nearest, shown, suggestion
from topology.errors import Fault


def faults(document: Document, model: type[Frozen] = Topology) -> Iterator[Fault]:
    """Every field that is unknown, missing, or of the wrong type."""
    yield from model_faults(document, (), document.value, model)


def model_faults(document: Document, path: Path, value: Any, model: type[Frozen]) -> Iterator[Fault]:
    fields, annotations = fields_of(model), annotations_of(model)
    if not isinstance(value, dict):
        what = empty(value) if path else ("the file is empty; it " if value is None else "the file ")
        yield document.fault(path, f"{what}must be a mapping of {', '.join(fields)}")
        return
    for name, one in value.items():
        if name not in fields:
            yield document.fault((*path, name), f"unknown field; {suggestion(name, fields)}")
        else:
            yield from value_faults(document, (*path, name), one, annotations[name])
    given = {*value, *meant(value, model)}
    for name, field in fields.items():
        if field.is_required() and name not in given:
            yield document.fault((*path, name), f"is missing; add {field.description}")


@cache
def fields_of(model: type[Frozen]) -> Mapping[str, FieldInfo]:
    """The fields that an author can write."""
    return {n: field for n, field in model.model_fields.items() if n not in FILLED_IN.get(model.__name__, ())}


@cache
def annotations_of(model: type[Frozen]) -> Mapping[str, Any]:
    """The type of each field that an author can write, with its bounds."""
    return {
        name: Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation
        for name, field in fields_of(model).items()
    }


def meant(value: Mapping[str, Any], model: type[Frozen]) -> set[str]:
    """The fields that the misspelt ones of a mapping stand for: they are not missing."""
    return {near for name in value if name not in model.model_fields and (near := nearest(name, model.model_fields))}


def completed(value: Any, annotation: Any = Topology) -> Any:
    """The author's values, with None for each field that a misspelt one stands for.

    So rules see that it is there, and say nothing about it: the misspelling is one fault, not two.
    """
    if not isinstance(value, dict):
        return value
    if isinstance(annotation, type) and issubclass(annotation, Frozen):
        fields = annotation.model_fields
        inner = {name: fields[name].annotation if name in fields else None for name in value}
        absent = meant(value, annotation) - set(value)
        return {**{n: completed(one, inner[n]) for n, one in value.items()}, **dict.fromkeys(absent)}
    for option in get_args(annotation) or ():
        if isinstance(option, type) and issubclass(option, Frozen):
            wanted = option if get_origin(annotation) in (Union, types.UnionType) else None
            return completed(value, wanted) if wanted else {n: completed(one, option) for n, one in value.items()}
    return value


def empty(value: Any) -> str:
    return "is empty; it " if value is None else ""


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
            yield document.fault(path, f"{empty(value)}must be {' or '.join(choices)}{near(value, choices)}")
    elif origin is tuple:
        yield from list_faults(document, path, value, arguments[0])
    elif isinstance(origin, type) and issubclass(origin, Mapping):
        yield from mapping_faults(document, path, value, arguments[1])
    elif isinstance(wanted, type) and issubclass(wanted, Frozen):
        yield from model_faults(document, path, value, wanted)
    elif wrong := type_fault(value, wanted):
        yield document.fault(path, wrong)


def near(value: Any, choices: list[str]) -> str:
    found = nearest(value, choices) if isinstance(value, str) else None
    return f"; did you mean '{found}'?" if found else ""


def type_fault(value: Any, wanted: Any) -> str | None:
    if wanted is bool:
        return None if isinstance(value, bool) else f"{empty(value)}must be true or false"
    if wanted is int:
        if isinstance(value, int) and not isinstance(value, bool):
            return None
        quoted = "; remove the quotes" if isinstance(value, str) and value.isdecimal() and len(value) < 10 else ""
        return f"{empty(value)}must be a whole number{quoted}"
    if isinstance(value, str):
        return None if value else "is empty; write something or remove it"
    quote = "; put it in quotes" if isinstance(value, bool | int | float) else ""
    return f"{empty(value)}must be text{quote}"


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
        yield document.fault(path, f"{empty(value)}must be a list; write it in [brackets]")
        return
    seen = set()
    for n, one in enumerate(value):
        yield from value_faults(document, (*path, n), one, wanted)
        if isinstance(one, str) and one in seen:
            yield document.fault((*path, n), f"'{shown(one)}' stands twice; remove one")
        seen.add(one if isinstance(one, str) else None)


def mapping_faults(document: Document, path: Path, value: Any, wanted: Any) -> Iterator[Fault]:
    if not isinstance(value, dict):
        yield document.fault(path, f"{empty(value)}must be a mapping from names to settings")
        return
    for name, one in value.items():
        yield from value_faults(document, (*path, name), one, wanted)


# Fields whose value may have one of two forms


def tls_faults(document: Document, path: Path, value: Any) -> Iterator[Fault] | None:
    if path[0] != "hosts" or len(path) != 3 or isinstance(value, dict):
        return None
    return iter(
        ()
        if value is False
        else [document.fault(path, f"{empty(value)}must be false, or a mapping of authority, key, days, or acme")]
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
        elif one is None or isinstance(one, tuple):
            yield document.fault(here, f"{empty(one)}must be text ('' for none), or {{from_env: NAME}}")
        elif not isinstance(one, str):
            yield document.fault(here, "must be text; put it in quotes")
        elif UNFIT.search(one):
            yield document.fault(here, "has a NUL or half a character, which no environment can hold; remove it")


UNFIT = re.compile("[\\0\ud800-\udfff]")

SPECIAL = {"tls": tls_faults, "authority": authority_faults, "environment": environment_faults}
