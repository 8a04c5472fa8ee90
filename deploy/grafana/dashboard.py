"""Writes deploy/grafana/orchestrator.json, the dashboard of the orchestrator.

    python deploy/grafana/dashboard.py            write it
    python deploy/grafana/dashboard.py --check    exit 1 when the committed file differs

Read from top to bottom: is the promise kept, what happens, what does it cost, who is ill. The
panels are data here; tests/ops compares every metric in them with the registry.
"""  # noqa: INP001  A script in a folder of deployment files.

from __future__ import annotations

import json
import sys
from itertools import count
from pathlib import Path
from typing import NamedTuple

import yaml
from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import LegendDisplayMode, LegendPlacement
from grafana_foundation_sdk.models.dashboard import DataSourceRef, Threshold, ThresholdsMode

TARGET = Path(__file__).parent / "orchestrator.json"
SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
COLUMNS = 24
STAT_HEIGHT, GRAPH_HEIGHT = 4, 8
# Grafana's own name for the window that fits the scrape interval and the zoom.
RATE = "$__rate_interval"
PICKED = 'instance=~"$instance"'


class Panel(NamedTuple):
    """One panel: its queries are (legend, PromQL). `red_above` makes it a number, not a graph."""

    title: str
    says: str
    unit: str
    queries: tuple[tuple[str, str], ...]
    red_above: float | None = None


class Row(NamedTuple):
    """A headline and its panels, as many in a line as `across`."""

    title: str
    across: int
    panels: tuple[Panel, ...]


def quantiles(metric: str, *points: float) -> tuple[tuple[str, str], ...]:
    """Return the queries for quantiles of a histogram over all picked workers."""
    return tuple(
        (
            f"p{point * 100:g}",
            (
                f"histogram_quantile({point}, sum by (le) "
                f"(rate(orchestrator_{metric}_bucket{{{PICKED}}}[{RATE}])))"
            ),
        )
        for point in points
    )


def rates(metric: str, *by: str) -> tuple[tuple[str, str], ...]:
    """Return the query for the rate of a counter, split by its labels."""
    legend = " ".join(f"{{{{{label}}}}}" for label in by) or "all"
    split = f" by ({', '.join(by)})" if by else ""
    return ((legend, f"sum{split} (rate(orchestrator_{metric}_total{{{PICKED}}}[{RATE}]))"),)


def gauge(metric: str, *by: str, how: str = "sum") -> tuple[tuple[str, str], ...]:
    """Return the query for a gauge, put together over the labels that are not named."""
    legend = " ".join(f"{{{{{label}}}}}" for label in by) or how
    split = f" by ({', '.join(by)})" if by else ""
    return ((legend, f"{how}{split} ({metric}{{{PICKED}}})"),)


PROMISE = Row(
    "Is the promise kept",
    6,
    (
        Panel(
            "Purchases missing 250 ms",
            "Share of the last hour's purchases whose effect was not visible within 250 ms. "
            "The objective allows 1 %.",
            "percentunit",
            (("missed", "orchestrator:purchase_visible_missed:ratio_rate1h"),),
            0.01,
        ),
        Panel(
            "Oldest event without effect",
            "Grows while a worker stands still; at 30 s somebody is paged.",
            "s",
            gauge("orchestrator_oldest_event_age_seconds", how="max"),
            30,
        ),
        Panel(
            "Partitions without owner",
            "Their customers wait until a worker takes over.",
            "short",
            (
                (
                    "unowned",
                    (
                        "max(orchestrator_partitions) - (count(count by (partition) "
                        "(orchestrator_state_bytes)) or vector(0))"
                    ),
                ),
            ),
            1,
        ),
        Panel(
            "Workers not ready",
            "A worker is ready when it has recovered its partitions and caught up.",
            "short",
            (("not ready", "count(orchestrator_ready) - sum(orchestrator_ready)"),),
            1,
        ),
        Panel(
            "Waits due",
            "Due and not fired yet; more than a moment above zero means that they are late.",
            "short",
            gauge("orchestrator_waits_due"),
            1000,
        ),
        Panel(
            "Visits left",
            "Customers whom journeys with a time table have still to visit in their rounds.",
            "short",
            gauge("orchestrator_visits_left"),
            1_000_000,
        ),
        Panel(
            "Dead letters, last hour",
            "Records put aside. `orchestrator dead-letters list` shows them.",
            "short",
            (("dead letters", f"sum(increase(orchestrator_dead_letters_total{{{PICKED}}}[1h]))"),),
            10,
        ),
    ),
)
LATENCY = Row(
    "How long it takes",
    2,
    (
        Panel(
            "Purchase to visible",
            "From the record's timestamp to the commit's return. An event that still waits is "
            "not in it: look at the oldest event too.",
            "s",
            quantiles("purchase_visible_seconds", 0.5, 0.99, 0.999),
        ),
        Panel(
            "Any event to visible",
            "The same for all events that were applied or found to be repeats.",
            "s",
            quantiles("event_visible_seconds", 0.5, 0.99, 0.999),
        ),
        Panel(
            "Lateness of waits",
            "Due time to firing, by the partition's clock.",
            "s",
            quantiles("wait_lateness_seconds", 0.5, 0.99),
        ),
        Panel(
            "Decision",
            "Time of one pure decision; the rest of the latency is the broker's.",
            "s",
            quantiles("decision_duration_seconds", 0.5, 0.99),
        ),
    ),
)
BUSINESS = Row(
    "What happens",
    2,
    (
        Panel("Events", "By type.", "short", rates("events", "type")),
        Panel(
            "What became of them",
            "applied + duplicate + forwarded + dead_letter is everything consumed.",
            "short",
            rates("events", "outcome"),
        ),
        Panel("Commands", "By channel and class.", "short", rates("commands", "channel", "class")),
        Panel(
            "Commands by type",
            "Cancels and removals are what an exit sends after a message that is on its way.",
            "short",
            rates("commands", "type"),
        ),
        Panel("Entries", "By journey.", "short", rates("enrollments_entered", "journey")),
        Panel(
            "Ends",
            "`exit` is the customer who did what the journey hoped for, or asked to be left alone.",
            "short",
            rates("enrollments_ended", "journey", "reason"),
        ),
        Panel(
            "Refusals",
            "Entries and sends that did not happen, and why. Not an error by itself.",
            "short",
            rates("refusals", "at", "reason"),
        ),
        Panel(
            "Waits pending",
            "By partition.",
            "short",
            gauge("orchestrator_waits_pending", "partition"),
        ),
        Panel(
            "Paused",
            "Scopes that somebody has paused, as the workers know it; forgotten ones stay here.",
            "short",
            gauge("orchestrator_paused", "kind", "action", how="max"),
        ),
        Panel(
            "Customers held",
            "Whom a pause holds at a step; after a resume it falls to nothing.",
            "short",
            gauge("orchestrator_customers_held", "partition"),
        ),
        Panel(
            "Ads still chasing",
            "How long ago the oldest removal from an audience was sent that nobody has applied.",
            "s",
            gauge("orchestrator_audience_removal_age_seconds", how="max"),
        ),
    ),
)
ENGINE = Row(
    "What it costs",
    3,
    (
        Panel(
            "Lag",
            "Records before each input.",
            "short",
            gauge("orchestrator_lag_records", "topic", "partition"),
        ),
        Panel(
            "Oldest event",
            "Its age by partition.",
            "s",
            gauge("orchestrator_oldest_event_age_seconds", "partition", how="max"),
        ),
        Panel("Transactions", "By result.", "short", rates("transactions", "result")),
        Panel(
            "Transaction time",
            "Begin to end, the broker's acknowledgements included.",
            "s",
            quantiles("transaction_duration_seconds", 0.5, 0.99),
        ),
        Panel(
            "Inputs a transaction",
            "Events and due waits decided together: grows under load.",
            "short",
            quantiles("transaction_inputs", 0.5, 0.99),
        ),
        Panel(
            "Records a transaction",
            "Over all topics.",
            "short",
            quantiles("transaction_records", 0.5, 0.99),
        ),
        Panel(
            "Bytes a transaction",
            "Over all topics.",
            "bytes",
            quantiles("transaction_bytes", 0.5, 0.99),
        ),
        Panel("State", "By partition.", "bytes", gauge("orchestrator_state_bytes", "partition")),
        Panel(
            "Customers",
            "With state, by partition.",
            "short",
            gauge("orchestrator_state_customers", "partition"),
        ),
        Panel(
            "State of one customer",
            "Size of the records written.",
            "bytes",
            quantiles("state_record_bytes", 0.5, 0.99, 0.999),
        ),
        Panel(
            "Memory",
            "Resident, by worker.",
            "bytes",
            gauge("process_resident_memory_bytes", "instance"),
        ),
        Panel(
            "Processor",
            "Cores used, by worker; one is the most that a worker can use.",
            "short",
            (
                (
                    "{{instance}}",
                    f"sum by (instance) (rate(process_cpu_seconds_total{{{PICKED}}}[{RATE}]))",
                ),
            ),
        ),
    ),
)
TROUBLE = Row(
    "Who is ill",
    3,
    (
        Panel(
            "Dead letters", "By reason of the contract.", "short", rates("dead_letters", "reason")
        ),
        Panel(
            "Forwarded",
            "Records not at home. Producers that use the default partitioner save the hop.",
            "short",
            rates("forwarded", "reason"),
        ),
        Panel(
            "Merges",
            "Ids that turned out to be one customer; the sides differ by what is on its way.",
            "short",
            rates("merges", "side"),
        ),
        Panel(
            "Other teams' records",
            "Left alone by the rules of an input, and waiting for the schema registry.",
            "short",
            (
                *rates("inputs_ignored", "input"),
                ("waiting", f"sum(orchestrator_inputs_waiting_records{{{PICKED}}})"),
            ),
        ),
        Panel(
            "Other teams' topics",
            "Records of mapped topics that have not been sent home yet, and the age of the oldest.",
            "short",
            (
                (
                    "{{topic}} records",
                    f"sum by (topic) (orchestrator_input_lag_records{{{PICKED}}})",
                ),
                (
                    "{{topic}} seconds",
                    f"max by (topic) (orchestrator_input_oldest_record_age_seconds{{{PICKED}}})",
                ),
            ),
        ),
        Panel(
            "Accounts with one address",
            "Known ids found to share an e-mail address or a phone number.",
            "short",
            rates("duplicate_customers", "by"),
        ),
        Panel(
            "Capped and forgotten",
            "Records stamped ahead of the clock; exits and state records at their bounds.",
            "short",
            (
                ("capped", rates("clock_capped_records")[0][1]),
                ("exits forgotten", rates("remembered_exits_dropped")[0][1]),
                ("state near bound", rates("state_records_near_limit")[0][1]),
            ),
        ),
        Panel(
            "Generation",
            "Of the group, by worker.",
            "short",
            gauge("orchestrator_generation", "instance"),
        ),
        Panel("Rebalances", "Assignments received.", "short", rates("rebalances", "instance")),
        Panel(
            "Recovery",
            "Time to load the state of assigned partitions.",
            "s",
            quantiles("recovery_duration_seconds", 0.5, 0.99),
        ),
        Panel(
            "Records recovered",
            "From the changelog.",
            "short",
            rates("recovery_records", "instance"),
        ),
        Panel(
            "Waiting for a former owner",
            "A taken-over partition waits for its last owner's open transaction.",
            "s",
            quantiles("takeover_wait_seconds", 0.5, 0.99),
        ),
        Panel(
            "Copies of others' partitions",
            "With a standby: what is held, and what is not read yet and would hold up a takeover.",
            "short",
            (
                ("held {{instance}}", "sum by (instance) (orchestrator_standby_records)"),
                ("behind {{instance}}", "sum by (instance) (orchestrator_standby_lag_records)"),
            ),
        ),
        Panel(
            "What runs",
            "Workers by release, journeys and mode. More than one line only during a release.",
            "short",
            (
                (
                    "{{version}} {{journeys}} {{mode}}",
                    "count by (version, journeys, mode) (orchestrator_build_info)",
                ),
            ),
        ),
    ),
)
API_FILE = Path(__file__).parent / "api.yaml"


def read_row(path: Path) -> Row:
    """Read a row that stands in a file of its own, with each query as legend and PromQL."""
    found = yaml.safe_load(path.read_text("utf-8"))
    panels = (
        Panel(one["title"], one["says"], one["unit"], tuple(map(tuple, one["queries"])))
        for one in found["panels"]
    )
    return Row(found["title"], found["across"], tuple(panels))


ROWS = (PROMISE, LATENCY, BUSINESS, ENGINE, TROUBLE, read_row(API_FILE))


def drawn(panel: Panel, number: int, width: int) -> stat.Panel | timeseries.Panel:
    """Return the builder of one panel: a number when it has a limit, else a graph."""
    builder: stat.Panel | timeseries.Panel
    if panel.red_above is not None:
        limits = [
            Threshold(value=None, color="green"),
            Threshold(value=panel.red_above, color="red"),
        ]
        builder = (
            stat.Panel()
            .height(STAT_HEIGHT)
            .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
            .thresholds(dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(limits))
        )
    else:
        legend = (
            common.VizLegendOptions()
            .display_mode(LegendDisplayMode.LIST)
            .placement(LegendPlacement.BOTTOM)
            .show_legend(True)
        )
        builder = timeseries.Panel().height(GRAPH_HEIGHT).min(0).legend(legend)
    builder.title(panel.title).description(panel.says).unit(panel.unit).span(width).id(number)
    builder.datasource(SOURCE)
    for letter, (legend_format, expression) in zip("ABCDEF", panel.queries, strict=False):
        builder.with_target(
            prometheus.Dataquery().ref_id(letter).expr(expression).legend_format(legend_format)
        )
    return builder


def rendered() -> str:
    """Return the dashboard as the text of its file."""
    board = (
        dashboard.Dashboard("Journey orchestrator")
        .uid("journey-orchestrator")
        .description("Generated by deploy/grafana/dashboard.py; change it there.")
        .tags(["orchestrator", "kafka"])
        .readonly()
        .refresh("10s")
        .time("now-1h", "now")
        .timezone("browser")
        .with_variable(
            dashboard.DatasourceVariable("datasource").label("Source").type("prometheus")
        )
        .with_variable(
            dashboard.QueryVariable("instance")
            .label("Worker")
            .datasource(SOURCE)
            .query("label_values(orchestrator_ready, instance)")
            .multi(True)
            .include_all(True)
            .all_value(".*")
        )
    )
    numbers = count(1)
    for row in ROWS:
        board.with_row(dashboard.Row(row.title).id(next(numbers)))
        for panel in row.panels:
            board.with_panel(drawn(panel, next(numbers), COLUMNS // row.across))
    return json.dumps(board.build(), cls=JSONEncoder, indent=2, sort_keys=True) + "\n"


def main() -> int:
    """Write the file, or compare it."""
    if "--check" in sys.argv[1:]:
        return int(TARGET.read_text() != rendered())
    TARGET.write_text(rendered())
    return 0


if __name__ == "__main__":
    sys.exit(main())
