"""The store against a model in plain Python: the same grants, endings and counts, for any sequence."""

from __future__ import annotations

import os
import uuid
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import combinations, count

import pytest
from django.db import connection, transaction
from django.db.models import Count
from django.db.models.signals import post_init
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from routing_app.core.changes import changes
from routing_app.core.leases import reach
from routing_app.core.leases.reach import Times
from routing_app.core.models import WorkerRecord
from sessions_app.commands import (
    Bind,
    Bound,
    Create,
    End,
    Granted,
    HttpHeartbeat,
    LimitReached,
    NoSuchPublisher,
    NoSuchSession,
    Sweep,
    TakeoverOff,
    Unbind,
)
from sessions_app.models import ENDINGS, EventKind, Limit, Publisher, Session, SessionEvent
from sessions_app.store import SESSIONS, AccountKey, StoreCommand, StoreEntry, apply_all
from sessions_app.wire import Wanted
from tests.sessions.operators import let_a_millisecond_begin

ALICE, BOB = AccountKey("pub", "alice"), AccountKey("pub", "bob")
OFFERS = st.sampled_from(["film", "series"])
POLICIES = st.sampled_from(["block", "ask", "evict_oldest"])


def apply(*commands: StoreCommand) -> list[object]:
    """One batch, as the writing thread would run it; what it makes is older than what the next one makes."""
    entries = [StoreEntry(command) for command in commands]
    with transaction.atomic():
        apply_all(entries)
    let_a_millisecond_begin()
    return [entry.outcome for entry in entries]


@dataclass
class Modelled:
    """A session as the model knows it."""

    offer: str
    born: int
    connection: str = ""
    device: str = ""


@dataclass
class Model:
    """The expected state: sessions of one customer, the limits, and the number of endings."""

    per_account: int
    per_offer: int
    account_policy: str
    offer_policy: str
    sessions: dict[uuid.UUID, Modelled] = field(default_factory=dict)
    created: int = 0
    ended: int = 0

    def pool(self, offer: str | None, without: frozenset[uuid.UUID]) -> list[uuid.UUID]:
        mine = [id for id, one in self.sessions.items() if offer in (None, one.offer) and id not in without]
        return sorted(mine, key=lambda id: self.sessions[id].born)

    def expect(
        self, offer: str, victims: frozenset[uuid.UUID], own: uuid.UUID | None = None
    ) -> tuple[bool, frozenset[uuid.UUID]]:
        """The decision whether one more may start, and the sessions that end for it; `own` is a slot
        that is asked for again."""
        spared = frozenset({own} if own else ())
        evicting = [pool for pool in self._pools(offer) if pool[2] == "evict_oldest"]
        held = self.pool(None, victims | spared)
        for size in range(len(held) + 1):
            for evicted in combinations(held, size):
                ended = victims.union(evicted)
                if not self._full(evicting, ended | spared):
                    return not self._full(self._pools(offer), ended | spared), ended
        return False, victims

    def _full(self, pools: list[tuple[str | None, int, str]], without: frozenset[uuid.UUID]) -> bool:
        return any(len(self.pool(subject, without)) >= maximum for subject, maximum, _ in pools)

    def _pools(self, offer: str) -> list[tuple[str | None, int, str]]:
        return [(None, self.per_account, self.account_policy), (offer, self.per_offer, self.offer_policy)]

    def counts(self, offer: str) -> list[tuple[int, int]]:
        """The number of sessions and the maximum, in each pool that an offer is in."""
        return [(len(self.pool(subject, frozenset())), maximum) for subject, maximum, _ in self._pools(offer)]

    def end(self, id: uuid.UUID) -> None:
        del self.sessions[id]
        self.ended += 1


class StoreMachine(RuleBasedStateMachine):
    """Every command, in any order, one at a time or several in a batch."""

    model: Model

    @initialize(per_account=st.integers(0, 4), per_offer=st.integers(0, 3), account=POLICIES, offer=POLICIES)
    def limits(self, per_account: int, per_offer: int, account: str, offer: str) -> None:
        for table in (SessionEvent, Session, Publisher):
            table.objects.all().delete()
        publisher = Publisher.objects.create(name="pub")
        Limit.objects.create(publisher=publisher, scope="account", maximum=per_account, policy=account)
        Limit.objects.create(publisher=publisher, scope="offer", maximum=per_offer, policy=offer)
        self.model = Model(per_account, per_offer, account, offer)
        self.births = count()
        self.connections = count()

    def _pick(self, data: st.DataObject) -> uuid.UUID:
        ids = [*self.model.sessions, uuid.UUID(int=0)]
        return data.draw(st.sampled_from(ids), "session")

    def _settle(self, outcome: object, offer: str, victims: frozenset[uuid.UUID], device: str = "") -> None:
        """Compare one outcome with the model, and let the model follow."""
        granted, ended = self.model.expect(offer, victims)
        if not granted:
            assert isinstance(outcome, LimitReached)
            return
        assert isinstance(outcome, Granted)
        assert {listing.id for listing in outcome.ended} == ended
        for id in ended:
            self.model.end(id)
        before = self.model.counts(offer)
        self.model.sessions[outcome.session.id] = Modelled(offer, next(self.births), device=device)
        self.model.created += 1
        assert all(count < maximum for count, maximum in before), "never one more than a limit"

    @rule(offers=st.lists(OFFERS, min_size=1, max_size=5))
    def create(self, offers: list[str]) -> None:
        outcomes = apply(*[Create(ALICE, Wanted(offer_id=offer)) for offer in offers])
        for offer, outcome in zip(offers, outcomes, strict=True):
            self._settle(outcome, offer, frozenset())

    @rule(offer=OFFERS, device=st.sampled_from("ab"))
    def create_on_a_device(self, offer: str, device: str) -> None:
        """The same device gets its slot again, as long as that one counts: it is not one more."""
        own = [id for id, one in self.model.sessions.items() if (one.offer, one.device) == (offer, device)]
        [outcome] = apply(Create(ALICE, Wanted(offer_id=offer, device_id=device)))
        if not own:
            self._settle(outcome, offer, frozenset(), device)
            return
        [mine] = own
        granted, ended = self.model.expect(offer, frozenset(), mine)
        assert isinstance(outcome, Granted if granted else LimitReached)
        if isinstance(outcome, Granted):
            assert outcome.session.id == mine
            assert {listing.id for listing in outcome.ended} == ended
            for id in ended:
                self.model.end(id)

    @rule(offer=OFFERS, data=st.data(), more=st.booleans())
    def take_over(self, offer: str, data: st.DataObject, more: bool) -> None:
        victims = (self._pick(data), self._pick(data)) if more else (self._pick(data),)
        [outcome] = apply(Create(ALICE, Wanted(offer_id=offer), victims))
        if {self.model.account_policy, self.model.offer_policy} == {"block"}:
            assert isinstance(outcome, TakeoverOff)
        elif not self.model.sessions.keys() >= set(victims):
            assert isinstance(outcome, NoSuchSession)
        else:
            self._settle(outcome, offer, frozenset(victims))

    @rule(per_account=st.integers(0, 4), per_offer=st.integers(0, 3))
    def operator_changes_the_limits(self, per_account: int, per_offer: int) -> None:
        """The next create goes by them; who plays already is left in peace."""
        Limit.objects.filter(scope="account").update(maximum=per_account)
        Limit.objects.filter(scope="offer").update(maximum=per_offer)
        self.model.per_account, self.model.per_offer = per_account, per_offer

    @rule(data=st.data())
    def bind(self, data: st.DataObject) -> None:
        id, connection = self._pick(data), f"c{next(self.connections)}"
        WorkerRecord.objects.update_or_create(
            id="w", defaults={"host": "h", "pid": 1, "leased_at": reach.read().witnessed}
        )
        [outcome] = apply(Bind(ALICE, id, connection, "w"))
        if id not in self.model.sessions:
            assert outcome is None
            return
        assert outcome == Bound(self.model.sessions[id].connection)
        self.model.sessions[id].connection = connection

    @rule(data=st.data(), own=st.booleans())
    def unbind(self, data: st.DataObject, own: bool) -> None:
        id = self._pick(data)
        known = self.model.sessions.get(id)
        connection = known.connection if known and own else "another"
        apply(Unbind(ALICE, id, connection))
        if known and own:
            known.connection = ""

    @rule(data=st.data(), kind=st.sampled_from([EventKind.FINISHED, EventKind.KILLED]))
    def end(self, data: st.DataObject, kind: EventKind) -> None:
        id = self._pick(data)
        [first, second] = apply(End(ALICE, id, kind, "somebody"), End(ALICE, id, kind, "somebody"))
        assert (first is not None) is (id in self.model.sessions)
        assert second is None
        if first is not None:
            self.model.end(id)

    @rule(data=st.data())
    def somebody_else_tries(self, data: st.DataObject) -> None:
        id = self._pick(data)
        outcomes = apply(
            End(BOB, id, EventKind.FINISHED, "bob"),
            Bind(BOB, id, "stolen", "w"),
            HttpHeartbeat(BOB, id),
            Create(BOB, Wanted(offer_id="film"), (id,)),
        )
        assert outcomes[:3] == [None, None, None]
        assert isinstance(outcomes[3], NoSuchSession | TakeoverOff)

    @rule(data=st.data())
    def time_is_over(self, data: st.DataObject) -> None:
        """An unbound session passes its deadline; nobody has to sweep for the next create to see it."""
        id = self._pick(data)
        past = reach.read().reached - timedelta(seconds=1)
        if Session.objects.filter(pk=id, connection_id="").update(expires_at=past):
            self.model.end(id)

    @rule(data=st.data())
    def worker_dies(self, data: st.DataObject) -> None:
        """Bound sessions of a worker end when its lease and their grace are over."""
        now = reach.read().witnessed
        WorkerRecord.objects.filter(id="w").update(leased_at=now - timedelta(seconds=46))
        for id in [id for id, one in self.model.sessions.items() if one.connection]:
            self.model.end(id)
        apply(Sweep(ALICE))
        WorkerRecord.objects.filter(id="w").update(leased_at=now)

    @invariant()
    def database_holds_what_the_model_holds(self) -> None:
        if not hasattr(self, "model"):
            return
        model = self.model
        apply(Sweep(ALICE))
        rows = dict(Session.objects.values_list("id", "connection_id"))
        assert rows == {id: one.connection for id, one in model.sessions.items()}
        endings = SessionEvent.objects.filter(kind__in=ENDINGS).values_list("session_id", flat=True)
        assert len(endings) == len(set(endings)) == model.ended
        assert SessionEvent.objects.filter(kind=EventKind.CREATED).count() == model.created


@pytest.mark.django_db(transaction=True)
@pytest.mark.timeout(1800)
def test_the_store_agrees_with_the_model() -> None:
    soak = os.environ.get("HYPOTHESIS_PROFILE") == "soak"
    run_state_machine_as_test(
        StoreMachine,
        settings=settings(
            max_examples=1000 if soak else 15,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.django_db(transaction=True)
def test_nobody_has_sessions_with_an_unknown_publisher() -> None:
    nobody = AccountKey("nobody", "alice")
    id = uuid.uuid4()

    outcomes = apply(
        Create(nobody, Wanted(tag="live")), Bind(nobody, id, "c", "w"), HttpHeartbeat(nobody, id)
    )

    assert outcomes == [NoSuchPublisher(), None, None]


@pytest.mark.django_db(transaction=True)
def test_command_that_fails_takes_nothing_of_its_transaction_with_it() -> None:
    """A batch that fails is rolled back whole, and its accounts are not taken for known."""
    Publisher.objects.create(name="pub")
    Limit.objects.create(publisher=Publisher.objects.get(), scope="tag", maximum=1)

    class Broken(Create):
        def apply(self, book: object) -> Granted:
            raise RuntimeError("broken")

    key = AccountKey("pub", "carol")
    with pytest.raises(RuntimeError):
        apply(Create(key, Wanted(tag="live")), Broken(key, Wanted(tag="live")))
    assert not Session.objects.exists()
    [outcome] = apply(Create(key, Wanted(tag="live")))
    assert isinstance(outcome, Granted)


@pytest.mark.django_db(transaction=True)
def test_session_of_a_swept_worker_gets_its_grace_before_it_ends() -> None:
    Publisher.objects.create(name="pub")
    WorkerRecord.objects.create(id="w", host="h", pid=1, leased_at=reach.read().witnessed)
    [granted] = apply(Create(ALICE, Wanted(tag="live")))
    assert isinstance(granted, Granted)
    apply(Bind(ALICE, granted.session.id, "c", "w"))
    WorkerRecord.objects.all().delete()

    apply(Sweep(ALICE))

    [row] = Session.objects.all()
    assert row.connection_id == ""
    assert row.expires_at is not None
    assert Session.objects.live().count() == 1


def held(count: int) -> list[uuid.UUID]:
    """So many sessions of one customer, which wait for their players."""
    Publisher.objects.create(name="pub")
    granted = apply(*(Create(ALICE, Wanted(offer_id=f"film{number}")) for number in range(count)))
    return [one.session.id for one in granted if isinstance(one, Granted)]


@pytest.mark.django_db(transaction=True)
def test_a_customer_with_many_sessions_costs_as_much_for_each_as_one_with_few() -> None:
    ids = held(60)
    read: list[Session] = []

    def note(instance: Session, **other: object) -> None:
        read.append(instance)

    post_init.connect(note, sender=Session)
    try:
        for start in range(0, 60, 10):
            killed = [End(ALICE, id, EventKind.KILLED, "root") for id in ids[start : start + 10]]
            with CaptureQueriesContext(connection) as statements:
                assert None not in apply(*killed)
            assert len(statements) < 20
    finally:
        post_init.disconnect(note, sender=Session)
    assert len(read) == 60
    assert not Session.objects.exists()


@pytest.fixture
def standing(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> Times:
    """The times of a clock that stands still: SQLite has milliseconds, with room for several changes."""
    times = reach.read()
    monkeypatch.setattr(reach, "read", lambda: times)
    return times


@pytest.mark.django_db(transaction=True)
def test_of_sessions_that_begin_while_the_clock_stands_still_the_first_is_the_oldest(
    standing: Times,
) -> None:
    Publisher.objects.create(name="pub")
    granted = [one for _ in range(6) for one in apply(*[Create(ALICE, Wanted(offer_id="film"))] * 2)]

    ids = [one.session.id for one in granted if isinstance(one, Granted)]
    rows = Session.objects.order_by("created_at", "id").values_list("id", "created_at")
    assert [id for id, _ in rows] == ids
    assert len({created_at for _, created_at in rows}) == 12


@pytest.mark.django_db(transaction=True)
def test_nothing_happens_to_a_session_before_it_has_begun_while_the_clock_stands_still(
    standing: Times,
) -> None:
    Publisher.objects.create(name="pub")
    granted = [one for one in apply(*[Create(ALICE, Wanted())] * 3) if isinstance(one, Granted)]
    first, second, last = (one.session.id for one in granted)
    WorkerRecord.objects.create(id="w" * 16, host="host", pid=1, leased_at=standing.witnessed)

    apply(HttpHeartbeat(ALICE, second), Bind(ALICE, last, "c" * 28, "w" * 16))
    for row in Session.objects.filter(pk__in=[second, last]):
        assert standing.now < row.created_at == row.bound_at == row.seen_at
    apply(Unbind(ALICE, last, "c" * 28))
    assert Session.objects.get(pk=last).seen_at == Session.objects.get(pk=last).created_at
    apply(*(End(ALICE, id, EventKind.KILLED, "root") for id in (first, second, last)))
    assert all(event.at == event.created_at for event in SessionEvent.objects.all())


@pytest.mark.django_db(transaction=True)
def test_a_session_is_not_ended_for_another_customer() -> None:
    [id] = held(1)

    assert apply(End(BOB, id, EventKind.KILLED, "root"), Unbind(BOB, id, "c")) == [None, None]
    assert apply(End(BOB, id, EventKind.KILLED, "root"), Sweep(ALICE)) == [None, None]
    assert Session.objects.live().count() == 1


@pytest.mark.django_db(transaction=True)
def test_changes_are_noted_once_they_are_committed() -> None:
    before = changes.of(SESSIONS)
    [id] = held(1)
    assert changes.of(SESSIONS) == before + 1
    apply(Sweep(ALICE))
    assert changes.of(SESSIONS) == before + 1, "nothing has changed"
    with transaction.atomic():
        apply(End(ALICE, id, EventKind.KILLED, "root"))
        transaction.set_rollback(True)
    assert changes.of(SESSIONS) == before + 1, "it was rolled back"
    apply(End(ALICE, id, EventKind.KILLED, "root"))
    assert changes.of(SESSIONS) == before + 2


@pytest.mark.once
@pytest.mark.django_db
def test_thousands_are_counted_and_listed_from_indexes() -> None:
    """The plans of SQLite, which has no statistics that could be of another day."""
    live = Session.objects.live().order_by().values("account").annotate(sessions=Count("*"))
    assert "COVERING INDEX session_counted" in live.explain()
    page = Session.objects.live().order_by("created_at", "id")[:20].explain()
    assert "SCAN" in page
    assert "B-TREE FOR ORDER BY" not in page
    past = SessionEvent.objects.filter(kind=EventKind.DENIED, observed=False)
    assert "event_of_kind" in past[:20].explain()
    assert "B-TREE" not in past[:20].explain()
    assert "COVERING INDEX event_of_kind" in past.order_by().values("kind").explain()
