"""The JSON Schema of a topology file, read off the model: what editors complete, explain and mark while people type.

It says what can be said of one field, and of the fields of one mapping.  What lies further apart, such as a route to a
host that is not there, a schema cannot say; the commands do.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from topology.description import rules
from topology.description.model import (
    FILLED_IN,
    SYSTEM,
    Authority,
    ClientCertificates,
    FromEnvironment,
    Frozen,
    Host,
    Identity,
    Route,
    ServerCertificate,
    Service,
    ServiceTls,
    Topology,
)
from topology.report.reference import summary

FILE_NAME = "topology.schema.json"
DIALECT = "https://json-schema.org/draft/2020-12/schema"

Schema = dict[str, Any]


class AsWritten(GenerateJsonSchema):
    """The model as authors write it: what pydantic fills in while loading, nobody writes."""

    def nullable_schema(self, schema: Any) -> Schema:
        return self.generate_inner(schema["schema"])  # left out, never null

    def default_schema(self, schema: Any) -> Schema:
        found = super().default_schema(schema)
        if not isinstance(found.get("default"), str | int) or found["default"] == "":
            found.pop("default", None)
        return found

    def str_schema(self, schema: Any) -> Schema:
        return {**super().str_schema(schema), "minLength": 1}

    def tuple_schema(self, schema: Any) -> Schema:
        return {**super().tuple_schema(schema), "uniqueItems": True}

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 -- a title would repeat the name
        return False


def whole(pattern: re.Pattern[str], *, never: str = "") -> str:
    """A pattern for a whole text, as JSON Schema has it (ECMA-262).  never: what the text is not, as an expression."""
    return f"^{f'(?!{never})' if never else ''}(?:{pattern.pattern})$"


def words(names: tuple[str, ...]) -> str:
    return f"(?:{'|'.join(names)})$"


def named(*reserved: str) -> Schema:
    """The keys of a mapping from names."""
    never = words(reserved) if reserved else ""
    return {"propertyNames": {"pattern": whole(rules.NAME, never=never), "maxLength": rules.LONGEST_NAME}}


DOMAIN = {"pattern": whole(rules.DOMAIN, never=f"{rules.ADDRESS.pattern}$"), "maxLength": 253}
PREFIX = {"pattern": whole(rules.PREFIX, never=r".*/\.{1,2}/"), "maxLength": rules.LONGEST_PATH}
"""Whole folders, and none of them `.` or `..`."""
HTTPS = {"pattern": "^[Hh][Tt][Tt][Pp][Ss]://"}
UNBROKEN = f"[^{rules.BREAKING.pattern[1:]}*$"
FILE = {"pattern": "^[^/]"}
"""A path that another machine has, too."""

FIELDS: Mapping[type[Frozen], Mapping[str, Schema]] = {
    Topology: {
        "name": {"pattern": whole(rules.LAB_NAME)},
        "authorities": named(SYSTEM),
        "identities": named(),
        "hosts": {**named(*rules.RESERVED_HOSTS), "minProperties": 1},
    },
    Authority: {"certificate": FILE, "crl": FILE},
    Identity: {
        "common_name": {"pattern": f"^(?! |.* $){UNBROKEN}", "maxLength": 64},
        "san": {
            "minItems": 1,
            "items": {"type": "string", "minLength": 1, "pattern": f"^{UNBROKEN}", "maxLength": rules.LONGEST_SAN},
        },
        "certificate": FILE,
        "key_file": FILE,
    },
    ServerCertificate: {"directory": HTTPS},
    ClientCertificates: {"authority": {"minItems": 1}},
    Host: {
        "domain": DOMAIN,
        "aliases": {"items": {"type": "string", **DOMAIN}},
        "pages": FILE,
        "services": named("gateway"),
        "routes": {"propertyNames": PREFIX},
    },
    Service: {
        "build": FILE,
        "image": {"pattern": whole(rules.IMAGE), "maxLength": 255},
        "health": {"pattern": whole(rules.PATH), "maxLength": rules.LONGEST_PATH},
        "environment": {
            "propertyNames": {"pattern": whole(rules.VARIABLE, never=words(rules.OWN_VARIABLES))},
            "additionalProperties": {
                "anyOf": [
                    {"type": "string", "pattern": r"^[^\u0000\ud800-\udfff]*$"},  # an empty one is a value, too
                    {"$ref": f"#/$defs/{FromEnvironment.__name__}"},
                ]
            },
        },
    },
    ServiceTls: {"port": {"not": {"enum": list(rules.GATEWAY_PORTS)}}},
    FromEnvironment: {"from_env": {"pattern": whole(rules.VARIABLE, never="MTLS_LAB_")}},
    Route: {"url": HTTPS, "files": FILE, "to": PREFIX, "allow": {"minItems": 1}},
}
"""What `rules` says of a field by itself."""


def one_of(*names: str) -> list[Schema]:
    return [{"required": [name]} for name in names]


def without(*names: str) -> Schema:
    return {"properties": dict.fromkeys(names, False)}


def where(field: str, value: bool, then: Schema) -> Schema:
    return {"if": {"properties": {field: {"const": value}}, "required": [field]}, "then": then}


ISSUED_ELSEWHERE = without("common_name", "san", "days", "key", "revoked")

TOGETHER: Mapping[type[Frozen], Schema] = {
    Authority: {
        "dependentRequired": {"crl": ["certificate"]},
        "dependentSchemas": {"certificate": without("key", "days", "intermediate")},
    },
    Identity: {
        "anyOf": [{"required": ["authority"]}, {"required": ["certificate", "key_file"]}],
        "dependentRequired": {"certificate": ["key_file"], "key_file": ["certificate"]},
        "dependentSchemas": {"certificate": ISSUED_ELSEWHERE, "key_file": ISSUED_ELSEWHERE},
    },
    ServerCertificate: {
        "dependentRequired": {"directory": ["acme"]},
        **where("acme", True, without("authority", "days", "key")),
    },
    Host: where(
        "tls", False, {"properties": {"client_certificates": False, "publish": {"properties": {"https": False}}}}
    ),
    Service: {
        "oneOf": one_of("kind", "build", "image"),
        "dependentRequired": {"build": ["port", "health"], "image": ["port", "health"]},
    },
    Route: {
        "oneOf": one_of(*rules.TARGETS),
        "dependentRequired": {
            "strip_prefix": ["service"],
            **{field: list(needs) for field, needs in rules.FIELDS_OF_TARGETS if len(needs) == 1},
        },
        "dependentSchemas": {
            **{field: {"anyOf": one_of(*needs)} for field, needs in rules.FIELDS_OF_TARGETS if len(needs) > 1},
            "allow": {"properties": {"client_certificate": {"const": "required"}}},
        },
        **where("internal", True, {"properties": {"allow": False, "client_certificate": {"const": "none"}}}),
    },
}
"""What `rules` says of the fields of one mapping."""


def schema() -> Schema:
    """The schema, complete."""
    found = Topology.model_json_schema(schema_generator=AsWritten)
    definitions = found.pop("$defs")
    complete(Topology, found)
    for model in Frozen.__subclasses__():
        if model.__name__ in definitions:
            complete(model, definitions[model.__name__])
    return {"$schema": DIALECT, **found, "$defs": definitions}


def complete(model: type[Frozen], mapping: Schema) -> None:
    """Adds to a mapping's schema what the types of its fields do not say."""
    fields = mapping["properties"]
    for name in FILLED_IN.get(model.__name__, ()):
        del fields[name]
    for name, more in FIELDS.get(model, {}).items():
        fields[name].update(more)
    if model is Host:
        fields["tls"] = two_forms(fields["tls"], {"const": False})
    if model is ClientCertificates:
        fields["authority"] = two_forms(fields["authority"], fields["authority"]["items"])
    mapping.update(description=summary(model), **TOGETHER.get(model, {}))


def two_forms(read: Schema, other: Schema) -> Schema:
    """A field that may be written in another form than the one that it is read in."""
    described = {"description": read.pop("description")}
    return {**described, "anyOf": [other, read]}


def text() -> str:
    """The schema as a file."""
    return json.dumps(schema(), indent=2) + "\n"
