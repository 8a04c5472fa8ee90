"""A visitor who signs in is one customer, also when the worker dies in the middle of the merge."""

import signal
from collections import defaultdict

import pytest

from tests.runtime.deployment import cart, event, purchase, wait_until

PEOPLE = {f"web-{n}": f"ana-{n}" for n in range(8)}
# At both homes: decided and not in a transaction yet, and committed with nobody told.
IN_A_MERGE = ("absorbed_decided", "absorbed_committed", "survivor_decided", "survivor_committed")


def identified(cookie, customer, *, about=None):
    """Return the event that a cookie is this customer; it happens to the cookie by default."""
    about = about or cookie
    data = {"anonymous_id": cookie, "customer_id": customer}
    return event("profile.identified", f"id-{cookie}-{about}", about, **data)


def commands(deployment, lane):
    """Return what stands on a command topic, by customer."""
    found = defaultdict(list)
    for key, value, _ in deployment.read(f"commands.{lane}"):
        found[key.decode()].append(value)
    return found


def assert_one_customer(deployment, people):
    """The promotion of the cookie is over under the cookie, and the order is thanked for once."""
    lane, ads = commands(deployment, "email.promotional"), commands(deployment, "ads.promotional")
    fences = {key.decode(): value for key, value, _ in deployment.read("fences")}
    orders = commands(deployment, "email")
    for cookie, customer in people.items():
        sent, cancelled = lane[cookie]
        assert (sent["type"], cancelled["type"]) == ("message.send", "message.cancel")
        assert cancelled["data"]["cancels"] == [sent["id"]]
        assert [one["type"] for one in ads[cookie]] == ["audience.add", "audience.remove"]
        (fence,) = fences[cookie]["enrollments"]
        assert fence["enrollment"] == sent["data"]["enrollment"] == "cart_abandonment/k1#1"
        assert fence["sequence"] < cancelled["data"]["sequence"]
        assert [one["data"]["template"] for one in orders[customer]] == ["thank_you"]
        assert customer not in lane
        assert cookie not in orders
        told = deployment.log_entries(customer)
        assert told.count("absorbed") == told.count("taken_over") == told.count("exit") == 1
        assert deployment.log_entries(cookie).count("merged_into") == 1


def assert_no_gaps(deployment):
    numbers = defaultdict(list)
    for channel in ("email", "push", "ads"):
        for suffix in ("", ".promotional"):
            for customer, found in commands(deployment, f"{channel}{suffix}").items():
                numbers[customer] += (one["data"]["sequence"] for one in found)
    for customer, found in numbers.items():
        assert sorted(found) == list(range(1, len(found) + 1)), customer


def thanked(deployment, people):
    return lambda: all(
        "thank_you" in deployment.templates().get(one, []) for one in people.values()
    )


def exited(deployment, people):
    return lambda: all("exit" in deployment.log_entries(one) for one in people.values())


def browse_sign_in_and_buy(deployment):
    deployment.produce(*map(cart, PEOPLE), partitioner="murmur2_random")
    for cookie, customer in PEOPLE.items():
        # It arrives at one of both homes, in any direction, and now and then at both.
        about = [cookie, customer][: 1 + len(customer) % 2]
        deployment.produce(
            *(identified(cookie, customer, about=one) for one in about),
            partitioner="murmur2_random",
        )


def test_a_visitor_who_signs_in_and_buys_is_one_customer(deployment):
    deployment.start()
    browse_sign_in_and_buy(deployment)
    wait_until(
        lambda: all("taken_over" in deployment.log_entries(one) for one in PEOPLE.values()),
        "enrollments at their new home",
    )

    deployment.produce(*map(purchase, PEOPLE.values()), partitioner="murmur2_random")

    wait_until(thanked(deployment, PEOPLE), "thank-you")
    assert_one_customer(deployment, PEOPLE)
    assert_no_gaps(deployment)
    assert not deployment.read("dead-letters")


def test_what_comes_late_for_the_cookie_is_of_the_customer(deployment):
    deployment.start()
    browse_sign_in_and_buy(deployment)
    wait_until(
        lambda: all("taken_over" in deployment.log_entries(one) for one in PEOPLE.values()),
        "enrollments at their new home",
    )

    # The till knows the customer, the shop's page still only the cookie; the cart comes again.
    deployment.produce(*map(purchase, PEOPLE), partitioner="murmur2_random")
    deployment.produce(*map(cart, PEOPLE), partitioner="murmur2_random")

    wait_until(thanked(deployment, PEOPLE), "thank-you")
    assert_one_customer(deployment, PEOPLE)
    subjects = {
        (key.decode(), value["cause"]["subject"])
        for key, value, _ in deployment.read("journey-log")
        if value["cause"].get("type") == "purchase"
    }
    assert subjects == {(customer, cookie) for cookie, customer in PEOPLE.items()}


@pytest.mark.parametrize("failpoint", IN_A_MERGE)
def test_a_kill_in_the_middle_of_a_merge_loses_and_doubles_nothing(deployment, failpoint):
    worker = deployment.start(failpoint=f"{failpoint}:1")
    browse_sign_in_and_buy(deployment)
    wait_until(lambda: worker.poll() is not None, "death at the failpoint")

    assert worker.returncode == -signal.SIGKILL
    deployment.start("b")
    deployment.produce(*map(purchase, PEOPLE.values()), partitioner="murmur2_random")

    wait_until(thanked(deployment, PEOPLE), "thank-you")
    wait_until(exited(deployment, PEOPLE), "end of every promotion")
    assert_one_customer(deployment, PEOPLE)
    assert_no_gaps(deployment)
    assert not deployment.read("dead-letters")


def test_known_customers_with_one_address_are_reported(deployment):
    deployment.start()
    shared = {"attributes": {"email": "Ana@Shop.Example"}}
    for customer in ("ana", "bea"):
        deployment.produce(
            event("profile.updated", f"p-{customer}", customer, **shared),
            partitioner="murmur2_random",
        )
        if customer == "ana":
            wait_until(lambda: deployment.read("journey-log"), "the first profile")

    wait_until(lambda: "duplicate_found" in deployment.log_entries("bea"), "report")

    assert "merged_into" not in deployment.log_entries("bea")
    internal = deployment.read(f"{deployment.app_id}-forward")
    assert internal
    assert not any(b"ana@shop" in repr(one).lower().encode() for one in internal)
