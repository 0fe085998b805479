"""How a path is read before it is compared."""

from __future__ import annotations

from collections.abc import Iterator

from topology.linting.findings import ERROR, Found, rule
from topology.linting.gateway import Gateway
from topology.linting.guarding import is_closed
from topology.nginx.passing import path_of


@rule(ERROR, "`merge_slashes on`, which is the default")
def slashes_not_merged(gateway: Gateway) -> Iterator[Found]:
    """With `merge_slashes off` the path `//protected/` is none of `/protected/`: it takes another location, without
    that guard, and most services read it as `/protected/` all the same.
    """
    for block in (*gateway.configuration.http, *gateway.servers):
        for one in block.own("merge_slashes"):
            inside = [location for server, location in gateway.locations() if server.one("merge_slashes") == one]
            if one.value == "off" and any(is_closed(gateway, location) for location in inside):
                yield Found(one.place, "a second slash leads around the guards of this server's locations")


@rule(ERROR, "end both the location and its `alias` with a slash")
def alias_without_slash(gateway: Gateway) -> Iterator[Found]:
    """`location /files { alias /srv/files/; }` serves `/files../key.pem` from `/srv/`; `location /files/ { alias
    /srv/files; }` serves `/files/-old/x` from `/srv/files-old/`. What lies beside the folder is open, keys among
    it.
    """
    for _, location in gateway.locations():
        path = path_of(location)
        if path.is_pattern or path.is_named or path.modifier == "=":
            continue
        for one in location.own("alias"):
            if path.text.endswith("/") != one.value.endswith("/"):
                yield Found(one.place, f"{path_of(location)} and {one.value} do not both end with a slash")


@rule(ERROR, "a literal target, or one out of a `map` with the values that are meant")
def target_of_the_caller(gateway: Gateway) -> Iterator[Found]:
    """Whoever chooses the host that `proxy_pass` leads to chooses whom this gateway calls, with its identity and from
    its place in the network.
    """
    for call in gateway.calls:
        used = gateway.hangs_on(call.authority or call.directive.value)
        written = [name for name in sorted(used) if name.startswith(("http_", "arg_", "cookie_")) or name == "host"]
        if call.dynamic and written and call.group is None:
            yield Found(call.place, f"${written[0]}, which the caller writes, chooses the host that is called")
