"""HTTP to one process: short timeouts, tokens made here, every failure an exception or a status."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import json
import time
from typing import NamedTuple

SECRET = "aulaflow-development-only-not-a-secret"
KEY = "development"
REQUEST_MAX_S = 20


class Answer(NamedTuple):
    """An answer, read whole."""

    status: int
    body: bytes

    def json(self):
        """Its body."""
        return json.loads(self.body)


class Unanswered(Exception):
    """Nobody knows whether the request was acted on."""


def token(tenant: str, role: str) -> str:
    """A token of the development key, good for a day."""
    if (tenant, role) not in _TOKENS:
        now = int(time.time())
        claims = {"tenant": tenant, "role": role, "sub": "torture", "iat": now, "exp": now + 86_400}
        signed = f"{_text({'alg': 'HS256', 'typ': 'JWT', 'kid': KEY})}.{_text(claims)}"
        digest = hmac.new(SECRET.encode(), signed.encode(), hashlib.sha256).digest()
        _TOKENS[tenant, role] = f"{signed}.{_base64(digest)}"
    return _TOKENS[tenant, role]


_TOKENS: dict[tuple[str, str], str] = {}


def _text(value: dict) -> str:
    return _base64(json.dumps(value).encode())


def _base64(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


class Client:
    """Requests to one port; any thread may ask."""

    def __init__(self, port: int) -> None:
        self.port = port

    def ask(
        self, method: str, path: str, body: bytes | None = None, tenant: str = "", role: str = "", seconds: float = REQUEST_MAX_S
    ) -> Answer:
        """One request; `Unanswered` where no answer came."""
        headers = {"Content-Type": "application/json"}
        if role:
            headers["Authorization"] = f"Bearer {token(tenant, role)}"
        # A new connection each time: one that is kept may be of a process that was killed since.
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=seconds)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return Answer(answer.status, answer.read())
        except (http.client.HTTPException, OSError) as error:
            raise Unanswered(repr(error)) from error
        finally:
            connection.close()

    def profiles(self, tenant: str, students: tuple[str, ...], seconds: float = REQUEST_MAX_S) -> dict[str, dict] | None:
        """The profiles of a tenant's students, or none where the process cannot say."""
        body = json.dumps({"student_ids": students}).encode()
        answer = self.ask("POST", "/v1/profiles:batchGet", body, tenant, "service", seconds)
        if answer.status != 200:
            return None
        return {profile["student_id"]: profile for profile in answer.json()["profiles"]}

    def ready(self) -> bool:
        """Whether `/readyz` says so."""
        try:
            return self.ask("GET", "/readyz", seconds=5).status == 200
        except Unanswered:
            return False

    def lag(self) -> dict:
        """`GET /v1/lag`."""
        answer = self.ask("GET", "/v1/lag", None, "school_0", "service")
        if answer.status != 200:
            raise Unanswered(f"/v1/lag answers {answer.status}")
        return answer.json()

    def metrics(self) -> dict[str, float]:
        """`/metrics`: each sample by its name and labels."""
        samples = {}
        for line in self.ask("GET", "/metrics").body.decode().splitlines():
            name, _, value = line.rpartition(" ")
            if name and not name.startswith("#"):
                samples[name] = float(value)
        return samples
