"""A remote host that is not what it should be: its gateway shows a bad certificate, and nobody may believe it.

The certificate stands in the gateway's configuration itself, so that no file is left behind whatever happens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import partial

from topology.mutation.change import Around, Scene, with_children
from topology.mutation.gateways import is_own, is_tls
from topology.nginx.building import block, build, simple
from topology.nginx.tree import Directive
from topology.pki import forging, issuing
from topology.pki.issuing import CLIENT_AUTH, SERVER_AUTH, Credential, Issuer

DAY = timedelta(days=1)


def of_a_stranger(scene: Scene) -> Credential:
    """An authority signed it that nobody here knows."""
    return certified(scene, forging.stranger(scene.now))


def of_another_authority(scene: Scene, name: str) -> Credential:
    """Another authority of the lab signed it."""
    _, root = scene.issuer(name)  # an intermediate may be for callers alone; the root has no such limit
    return certified(scene, root)


def other_authorities(scene: Scene) -> list[str]:
    """Those of the lab that do not vouch for a host, and that can be had to sign."""
    own = scene.host.tls.authority if scene.host.tls else ""
    return [name for name, one in scene.topology.authorities.items() if name != own and one.certificate is None]


def revoked(scene: Scene) -> Credential:
    """It stands on its authority's revocation list."""
    issuer = own_issuer(scene)
    return certified(scene, issuer, serial=issuing.reserved_revoked_serial(issuer.certificate))


def expired(scene: Scene) -> Credential:
    """Its last day has passed."""
    return certified(scene, own_issuer(scene), start=-30, end=-1)


def for_another_name(scene: Scene) -> Credential:
    """It is for another host."""
    return certified(scene, own_issuer(scene), name=f"other.{scene.host.domain}")


def for_clients(scene: Scene) -> Credential:
    """It is for clients."""
    return certified(scene, own_issuer(scene), client=True)


Make = Callable[[Scene], Credential]

OF = "of-"
KINDS: Mapping[str, Make] = {
    "revoked": revoked,
    f"{OF}a-stranger": of_a_stranger,
    "expired": expired,
    "for-another-name": for_another_name,
    "for-clients": for_clients,
}
"""What is wrong with a remote host's certificate -> who makes one, given that host."""


def kinds(scene: Scene) -> Mapping[str, Make]:
    """KINDS, and one of each other authority of the lab: a gateway could come to believe any of them."""
    others = {f"{OF}{name}": partial(of_another_authority, name=name) for name in other_authorities(scene)}
    return {**KINDS, **others}


def own_issuer(scene: Scene) -> Issuer:
    if not scene.host.tls:
        raise AssertionError("a host without TLS is called by nobody")
    return scene.issuer(scene.host.tls.authority)[0]


def certified(
    scene: Scene,
    issuer: Issuer,
    *,
    name: str = "",
    start: int = -1,
    end: int = 30,
    serial: int | None = None,
    client: bool = False,
) -> Credential:
    """start, end: in days from now."""
    shown = name or scene.host.domain
    return forging.forged(
        issuer, shown, [shown], start=scene.now + start * DAY, end=scene.now + end * DAY, serial=serial,
        purpose=CLIENT_AUTH if client else SERVER_AUTH,
    )  # fmt: skip


def disguised(scene: Scene, credential: Credential) -> dict[str, str]:
    """A gateway's configuration with another certificate in the place of its own."""

    def is_meant(one: Directive, _: Around) -> bool:
        return one.name == "server" and is_tls(one) and is_own(one)

    def show(server: Directive) -> Directive:
        kept = [one for one in server.children or () if one.name not in ("ssl_certificate", "ssl_certificate_key")]
        shown = [simple("ssl_certificate", "data:$shown"), simple("ssl_certificate_key", "data:$shown_key")]
        return with_children(server, [*kept, *shown])

    def in_http(http: Directive) -> Directive:
        texts = {"$shown": credential.certificate_pem(), "$shown_key": credential.key_pem()}
        maps = [block("map", ["", name], [simple("default", pem.decode())]) for name, pem in texts.items()]
        children = [show(one) if is_meant(one, ()) else one for one in http.children or ()]
        return with_children(http, [*maps, *children])

    tree = tuple(in_http(one) if one.name == "http" else one for one in scene.trees["nginx.conf"])
    return {"nginx.conf": build(tree)}
