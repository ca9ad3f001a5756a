-- The events of the Open University dataset, as configs/dataflows/oulad has them, but for the ids' horizon: it is as long as
-- any view looks back, so that a history that is sent again after a kill counts once.
CREATE TABLE vle (
  event_id    TEXT,
  student_id  TEXT,
  event_type  TEXT,
  value       DOUBLE,
  occurred_at TIMESTAMP,
  context     JSON
) WITH (
  connector      = 'log',
  topic          = 'aula.behavior.v1',
  event_time     = 'occurred_at',
  lateness       = '0 seconds',
  dedupe         = 'event_id',
  dedupe_horizon = '430 days'
);
