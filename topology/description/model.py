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

Days = Annotated[int, Field(ge=1, le=36500)]
"""A hundred years at most: X.509 ends with the year 9999, and a larger number is a slip."""

ACME = "acme"
"""Stands for the authority behind a certificate from the lab's own ACME server."""

SYSTEM = "system"
"""Stands for the authorities that the machine trusts."""

Port = Annotated[int, Field(ge=1, le=65535)]


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Authority(Frozen):
    """A certificate authority: a local one, or, with `certificate`, somebody else's, which signs nothing here."""

    key: KeyType = Field("ecdsa-p256", description="key of the authority")
    days: Days = Field(3650, description="validity of its own certificate in days")
    intermediate: bool = Field(
        False, description="leaves are signed by an intermediate; the root key signs nothing else"
    )
    certificate: str | None = Field(
        None, description="file: the certificate (PEM) of an authority whose key we do not have; it can be trusted"
    )
    crl: str | None = Field(
        None,
        description="with certificate: its revocation list (PEM), needed where it signs client certificates",
    )


class Identity(Frozen):
    """A client certificate: issued here, or, with `certificate` and `key_file`, by somebody else.

    After loading, an identity from files has the authority that its author named, or none (empty).
    """

    authority: str = Field("", description="the authority that issues it; required unless it comes from files")
    common_name: str = Field("", description="subject CN, 1 to 64 printable characters; default: the identity's name")
    san: tuple[str, ...] = Field((), description="DNS names, URIs or e-mail addresses; default: NAME@LAB.test")
    days: Days = Field(90, description="validity in days")
    key: KeyType = Field("ecdsa-p256", description="key of the certificate")
    revoked: bool = Field(False, description="it stands on its authority's CRL")
    certificate: str | None = Field(None, description="file: a certificate that somebody else issued to us")
    key_file: str | None = Field(None, description="file: the key of that certificate")


class ServerCertificate(Frozen):
    """The certificate that a gateway shows.

    After loading, `authority` is never empty: ACME for the lab's own ACME server, SYSTEM for one outside of the lab.
    """

    authority: str = Field("", description="the authority that issues it; default: the first of the file")
    key: KeyType = Field("ecdsa-p256", description="key of the certificate")
    days: Days = Field(90, description="validity in days")
    acme: bool = Field(False, description="certbot gets the certificate from an ACME server, and renews it")
    directory: str | None = Field(
        None, description="with acme: URL of the ACME server's directory; default: a server of the lab's own"
    )


class ClientCertificates(Frozen):
    """Whether and by whom a gateway asks its callers for certificates."""

    authority: tuple[str, ...] = Field(description="the authority whose certificates are accepted, or a list of them")
    verify: Literal["per-route", "always"] = Field("per-route", description="always: no request without a certificate")


class Publish(Frozen):
    """Ports on 127.0.0.1; where one is left out, Docker chooses."""

    http: Port | None = Field(None, description="port of plain HTTP, which redirects to https")
    https: Port | None = Field(None, description="port of HTTPS")


class FromEnvironment(Frozen):
    """A value that is read from the caller's environment at `up` and stays out of git."""

    from_env: str = Field(description="the name of the variable that holds the value at `up`")


class ServiceTls(Frozen):
    """TLS that a service terminates itself, beside its plain port; the gateway passes the port on untouched."""

    port: Port = Field(description="where the service listens with TLS")
    client_certificate: Literal["none", "required"] = Field(
        "none", description="whether the service refuses the handshake of callers without a valid client certificate"
    )
    publish: Port | None = Field(None, description="port on 127.0.0.1; omitted: Docker chooses")


class Service(Frozen):
    """An application behind the gateway.  Exactly one of kind, build and image is set.

    After loading, port and health are set: by the author, else by the kind.
    """

    kind: str | None = Field(None, description="a folder of services/ that has a service.yaml")
    build: str | None = Field(None, description="a folder with a Dockerfile, relative to the topology file")
    image: str | None = Field(None, description="a ready image")
    port: Port | None = Field(None, description="where it listens, in plain HTTP; default: what the kind says")
    health: str | None = Field(None, description="a path that answers 2xx; default: what the kind says")
    environment: Mapping[str, str | FromEnvironment] = Field(
        default_factory=dict, description="variables: literal text ($ means itself), or {from_env: NAME}"
    )
    tls: ServiceTls | None = Field(None, description="TLS that the service terminates itself")


FILLED_IN = {"Route": ("index",)}
"""Fields that no author writes: loading knows their values."""


class Route(Frozen):
    """What answers below a path prefix, and who may ask.  Exactly one of service, host, url and files is set.

    After loading, strip_prefix is a bool on routes to services (the author's, else the kind's, else True),
    and client_certificate is "required" wherever allow is not empty.
    """

    service: str | None = Field(None, description="a service of this host")
    host: str | None = Field(None, description="another host of the topology, called through its gateway")
    url: str | None = Field(None, description="a server outside of the lab: an https URL, whose path ends with /")
    files: str | None = Field(None, description="a folder of static files (a folder without an index: 404)")
    to: str = Field("/", description="with host: the path there, which starts and ends with /")
    identity: str | None = Field(None, description="with host or url: the client certificate that it shows there")
    lends: Literal["everyone"] | None = Field(
        None, description="with identity: says in writing that every caller of the route may use it"
    )
    trust: str = Field(
        "system", description="with url: whom its certificate has to be from, an authority's name or `system`"
    )
    client_certificate: Literal["none", "required"] = Field("none", description="whether callers must show one")
    allow: tuple[str, ...] = Field((), description="the identities that may call; implies required")
    internal: bool = Field(False, description="only this host's own services may call it")
    index: bool = Field(False, description="filled in while loading: the folder of files has an index.html")
    strip_prefix: bool | None = Field(
        None, description="whether the service sees the path without the prefix; default: what the kind says, else true"
    )


class Host(Frozen):
    """A machine: one gateway, its services, its routes.  After loading, tls is None for plain HTTP only."""

    domain: str = Field(description="the full name by which it is reached, such as server.lab.test")
    aliases: tuple[str, ...] = Field((), description="further names, on the certificate too")
    tls: ServerCertificate | None = Field(None, description="its certificate; false: plain HTTP only")
    client_certificates: ClientCertificates | None = Field(
        None, description="whose client certificates it accepts; omitted: it asks for none"
    )
    pages: str | None = Field(
        None, description="folder with index.html and 404.html; omitted: pages that the tool writes"
    )
    publish: Publish = Field(Publish(), description="ports on 127.0.0.1; omitted: Docker chooses")
    services: Mapping[str, Service] = Field(default_factory=dict, description="applications, by name")
    routes: Mapping[str, Route] = Field(default_factory=dict, description="routes, by path prefix")


class Topology(Frozen):
    """One lab."""

    name: str = Field(description="a name for the lab: lower-case letters, digits and hyphens, at most 30")
    authorities: Mapping[str, Authority] = Field(
        default_factory=dict, description="the local certificate authorities; the first is the default for servers"
    )
    identities: Mapping[str, Identity] = Field(default_factory=dict, description="client certificates, by name")
    hosts: Mapping[str, Host] = Field(description="at least one host")


class ServiceFile(Frozen):
    """What `service.yaml` in a folder of `services/` may say."""

    port: Port = Field(description="the port where the service listens, in plain HTTP")
    health: str = Field(description="a path that answers 2xx, such as /health")
    start: str = Field("/", description="a path to show people first, such as /docs")
    base_path: bool = Field(False, description="it is built for the prefix of its one route, and sees it")
    strip_prefix: bool = Field(True, description="whether it sees paths without the route's prefix, by default")
    tls: bool = Field(False, description="it terminates TLS itself where a topology asks for that (TLS_PORT, TLS_CERT)")


class Kind(ServiceFile):
    """A kind of service: its service.yaml, the name that topologies call it by, and the folder of its sources."""

    name: str = Field(description="the folder's name")
    folder: Path = Field(description="the folder, which holds the Dockerfile")
