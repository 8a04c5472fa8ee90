"""What is wrong with a folder although each journey in it is fine."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from orchestrator.catalog import load, read
from orchestrator.catalog.tree import FILE_BYTES_MAX

MISFITS = yaml.safe_load((Path(__file__).parent / "misfits.yaml").read_text())
ELSEWHERE = "stands in the file"
NO_CURRENT = (
    "1: name: there is no carts.yaml beside versions/; to end a journey but for who is in it, "
    'keep that file with `when: "false"`; did you mean "cart"?'
)


def _findings(folder: Path) -> list[str]:
    return [str(one).removeprefix(f"{folder}/") for one in read(folder).findings]


def _older(folder: Path, file: str, *, version: int = 1, name: str = "cart") -> None:
    text = (folder / "cart.yaml").read_text()
    text = text.replace("version: 2", f"version: {version}").replace("name: cart", f"name: {name}")
    (folder / "versions").mkdir(exist_ok=True)
    (folder / "versions" / file).write_text(text)


def test_a_valid_folder_has_no_finding(folder: Path) -> None:
    assert _findings(folder) == []


def test_the_file_is_called_like_the_journey(folder: Path) -> None:
    (folder / "cart.yaml").rename(folder / "basket.yaml")

    assert _findings(folder) == [
        'basket.yaml:1: name: "cart" stands in the file basket.yaml; call both the same'
    ]


def test_an_older_version_is_loaded_beside_the_current_one(folder: Path) -> None:
    """People who are in it finish it; nobody enters it any more. Gaps in the numbers are fine."""
    _older(folder, "cart.v1.yaml")
    _older(folder, "cart.v3.yaml", version=3)
    text = (folder / "cart.yaml").read_text()
    (folder / "cart.yaml").write_text(text.replace("version: 2", "version: 5"))

    journeys = load(folder, "test")

    assert list(journeys.versions) == [("cart", 1), ("cart", 3), ("cart", 5)]
    assert [one.version for one in journeys.current] == [5]


@pytest.mark.parametrize(
    ("file", "version", "name", "finding"),
    [
        ("cart.v1.yaml", 3, "cart", f"2: version: 3 {ELSEWHERE} cart.v1.yaml; call both the same"),
        ("cat.v1.yaml", 1, "cart", f'1: name: "cart" {ELSEWHERE} cat.v1.yaml; call both the same'),
        ("cart.v2.yaml", 2, "cart", '2: version: 2 of "cart" stands in cart.yaml too'),
        (
            "cart.yaml",
            1,
            "cart",
            "1: the file is called cart.yaml; an older version is <name>.v<version>.yaml",
        ),
        (
            "cart.v3.yaml",
            3,
            "cart",
            "2: version: 3 is newer than 2 in cart.yaml; the newest stands there",
        ),
        ("carts.v1.yaml", 1, "carts", NO_CURRENT),
    ],
)
def test_an_older_version_is_named_by_its_number(
    folder: Path, file: str, version: int, name: str, finding: str
) -> None:
    _older(folder, file, version=version, name=name)

    assert f"versions/{file}:{finding}" in _findings(folder)


def test_one_version_stands_in_one_file(folder: Path) -> None:
    _older(folder, "cart.v1.yaml")
    _older(folder, "cart.v01.yaml")

    assert _findings(folder) == [
        'versions/cart.v1.yaml:2: version: 1 of "cart" stands in cart.v01.yaml too'
    ]


@pytest.mark.parametrize("case", MISFITS, ids=lambda case: case["found"])
def test_a_file_that_does_not_fit_is_told(folder: Path, case: dict[str, str]) -> None:
    (folder / case["file"]).write_text(case["text"])

    assert _findings(folder) == [case["found"]]


@pytest.mark.parametrize(
    ("content", "finding"),
    [
        (b"", "1: the file holds no mapping; write lines of `name: value`"),
        (b"a: \x07", "1: not YAML: control characters are not allowed"),
        (b"a: 1\nb: \xff\n", "2: the text is not UTF-8"),
        (b"#" * (FILE_BYTES_MAX + 1), "1: the file is larger than 256 KiB"),
    ],
    ids=["nothing", "control characters", "not UTF-8", "too large"],
)
def test_a_file_that_is_no_text_is_told(folder: Path, content: bytes, finding: str) -> None:
    (folder / "more.yaml").write_bytes(content)

    assert _findings(folder) == [f"more.yaml:{finding}"]


@pytest.mark.parametrize(
    ("file", "finding"),
    [
        ("shop.yaml", "/shop.yaml:1: is missing; it may be as short as `zone: UTC`"),
        ("channels.yaml", "/channels.yaml:1: is missing; it declares the channels"),
        ("cart.yaml", ":1: holds no journey"),
    ],
)
def test_a_file_that_is_missing_is_told(folder: Path, file: str, finding: str) -> None:
    (folder / file).unlink()

    assert [str(one) for one in read(folder).findings] == [f"{folder}{finding}"]


def test_a_folder_in_the_place_of_a_file_is_told(folder: Path) -> None:
    (folder / "odd.yaml").mkdir()

    assert _findings(folder) == ["odd.yaml:1: cannot be read: Is a directory"]


def test_words_that_yaml_1_1_takes_for_truth_values_are_text(folder: Path) -> None:
    """`on` is a key of every entry, and Norway's customers are not false."""
    text = (folder / "cart.yaml").read_text()
    (folder / "cart.yaml").write_text(text.replace("default: friend", "default: no"))

    step = load(folder, "test").current[0].steps[3]

    assert step.send is not None
    assert step.send.variables["name"].default == "no"


def test_events_and_fields_of_the_shop_can_be_named(folder: Path) -> None:
    """A declared event with fields is checked like a standard one; without fields any will do."""
    text = (folder / "cart.yaml").read_text()
    text = text.replace('on: order.cancelled\n    when: event.data.order_id == "x"', "on: {}")
    quiz = "quiz.done\n    when: event.data.score == 3"
    survey = "survey.filled\n    when: event.data.whatever == 3"
    item = 'purchase\n    when: event.data.items.exists(i, i.name == "tent")'
    for event in (quiz, survey, item):
        (folder / "cart.yaml").write_text(text.replace("{}", event))
        assert _findings(folder) == []

    (folder / "cart.yaml").write_text(text.replace("{}", quiz.replace("score", "scroe")))
    assert _findings(folder) == [
        'cart.yaml:16: exits[2].when: quiz.done has no field "scroe"; did you mean "score"?'
    ]
