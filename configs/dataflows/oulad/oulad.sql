-- Features over the Open University Learning Analytics Dataset, as `aulaflow import oulad` puts it on the log:
-- one event per row of studentVle.csv, `event_type` the kind of page (forumng, oucontent, quiz, resource, subpage,
-- homepage, url, …), `value` the clicks, `occurred_at` the day at 12:00 UTC.
--
-- Configure this file alone for a replay of the dataset; it has a source table of its own because its settings differ:
--
-- lateness = '0 seconds'     the importer writes in the order of time, so the event clock need not stay behind
-- dedupe_horizon = '8 days'  where a whole history is replayed out of order or twice, a repetition can come as late as
--                            its event can still count: ids must be remembered for as long as the longest window
--                            (7 days, and the day that is under way)
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
  dedupe_horizon = '8 days'
);

-- Everything: visits and clicks of the last seven days.
CREATE MATERIALIZED VIEW clicks_7d WITH (serve = true, explain = 20) AS
SELECT student_id, count(*) AS events, sum(value) AS clicks
FROM vle
GROUP BY student_id, hop(interval '1 day', interval '7 days');

-- Everything of the day.
CREATE MATERIALIZED VIEW clicks_1d WITH (serve = true, explain = 20) AS
SELECT student_id, count(*) AS events, sum(value) AS clicks, avg(value) AS clicks_per_visit
FROM vle
GROUP BY student_id, tumble(interval '1 day');

-- Talking to others: forums and the collaboration tools.
CREATE MATERIALIZED VIEW social_7d WITH (serve = true, explain = 20) AS
SELECT student_id, count(*) AS visits, sum(value) AS clicks
FROM vle
WHERE event_type IN ('forumng', 'oucollaborate', 'ouelluminate', 'ouwiki')
GROUP BY student_id, hop(interval '1 day', interval '7 days');

-- Testing oneself.
CREATE MATERIALIZED VIEW quizzes_7d WITH (serve = true, explain = 20) AS
SELECT student_id, count(*) AS visits, sum(value) AS clicks
FROM vle
WHERE event_type ILIKE '%quiz%' OR event_type = 'questionnaire'
GROUP BY student_id, hop(interval '1 day', interval '7 days');

-- How the clicks are spread: material against navigation.
CREATE MATERIALIZED VIEW study_mix_7d WITH (serve = true, explain = 20) AS
SELECT
  student_id,
  sum(CASE WHEN event_type IN ('oucontent', 'resource', 'url', 'page', 'glossary', 'dualpane') THEN value ELSE 0 END)
    AS material_clicks,
  sum(CASE WHEN event_type IN ('homepage', 'subpage', 'folder') THEN value ELSE 0 END) AS navigation_clicks,
  round(sum(CASE WHEN event_type IN ('oucontent', 'resource', 'url', 'page', 'glossary', 'dualpane') THEN value ELSE 0 END)
    / nullif(sum(value), 0), 4) AS material_share
FROM vle
GROUP BY student_id, hop(interval '1 day', interval '7 days');
