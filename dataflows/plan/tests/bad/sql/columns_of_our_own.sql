CREATE TABLE behavior (
  id TEXT, student TEXT, kind TEXT, occurred_at TIMESTAMP, minutes DOUBLE
) WITH (connector = 'log', topic = 'aula.behavior.v1', event_time = 'occurred_at');
