"""Workers that come, work, die and come back over one broker, moved by the acts of a plan.

`run` takes a plan from its first act to rest and returns the cluster; the judges get its topics.
There is no chance in here: the same plan gives the same bytes.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final
from zlib import crc32

import orjson

from bench.crash.judge.history import History, Names
from bench.crash.judge.history import Record as Judged
from bench.simulation.kafka import Broker, RefusedError
from bench.simulation.worker import ACTIONS, Worker, show
from orchestrator.core.pauses import NO_PAUSES, Pauses
from orchestrator.protocol.commit.transaction import TopicPartition
from orchestrator.protocol.home import home_partition
from orchestrator.protocol.outputs import rfc3339

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.simulation.kafka import Ongoing
    from bench.simulation.shops import Shop
    from orchestrator.core.pauses import Pause

SLOTS: Final = 3
# Two processes share a slot when one of them is a zombie.
PROCESSES: Final = 2 * SLOTS
# So long may it take to come to rest; more is a loop.
REST_STEPS_MAX: Final = 10_000
REST_JUMPS_MAX: Final = 3_000
KINDS: Final = len(ACTIONS) // 2
COMMIT_STEPS_MAX: Final = 60
NEVER_MS: Final = 1 << 60
CONTROL: Final = TopicPartition("control", 0)


class Cluster:
    """A broker, up to six processes in three slots, and the producers around them."""

    worker = Worker

    def __init__(self, shop: Shop, tell: Callable[[str], None] | None = None) -> None:
        self.shop = shop
        self.broker = Broker(shop.start_ms, shop.names.partitions, shop.elsewhere)
        self.pauses: Pauses = NO_PAUSES
        self.said: list[tuple[int, int]] = []
        """When what is paused has changed: the revision it has come to, and the instant."""
        self.awake: dict[int, Worker] = {}
        self.asleep: dict[int, Worker] = {}
        self.foreign: list[Ongoing] = []
        self.late: list[tuple[str, Callable[[], Any]]] = []
        self.told: list[tuple[TopicPartition, bytes | None, bytes | None, tuple]] = []
        self.broken: list[str] = []
        """What workers gave up for that no fault explains."""
        self.actions = 0
        self.dies_after = -1
        self._tell = tell

    def say(self, who: str, what: str) -> None:
        """Tell the story, when somebody listens."""
        if self._tell is not None:
            at_ms = self.broker.now_ms - self.shop.start_ms
            self._tell(f"{at_ms / 1000:9.3f}s  {who:9} {what}")

    def be_patient(self, milliseconds: int) -> None:
        """Let transactions stay open for so long, as a deployment may have it."""
        self.broker.transaction_timeout_ms = milliseconds

    def die_after(self, actions: int) -> None:
        """Let whoever does the action of this number die right behind it, and start again."""
        self.dies_after = actions

    # -- Processes ----------------------------------------------------------------------------

    def start(self, number: int) -> None:
        """Start a process, unless it runs."""
        if number not in self.awake and number not in self.asleep:
            self.awake[number] = self.worker(number, number % SLOTS, self)
            self.say(f"worker {number}", f"starts in slot {number % SLOTS}")

    def work(self, choice: int) -> bool:
        """Let one of the processes do one of the things that it can; return whether it could."""
        if not self.awake:
            return False
        running = sorted(self.awake)
        worker = self.awake[running[choice % len(running)]]
        choice //= len(running)
        begin = choice % KINDS
        action = worker.next_of(ACTIONS[begin : begin + KINDS])
        if action is not None:
            self.step(worker, action, choice // KINDS)
        return action is not None

    def step(self, worker: Worker, action: str, amount: int) -> None:
        """Let a process do this. Whatever fails ends it, and only a refusal is no surprise."""
        self.actions += 1
        who = f"worker {worker.number}"
        try:
            self.say(who, worker.act(action, amount))
        except RefusedError as error:
            self.say(who, f"{action}: the broker refuses, {error}; it ends")
            self.awake.pop(worker.number, None)
        except Exception as error:  # noqa: BLE001 - A worker that falls over is a finding.
            self.broken.append(f"{type(error).__name__}: {error}")
            self.say(who, f"{action}: gives itself up, {error!r}")
            self.awake.pop(worker.number, None)
        if self.actions == self.dies_after:
            self.kill(worker.number, late=False)
            self.start(worker.number)

    def kill(self, number: int, *, late: bool) -> None:
        """Kill -9; with `late`, its next request is on its way already."""
        worker = self.awake.pop(number, None) or self.asleep.pop(number, None)
        if worker is None:
            return
        self.say(f"worker {number}", "is killed")
        if late and worker.calls:
            self.late.append(worker.calls[0])

    def stop(self, number: int) -> None:
        """SIGTERM: let a process commit what it has decided, leave the group and end."""
        worker = self.awake.get(number)
        if worker is None:
            return
        self.say(f"worker {number}", "is asked to end")
        worker.revoke()
        for _ in range(COMMIT_STEPS_MAX):
            if number not in self.awake or not worker.can_commit():
                break
            self.step(worker, "commit", 3)
        if self.awake.pop(number, None) is not None and worker.member is not None:
            self.broker.group.leave(worker.member, self.broker.now_ms)
            self.say(f"worker {number}", "leaves the group")

    def sleep(self, number: int) -> None:
        """Stop a process where it stands."""
        if number in self.awake:
            self.asleep[number] = self.awake.pop(number)
            self.say(f"worker {number}", "is stopped")

    def wake(self, number: int) -> None:
        """Let a stopped process go on."""
        if number in self.asleep:
            self.awake[number] = self.asleep.pop(number)
            self.say(f"worker {number}", "goes on where it stood")

    def arrive(self) -> None:
        """Let the oldest request of a dead process reach the broker."""
        if self.late:
            words, call = self.late.pop(0)
            try:
                call()
            except RefusedError as error:
                words = f"{words}, refused: {error}"
            self.say("network", f"delivers late: {words}")

    def finish(self, writer: str) -> bool:
        """Write a marker for which somebody waits; return whether there was one to write."""
        return self.broker.is_committing(writer) and self.broker.write_marker(0) is not None

    def marker(self, choice: int) -> None:
        """Write the next marker of a transaction."""
        place = self.broker.write_marker(choice)
        if place is not None:
            self.say("broker", f"writes a marker to {show(place)}")

    def live(self, milliseconds: int) -> None:
        """Let time go by in which the living do not stand still: what is decided is committed."""
        for number in sorted(self.awake):
            worker = self.awake[number]
            for _ in range(COMMIT_STEPS_MAX):
                if number not in self.awake or not worker.can_commit():
                    break
                self.step(worker, "commit", 3)
        self.pass_time(milliseconds)

    def pass_time(self, milliseconds: int) -> None:
        """Let time go by, and workers be as slow; the living send their heartbeats meanwhile."""
        for writer in self.broker.pass_time(milliseconds):
            self.say("broker", f"aborts the transaction of {writer}: it took too long")
        beating = [one.member for one in self.awake.values() if one.member is not None]
        for member in self.broker.group.pass_time(self.broker.now_ms, beating):
            self.say("group", f"gives {member} up")

    # -- Producers ----------------------------------------------------------------------------

    def put(
        self,
        place: TopicPartition,
        key: bytes | None,
        value: bytes | None,
        headers: tuple = (),
        *,
        lane: str = "plain",
    ) -> None:
        """Produce a record, by itself or in a transaction of its producer's own."""
        broker, output = self.broker, (key, value, headers)
        self.say("shop", f"{show(place)} {words_of(value)}{'' if lane == 'plain' else ' ' + lane}")
        self.told.append((place, *output))
        log = broker.logs[place]
        if lane == "plain":
            log.append(output, broker.now_ms)
            return
        ongoing = broker.begin_foreign(place)
        log.append(output, broker.now_ms, ongoing)
        if lane == "aborted":
            broker.end_foreign(ongoing, commit=False)
        else:
            self.foreign.append(ongoing)

    def end_foreign(self) -> None:
        """Let a shop's producer commit."""
        if self.foreign:
            self.broker.end_foreign(self.foreign.pop(0), commit=True)

    def put_home(self, body: dict[str, Any], *, astray: int = 0, lane: str = "plain") -> None:
        """Produce an event where its subject is at home, or so many partitions beside."""
        customer = body["subject"].encode()
        partitions = self.shop.names.partitions
        index = (home_partition(customer, partitions) + astray) % partitions
        self.put(TopicPartition("touchpoints", index), customer, orjson.dumps(body), lane=lane)

    def repeat(self, back: int) -> None:
        """Produce a record once more, as who has not heard the answer does."""
        if self.told:
            place, key, value, headers = self.told[-1 - back % min(20, len(self.told))]
            self.put(place, key, value, headers)

    def report(self, choice: int, kind: str) -> None:
        """Let a sender report on one of the messages that are there."""
        sent = [
            (record.key, value)
            for topic in sorted(self.shop.names.command_partitions)
            for record in self.committed(topic)
            if (value := orjson.loads(record.value))["type"] == "message.send"
        ]
        if not sent:
            return
        _, command = sent[choice % len(sent)]
        data = {"command_id": command["id"]}
        if kind in REASONS:
            # Of the command's own: the same report again says the same.
            data["reason"] = REASONS[kind][crc32(command["id"].encode()) % 2]
        self.put_home(
            {
                "specversion": "1.0",
                "id": f"{kind}-{command['id']}",
                "source": "/senders",
                "type": kind,
                "subject": command["subject"],
                "time": rfc3339(self.broker.now_ms),
                "data": data,
            }
        )

    def pause(self, pauses: tuple[Pause, ...]) -> None:
        """Replace what is paused; say so on the topic, a record for each word."""
        said = {one.scope: one for one in pauses}
        held = {one.scope: one for one in self.pauses.all}
        for scope in (*held, *said):
            one = said.get(scope)
            if one is not None and one == held.get(scope):
                continue
            was = one or held[scope]
            value = {"scope": scope, "paused": one is not None, "kill": was.kill, "by": was.by}
            value |= {"reason": was.reason, "at": rfc3339(self.broker.now_ms)}
            value |= {"transactional": True} if was.transactional else {}
            output = (scope.encode(), orjson.dumps(value), ())
            self.broker.logs[CONTROL].append(output, self.broker.now_ms)
        self.pauses = Pauses(pauses, len(self.broker.logs[CONTROL].records))
        self.said.append((self.pauses.revision, self.broker.now_ms))
        self.say("shop", f"pauses {', '.join(said) or 'nothing'}")

    # -- Rest ---------------------------------------------------------------------------------

    def settle(self) -> None:
        """Let everything be decided and every wait come due, with no fault any more."""
        if self.pauses:
            self.pause(())
        while self.foreign:
            self.end_foreign()
        for number in sorted(self.asleep):
            self.wake(number)
        while self.late:
            self.arrive()
        steps = 0
        for _ in range(REST_JUMPS_MAX):
            steps += self.work_on()
            if steps > REST_STEPS_MAX or len(self.broken) > SLOTS:
                break
            left_ms = self._next_ms()
            if left_ms is None:
                return
            self.pass_time(max(1, left_ms))
        self.broken.append("there is no rest")

    def work_on(self) -> int:
        """Let everybody work until nobody can."""
        steps = 0
        for _ in range(REST_STEPS_MAX):
            while self.broker.write_marker(0) is not None:
                pass
            if not self.awake:
                self.start(0)
            busy = False
            for number in sorted(self.awake):
                worker = self.awake.get(number)
                # Reading and deciding come before sealing: groups get large, and rest near.
                action = worker.next_of(REST_ORDER) if worker is not None else None
                if worker is not None and action is not None:
                    self.step(worker, action, 3 + 7 * 8)
                    busy = True
                    steps += 1
            if not busy or len(self.broken) > SLOTS:
                break
        return steps

    def _next_ms(self) -> int | None:
        """Return how long nothing will happen; None when nothing will at all."""
        group = self.broker.group
        # Who finds another worker in its slot waits, and ends at last; nobody waits for that.
        members = [one for one in self.awake.values() if one.member is not None]
        stuck = not members or any(not one.positioned for one in members)
        if stuck or len(group.members) > len(members) or self.broker.is_ending:
            return 2_000
        pending = [
            home
            for worker in self.awake.values()
            for home in worker.machine.homes.values()
            if len(home.waits) or home.rounds.left
        ]
        if not pending:
            left_ms = self.shop.until_ms - self.broker.now_ms
            return left_ms if left_ms > 0 else None
        due = [worker.machine.next_due_in_ms(worker.clocks()[1]) for worker in self.awake.values()]
        return min((one for one in due if one is not None), default=NEVER_MS)

    # -- What is left -------------------------------------------------------------------------

    def committed(self, topic: str) -> list[Any]:
        """Return what a reader of a topic sees."""
        return [
            record
            for place in sorted(one for one in self.broker.logs if one.topic == topic)
            for record in self.broker.logs[place].committed(0)
        ]

    def digest(self) -> str:
        """Return one number for everything that was ever written, committed or not."""
        whole = sha256()
        for place in sorted(self.broker.logs):
            for record in self.broker.logs[place].records:
                whole.update(repr((place, record)).encode())
        return whole.hexdigest()[:16]

    def history(self) -> History:
        """Return the topics as the judges read them."""
        names = self.shop.names
        app_id = names.forward.removesuffix("-forward")
        inputs = tuple(topic for topic in names.inputs if topic != names.forward)
        history = History(Names("", app_id, names.partitions, inputs))
        for topic, count in self.shop.partition_counts.items():
            history.topics[topic] = {
                index: [
                    Judged(topic, index, one.offset, one.timestamp, one.key, one.value, one.headers)
                    for one in self.broker.logs[place].committed(0)
                ]
                if (place := TopicPartition(topic, index)) in self.broker.logs
                else []
                for index in range(count)
            }
        return history


REASONS: Final = {
    "message.dropped": ("expired", "duplicate"),
    "message.failed": ("busy", "unknown"),
}
REST_ORDER: Final = ("control", "group", "fetch", "decide", "commit")


def words_of(value: bytes | None) -> str:
    """Return what a record says, for people."""
    try:
        body = orjson.loads(value or b"")
        data = orjson.dumps(body["data"]).decode()
        return f"{body['type']} {body['id']} of {body['subject']} {data[:70]}"
    except (ValueError, KeyError, TypeError):
        return f"{(value or b'')[:40]!r}"
