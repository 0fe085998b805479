"""Trust stores: what is planned, refused, done and told; on stores and with tools that are made for the test."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from topology import cli
from topology.description.loading import parse as parse_topology
from topology.errors import CheckFailed, InvalidInput, NotReady
from topology.machine import java_store, keychain, labels, nss_store, processes, system_store, trust
from topology.machine.disk import NotPermitted
from topology.machine.labels import Anchor, Label
from topology.machine.processes import ToolFailed, User
from topology.machine.stores import Damaged, Entry
from topology.pki import issuing

TOPOLOGY = """
name: shop
authorities:
  ssl_ca: {}
  partners: {}
  server_ca: {}
identities:
  bro: {authority: server_ca}
hosts:
  web: {domain: web.shop.test, client_certificates: {authority: server_ca}}
  api: {domain: api.shop.test, tls: {authority: partners}}
  plain: {domain: plain.shop.test, tls: false}
"""


def authority(name: str = "ssl_ca", lab: str = "shop") -> bytes:
    """A new authority's certificate as DER: each call has another key."""
    now = datetime.now(UTC)
    root = issuing.issue_root(issuing.authority_name(lab, name), issuing.new_key("ecdsa-p256"), days=30, now=now)
    return root.public_bytes(Encoding.DER)


def anchor(der: bytes | None = None, instance: str | None = None, name: str = "ssl_ca") -> Anchor:
    der = der or authority(name)
    return Anchor(Label("shop", instance, name, labels.fingerprint(der)), der, Path("x/certificate.pem"), None)


def entry(of: Anchor, name: str | None = None, trusted: bool = True) -> Entry:
    return Entry(name or str(of.label), of.der, trusted)


@dataclass(frozen=True)
class Shelf:
    """A store in memory."""

    found: tuple[Entry, ...] = ()
    place: str = "shelf"
    locked: bool = False
    jams: bool = False
    does_nothing: bool = False
    now: list[Entry] = field(default_factory=list)
    done: list[tuple[list[str], list[str]]] = field(default_factory=list)
    kind = "system"

    def entries(self) -> tuple[Entry, ...]:
        gone = {name for _, removed in self.done for name in removed}
        return tuple(one for one in (*self.found, *self.now) if one.name not in gone)

    def refuse_unwritable(self) -> None:
        if self.locked:
            raise NotPermitted(f"{self.place}: you may not")

    def change(self, add: Sequence[Anchor], remove: Sequence[str]) -> None:
        if self.jams:
            raise ToolFailed("it jams")
        if not self.does_nothing:
            self.now.extend(entry(one) for one in add)
            self.done.append(([str(one.label) for one in add], list(remove)))


# Labels


@pytest.mark.parametrize("instance", [None, "mine", "ssl_ca".replace("_", "-"), "00112233445566778899"])
def test_a_label_says_what_it_was_made_of(instance: str | None) -> None:
    label = Label("two-host", instance, "ssl_ca", "00112233445566778899")

    assert labels.parse(str(label)) == label
    assert str(label) == str(label).lower()


@pytest.mark.parametrize(
    "name",
    [
        "", "ssl_ca", "mtls-lab.shop.ssl_ca", "mtls-lab.shop.ssl_ca.0011", "mtls-lab.a.b.c.d.00112233445566778899",
        "xmtls-lab.shop.ssl_ca.00112233445566778899", "mtls-lab.shop.ssl_ca.00112233445566778899 ",
        "mtls-lab.shop/../x.ssl_ca.00112233445566778899",
    ],
)  # fmt: skip
def test_other_names_are_none_of_ours(name: str) -> None:
    assert labels.parse(name) is None


def test_a_label_over_another_certificate_is_not_ours() -> None:
    ours = anchor()

    assert entry(ours).label == ours.label
    assert Entry(str(ours.label), authority()).label is None


# Which authorities


def test_authorities_of_servers_are_meant_and_those_of_clients_only_by_name() -> None:
    topology = parse_topology(TOPOLOGY, Path("topology.yaml"), {}).topology

    assert labels.chosen(topology, ()) == ("ssl_ca", "partners")
    assert labels.chosen(topology, ["server_ca"]) == ("server_ca",)


def test_an_authority_that_the_lab_does_not_have_is_refused_with_those_that_it_has() -> None:
    topology = parse_topology(TOPOLOGY, Path("topology.yaml"), {}).topology

    with pytest.raises(InvalidInput, match=r"--authority bro: shop has no such authority; there are: ssl_ca, partners"):
        labels.chosen(topology, ["bro"])


def test_a_lab_in_plain_http_has_nothing_to_trust() -> None:
    topology = parse_topology("name: shop\nhosts: {a: {domain: a.shop.test, tls: false}}", Path("t.yaml"), {}).topology

    with pytest.raises(InvalidInput, match="there is none to trust"):
        labels.chosen(topology, ())


# What is planned


def test_what_is_missing_is_added() -> None:
    wanted = anchor()
    others = (Entry("x", authority("ssl_ca", "another lab")), Entry("y", b""), Entry("z", b"not a certificate"))
    plan = trust.plan_one(Shelf(), [wanted], others)

    assert (plan.add, plan.remove, plan.there) == ((wanted,), (), ())


@pytest.mark.parametrize("name", [None, "by hand"])
def test_what_is_trusted_already_stays_as_it_is(name: str | None) -> None:
    wanted = anchor()
    plan = trust.plan_one(Shelf(), [wanted], [entry(wanted, name)])

    assert not plan.changes
    assert plan.there == ((wanted, name or str(wanted.label)),)


def test_what_of_ours_is_there_but_not_trusted_is_put_right() -> None:
    wanted = anchor()

    assert trust.plan_one(Shelf(), [wanted], [entry(wanted, trusted=False)]).add == (wanted,)


def test_what_was_issued_before_is_replaced_and_other_instances_stay() -> None:
    wanted, old, other = anchor(), anchor(), anchor(instance="mine")
    plan = trust.plan_one(Shelf(), [wanted], [entry(old), entry(other)])

    assert (plan.add, plan.remove) == ((wanted,), (old.label,))


def test_debian_s_copy_of_an_old_one_in_java_s_store_is_not_foreign() -> None:
    old = anchor()

    assert trust.plan_one(Shelf(), [anchor()], [entry(old, f"debian:{old.label}.pem")]).add


@pytest.mark.parametrize(
    ("found", "told"),
    [
        (lambda _: Entry("x", authority()), "another authority called CN=ssl_ca,O=shop is there as 'x'"),
        (lambda wanted: Entry(str(wanted.label), authority("x")), "holds somebody else's certificate"),
        (lambda wanted: Entry(str(wanted.label), b""), "holds somebody else's certificate"),
        (lambda wanted: entry(wanted, "x", trusted=False), "is there as 'x', but not trusted"),
    ],
)
def test_what_stands_in_the_way_is_refused(found: Callable[[Anchor], Entry], told: str) -> None:
    wanted = anchor()

    with pytest.raises(InvalidInput, match=told):
        trust.plan_one(Shelf(), [wanted], [found(wanted)])


def test_all_that_speaks_against_it_is_told_at_once() -> None:
    stores = [Shelf(place="a", locked=True), Shelf(place="b"), Shelf((Entry("x", authority()),), place="c")]

    with pytest.raises(InvalidInput) as caught:
        trust.plan_install(stores, [anchor()])
    lines = str(caught.value).splitlines()
    assert (lines[0], lines[1][:2]) == ("a: you may not", "c:")
    assert lines[2].startswith("nothing was changed; to leave a store out")
    assert not any(store.done for store in stores)


def test_who_has_nothing_to_change_needs_no_rights() -> None:
    wanted = anchor()

    assert trust.plan_install([Shelf((entry(wanted),), locked=True)], [wanted])
    assert trust.plan_uninstall([Shelf(locked=True)], "shop", None, ())


def test_uninstalling_takes_what_is_ours_and_nothing_else() -> None:
    ours, older, partners = anchor(), anchor(), anchor(name="partners")
    others = (entry(anchor(instance="mine")), Entry(str(anchor().label), authority()), entry(anchor(), "x"))
    shelf = Shelf((entry(ours), entry(older, trusted=False), entry(partners), *others))

    everything = trust.plan_uninstall([shelf], "shop", None, ())
    assert everything[0].remove == (ours.label, older.label, partners.label)
    assert trust.plan_uninstall([shelf], "shop", None, ["partners"])[0].remove == (partners.label,)
    assert trust.plan_uninstall([shelf], "sho", None, ())[0].remove == ()


def test_a_failure_in_the_middle_says_what_was_done_and_what_was_not() -> None:
    wanted = anchor()
    stores = [Shelf(place="a"), Shelf((entry(wanted),), place="b"), Shelf(place="c", jams=True), Shelf(place="d")]
    told: list[str] = []

    with pytest.raises(trust.Unfinished, match=r"(?s)c: could not be changed: it jams\nchanged: a; not changed: c, d"):
        trust.carry_out(trust.plan_install(stores, [wanted]), lambda plan: told.append(plan.store.place))
    assert told == ["a"]
    assert stores[0].done == [([str(wanted.label)], [])]
    assert not stores[3].done


@pytest.mark.parametrize("undo", [False, True])
def test_a_tool_that_only_says_that_it_did_something_is_found_out(undo: bool) -> None:
    wanted = anchor()
    shelf = Shelf((entry(wanted),) if undo else (), does_nothing=True)
    plans = trust.plan_uninstall([shelf], "shop", None, ()) if undo else trust.plan_install([shelf], [wanted])

    with pytest.raises(trust.Unfinished, match="is still there" if undo else "is not trusted"):
        trust.carry_out(plans, lambda _: None)


# Tools and stores of this machine


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Puts a tool on the PATH, which else holds the shell's own alone."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setattr(processes, "ADMINISTRATORS", ())
    monkeypatch.delenv("JAVA_HOME", raising=False)

    def tool(name: str, does: str) -> None:
        file = folder / name
        file.write_text(f"#!/bin/sh\nset -eu\n{does}\n")
        file.chmod(0o755)

    return tool


def test_a_tool_that_is_not_there_is_named_with_its_package(tools: object) -> None:
    with pytest.raises(InvalidInput, match="no-such-tool is not installed on this machine: apt-get install it"):
        processes.find("no-such-tool", "apt-get install it")


def test_a_tool_that_fails_shows_the_end_of_what_it_said(tools: Callable[[str, str], None]) -> None:
    tools("fails", "seq 1 30; echo the reason >&2; exit 3")

    with pytest.raises(ToolFailed) as caught:
        processes.run(["fails", "a b"])
    told = str(caught.value).splitlines()
    assert told[0] == "`fails a b` failed with exit code 3:"
    assert told[-1] == "  the reason"
    assert len(told) == 13


def test_a_tool_that_would_ask_finds_nobody(tools: Callable[[str, str], None]) -> None:
    tools("asks", "read -r answer; echo $answer")

    with pytest.raises(ToolFailed):
        processes.run(["asks"])


def linux(root: Path, *, public: Sequence[bytes] = (), debian: bool = True) -> system_store.SystemStore:
    """A machine's store as its distribution sets it up, below a folder."""
    store = system_store.known_stores(root)[-1 if debian else 0]
    for folder in (store.folder, store.bundle.parent, *([store.public] if store.public else [])):
        folder.mkdir(parents=True)
    for number, der in enumerate(public):
        ((store.public or store.bundle.parent) / f"{number}.crt").write_bytes(pem(der))
    store.bundle.write_bytes(b"".join(pem(der) for der in public))
    if store.settings:
        store.settings.write_text("0.crt\n")
    found = system_store.find(root)
    assert found == store
    return found


def pem(der: bytes) -> bytes:
    return anchor(der).pem


def makes_bundle(store: system_store.SystemStore, public: str = "") -> str:
    """What a distribution's command does: all certificates in one file; what it was told is kept."""
    told = store.folder.parent / "told"
    return (
        f'echo "$*" >> {told}; case "$*" in *--certsconf*) cat "$2" >> {told};; esac\n'
        f"cat {public} {store.folder}/*{store.suffix} > {store.bundle} 2>/dev/null || true"
    )


@pytest.mark.parametrize("debian", [True, False])
def test_the_system_s_store_is_what_it_was_when_all_is_undone(
    debian: bool, tmp_path: Path, tools: Callable[[str, str], None]
) -> None:
    """Debian's command is told what left; Fedora's finds out by itself."""
    store = linux(tmp_path, public=[authority("public")], debian=debian)
    public = tmp_path / "public"
    public.write_bytes(store.bundle.read_bytes())
    before = store.bundle.read_bytes()
    tools(store.command[0], makes_bundle(store, str(public)))
    wanted = anchor()

    trust.carry_out(trust.plan_install([store], [wanted]), lambda _: None)
    assert wanted.pem in store.bundle.read_bytes()
    assert trust.plan_install([store], [wanted])[0].there == ((wanted, str(wanted.label)),)

    trust.carry_out(trust.plan_uninstall([store], "shop", None, ()), lambda _: None)
    assert store.bundle.read_bytes() == before
    assert not list(store.folder.iterdir())
    told = (store.folder.parent / "told").read_text()
    assert (f"!{wanted.label}.crt" in told) == debian
    assert store.settings is None or store.settings.read_text() == "0.crt\n"


def test_a_command_that_fails_leaves_no_file_of_ours(tmp_path: Path, tools: Callable[[str, str], None]) -> None:
    store = linux(tmp_path, public=[authority("public")])
    tools("update-ca-certificates", "echo the disk is full; exit 1")

    with pytest.raises(ToolFailed, match="the disk is full"):
        store.change([anchor()], [])
    assert not list(store.folder.iterdir())


def test_a_hook_of_the_command_that_fails_is_not_passed_over(tmp_path: Path, tools: Callable[[str, str], None]) -> None:
    """Debian's command ends well all the same, and Java keeps the authority."""
    store = linux(tmp_path, public=[authority("public")])
    tools("update-ca-certificates", f"{makes_bundle(store)}\necho 'E: jks-keystore exited with code 1.'")

    with pytest.raises(ToolFailed, match="did not end well: E: jks-keystore exited with code 1"):
        store.change([], ["mtls-lab.shop.ssl_ca.00112233445566778899"])


def test_half_of_an_installation_can_be_repaired_and_undone(tmp_path: Path, tools: Callable[[str, str], None]) -> None:
    """The file is there, but the command was killed before it made the bundle."""
    store = linux(tmp_path, public=[authority("public")])
    tools("update-ca-certificates", makes_bundle(store))
    wanted = anchor()
    store.file(str(wanted.label)).write_bytes(wanted.pem)

    assert trust.plan_install([store], [wanted])[0].add == (wanted,)
    assert trust.plan_uninstall([store], "shop", None, ())[0].remove == (wanted.label,)


def test_a_bundle_without_a_certificate_is_damaged(tmp_path: Path, tools: Callable[[str, str], None]) -> None:
    store = linux(tmp_path)
    tools("update-ca-certificates", "exit 0")

    with pytest.raises(Damaged, match="holds no certificate; `update-ca-certificates` makes it anew"):
        store.entries()


def test_what_somebody_put_into_the_bundle_by_hand_is_not_lost(
    tmp_path: Path, tools: Callable[[str, str], None]
) -> None:
    store = linux(tmp_path, public=[authority("public")])
    tools("update-ca-certificates", "exit 0")
    with store.bundle.open("ab") as bundle:
        bundle.write(pem(authority("by hand")))

    with pytest.raises(Damaged, match="1 of its certificates were put in by hand"):
        store.entries()


def test_a_machine_without_a_system_store_says_what_to_install(tmp_path: Path) -> None:
    assert system_store.find(tmp_path) is None
    with pytest.raises(InvalidInput, match="apt-get install ca-certificates"):
        system_store.required(tmp_path)


def test_a_system_store_that_belongs_to_root_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = linux(tmp_path, public=[authority("public")])
    monkeypatch.setattr(os, "access", lambda path, _: path != store.folder)

    with pytest.raises(NotPermitted, match="run this again as root"):
        store.refuse_unwritable()


KEYCHAIN = """\
case "$1" in
find-certificate) cat {folder}/in-*.pem 2>/dev/null || true ;;
add-trusted-cert) eval last=\\${{$#}}; cp "$last" "{folder}/in-$(basename "$last")"; echo "$*" >> {folder}/told ;;
remove-trusted-cert) rm "{folder}/in-$(basename "$3")"; echo "$*" >> {folder}/told ;;
delete-certificate) echo "$*" >> {folder}/told ;;
*) echo "unknown $1"; exit 1 ;;
esac"""


def test_the_keychain_of_macos_is_what_it_was_when_all_is_undone(
    tmp_path: Path, tools: Callable[[str, str], None]
) -> None:
    """Entries there have no names of ours: those stand in a folder beside it, which goes, too."""
    folder = tmp_path / "keychain"
    folder.mkdir()
    (folder / "in-0.pem").write_bytes(pem(authority("public")))
    tools("security", KEYCHAIN.format(folder=folder))
    store = keychain.Keychain(folder, tmp_path / "record")
    before = store.entries()
    wanted = anchor()

    trust.carry_out(trust.plan_install([store], [wanted]), lambda _: None)
    assert trust.plan_install([store], [wanted])[0].there == ((wanted, str(wanted.label)),)
    trust.carry_out(trust.plan_uninstall([store], "shop", None, ()), lambda _: None)

    assert store.entries() == before
    assert not (tmp_path / "record").exists()
    told = (folder / "told").read_text().splitlines()
    assert [line.split()[0] for line in told] == ["add-trusted-cert", "remove-trusted-cert", "delete-certificate"]
    assert told[0].startswith(f"add-trusted-cert -d -r trustRoot -p ssl -k {folder} ")


def test_nicknames_are_told_from_trust() -> None:
    listing = (
        "\nCertificate Nickname                                         Trust Attributes\n"
        "                                                             SSL,S/MIME,JAR/XPI\n\n"
        "mtls-lab.shop.ssl_ca.00112233445566778899                    C,,  \n"
        "Somebody's CA, Inc.                                          CT,C,c\n"
        "a client                                                     u,u,u\n"
    )
    assert nss_store.nicknames(listing) == {
        "mtls-lab.shop.ssl_ca.00112233445566778899": "C,,",
        "Somebody's CA, Inc.": "CT,C,c",
        "a client": "u,u,u",
    }


def test_databases_are_found_where_browsers_keep_them(tmp_path: Path) -> None:
    user = User(tmp_path)
    places = [".pki/nssdb", "snap/chromium/current/.pki/nssdb", ".mozilla/firefox/a.default", "elsewhere"]
    for place in places:
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "cert9.db").touch()
    (tmp_path / ".mozilla/firefox/empty").mkdir()
    (tmp_path / ".mozilla/firefox/link").symlink_to("a.default")

    assert [str(store.folder.relative_to(tmp_path)) for store in nss_store.find(user)] == places[:-1]
    assert nss_store.required(user) == nss_store.find(user)


def test_chromium_s_database_is_made_only_where_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trust, "person", lambda: User(tmp_path))

    assert trust.find(["nss"], create=False) == ()
    assert [store.place for store in trust.find(["nss"], create=True)] == [str(tmp_path / ".pki/nssdb")]


def test_under_sudo_the_browsers_of_the_caller_are_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("SUDO_USER", "daemon")
    assert trust.person().ids == (1, 1)

    monkeypatch.setenv("SUDO_USER", "no such user")
    with pytest.raises(InvalidInput, match="SUDO_USER=no such user: this machine knows no such user"):
        trust.person()


def test_a_store_that_does_not_exist_is_refused_with_those_that_do() -> None:
    with pytest.raises(InvalidInput, match="--store windows: the stores are system, nss, java"):
        trust.find(["windows"], create=True)


def java(home: Path, name: str = "cacerts") -> Path:
    for folder in ("bin", "lib/security"):
        (home / folder).mkdir(parents=True)
    (home / "bin/keytool").touch()
    program = home / "bin/java"
    program.write_text(f'#!/bin/sh\necho "Picked up JAVA_TOOL_OPTIONS" >&2\necho "    java.home = {home}" >&2\n')
    program.chmod(0o755)
    (home / "lib/security" / name).touch()
    return home


def test_java_is_the_one_of_java_home_else_that_of_the_path(
    tmp_path: Path, tools: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = java(tmp_path / "one"), java(tmp_path / "two", "jssecacerts")
    tools("java", f'exec {one}/bin/java "$@"')

    assert java_store.required().file == one / "lib/security/cacerts"
    monkeypatch.setenv("JAVA_HOME", str(two))
    assert java_store.required().file == two / "lib/security/jssecacerts"


def test_a_java_home_without_java_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))

    with pytest.raises(InvalidInput, match=r"JAVA_HOME is no Java that works; .*bin/java: cannot be started"):
        java_store.find()


def test_a_java_without_keytool_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (java(tmp_path / "java") / "bin/keytool").unlink()
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "java"))

    with pytest.raises(InvalidInput, match=r"has no .*keytool; install a whole one"):
        java_store.find()


def test_a_machine_without_java_has_no_such_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", "/nowhere")

    assert java_store.find() is None
    with pytest.raises(InvalidInput, match="JAVA_HOME is not set, and there is no java on PATH"):
        java_store.required()


def test_a_java_that_follows_the_system_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fedora's: what keytool writes there is gone with the next update."""
    home = java(tmp_path / "java")
    extracted = tmp_path / "ca-trust/extracted/java/cacerts"
    extracted.parent.mkdir(parents=True)
    (home / "lib/security/cacerts").rename(extracted)
    (home / "lib/security/cacerts").symlink_to(extracted)
    monkeypatch.setenv("JAVA_HOME", str(home))

    assert trust.java(required=False) is None
    with pytest.raises(InvalidInput, match="use --store system"):
        java_store.required()


# The commands


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Arguments for a lab whose server authorities were issued."""
    file = tmp_path / "topology.yaml"
    file.write_text(TOPOLOGY)
    for name in ("ssl_ca", "partners"):
        folder = tmp_path / "compose/shop/authorities" / name
        folder.mkdir(parents=True)
        (folder / "certificate.pem").write_bytes(pem(authority(name)))
        (folder / "key.pem").write_text("a key\n")
    return [str(file), "--out", str(tmp_path / "compose")]


@pytest.fixture
def shelf(monkeypatch: pytest.MonkeyPatch) -> Shelf:
    """The one trust store of the machine."""
    made = Shelf()
    monkeypatch.setattr(trust, "find", lambda *_, **__: (made,))
    return made


def test_install_says_what_it_will_do_what_that_means_and_what_it_did(
    lab: list[str], shelf: Shelf, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["trust", "install", *lab, "--yes"]) == 0

    told = capsys.readouterr()
    assert "add mtls-lab.shop.ssl_ca." in told.err
    assert "can pose as any website" in told.err
    assert "authorities/ssl_ca/key.pem" in told.err
    assert told.out.count("system shelf: added mtls-lab.shop.") == 2
    assert len(shelf.done) == 1


def test_what_was_done_as_json(lab: list[str], shelf: Shelf, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["trust", "install", *lab, "--yes", "--json", "--authority", "ssl_ca"]) == 0

    (told,) = json.loads(capsys.readouterr().out)
    assert told.pop("entry").startswith("mtls-lab.shop.ssl_ca.")
    assert told == {"store": "system", "place": "shelf", "action": "added", "authority": "ssl_ca"}


def test_without_a_terminal_and_without_yes_nothing_changes(
    lab: list[str], shelf: Shelf, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["trust", "install", *lab]) == 2
    assert "no terminal to ask on; say --yes" in capsys.readouterr().err
    assert not shelf.done


def test_who_says_no_changes_nothing(
    lab: list[str], shelf: Shelf, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> None:
        raise CheckFailed("nothing was changed")

    monkeypatch.setattr("topology.commands.trust.agree", refuse)

    assert cli.main(["trust", "install", *lab]) == 1
    assert not shelf.done


def test_an_authority_that_was_not_issued_yet_is_exit_4(
    lab: list[str], shelf: Shelf, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["trust", "install", *lab, "--yes", "--authority", "server_ca"]) == NotReady.exit_code
    assert "authority server_ca has not been issued yet" in capsys.readouterr().err


def test_an_authority_that_cannot_be_read_is_exit_2(
    lab: list[str], shelf: Shelf, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "compose/shop/authorities/ssl_ca/certificate.pem").write_text("garbage")

    assert cli.main(["trust", "install", *lab, "--yes"]) == 2
    assert "ssl_ca/certificate.pem: not a certificate that can be read" in capsys.readouterr().err


def test_uninstall_needs_no_certificate_of_the_lab(
    lab: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ours = anchor()
    monkeypatch.setattr(trust, "find", lambda *_, **__: (Shelf((entry(ours),)),))

    assert cli.main(["trust", "uninstall", lab[0], "--out", "nowhere", "--yes"]) == 0
    assert capsys.readouterr().out == f"system shelf: removed {ours.label}\n"


def test_export_prints_pem_alone_and_hints_beside_it(lab: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["trust", "export", *lab]) == 0

    told = capsys.readouterr()
    assert told.out.count("-----BEGIN CERTIFICATE-----") == 2
    assert set(told.out.splitlines()[0]) <= set("-BEGIN CERTIFICATE")
    assert "Firefox" in told.err
    assert "certutil -user -addstore Root" in told.err


def test_export_writes_a_file_and_again(lab: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "lab.pem"

    assert cli.main(["trust", "export", *lab, "--to", str(file)]) == 0
    assert cli.main(["trust", "export", *lab, "--to", str(file), "--json"]) == 0
    assert file.read_text().count("-----BEGIN CERTIFICATE-----") == 2
    assert f'"file": "{file}"' in capsys.readouterr().out


EMPTY_KEY = "".join(f"-----{word} PRIVATE KEY-----\n" for word in ("BEGIN", "END"))


@pytest.mark.parametrize("content", [EMPTY_KEY, "notes\n"])
def test_export_does_not_overwrite_what_is_no_certificate(
    content: str, lab: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "key.pem"
    file.write_text(content)

    assert cli.main(["trust", "export", *lab, "--to", str(file)]) == 2
    assert "holds something else than certificates" in capsys.readouterr().err
    assert file.read_text() == content
