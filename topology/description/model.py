"""The topology as its author wrote it: validated, frozen, every field described.

The names and meanings of the fields are a contract with other people's files.  Values that the author left out
are filled in while loading (`loading.parse`), so that readers of a `Topology` never repeat a default.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

KeyType = Literal["ecdsa-p256", "ecdsa-p384", "rsa-2048", "rsa-4096", "ed25519"]


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Authority(Frozen):
    """A local certificate authority."""

    key: KeyType = Field("ecdsa-p256", description="key of the authority")
    days: int = Field(3650, ge=1, description="validity of its own certificate in days")
    intermediate: bool = Field(
        False, description="leaves are signed by an intermediate; the root key signs nothing else"
    )


class Identity(Frozen):
    """A client certificate."""

    authority: str = Field(description="the authority that issues it")
    common_name: str = Field("", description="subject CN, 1 to 64 printable characters; default: the identity's name")
    san: tuple[str, ...] = Field((), description="DNS names, URIs or e-mail addresses; default: NAME@LAB.test")
    days: int = Field(90, ge=1, description="validity in days")
    key: KeyType = Field("ecdsa-p256", description="key of the certificate")
    revoked: bool = Field(False, description="it stands on its authority's CRL")


class ServerCertificate(Frozen):
    """The certificate that a gateway shows.  Values: after loading, `authority` is never empty."""

    authority: str = Field("", description="the authority that issues it; default: the first of the file")
    key: KeyType = Field("ecdsa-p256", description="key of the certificate")
    days: int = Field(90, ge=1, description="validity in days")


class ClientCertificates(Frozen):
    """Whether and by whom a gateway asks its callers for certificates."""

    authority: tuple[str, ...] = Field(description="one authority or a list; any of them will do")
    verify: Literal["per-route", "always"] = Field("per-route", description="always: no request without a certificate")


class Publish(Frozen):
    """Ports on 127.0.0.1; None lets Docker choose."""

    http: Annotated[int, Field(ge=1, le=65535)] | None = None
    https: Annotated[int, Field(ge=1, le=65535)] | None = None


class FromEnvironment(Frozen):
    """A value that is read from the caller's environment at `up` and stays out of git."""

    from_env: str


class Service(Frozen):
    """An application behind the gateway.  Exactly one of kind, build and image is set.

    After loading, port and health are set: by the author, else by the kind.
    """

    kind: str | None = None
    build: str | None = None
    image: str | None = None
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    health: str | None = None
    environment: Mapping[str, str | FromEnvironment] = Field(default_factory=dict)


class Route(Frozen):
    """What answers below a path prefix, and who may ask.  Exactly one of service and host is set.

    After loading, strip_prefix is a bool on routes to services (the author's, else the kind's, else True),
    and client_certificate is "required" wherever allow is not empty.
    """

    service: str | None = None
    host: str | None = None
    to: str = "/"
    identity: str | None = None
    lends: Literal["everyone"] | None = None
    client_certificate: Literal["none", "required"] = "none"
    allow: tuple[str, ...] = ()
    internal: bool = False
    strip_prefix: bool | None = None


class Host(Frozen):
    """A machine: one gateway, its services, its routes.  After loading, tls is None for plain HTTP only."""

    domain: str
    aliases: tuple[str, ...] = ()
    tls: ServerCertificate | None = None
    client_certificates: ClientCertificates | None = None
    publish: Publish = Publish()
    services: Mapping[str, Service] = Field(default_factory=dict)
    routes: Mapping[str, Route] = Field(default_factory=dict)


class Topology(Frozen):
    """One lab."""

    name: str
    authorities: Mapping[str, Authority] = Field(default_factory=dict)
    identities: Mapping[str, Identity] = Field(default_factory=dict)
    hosts: Mapping[str, Host]


class Kind(Frozen):
    """What `service.yaml` in a folder of `services/` says (see catalog)."""

    name: str
    folder: Path
    port: int
    health: str
    base_path: bool = False
    strip_prefix: bool = True
