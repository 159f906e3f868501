"""Documents: every mistake is answered with file, line, dotted key, expectation and finding."""

from __future__ import annotations

import enum
from typing import Annotated, Any, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta

from lockjaw import documents
from lockjaw.documents import Document, FieldError, convert, dotted
from lockjaw.documents import yaml as yaml_documents
from lockjaw.documents.yaml import load_document, read_document
from lockjaw.errors import DocumentError


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Leaf(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    how: Literal["rst", "fin"] = "fin"
    after: Annotated[int, Meta(ge=0)] = 0
    colour: Colour = Colour.RED
    flag: bool = False
    name: Annotated[str, Meta(pattern="^[a-z]+$")] = "x"

    def __post_init__(self) -> None:
        if self.after == 7:
            raise FieldError("after", "not seven", self.after)
        if self.after == 8:
            raise FieldError("", "anything but eight")
        if self.after == 9:
            raise ValueError("nine is too many")


class Step(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    wait_s: Annotated[float, Meta(ge=0)] | Literal["forever"] | None = None
    leaf: Leaf | None = None
    pair: tuple[int, str] | None = None
    words: tuple[str, ...] = ()
    some: Annotated[list[int], Meta(min_length=1)] | None = None


class Root(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    models: Annotated[dict[Annotated[str, Meta(min_length=1)], list[Step]], Meta(min_length=1)]


TEXT = """\
# a comment
models:
  good:
    - wait_s: 1
  other.with.dots:
    - wait_s: forever
    - words: [a, b]
      leaf:
        how: {how}
"""


def convert_text(text: str, **kwargs: Any) -> Root:
    return convert(load_document(text, "f.yaml"), Root, **kwargs)


def test_a_good_document_converts_and_knows_its_lines() -> None:
    document = load_document(TEXT.format(how="rst"), "f.yaml")
    root = convert(document, Root)
    leaf = root.models["other.with.dots"][1].leaf
    assert leaf is not None
    assert leaf.how == "rst"
    assert document.place_of(())[0] == 2  # the root mapping begins at its first key
    assert document.place_of(("models", "good"))[0] == 3
    assert document.place_of(("models", "other.with.dots", 1))[0] == 7
    assert document.place_of(("models", "other.with.dots", 1, "leaf", "how"))[0] == 9
    # absent keys have the line of the nearest parent that exists
    assert document.place_of(("models", "other.with.dots", 5, "leaf"))[0] == 5
    assert document.place_of(("models", "good", 0, "wait_s", "deeper"))[0] == 4


def test_a_wrong_value_below_a_mapping_is_found_under_the_right_key() -> None:
    with pytest.raises(DocumentError) as caught:
        convert_text(TEXT.format(how="gently"))
    error = caught.value
    assert (error.path, error.line, error.key) == ("f.yaml", 9, "models.other.with.dots[1].leaf.how")
    assert error.expected == "rst or fin"
    assert error.got == "gently"
    assert str(error) == ("f.yaml:9:9: at models.other.with.dots[1].leaf.how expected rst or fin, got 'gently'")


@pytest.mark.parametrize(
    ("step", "key", "expected", "got"),
    [
        ("{wait_s: -1}", ".wait_s", "a number >= 0 or forever", -1),
        ("{wait_s: soon}", ".wait_s", "a number >= 0 or forever", "soon"),
        ("{leaf: 3}", ".leaf", "a mapping", 3),
        ("{leaf: {after: true}}", ".leaf.after", "a whole number >= 0", True),
        ("{leaf: {after: 1.5}}", ".leaf.after", "a whole number >= 0", 1.5),
        ("{leaf: {colour: green}}", ".leaf.colour", "red or blue", "green"),
        ("{leaf: {flag: 1}}", ".leaf.flag", "true or false", 1),
        ("{leaf: {name: A1}}", ".leaf.name", "text matching '^[a-z]+$'", "A1"),
        ("{leaf: {after: 7}}", ".leaf.after", "not seven", 7),
        ("{leaf: {after: 8}}", ".leaf", "anything but eight", None),
        ("{leaf: {after: 9}}", ".leaf", "nine is too many", None),
        ("{pair: [1, 2]}", ".pair[1]", "text", 2),
        ("{pair: 4}", ".pair", "a list", 4),
        ("{words: [a, 2]}", ".words[1]", "text", 2),
        ("{words: {a: b}}", ".words", "a list", {"a": "b"}),
        ("{some: []}", ".some", "a list that is not empty", []),
        ("{colour: red}", ".colour", "one of: leaf, pair, some, wait_s, words", "colour"),
        ("{leaf: {What: 1}}", ".leaf.What", "one of: after, colour, flag, how, name", "What"),
        ("7", "", "a mapping", 7),
    ],
)
def test_each_kind_of_mistake_names_its_key_and_what_the_type_allows(
    step: str, key: str, expected: str, got: object
) -> None:
    with pytest.raises(DocumentError) as caught:
        convert_text(f"models:\n  m:\n    - wait_s: 1\n    - {step}\n")
    error = caught.value
    assert (error.line, error.key) == (4, f"models.m[1]{key}")
    assert (error.expected, error.got) == (expected, got)


@pytest.mark.parametrize(
    ("text", "line", "key", "expected"),
    [
        ("", 0, "", "a mapping"),
        ("- 1", 1, "", "a mapping"),
        ("# c\n{}", 2, "models", "this key (it is required)"),
        ("models: {}", 1, "models", "a mapping that is not empty"),
        ("models:\n  '': []", 2, "models.", "a key that is text that is not empty"),
        ("models:\n  m: x", 2, "models.m", "a list"),
    ],
)
def test_mistakes_near_the_root_are_explained_too(text: str, line: int, key: str, expected: str) -> None:
    with pytest.raises(DocumentError) as caught:
        convert_text(text)
    assert (caught.value.line, caught.value.key, caught.value.expected) == (line, key, expected)


def test_an_embedded_part_is_blamed_by_its_place_in_the_whole_file() -> None:
    document = load_document("story: x\nfakes:\n  models:\n    m:\n      - leaf:\n          how: slow\n", "s.yaml")
    with pytest.raises(DocumentError) as caught:
        convert(document, Root, at=("fakes",))
    assert (caught.value.line, caught.value.key) == (6, "fakes.models.m[0].leaf.how")
    with pytest.raises(DocumentError, match=r"s\.yaml:2:1: at fakes\.gateway expected a value at fakes\.gateway"):
        convert(document, Root, at=("fakes", "gateway"))


@pytest.mark.parametrize(
    ("text", "line", "expected"),
    [
        ("a: 1\nb: 2\na: 3\n", 3, "each key once"),
        ("a: {b: 1,\n  b: 1}", 2, "each key once"),
        ("a: [1\nb: 2", 2, "YAML"),
        ("a: 1\n---\nb: 1\n", 2, "YAML"),
        ("a: \x07", 0, "YAML"),
        ("x: &x [1, *x]", 1, "no alias to something"),
        ("a: &a {b: 1}\nc:\n  <<: *a\n", 3, "no merge key"),
        ("a: 1\n[1]: 2\n", 2, "text as a key"),
        ("a: !!set {b}", 1, "a JSON value"),
        ("a: !!binary aGk=", 1, "a JSON value"),
        ("a: !mine 3", 1, "a JSON value"),
        ("a: !!int x", 1, "a number"),
        ("a:\n  - .inf", 2, "a finite number"),
        ("a: .nan", 1, "a finite number"),
        ("[" * 3000, 0, "fewer levels"),
    ],
)
def test_text_that_is_not_plain_yaml_is_refused_with_its_line(text: str, line: int, expected: str) -> None:
    with pytest.raises(DocumentError) as caught:
        load_document(text, "f.yaml")
    assert caught.value.line == line
    assert caught.value.expected.startswith(expected)


def test_keys_are_text_as_written_and_dates_stay_text() -> None:
    document = load_document("on: 1\n4.5: 2\nnull: 3\nday: 2026-04-08\nsame: &s [1]\nagain: *s\n", "f.yaml")
    assert document.data == {"on": 1, "4.5": 2, "null": 3, "day": "2026-04-08", "same": [1], "again": [1]}


def test_aliases_that_would_expand_without_end_are_refused() -> None:
    lines = ["a0: &a0 [x]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    with pytest.raises(DocumentError, match=f"at most {yaml_documents.MAX_VALUES} values"):
        load_document("\n".join(lines), "laughs.yaml")


def test_a_mapping_that_was_never_text_has_no_lines() -> None:
    document = Document.of({"models": {"m": [{"wait_s": "x"}]}})
    with pytest.raises(DocumentError, match=r"^<mapping>: at models\.m\[0\]\.wait_s expected a number"):
        convert(document, Root)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Any) -> None:
    path = tmp_path / "absent.yaml"
    with pytest.raises(DocumentError, match=r"absent\.yaml: expected a UTF-8 text file; no file has this name"):
        read_document(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(DocumentError, match="expected a UTF-8 text file; byte 0 is not UTF-8"):
        read_document(path)
    path.write_text("models:\n  m: []\n", encoding="utf-8")
    assert convert(read_document(path), Root).models == {"m": []}


def test_dotted_paths_read_as_in_the_documentation() -> None:
    assert dotted(()) == ""
    assert dotted(("models", "deepseek-v3", 0, "text")) == "models.deepseek-v3[0].text"


@given(st.text(alphabet=st.sampled_from("ab:-{}[]&*!\n '\"#,0.<>|"), max_size=60))
def test_any_text_gives_a_document_or_a_scenario_error(text: str) -> None:
    refused: DocumentError | None = None
    data: Any = None
    try:
        data = load_document(text, "fuzz.yaml").data
    except DocumentError as error:
        refused = error
    if refused is None:
        assert msgspec.json.decode(msgspec.json.encode(data)) == data  # what is loaded is JSON
    else:
        assert refused.path == "fuzz.yaml"


def test_all_mistakes_are_found_in_one_go_each_with_its_place() -> None:
    text = "models:\n  good:\n    - wait_s: soon\n      leef: {how: rst}\n  bad: 3\n  worse:\n    - pair: [a, 2, 3]\n"
    document = load_document(text, "f.yaml")

    found = documents.mistakes(document, Root)

    assert [(one.line, one.column, one.key) for one in found] == [
        (3, 7, "models.good[0].wait_s"), (4, 7, "models.good[0].leef"), (5, 3, "models.bad"),
        (7, 7, "models.worse[0].pair"),
    ]  # fmt: skip
    assert "did you mean leaf?" in str(found[1])
    with pytest.raises(DocumentError) as caught:
        convert(document, Root)
    assert len(caught.value.others) == 3
    assert "(and 3 more: lockjaw scenario check shows all)" in str(caught.value)


def test_the_halves_of_a_character_that_json_writes_are_one_and_a_single_half_is_refused() -> None:
    assert load_document(r'a: "\ud83d\ude00"', "f.yaml").data == {"a": "😀"}
    with pytest.raises(DocumentError, match="text without half characters"):
        load_document(r'a: "\ud83d"', "f.yaml")


class Cat(msgspec.Struct, tag="cat", tag_field="kind", forbid_unknown_fields=True):
    lives: int = 9


class Dog(msgspec.Struct, tag="dog", tag_field="kind", forbid_unknown_fields=True):
    name: str


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{kind: cta}", "at [0].kind expected one of: cat, dog, got 'cta'; did you mean cat?"),
        ("{lives: 3}", "at [0] expected the key kind, one of: cat, dog"),
        ("{kind: dog, lives: 3}", "at [0].lives expected one of: kind, name, got 'lives'"),
        ("{kind: cat, lives: many}", "at [0].lives expected a whole number, got 'many'"),
    ],
)
def test_a_part_of_a_union_is_blamed_by_its_tag(text: str, told: str) -> None:
    with pytest.raises(DocumentError) as caught:
        convert(load_document(f"- {text}", "f.yaml"), list[Cat | Dog])
    assert told in str(caught.value)
