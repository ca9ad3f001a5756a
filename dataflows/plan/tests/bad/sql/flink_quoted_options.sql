CREATE TABLE behavior (
  event_id TEXT, student_id TEXT, occurred_at TIMESTAMP
) WITH ('connector' = 'kafka', 'topic' = 'aula.behavior.v1', 'scan.startup.mode' = 'earliest-offset');
