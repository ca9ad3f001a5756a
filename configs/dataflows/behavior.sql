-- The source of all features in this folder: behaviour events, as they stand on the log.
--
-- lateness        on the event clock (replays, backfills) the clock stays this far behind the newest event, so that
--                 events may arrive this much out of order; the live clock does not need it
-- dedupe          an event counts once per event_id …
-- dedupe_horizon  … within this time: a phone that sends again what it sent yesterday changes nothing
CREATE TABLE behavior (
  event_id    TEXT,
  student_id  TEXT,
  event_type  TEXT,
  value       DOUBLE,     -- 1 where the event does not say
  occurred_at TIMESTAMP,  -- UTC
  context     JSON        -- whatever else the event carries
) WITH (
  connector      = 'log',
  topic          = 'aula.behavior.v1',
  event_time     = 'occurred_at',
  lateness       = '10 minutes',
  dedupe         = 'event_id',
  dedupe_horizon = '24 hours'
);
