"""Random traffic over HTTP, and the memory of what was sent, what was acknowledged and what nobody knows."""

from __future__ import annotations

import json
import random
import threading
import time
import urllib.parse
from collections import Counter
from typing import Callable

import school
from client import Answer, Client, Unanswered

EVALUATIONS, BEHAVIOUR, EVENTS, TENANTS = (f"aula.{name}.v1" for name in ("evaluations", "behavior", "events", "tenants"))
REQUEST_MAX_S = 6
REFUSED_PAUSE_S = 0.05
"""After a request that was not answered."""


class Sent:
    """What was sent. Values are the bytes that must stand on the log, or what they mean where the edge writes its own."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.acknowledged: dict[str, list[tuple[str, bytes]]] = {EVALUATIONS: [], BEHAVIOUR: [], EVENTS: [], TENANTS: []}
        """By topic: tenant, and the bytes sent."""
        self.unknown: dict[str, list[tuple[str, bytes]]] = {EVALUATIONS: [], BEHAVIOUR: [], EVENTS: [], TENANTS: []}
        self.deleted: list[tuple[str, str, bool]] = []
        """Tenant, evaluation, whether acknowledged."""
        self.bad: list[tuple[str, bytes, bool]] = []
        """Items for the dead letters of behaviour: tenant, bytes, whether acknowledged."""
        self.raw: list[tuple[str, bytes, bytes | None, bool]] = []
        """By other producers: topic, key, value, whether acknowledged."""
        self.counts: Counter[str] = Counter()

    def add(self, topic: str, tenant: str, items: list[bytes], acknowledged: bool) -> None:
        """Remembers items."""
        with self.lock:
            (self.acknowledged if acknowledged else self.unknown)[topic] += [(tenant, item) for item in items]
            self.counts["acknowledged" if acknowledged else "unknown"] += len(items)


class Writer(threading.Thread):
    """Sends random requests, one after the other, to whichever process answers."""

    def __init__(self, name: str, seed: str, clients: Callable[[], list[Client]], sent: Sent, pause_s: float) -> None:
        super().__init__(name=name, daemon=True)
        self.rng = random.Random(seed)
        self.clients = clients
        self.sent = sent
        self.pause_s = pause_s
        self.ids = school.Ids(name)
        self.ended = threading.Event()
        self.again: list[tuple[Callable[[], bool], int]] = []
        self.failure: BaseException | None = None

    def run(self) -> None:
        """Until it is told to end."""
        try:
            while not self.ended.is_set():
                # What was not acknowledged is sent again, now or after other things: late and out of order.
                if self.again and self.rng.random() < 0.5:
                    send, tries = self.again.pop(self.rng.randrange(len(self.again)))
                    if not send() and tries > 1:
                        self.again.append((send, tries - 1))
                else:
                    send = self.next()
                    if not send() and self.rng.random() < 0.8:
                        self.again.append((send, 4))
                self.ended.wait(self.rng.random() * 2 * self.pause_s)
        except BaseException as error:  # the run must fail, not go on without traffic
            self.failure = error

    def end(self) -> None:
        """Ends it after the request that is under way."""
        self.ended.set()
        self.join(60)

    def next(self) -> Callable[[], bool]:
        """The next request, to be sent any number of times: whether it was acknowledged."""
        rng, now = self.rng, time.time_ns() // 1_000_000
        tenant = rng.choice(school.TENANTS)
        dice = rng.random()
        if dice < 0.60:
            events = [school.behaviour(rng, now, self.ids).json for _ in range(rng.choice((1, 3, 10, 40)))]
            bad = [f'{{"event_id":"bad-{self.name}-{rng.getrandbits(48):x}"}}'.encode()] if rng.random() < 0.1 else []
            return lambda: self.behaviour(tenant, events, bad)
        if dice < 0.85:
            made = [school.evaluation(rng, now) for _ in range(rng.choice((1, 1, 1, 5, 20)))]
            return lambda: self.evaluations(tenant, made)
        if dice < 0.94:
            return lambda: self.delete(tenant, f"e-{rng.randrange(60)}")
        subject, rule = rng.choice(("*", *school.SUBJECTS)), school.rule(rng)
        return lambda: self.rule(tenant, subject, rule)

    def ask(self, method: str, path: str, body: bytes | None, tenant: str, role: str) -> Answer | None:
        """An answer, or none where nobody knows; what is refused for good is a fault of this driver."""
        clients = self.clients()
        try:
            answer = self.rng.choice(clients).ask(method, path, body, tenant, role, REQUEST_MAX_S) if clients else None
        except Unanswered:
            self.sent.counts["requests without an answer"] += 1
            self.ended.wait(REFUSED_PAUSE_S)
            return None
        if answer is None or answer.status in (429, 500, 503, 504, 421):
            self.sent.counts[f"requests answered {answer.status if answer else 'by nobody'}"] += 1
            return None
        if answer.status >= 300 and answer.status != 422:
            raise RuntimeError(f"{method} {path} answers {answer.status}: {answer.body[:500]!r}")
        self.sent.counts["requests acknowledged"] += 1
        return answer

    def behaviour(self, tenant: str, events: list[bytes], bad: list[bytes]) -> bool:
        """`POST /v1/behavior`; bad items go to the dead letters."""
        path = "/v1/behavior?dead_letters=true" if bad else "/v1/behavior"
        answer = self.ask("POST", path, b"[" + b",".join(events + bad) + b"]", tenant, "service")
        if answer and len(answer.json()["errors"]) != len(bad):
            raise RuntimeError(f"events were refused: {answer.body[:500]!r}")
        spliced = [b'{"tenant_id":"%s",%s' % (tenant.encode(), event[1:]) for event in events]
        self.sent.add(BEHAVIOUR, tenant, spliced, answer is not None)
        with self.sent.lock:
            self.sent.bad += [(tenant, item, answer is not None) for item in bad]
        return answer is not None

    def evaluations(self, tenant: str, made: list[dict]) -> bool:
        """`POST /v1/evaluations`, or a batch. One that is above its maximum is refused: known as such here."""
        good = [e for e in made if float(e.get("score", 0)) <= float(e["max_score"])]
        if len(made) == 1:
            answer = self.ask("POST", "/v1/evaluations", json.dumps(made[0]).encode(), tenant, "teacher")
            taken = [] if answer and answer.status == 422 else good
        else:
            answer = self.ask("POST", "/v1/evaluations:batch", json.dumps(made).encode(), tenant, "teacher")
            taken = good
            if answer and answer.status == 422:
                taken = []
            elif answer and len(answer.json()["errors"]) != len(made) - len(good):
                raise RuntimeError(f"evaluations were refused: {answer.body[:500]!r}")
        if answer and answer.status == 422 and good:
            raise RuntimeError(f"evaluations were refused: {answer.body[:500]!r}")
        self.sent.add(EVALUATIONS, tenant, [json.dumps(e).encode() for e in taken], answer is not None)
        return answer is not None

    def delete(self, tenant: str, evaluation: str) -> bool:
        """`DELETE /v1/evaluations/{id}`."""
        answer = self.ask("DELETE", f"/v1/evaluations/{evaluation}", None, tenant, "teacher")
        with self.sent.lock:
            self.sent.deleted.append((tenant, evaluation, answer is not None))
        return answer is not None

    def rule(self, tenant: str, subject: str, rule: dict) -> bool:
        """`PUT /v1/rules/{subject}`."""
        path = f"/v1/rules/{urllib.parse.quote(subject, safe='*')}"
        answer = self.ask("PUT", path, json.dumps(rule).encode(), tenant, "admin")
        if answer and answer.status != 200:
            raise RuntimeError(f"a rule was refused: {json.dumps(rule)}: {answer.body[:500]!r}")
        self.sent.add(TENANTS, tenant, [json.dumps({"subject": subject, **rule}).encode()], answer is not None)
        return answer is not None
