CREATE TABLE behavior (
  event_id TEXT
  student_id TEXT, occurred_at TIMESTAMP
) WITH (connector = 'log', topic = 'aula.behavior.v1', event_time = 'occurred_at');
