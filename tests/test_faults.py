"""What is wrong with a topology is said exactly: where, what, and what to do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzzing import rounds
from topology.description import loading
from topology.description.model import Kind
from topology.description.positions import LARGEST_FILE
from topology.errors import InvalidInput, InvalidTopology

FAULTS = Path(__file__).parents[1] / "fixtures" / "faults"
KINDS = {
    name: Kind(name=name, folder=Path("services") / name, port=port, health="/health", base_path=name == "next")
    for name, port in {"fast": 8000, "next": 3000, "node": 3200, "boot": 8080}.items()
}


def messages(text: str | bytes, name: str = "topology.yaml") -> str:
    with pytest.raises(InvalidTopology) as caught:
        loading.parse(text, Path(name), KINDS)
    return str(caught.value)


@pytest.mark.parametrize("file", sorted(FAULTS.glob("*.yaml")), ids=lambda file: file.stem)
def test_each_fault_is_told_exactly(file: Path) -> None:
    """One file for each kind of fault, and beside it the messages that a person reads."""
    assert messages(file.read_bytes(), file.name) + "\n" == file.with_suffix(".txt").read_text()


def test_every_fault_has_its_messages() -> None:
    """Pairs, and none of them alone."""
    assert {f.stem for f in FAULTS.glob("*.yaml")} == {f.stem for f in FAULTS.glob("*.txt")}
    assert len(list(FAULTS.glob("*.yaml"))) >= 60


@pytest.mark.parametrize("file", sorted(FAULTS.glob("*.txt")), ids=lambda file: file.stem)
def test_each_message_is_a_line_with_its_place(file: Path) -> None:
    """file:line:column: text, and nothing of the libraries below."""
    for line in file.read_text().splitlines():
        name, row, column, text = line.split(":", 3)
        assert name == f"{file.stem}.yaml"
        assert int(row) >= 1
        assert int(column) >= 1
        assert text.strip()
        assert "pydantic" not in text
        assert "Traceback" not in text


def test_a_huge_file_is_refused_before_it_is_read() -> None:
    """A megabyte is no topology."""
    assert messages("x" * (LARGEST_FILE + 1)) == (
        "topology.yaml:1:1: the file is larger than 1024 KiB; is it the right one?"
    )


def test_a_file_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(
        InvalidInput, match=r"nowhere\.yaml: cannot be read: No such file or directory; write one there"
    ):
        loading.load(tmp_path / "nowhere.yaml")


def test_a_folder_is_no_topology(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="cannot be read: Is a directory; name a file"):
        loading.load(tmp_path)


def test_a_byte_order_mark_is_no_fault() -> None:
    """Editors on Windows write one."""
    text = "name: lab\nhosts:\n  web: {domain: web.lab.test, tls: false}\n"

    assert loading.parse(b"\xef\xbb\xbf" + text.encode(), Path("topology.yaml"), KINDS).topology.name == "lab"


WORDS = """
name authorities identities hosts a b authority domain aliases tls services kind routes /a/ /b/ service host to identity
allow internal publish http https client_certificates verify client_certificate environment build image port health san
"""
FIELDS = st.sampled_from(WORDS.split())
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    FIELDS,
    st.just("a.test"),
    st.just("node"),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(FIELDS, inner, max_size=5)),
    max_leaves=30,
)


def assert_parsed_or_refused(text: str | bytes) -> None:
    """A topology comes out, or faults that each have a place."""
    refused = None
    try:
        loading.parse(text, Path("topology.yaml"), KINDS)
    except InvalidTopology as error:
        refused = error
    if refused is not None:
        assert refused.faults
        assert all(fault.line >= 1 and fault.column >= 1 for fault in refused.faults)


@settings(max_examples=rounds(60), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(FIELDS, VALUES, max_size=5))
def test_no_structure_brings_it_down(value: object) -> None:
    """Whatever stands where: a topology, or faults with places.  JSON is YAML."""
    assert_parsed_or_refused(json.dumps(value))


@settings(max_examples=rounds(60), deadline=None)
@given(st.one_of(st.binary(max_size=60), st.text(max_size=60)))
def test_no_text_brings_it_down(text: str | bytes) -> None:
    """Noise is answered with faults."""
    assert_parsed_or_refused(text)
