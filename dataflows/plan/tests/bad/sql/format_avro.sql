CREATE TABLE behavior (
  event_id TEXT, student_id TEXT, occurred_at TIMESTAMP
) WITH (connector = 'log', topic = 'aula.behavior.v1', format = 'avro', event_time = 'occurred_at', dedupe = 'event_id');
CREATE MATERIALIZED VIEW days AS SELECT student_id, count(*) AS n FROM behavior GROUP BY student_id, tumble(interval '1 day');
