-- Late submissions of the last 28 days: how many came after they were due, and how much.
--
-- Means       each submission is compared with the due date that it carries itself. One at the very instant is in time.
-- Not         work that was never handed in: there is no event for it. A submission that is repeated with another
--             event_id counts again. Where a due date is moved afterwards, what was said at the time stands.
-- Units       hours late, as decimals; `late_share` from 0 to 1, of the submissions that have a due date.
-- Expects     event_type 'submission', with "context": { "due_at": "2026-03-02T23:59:00-06:00" } (RFC 3339, with its
--             offset: without one it is read as UTC). Without a due date, or with one that is no instant, a submission
--             counts in `submissions` only.
-- To change   some grace: due_at + interval '15 minutes'; another length: the second interval of hop.
CREATE MATERIALIZED VIEW late_submissions_28d WITH (serve = true, analytics = 'daily', explain = 20) AS
SELECT
  student_id,
  count(*)                                                                               AS submissions,
  count(*) FILTER (WHERE occurred_at > TRY_CAST(context->>'due_at' AS TIMESTAMP))        AS late,
  round(avg(CASE
    WHEN occurred_at > TRY_CAST(context->>'due_at' AS TIMESTAMP) THEN 1.0
    WHEN occurred_at <= TRY_CAST(context->>'due_at' AS TIMESTAMP) THEN 0.0
  END), 4)                                                                               AS late_share,
  max(extract(epoch FROM occurred_at - TRY_CAST(context->>'due_at' AS TIMESTAMP)) / 3600)
    FILTER (WHERE occurred_at > TRY_CAST(context->>'due_at' AS TIMESTAMP))               AS most_hours_late
FROM behavior
WHERE event_type = 'submission'
GROUP BY student_id, hop(interval '1 day', interval '28 days', 'America/Mexico_City');
