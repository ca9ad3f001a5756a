CREATE TABLE behavior (
  event_id TEXT, student_id TEXT, event_type TEXT, value DOUBLE, occurred_at TIMESTAMP, context JSON
) WITH (connector = 'log', topic = 'aula.behavior.v1', event_time = 'occurred_at', dedupe = 'event_id');

INSERT INTO behavior VALUES ('e-1', 'student_456');
