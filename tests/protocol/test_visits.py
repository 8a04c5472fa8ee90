"""Visits stand behind live events: in the group that is open, and in how long it becomes."""

from bench.simulation.worker import TIMED_MAX
from tests.core.builders import START, journey, send, shop_of
from tests.protocol.simulated import journey_log, one_worker, rules, store_visited, visit_store

HELLO = journey("hello", "store.visited", [send("hello")], kind="service")
CAKE = journey("cake", None, [send("cake")], date={"of": "profile.birthday", "yearly": True})


def appear(cluster, *customers):
    for customer in customers:
        visit_store(cluster, customer, f"v-{customer}")


def begun(customers=20):
    """Return a worker whose new journey has to visit so many customers."""
    cluster, worker = one_worker(shop_of(HELLO))
    appear(cluster, *(f"c{number}" for number in range(customers)))
    cluster.settle()
    worker.machine.adopt(rules(shop_of(HELLO, CAKE)))
    cluster.pass_time(60_000)
    return cluster, worker


def decided(worker):
    """Decide all that there is room for; return the transaction that it becomes."""
    while worker.machine.decide(100, worker.clocks()):
        pass
    return worker.machine.seal(worker.clocks())


def test_one_transaction_visits_few_and_leaves_the_rest_to_the_next_ones():
    cluster, worker = begun()

    visits = []
    while (transaction := decided(worker)) is not None:
        visits.append(sum(transaction.stats.visits.values()))
        worker.machine.on_committed()
        cluster.pass_time(60_000)

    assert max(visits) == TIMED_MAX
    assert sum(visits) == 20


def test_events_that_come_while_visits_are_decided_go_into_the_same_transaction():
    cluster, worker = begun()
    assert worker.machine.decide(100, worker.clocks()) == TIMED_MAX
    appear(cluster, "late-1", "late-2", "late-3")
    while worker.machine.queued_records < 3:
        worker.act("fetch", 8)

    transaction = decided(worker)

    assert sum(transaction.stats.visits.values()) == TIMED_MAX
    assert sum(transaction.stats.events.values()) == 3


def test_the_partitions_have_their_turn_one_after_the_other():
    """Few partitions in one transaction, and none of them stands behind another's backlog."""
    cluster, worker = begun(60)

    turns = []
    while (transaction := decided(worker)) is not None:
        turns.append({place.partition for place in transaction.offsets})
        worker.machine.on_committed()
        cluster.pass_time(60_000)

    # In the first two the rounds begin, each with the few whose time has come by then.
    assert turns[2:7] == [{0}, {1}, {2}, {3}, {0}]


def test_who_comes_in_the_group_in_which_a_time_comes_is_visited_too():
    """Found by the simulation: no state of theirs was written yet, and the round passed them by."""
    schedule = {"cron": "0 10 * * *"}
    news = journey("news", None, [send("news")], schedule=schedule, kind="service")
    paper = journey("paper", None, [send("paper")], schedule=schedule, kind="service")
    cluster, worker = one_worker(shop_of(HELLO, news, paper))
    cluster.pass_time(START - cluster.broker.now_ms - 1_000)
    worker.machine.decide(100, worker.clocks())
    for name in ("early", "late"):
        cluster.put_home(store_visited(name, f"v-{name}"))
    while worker.can_fetch():
        worker.act("fetch", 8)
    assert worker.machine.decide(2, worker.clocks()) == 2
    assert worker.machine.group_open

    cluster.pass_time(1_000)
    worker.machine.decide(100, worker.clocks())
    cluster.settle()

    logs = journey_log(cluster)
    assert logs.keys() == {"early", "late"}
    for log in logs.values():
        entered = [one["journey"] for line in log for one in line["entries"] if "journey" in one]
        assert entered.count("news") == entered.count("paper") == 2  # Entered and ended.
