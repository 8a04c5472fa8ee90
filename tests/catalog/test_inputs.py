"""`inputs.yaml`: what `check` finds in it, and what becomes of its examples."""

from __future__ import annotations

import sys
from pathlib import Path

import orjson
import pytest

from orchestrator.catalog import read
from orchestrator.catalog.bundle import changes, files_of, load_files
from orchestrator.cli import run
from orchestrator.cli.authoring.check import tried
from orchestrator.protocol.topics import Topics
from orchestrator.settings import Settings

INPUTS = """\
shop_orders:
  topic: erp.orders.v2
  unmatched: ignore
  rules:
    - when: record.value.status == "PAID"
      type: purchase
      subject: record.value.customer.number
      id: record.value.order_no + "/paid"
      time: {value: record.value.paid_at, unit: ms}
      data:
        order_id: record.value.order_no
        total: record.value.gross
        currency: '"EUR"'
        items: 'record.value.lines.map(l, {"sku": l.article, "quantity": l.qty, "price": l.price})'
    - when: record.value.status == "BACK"
      each: record.value.lines
      type: order.returned
      subject: record.value.customer.number
      data:
        order_id: record.value.order_no
        items: '[{"sku": item.article, "quantity": item.qty, "price": item.price}]'
  examples:
    - says: a paid order is a purchase
      record:
        value: >-
          {"status": "PAID", "order_no": "A-1", "customer": {"number": 4711}, "gross": 129.10,
           "paid_at": 1795341600000, "lines": [{"article": "t", "qty": 1, "price": 129.10}]}
      gives:
        type: purchase
        id: A-1/paid
        subject: "4711"
        time: "2026-11-22T10:00:00.000Z"
        data:
          order_id: A-1
          total: "129.10"
          currency: EUR
          items: [{sku: t, quantity: 1, price: "129.10"}]
    - says: an open order is nobody's business
      record: {value: {status: OPEN}}
      ignored: true
    - says: an order of nobody is put aside
      record: {value: {status: PAID, order_no: A-2, paid_at: 1795341600000}}
      refused: schema
"""


@pytest.fixture
def shop(folder: Path) -> Path:
    """The small shop of these tests, with an input."""
    (folder / "inputs.yaml").write_text(INPUTS)
    return folder


def findings(folder: Path) -> list[str]:
    found = tried(read(folder)).findings
    return [str(one).removeprefix(f"{folder}/") for one in found]


def change(path: Path, written: str, instead: str) -> None:
    text = path.read_text()
    assert written in text
    path.write_text(text.replace(written, instead, 1))


def test_inputs_that_are_right_have_no_finding_and_are_told(
    shop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert findings(shop) == []
    assert run(["check", str(shop)]) == 0
    assert "1 journey, 4 channels, 1 input: nothing found" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("written", "instead", "found"),
    [
        ("topic: erp.orders.v2", "topic: erp orders",
         "2: shop_orders: topic: 'erp orders' is no name of a topic; write letters, digits"),
        ("  topic: erp.orders.v2\n", "", "1: shop_orders: topic: is missing"),
        ("  unmatched: ignore", "  unmached: ignore",
         '3: shop_orders: unmached: no such word here; did you mean "unmatched"?'),
        ("unmatched: ignore", "unmatched: forget",
         '3: shop_orders: unmatched: "forget" is not allowed; allowed: dead_letter, ignore'),
        ("unmatched: ignore", "format: xml",
         '3: shop_orders: format: "xml" is not allowed; allowed: avro, json, protobuf'),
        ("type: purchase\n", "type: purchse\n",
         ('6: shop_orders: rule 1: type: there is no event "purchse"; did you mean "purchase"?')),
        ("type: purchase\n", "type: quizz\n",
         ('6: shop_orders: rule 1: type: there is no event "quizz"; an event of your own is '
         "declared in shop.yaml under events")),
        ("when: record.value.status", "when: recrod.value.status",
         '5: shop_orders: rule 1: when: "recrod" is not known here; did you mean "record"?'),
        ("when: record.value.status", "when: record.valeu.status",
         '5: shop_orders: rule 1: when: record has no "valeu"; did you mean "value"?'),
        ("when: record.value.status ==", "when: record.value.status =",
         "5: shop_orders: rules[1].when: not a CEL expression: "),
        ("subject: record.value.customer.number", "subject: item.number",
         ('7: shop_orders: rule 1: subject: "item" is there in a rule with `each` only; subject '
         "sees record")),
        ("subject: record.value.customer.number", "subject: '\"ana\"'",
         ("7: shop_orders: rule 1: subject: names nothing of the record, so it would be the same "
         "for all")),
        ("unit: ms", "unit: millis",
         '9: shop_orders: rules[1].time.unit: "millis" is not allowed; '),
        ("total: record.value.gross", "total: double(record.value.gross)",
         ("12: shop_orders: rule 1: data.total: money is not calculated in floating point; take "
         "it as it is, or write decimal(cents, 2)")),
        ("total: record.value.gross", "total: decimals(record.value.gross, 2)",
         ('12: shop_orders: rule 1: data.total: there is no function "decimals"; did you mean '
         '"decimal"?')),
        ("        currency: '\"EUR\"'\n", "",
         "10: shop_orders: rule 1: purchase: data.currency: is missing"),
        ('    - when: record.value.status == "PAID"\n      type', "    - type",
         "14: shop_orders: rule 2: is never reached: rule 1 takes every record"),
        ("each: record.value.lines\n", "each: record.value.lines\n      id: record.key\n",
         ("17: shop_orders: rule 2: id: is the same for every item; make it differ by item or "
         "index")),
        ("      ignored: true\n", "",
         "38: shop_orders: examples[2]: say what becomes of the record"),
        ('total: "129.10"', 'total: "129.1"',
         ('23: shop_orders: example "a paid order is a purchase": data.total: is "129.10", not '
         '"129.1"')),
        ('subject: "4711"', 'subject: "4712"',
         ('23: shop_orders: example "a paid order is a purchase": subject: is "4711", not '
         '"4712"')),
        ("refused: schema", "refused: shema",
         ('41: shop_orders: example "an order of nobody is put aside": refused: there is no '
         'reason "shema"; did you mean "schema"?')),
        ("refused: schema", "ignored: true",
         ('41: shop_orders: example "an order of nobody is put aside": becomes a dead letter, '
         "schema: subject: there is no customer")),
        ("value: {status: OPEN}", "value: {status: BACK, lines: [1], order_no: 7}",
         ('38: shop_orders: example "an open order is nobody')),
        ("shop_orders:\n", "Shop:\n", '1: "Shop" is not a name; write a-z, 0-9 and _'),
    ],
)  # fmt: skip
def test_what_is_wrong_with_an_input_is_told_where_it_stands(
    shop: Path, written: str, instead: str, found: str
) -> None:
    change(shop / "inputs.yaml", written, instead)

    told = findings(shop)

    assert any(one.startswith(f"inputs.yaml:{found}") for one in told), told


def test_two_inputs_do_not_read_one_topic(shop: Path) -> None:
    path = shop / "inputs.yaml"
    path.write_text(INPUTS + INPUTS.replace("shop_orders", "again"))

    assert any(
        'again: topic: shop_orders reads "erp.orders.v2" already' in f for f in findings(shop)
    )


def test_avro_without_its_extra_says_what_to_install(
    shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change(shop / "inputs.yaml", "unmatched: ignore", "unmatched: ignore\n  format: avro")
    change(shop / "inputs.yaml", INPUTS[INPUTS.index("  examples:") :], "")
    monkeypatch.setitem(sys.modules, "fastavro", None)

    assert findings(shop) == [
        (
            "inputs.yaml:4: shop_orders: format: avro is read by an extra that is not installed; "
            "pip install 'journey-orchestrator[registry]'"
        )
    ]


def test_inputs_are_published_with_the_journeys_and_a_change_is_told(shop: Path) -> None:
    before = files_of(shop)
    after = before | {"inputs.yaml": INPUTS.replace("unmatched: ignore\n", "\n")}
    without = {name: text for name, text in before.items() if name != "inputs.yaml"}

    running, coming = load_files(before, "test"), load_files(after, "test")

    assert changes(running, coming) == ["input: shop_orders"]
    assert running.content_hash != coming.content_hash
    assert load_files(without, "test").content_hash != running.content_hash


def test_one_record_can_be_tried(
    shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = tmp_path / "order.json"
    record.write_text('{"status": "BACK", "order_no": "A-1", "customer": {"number": "ana"}, '
                      '"lines": [{"article": "t", "qty": 1, "price": 129.10}]}')  # fmt: skip
    call = ["check", str(shop), "--input", "shop_orders", "--record", str(record)]

    assert run(call) == 0
    event = orjson.loads(capsys.readouterr().out)
    assert event["data"]["items"] == [{"sku": "t", "quantity": 1, "price": "129.10"}]
    record.write_text('{"status": "BACK"}')
    assert run(call) == 1
    assert capsys.readouterr().out == "dead letter: schema: each: there is no lines\n"
    assert run([*call[:3], "shop_order", *call[4:]]) == 2
    assert 'did you mean "shop_orders"?' in capsys.readouterr().err
    assert run(call[:4]) == 2


def test_a_topic_of_ours_is_not_mapped(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("touchpoints", "journey-log", "commands.email"):
        change(shop / "inputs.yaml", "topic: erp.orders.v2", f"topic: {name}")
        assert run(["topics", "--plan", "--journeys", str(shop)]) == 2
        assert f"shop_orders: {name} is a topic of ours" in capsys.readouterr().err
        change(shop / "inputs.yaml", f"topic: {name}", "topic: erp.orders.v2")


def test_the_plan_reads_the_topics_of_inputs_and_creates_none(
    shop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["topics", "--plan", "--journeys", str(shop), "--topic-prefix", "x."]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "erp.orders.v2" in line]

    comment, grant = lines
    assert comment == "# Read, never created: erp.orders.v2 (inputs.yaml: shop_orders)"
    assert "kafka-acls.sh" in grant
    assert "--operation Read" in grant
    assert "Write" not in grant


def test_nobody_is_at_home_on_a_topic_of_somebody_else(shop: Path) -> None:
    journeys = read(shop).journeys
    assert journeys is not None
    topics = Topics.of(Settings.load(), journeys.channels, journeys.inputs)

    names = topics.names({"erp.orders.v2": 8})

    assert names.inputs["erp.orders.v2"] == names.partitions == 8
    assert "erp.orders.v2" not in names.home_inputs


def test_the_example_of_the_page_is_right(folder: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "inputs.md").read_text("utf-8")
    (folder / "inputs.yaml").write_text(page.partition("```yaml\n")[2].partition("```")[0])

    assert findings(folder) == []
    assert read(folder).inputs is not None
