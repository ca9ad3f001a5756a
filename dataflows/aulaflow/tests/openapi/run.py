#!/usr/bin/env python3
"""The HTTP interface as a client sees it that was generated from its OpenAPI document.

Starts the program, checks the document with a validator, generates a Python client from it, and calls every operation of
the document with that client. Each JSON answer must fit its schema, and what the client made of it, written again, must
be what came: a part of a schema that says too little is a part that the client loses. An operation that is not called
is a failure, so that a new one needs a call here.
"""

import argparse
import datetime
import importlib
import json
import subprocess
import sys
import tempfile
import time
import typing
import urllib.error
import urllib.request
from pathlib import Path

from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

REPOSITORY = Path(__file__).resolve().parents[4]
TENANT = "school_123"
WAIT_SECONDS = 60

CONFIGURATION = """
data_dir = {data}
dataflows = ["{dataflows}/behavior.sql", "{dataflows}/activity/*.sql"]
tenants = ["{tenants}/school_123.toml"]
[server]
listen = "127.0.0.1:0"
[[auth.key]]
id = "test"
algorithm = "HS256"
secret = "a-secret-of-these-tests-that-is-long-enough"
development = true
[clickhouse]
kind = "{clickhouse}"
"""

EVALUATION = {
    "evaluation_id": "e1", "student_id": "s1", "subject": "matematicas", "type": "exam", "score": "80",
    "graded_at": "2026-03-02T15:04:05Z", "period": "2026-Q1",
}
RULE = {"weights": {"exam": "1"}, "min_passing": 60}
PERIODS = {"period": [{"id": "2026-Q1", "start": "2026-01-15", "end": "2026-04-15"}]}


def behavior(number: int) -> dict:
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 60))
    return {"event_id": f"b{number}", "student_id": "s1", "event_type": "answer", "occurred_at": now,
            "context": {"seconds": 30}}


class Failure(Exception):
    """What a client would complain of."""


class Instance:
    """The program, running."""

    def __init__(self, binary: Path, folder: Path, clickhouse: bool) -> None:
        configs = REPOSITORY / "configs"
        text = CONFIGURATION.format(
            data=json.dumps(str(folder / "data")), dataflows=configs / "dataflows", tenants=configs / "tenants",
            clickhouse="embedded" if clickhouse else "off",
        )
        self.config = folder / "aulaflow.toml"
        self.config.write_text(text)
        self.binary = binary
        self.stderr = (folder / "stderr.log").open("w")
        command = [binary, "run", "--config", self.config]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.stderr, text=True)
        line = self.process.stdout.readline()
        self.url = next((word for word in line.split() if word.startswith("http://")), None)
        if self.url is None:
            raise Failure(f"the program does not start: {(folder / 'stderr.log').read_text()}")
        self.until("ready", lambda: self.get("/readyz")[0] == 200)

    def get(self, path: str, headers: dict | None = None, body: bytes | None = None) -> tuple[int, bytes]:
        request = urllib.request.Request(self.url + path, headers=headers or {}, data=body)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def token(self, role: str) -> str:
        tenant = [] if role == "platform" else ["--tenant", TENANT]
        command = [self.binary, "token", "--config", self.config, *tenant, "--role", role]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    @staticmethod
    def until(what: str, holds: typing.Callable[[], bool]) -> None:
        for _ in range(WAIT_SECONDS * 10):
            if holds():
                return
            time.sleep(0.1)
        raise Failure(f"{what}: not within {WAIT_SECONDS} s")

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=60)
        self.stderr.close()


class Client:
    """The generated client, and what the document says of its answers."""

    def __init__(self, instance: Instance, document: dict, folder: Path) -> None:
        self.instance, self.document = instance, document
        self.operations = {
            operation["operationId"]: operation
            for path in document["paths"].values() for operation in path.values()
        }
        self.called: set[str] = set()
        self.tokens: dict[str, str] = {}
        (folder / "openapi.json").write_text(json.dumps(document))
        generator = Path(sys.executable).with_name("openapi-python-client")
        command = [generator, "generate", "--path", folder / "openapi.json", "--output-path", folder / "generated",
                   "--meta", "none"]
        made = subprocess.run(command, capture_output=True, text=True, check=False)
        if made.returncode != 0:
            raise Failure(f"no client can be generated: {made.stdout}{made.stderr}")
        # What the generator cannot read it leaves out with a warning. It knows JSON alone: other media types may be left out.
        said = [line for line in (made.stdout + made.stderr).splitlines() if line.strip()]
        lost = [
            f"{line} {why}" for line, why in zip(said, said[1:])
            if line.startswith("WARNING parsing") and "nsupported content" not in why
        ]
        if lost:
            raise Failure("the generator leaves out: " + "; ".join(lost))
        sys.path.insert(0, str(folder))
        self.made = importlib.import_module("generated.client")

    def call(self, operation_id: str, role: str | None, *path: object, expected: int = 200, body: object = None,
             **query: object) -> object:
        """Calls an operation, checks its answer against the document, and returns the JSON that came."""
        operation = self.operations[operation_id]
        self.called.add(operation_id)
        tag, name = operation["tags"][0], python_name(operation_id)
        function = importlib.import_module(f"generated.api.{tag}.{name}").sync_detailed
        if role is None:
            client = self.made.Client(base_url=self.instance.url)
        else:
            if role not in self.tokens:
                self.tokens[role] = self.instance.token(role)
            client = self.made.AuthenticatedClient(base_url=self.instance.url, token=self.tokens[role])
        if body is not None:
            query["body"] = as_model(typing.get_type_hints(function)["body"], body)
        answer = function(*path, client=client, **query)
        where = f"{operation_id} ({role})"
        if int(answer.status_code) != expected:
            raise Failure(f"{where} answers {int(answer.status_code)} instead of {expected}: {answer.content[:500]!r}")
        content = operation["responses"][str(expected)].get("content", {})
        if "application/json" not in content:
            return answer.content
        came = json.loads(answer.content)
        schema = {**content["application/json"]["schema"], "components": self.document["components"]}
        faults = [f"{fault.json_path}: {fault.message[:200]}" for fault in Draft202012Validator(schema).iter_errors(came)]
        if faults:
            raise Failure(f"{where}: the answer does not fit its schema: {faults[:5]}")
        if answer.parsed is None:
            raise Failure(f"{where}: the generated client makes nothing of {answer.content[:300]!r}")
        read = written(answer.parsed)
        if comparable(read) != comparable(came):
            raise Failure(f"{where}: the generated client reads {json.dumps(read)[:500]} where {json.dumps(came)[:500]} came")
        return came


def python_name(operation_id: str) -> str:
    """As the generator names a module: words apart, in lower case."""
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in operation_id)


def as_model(wanted: object, body: object) -> object:
    """A body as the generated client takes it."""
    arguments = typing.get_args(wanted)
    if isinstance(body, list):
        return [as_model(arguments[0], item) for item in body]
    candidates = [wanted, *arguments]
    model = next((candidate for candidate in candidates if hasattr(candidate, "from_dict")), None)
    return body if model is None else model.from_dict(body)


def written(parsed: object) -> object:
    """What the client read, as JSON again."""
    if isinstance(parsed, list):
        return [written(item) for item in parsed]
    return parsed.to_dict() if hasattr(parsed, "to_dict") else parsed


def comparable(value: object) -> object:
    """JSON whose instants are instants: a client writes them in another way than they came."""
    if isinstance(value, dict):
        return {key: comparable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [comparable(item) for item in value]
    if isinstance(value, str) and value[:4].isdigit() and "T" in value:
        try:
            return datetime.datetime.fromisoformat(value)
        except ValueError:
            return value
    return value


def exercise(client: Client, clickhouse: bool) -> None:
    """Calls everything."""
    call, instance = client.call, client.instance
    call("post_evaluations", "teacher", body=EVALUATION, expected=201)
    call("post_evaluations_batch", "admin", body=[{**EVALUATION, "evaluation_id": f"e{n}"} for n in (2, 3)])
    taken = call("post_behavior", "service", body=[behavior(n) for n in range(3)], expected=202)
    assert taken["accepted"] == 3, taken
    # One that nobody can use, past the client, whose model cannot be wrong.
    headers = {"Authorization": f"Bearer {instance.token('service')}", "Content-Type": "application/x-ndjson"}
    good = json.dumps(behavior(9)).encode()
    status, body = instance.get("/v1/behavior?dead_letters=true", headers, good + b"\n{\"event_id\": 1}\n")
    assert status == 202 and json.loads(body)["errors"], body

    def is_visible() -> bool:
        status, body = instance.get("/v1/students/s1/profile", headers)
        return status == 200 and json.loads(body)["grades"] != [] and json.loads(body)["features"] != {}

    instance.until("visible", is_visible)
    profile = call("get_students_id_profile", "service", "s1")
    call("get_students_id_profile", "service", "nobody", expected=404)
    call("post_profiles_batchGet", "service", body={"student_ids": ["s1", "nobody"]})
    call("get_students_id_grades", "teacher", "s1", period="2026-Q1")
    call("get_cohorts", "teacher")
    call("get_students_id_explain_name", "teacher", "s1", "matematicas", period="2026-Q1")
    for name in profile["features"]:
        call("get_students_id_explain_name", "teacher", "s1", name)

    call("get_rules", "admin")
    call("put_rules_subject", "admin", "math:preview", body=RULE)
    call("get_rules_subject", "admin", "math:preview")
    call("get_rules_subject", "admin", "something else")
    call("post_rules_subject_preview", "admin", "matematicas", body={**RULE, "min_passing": 90})
    call("get_rules_subject_versions", "admin", "matematicas")
    later = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 86_400))
    call("put_rules_subject", "admin", "math:preview", body={**RULE, "effective_at": later})
    call("delete_rules_subject_scheduled", "admin", "math:preview", expected=204)
    call("delete_rules_subject", "admin", "math:preview", expected=204)
    call("get_periods", "teacher")
    call("put_periods", "admin", body=PERIODS)
    call("put_rules_subject", "admin", "bad", body={"weights": {"exam": "no"}}, expected=422)

    letters = call("get_dead_letters", "platform", limit=10)["dead_letters"]
    topic, partition, offset = letters[0]["id"].split("/")
    call("get_dead_letters_topic_partition_offset", "platform", topic, int(partition), int(offset))
    call("post_dead_letters_replay", "platform", body={"dry_run": True})
    call("post_sources_topic_resume", "platform", "aula.behavior.v1")
    call("get_lag", "ops")
    if clickhouse:
        call("post_sql", "analyst", body={"query": "SELECT 1 AS one, 'x' AS text, NULL AS nothing, [1, 2] AS list"})
        call("post_sql", "analyst", body={"query": "SHOW TABLES"})
        call("post_sql", "analyst", body={"query": "DESCRIBE TABLE grades"})
        call("post_sql", "analyst", body={"query": "SELECT nothing FROM nowhere"}, expected=422)
    else:
        call("post_sql", "analyst", body={"query": "SELECT 1"}, expected=503)
    call("delete_evaluations_id", "teacher", "e2", expected=204)

    call("get", None, expected=303)
    call("get_docs", None)
    call("get_openapi_json", None)
    call("get_healthz", None)
    call("get_readyz", None)
    call("get_metrics", None)
    missing = sorted(set(client.operations) - client.called)
    if missing:
        raise Failure(f"operations that no call is made of: {', '.join(missing)}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", type=Path, required=True, help="the program")
    parser.add_argument("--no-clickhouse", action="store_true", help="where the engine's library is not there")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        instance = Instance(arguments.binary.resolve(), Path(folder), not arguments.no_clickhouse)
        try:
            document = json.loads(instance.get("/openapi.json")[1])
            validate(document)
            client = Client(instance, document, Path(folder))
            exercise(client, not arguments.no_clickhouse)
        except Failure as failure:
            print(f"FAILED: {failure}")
            return 1
        finally:
            instance.stop()
    print(f"{len(client.called)} of {len(client.operations)} operations called with the generated client")
    return 0


if __name__ == "__main__":
    sys.exit(main())
