CREATE TABLE behavior (
  event_id TEXT, student_id TEXT, occurred_at TIMESTAMP,
  WATERMARK FOR occurred_at AS occurred_at - INTERVAL '10' MINUTE
) WITH (connector = 'log', topic = 'aula.behavior.v1', event_time = 'occurred_at');
