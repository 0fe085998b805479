"""In which order a lab's certificates reach the disk, so that a kill after any step loses nothing.

A file can be replaced in one step, a certificate and its key cannot.  Of leaves either can be made again, and a pair
that does not fit is.  An authority's new key is written beside the old one first, then its certificate is replaced,
then the old key: at any moment the certificate that is there has its key there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from topology.generation.certificates import is_foreign, is_outdated, read_certificates, read_key, same_key

KEY = re.compile(r"(?P<folder>authorities[^/]*/[^/]+)/(?P<kind>intermediate-)?key\.pem")
STAGED = re.compile(r"(?P<folder>authorities[^/]*/[^/]+)/next-(?P<kind>intermediate-)?key\.pem")
LEAF = re.compile(
    r"(?P<identity>identities[^/]*/[^/]+)/(?:certificate\.pem|key\.pem|bundle\.p12|request\.pem)"
    r"|(?P<host>[^/]+/certificates[^/]*(?:/services/[^/]+)?)/server\.(?:pem|key)"
)
"""A leaf's certificate, and what lies beside it."""


@dataclass(frozen=True)
class Step:
    """One file that gets a content, or goes (None)."""

    path: str
    content: bytes | None


def steps(found: Mapping[str, bytes], files: Mapping[str, bytes], lab: str) -> tuple[Step, ...]:
    """What to do on disk, in this order.

    found: what lies there, path below the lab's folder -> content; files: what is to lie there; lab: its name.  What is
    neither in files nor the lab's own is in no step.
    """
    ready = recovered(found)
    renewed = [path for path in files if KEY.fullmatch(path) and files[path] != ready.get(path)]
    bundles = [path for path in files if path.endswith("/bundle.p12") and files[path] != found.get(path, files[path])]
    staged = {staged_path(path) for path in renewed} | {path for path in found if STAGED.fullmatch(path)}
    outdated = outdated_files(found, files, lab)
    return (
        *(Step(path, content) for path, content in ready.items() if content != found.get(path)),
        *(Step(staged_path(path), files[path]) for path in renewed),
        # A bundle says nothing of which pair is in it: one that is not there is made, an old one would be kept.
        *(Step(path, None) for path in bundles),
        *(Step(path, content) for path, content in files.items() if path not in renewed),
        *(Step(path, files[path]) for path in renewed),
        *(Step(path, None) for path in (*sorted(staged), *outdated)),
    )


def outdated_files(found: Mapping[str, bytes], files: Mapping[str, bytes], lab: str) -> list[str]:
    """What the lab made once and does not want any more.  What lies beside a certificate goes before it.

    The certificate says whose the key beside it is: where it is another's, or not there, both are left alone, even
    under names that the lab uses.
    """
    outdated = [path for path in found if path not in files and is_outdated(path)]
    certificates = {path: certificate_beside(path) for path in outdated}
    ours = [path for path in outdated if is_lab_s(found, certificates[path], lab)]
    return sorted(ours, key=lambda path: path == certificates[path])


def certificate_beside(path: str) -> str | None:
    """The certificate that tells whose a file is; None of a copy, which is the lab's in any case."""
    if leaf := LEAF.fullmatch(path):
        return f"{leaf['identity']}/certificate.pem" if leaf["identity"] else f"{leaf['host']}/server.pem"
    return None


def is_lab_s(found: Mapping[str, bytes], certificate: str | None, lab: str) -> bool:
    if certificate is None:
        return True
    chain = read_certificates(found.get(certificate, b""))
    return bool(chain) and not is_foreign(chain[0], lab)


def recovered(found: Mapping[str, bytes]) -> dict[str, bytes]:
    """A lab's files without what a killed run left half-way: an authority's key is the one that its certificate has.

    A key that was staged and has no certificate has signed nothing.
    """
    ready = {path: content for path, content in found.items() if not STAGED.fullmatch(path)}
    for path, content in found.items():
        if (staged := STAGED.fullmatch(path)) is None:
            continue
        folder, kind = staged["folder"], staged["kind"] or ""
        chain = read_certificates(found.get(f"{folder}/{'intermediate' if kind else 'certificate'}.pem", b""))
        key = read_key(content)
        if chain and key is not None and same_key(chain[0], key):
            ready[f"{folder}/{kind}key.pem"] = content
    return ready


def staged_path(key: str) -> str:
    folder, _, name = key.rpartition("/")
    return f"{folder}/next-{name}"
