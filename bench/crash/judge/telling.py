"""What owners tell each other on the forward topic: everything told once, heard once, and true.

A merge and a state are told by a decision that the journey log has; who shares an address follows
from the claims, in their order. What comes for an id that has become another one goes on to that.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any, Final

from msgspec import msgpack

from bench.crash.judge.kin import CLAIMS_MAX, INDEX_BYTE, home_key, pair

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from bench.crash.judge.history import Place, Record
    from bench.crash.judge.records import LogLine, Notice, Reading

SOURCE: Final = "/orchestrator"
"""Who says that two ids are one when they share an address."""
DIGITS: Final = 8
HEADER_BYTES: Final = 9
"""What stands in front of every value of the changelog."""
Said = tuple[Any, ...]


class Telling:
    """The notices of a history, beside the decisions that should have told and heard them."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._by_place = {notice.record.place: notice for notice in reading.notices}
        self._heard: dict[tuple[str, Place], list[LogLine]] = defaultdict(list)
        self.became: dict[str, str] = {}
        """Into whom ids were absorbed, by the log."""
        for line in reading.log:
            if line.told is not None:
                self._heard[line.customer, line.told].append(line)
            for entry in line.of_kind("merged_into"):
                self.became.setdefault(line.customer, entry["survivor"])

    def judge(self, claims: Counter[Said] | None) -> None:
        """Compare all notices with what should have been told; None: claims are not known."""
        expected = Counter(self._first_words())
        expected += Counter(self._sent_on())
        kinds = {"merge", "state", "shared"}
        expected += self._judge_claims()
        if claims is not None:
            kinds.add("claim")
            expected += claims
        told = [notice for notice in self._reading.notices if notice.kind in kinds]
        for notice in told:
            expected[notice.said] -= 1
            if expected[notice.said] < 0:
                text = f"{_text(notice.said)} was told once too often"
                self._reading.report("doubled", text, notice.record.place)
        for said, times in expected.items():
            if times > 0:
                self._reading.report("lost", f"{_text(said)} was never told")

    def _first_words(self) -> Iterator[Said]:
        """Yield what decisions tell others."""
        for line in self._reading.log:
            asked = list(self._asked(line))
            own = [one for one in asked if one[0] == line.customer]
            for absorbed, survivor, cause in asked:
                if absorbed != line.customer:
                    yield "merge", absorbed.encode(), (survivor, *cause), 1
            if own:
                yield from self._own_ends(line, own)
            for entry in line.of_kind("merged_into"):
                about = (line.customer, *(line.event or ()))
                yield "state", entry["survivor"].encode(), about, 1

    def _asked(self, line: LogLine) -> Iterator[tuple[str, str, tuple[str, str]]]:
        for entry in line.of_kind("merge_requested"):
            yield entry["absorbed"], entry["survivor"], line.event or ("", "")
        notice = self._by_place.get(line.told) if line.told is not None else None
        for entry in line.of_kind("duplicate_found"):
            if not entry["merges"] or notice is None:
                continue
            by, digest, _ = notice.about
            for other in entry["others"]:
                yield (*pair(line.customer, other), (SOURCE, f"{by}/{digest.hex()[:DIGITS]}"))

    def _own_ends(
        self, line: LogLine, own: list[tuple[str, str, tuple[str, str]]]
    ) -> Iterator[Said]:
        """Who learns that they are another one becomes it at once; what else they learn goes on."""
        place = line.source or line.told
        assert place is not None, "only events and notices ask"
        heard = [one for one in self._heard[line.customer, place] if one.kind == "merge"]
        became = [one.about for one in heard]
        if not heard:
            text = f"{line.customer} asked to become {own[0][1]}, and did not"
            self._reading.report("identity", text, line.record.place)
        for absorbed, survivor, cause in own:
            if survivor in became or self.became.get(absorbed) is None:
                continue
            less, least = pair(self.became[absorbed], survivor)
            yield "merge", less.encode(), (least, *cause), self._hops(place) + 1

    def _hops(self, place: Place) -> int:
        record = self._reading.inputs.get(place)
        hops = None if record is None else record.header("fw_hops")
        return int(hops or 0) if place[0] == self._reading.history.names.forward else 0

    def _sent_on(self) -> Iterator[Said]:
        """Yield what goes on to who has absorbed its receiver; judge what was heard."""
        for notice in self._reading.notices:
            if notice.kind == "claim":
                continue
            customer, place = notice.key.decode(), notice.record.place
            heard = [line for line in self._heard[customer, place] if line.kind == notice.kind]
            if len(heard) > 1:
                text = f"{_text(notice.said)} was heard {len(heard)} times"
                self._reading.report("doubled", text, heard[-1].record.place)
            if heard:
                self._judge_heard(notice, heard[0])
                continue
            survivor = self.became.get(customer)
            if survivor is None:
                self._reading.report("lost", f"{_text(notice.said)} left no trace", place)
                continue
            onward = _onward(notice, survivor)
            if onward is not None:
                yield (*onward, notice.hops + 1)

    def _judge_heard(self, notice: Notice, line: LogLine) -> None:
        if notice.kind != "shared" and line.about != notice.about[0]:
            text = f"{line.customer} heard {line.about}, told was {notice.about[0]}"
            self._reading.report("wrong", text, line.record.place)

    def _judge_claims(self) -> Counter[Said]:
        """Return whom the claims of addresses, in their order, make known to each other."""
        held: dict[bytes, tuple[str, ...]] = {}
        shared: Counter[Said] = Counter()
        for notice in self._reading.notices:
            if notice.kind != "claim":
                continue
            by, customer, ended = notice.about
            others = tuple(one for one in held.get(notice.key, ()) if one != customer)
            if not ended and others:
                shared["shared", customer.encode(), (by, notice.key[2:], others), 1] += 1
            held[notice.key] = others if ended else (*others, customer)[-CLAIMS_MAX:]
        last: dict[bytes, Record] = {}
        for record in self._reading.history.of(self._reading.history.names.changelog):
            if (record.key or b"")[:1] == INDEX_BYTE:
                last[record.key or b""] = record
        for key in {**held, **last}:
            record, claims = last.get(key), held.get(key, ())
            stored: tuple[str, ...] = ()
            if record is not None and record.value is not None:
                stored = tuple(msgpack.decode(record.value[HEADER_BYTES:]))
            if stored != claims:
                text = f"an address is claimed by {stored} in the state, by {claims} on the topic"
                self._reading.report("state", text, None if record is None else record.place)
        return shared

    def judge_homes(self, partitions: int) -> None:
        """Every notice stands where its receiver is at home, and every line has its notice."""
        for notice in self._reading.notices:
            if home_key(notice.key) % partitions != notice.record.partition:
                text = f"{_text(notice.said)} is not where it is heard"
                self._reading.report("lost", text, notice.record.place)
        for (customer, place), lines in self._heard.items():
            told = self._by_place.get(place)
            for line in lines:
                of_it = told is not None and (told.kind, told.key.decode()) == (line.kind, customer)
                if not of_it and not self._is_own_end(line):
                    text = f"{customer} heard a {line.kind} that nobody has told there"
                    self._reading.report("wrong", text, line.record.place)

    def _is_own_end(self, line: LogLine) -> bool:
        """Whether somebody became another one because they had just asked for it themselves."""
        return line.kind == "merge" and any(
            line.told in (one.source, one.told)
            and any(
                absorbed == line.customer and survivor == line.about
                for absorbed, survivor, _ in self._asked(one)
            )
            for one in self._reading.by_customer[line.customer]
        )


def _onward(notice: Notice, survivor: str) -> Said | None:
    """Return what becomes of a notice whose receiver is another one now."""
    match notice.kind:
        case "merge":
            if notice.about[0] == survivor:
                return None
            absorbed, into = pair(survivor, notice.about[0])
            return "merge", absorbed.encode(), (into, *notice.about[1:])
        case kind:
            return kind, survivor.encode(), notice.about


def judge_ways(reading: Reading, became: Mapping[str, str]) -> None:
    """Every record on its way goes to the home of its subject, and on to who they are now."""
    for (origin, hops), record in reading.ways.items():
        before = reading.inputs.get(origin)
        if hops > 1:
            earlier = reading.ways.get((origin, hops - 1))
            whose = None if earlier is None else (earlier.key or b"").decode()
            if whose is not None and became.get(whose, "").encode() != record.key:
                text = f"was sent on to {record.key!r}, but {whose} is {became.get(whose)}"
                reading.report("identity", text, record.place)
        if before is not None and before.value != record.value:
            reading.report("wrong", "was changed on its way", record.place)


def _text(said: Said) -> str:
    kind, key, about, hops = said
    words = [one.hex()[:DIGITS] if isinstance(one, bytes) else str(one) for one in about]
    whom = key[:2].hex() + key[2:6].hex() if key[:1] == INDEX_BYTE else key.decode()
    return f"{kind} for {whom} ({', '.join(words)}), way {hops}"
