CREATE TABLE behavior (
  event_id TEXT PRIMARY KEY, student_id TEXT NOT NULL, occurred_at TIMESTAMP
) WITH (connector = 'log', topic = 'aula.behavior.v1', event_time = 'occurred_at');
