"""Changes to the guards of routes: whether somebody is let through, and who."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator

from topology.mutation.change import (
    Around,
    Change,
    Scene,
    Tree,
    all_of,
    each,
    gone,
    own,
    place,
    with_arguments,
    with_children,
)
from topology.nginx.building import block, build, simple
from topology.nginx.tree import Directive

VERIFIED = ("$ssl_client_verify", "!=", "SUCCESS")
ALLOWED = re.compile(r"\$allowed_\d+")
"""The variable of a route's list: whether its caller stands there."""

NOT_INSIDE = ("$listener", "!=", "inside")


def is_if(one: Directive, condition: tuple[str, ...]) -> bool:
    return one.name == "if" and one.arguments == condition


def refuses_others(one: Directive) -> bool:
    """Whether it turns away those who do not stand on a list."""
    return one.name == "if" and one.arguments[1:] == ("=", "0") and ALLOWED.fullmatch(one.value) is not None


def has_list(location: Directive) -> bool:
    """Whether a location admits some identities alone; then the guard before that adds nothing."""
    return any(refuses_others(one) for one in location.children or ())


def is_guard(one: Directive, around: Around) -> bool:
    return is_if(one, VERIFIED) and bool(around) and not has_list(around[-1])


def refusal(*condition: str) -> Directive:
    return block("if", condition, [simple("return", "403")])


# Routes that require a certificate


def guard_gone(scene: Scene) -> Iterator[Change]:
    """A route that requires a certificate asks for none."""
    return each(scene, is_guard, gone)


def guard_on_a_wrong_value(scene: Scene) -> Iterator[Change]:
    """A route refuses those whose verification is called FAILED, which nobody's is who comes so far."""
    return each(scene, is_guard, lambda _: (refusal("$ssl_client_verify", "=", "FAILED"),))


def guard_against_none_alone(scene: Scene) -> Iterator[Change]:
    """A route refuses NONE; without TLS nginx says nothing at all, and the host's own services get in."""
    return each(scene, is_guard, lambda _: (refusal("$ssl_client_verify", "=", "NONE"),))


def guard_turned_round(scene: Scene) -> Iterator[Change]:
    """A route refuses those who have a certificate, and lets the others in."""
    return each(scene, is_guard, lambda _: (refusal("$ssl_client_verify", "=", "SUCCESS"),))


def guard_for_one_method(scene: Scene) -> Iterator[Change]:
    """A route's guard looks at GET alone."""
    return each(scene, is_guard, lambda _: (
        simple("set", "$asked", "$request_method $ssl_client_verify"),
        refusal("$asked", "~", "^GET (NONE|)$"),
    ))  # fmt: skip


def guard_believes_a_header(scene: Scene) -> Iterator[Change]:
    """A route lets in whoever says in a header that his certificate was verified."""
    return each(scene, is_guard, lambda _: (
        simple("set", "$told", "$ssl_client_verify$http_x_ssl_client_verify"),
        refusal("$told", "!~", "SUCCESS"),
    ))  # fmt: skip


def guard_without_tls_forgotten(scene: Scene) -> Iterator[Change]:
    """A route's guard is skipped for the host's own services, who show no certificate."""
    return each(scene, is_guard, lambda _: (
        simple("set", "$asked", "$listener $ssl_client_verify"),
        refusal("$asked", "=", "https NONE"),
    ))  # fmt: skip


# Routes for some identities


def in_list(scene: Scene, edit: Callable[[Directive], Tree]) -> Iterator[Change]:
    """One change for each list of identities; edit: the lines of it, and those of its location, one after the other."""
    tree = scene.trees.get("routes.conf", ())
    for number, location in enumerate(tree):
        if location.name == "location" and has_list(location):
            begin = max(n for n, one in enumerate(tree[:number]) if one.name == "set" and one.value == "$caller")
            lines = [kept for one in tree[begin:number] for kept in edit(one)]
            guarded = with_children(location, [kept for one in location.children or () for kept in edit(one)])
            changed = (*tree[:begin], *lines, guarded, *tree[number + 1 :])
            yield Change(place("routes.conf", location, ()), {"routes.conf": build(changed)})


def is_entry(one: Directive) -> bool:
    return one.name == "if" and one.arguments[:2] == ("$caller", "=")


def caller_is(*, said: str) -> Callable[[Directive], Tree]:
    """Another text in the place of `$caller`, and of what it is compared with."""

    def edit(one: Directive) -> Tree:
        if one.name == "set" and one.arguments[0] == "$caller":
            return (with_arguments(one, "$caller", said),)
        if is_entry(one):
            issuer, _, subject = one.arguments[2].partition("|")
            return (with_arguments(one, "$caller", "=", issuer if "i_dn" in said else subject),)
        return (one,)

    return edit


def issuer_dropped(scene: Scene) -> Iterator[Change]:
    """A list of identities goes by the name alone, whoever gave it."""
    return in_list(scene, caller_is(said="$ssl_client_s_dn"))


def subject_dropped(scene: Scene) -> Iterator[Change]:
    """A list of identities goes by the issuer alone, whatever name it gave."""
    return in_list(scene, caller_is(said="$ssl_client_i_dn"))


def list_emptied(scene: Scene) -> Iterator[Change]:
    """Nobody is on a list of identities."""
    return in_list(scene, lambda one: () if is_entry(one) else (one,))


def list_without_effect(scene: Scene) -> Iterator[Change]:
    """Everybody passes a list of identities who has a good certificate."""
    return in_list(scene, lambda one: () if refuses_others(one) else (one,))


def list_allows_from_the_start(scene: Scene) -> Iterator[Change]:
    """A list of identities begins with everybody allowed."""
    return in_list(scene, lambda one: (with_arguments(one, one.value, "1"),)
                   if one.name == "set" and ALLOWED.fullmatch(one.value) else (one,))  # fmt: skip


def others(scene: Scene) -> Iterator[tuple[str, str]]:
    """Each identity, and the name that it has."""
    for name, identity in scene.topology.identities.items():
        if identity.certificate is None and not identity.revoked:
            yield name, identity.common_name or name


def renamed(entry: Directive, common_name: str) -> Directive:
    """An entry of a list with another name, of the same authority."""
    return with_arguments(entry, "$caller", "=", f"{entry.arguments[2].partition('|')[0]}|CN={common_name}")


def with_name(common_name: str, *, beside: bool) -> Callable[[Directive], Tree]:
    """Entries of a list with another name.  beside: not in the place of what stands there."""

    def edit(one: Directive) -> Tree:
        if not is_entry(one):
            return (one,)
        return (one, renamed(one, common_name)) if beside else (renamed(one, common_name),)

    return edit


def list_widened(scene: Scene) -> Iterator[Change]:
    """One more identity is on a list."""
    for name, common_name in others(scene):
        for change in in_list(scene, with_name(common_name, beside=True)):
            if change.nginx["routes.conf"] != doubled(scene):
                yield dataclasses.replace(change, where=f"{change.where} {name}")


def doubled(scene: Scene) -> str:
    """The routes with each entry twice: who stood there before adds nothing."""
    change = next(in_list(scene, lambda one: (one, one) if is_entry(one) else (one,)), None)
    return change.nginx["routes.conf"] if change is not None else ""


def list_of_somebody_else(scene: Scene) -> Iterator[Change]:
    """Another identity is on a list, in the place of the one that should be."""
    original = build(scene.trees.get("routes.conf", ()))
    for name, common_name in others(scene):
        for change in in_list(scene, with_name(common_name, beside=False)):
            if change.nginx["routes.conf"] != original:
                yield dataclasses.replace(change, where=f"{change.where} {name}")


def list_by_pattern(scene: Scene, operator: str, pattern: Callable[[str], str]) -> Iterator[Change]:
    def edit(one: Directive) -> Tree:
        return (with_arguments(one, "$caller", operator, pattern(one.arguments[2])),) if is_entry(one) else (one,)

    return in_list(scene, edit)


def escaped(text: str) -> str:
    return "".join(f"\\{one}" if one in "\\.|+*?()[]^$" else one for one in text)


def list_by_an_open_pattern(scene: Scene) -> Iterator[Change]:
    """A list of identities takes names that merely contain the right one."""
    return list_by_pattern(scene, "~", lambda text: escaped(text.partition("|")[2]))


def list_by_a_pattern_without_an_end(scene: Scene) -> Iterator[Change]:
    """A list of identities takes names that begin with the right one."""
    return list_by_pattern(scene, "~", lambda text: f"^{escaped(text)}")


def list_by_a_pattern_without_a_beginning(scene: Scene) -> Iterator[Change]:
    """A list of identities takes names that end with the right one, whatever precedes it."""
    return list_by_pattern(scene, "~", lambda text: f"{escaped(text.partition('|')[2])}$")


def list_without_case(scene: Scene) -> Iterator[Change]:
    """A list of identities does not tell capitals from small letters."""
    return list_by_pattern(scene, "~*", lambda text: f"^{escaped(text)}$")


def list_by_map(scene: Scene) -> Iterator[Change]:
    """A list of identities is a map, which compares without case."""
    entries = [one.arguments[2] for tree in scene.trees.values() for one in tree if is_entry(one)]
    admitted = block("map", ["$ssl_client_i_dn|$ssl_client_s_dn", "$admitted"],
                     [simple("default", "0"), *(simple(entry, "1") for entry in dict.fromkeys(entries))])  # fmt: skip
    for change in in_list(
        scene,
        lambda one: () if is_entry(one)
        else (refusal("$admitted", "=", "0"),) if refuses_others(one) else (one,),
    ):  # fmt: skip
        http = next(all_of(scene, "", lambda one, _: one.name == "http",
                           lambda one: (with_children(one, [admitted, *(one.children or ())]),)))  # fmt: skip
        yield dataclasses.replace(change, nginx={**change.nginx, **http.nginx})


# Internal routes


def internal_guard_gone(scene: Scene) -> Iterator[Change]:
    """An internal route is open to everybody."""
    return each(scene, lambda one, _: is_if(one, NOT_INSIDE), gone)


def internal_guard_turned_round(scene: Scene) -> Iterator[Change]:
    """An internal route is open to everybody but the host's own services."""
    return each(scene, lambda one, _: is_if(one, NOT_INSIDE), lambda _: (refusal("$listener", "=", "inside"),))


def internal_route_by_certificate(scene: Scene) -> Iterator[Change]:
    """An internal route lets in whoever has a certificate."""
    return each(scene, lambda one, _: is_if(one, NOT_INSIDE) and scene.host.client_certificates is not None, lambda _: (
        simple("set", "$asked", "$listener $ssl_client_verify"),
        refusal("$asked", "!~", "^inside|SUCCESS$"),
    ))  # fmt: skip


# Paths


def is_route(one: Directive) -> bool:
    """A location that passes on, by a prefix."""
    return one.name == "location" and len(one.arguments) == 1 and bool(own(one, "proxy_pass"))


def route_without_its_slash(scene: Scene) -> Iterator[Change]:
    """A route's prefix has lost its final slash: `/open..` then leads out of it."""
    return each(
        scene, lambda one, _: is_route(one) and len(one.arguments[0]) > 1,
        lambda one: (with_arguments(one, one.arguments[0].rstrip("/")),),
    )  # fmt: skip
