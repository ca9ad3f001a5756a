-- Attendance: on how many of the last 28 days a student was there, and for how many days in a row.
--
-- Means       a day counts once, however often the student was registered on it. Days are local: from midnight to
--             midnight in the school's time zone, 23 or 25 hours long where the clocks change.
-- Not         hours present; lessons missed; a share of the school days, since no view knows which days those are. A
--             streak is of calendar days: a weekend ends it.
-- Units       days in the school's time zone; `last_day` is an instant in UTC.
-- Expects     event_type 'attendance', with "context": { "status": "present" }. `present` and `late` count, and so does
--             an event without a status; `absent` and `excused` do not.
-- To change   another zone: replace 'America/Mexico_City' everywhere in this file; a configuration whose schools live in
--             several zones has a copy of the file, with other view names, for each. Another length: the second
--             interval of hop. Longer streaks: `horizon`, and a `log.retention` as long. Weeks in a row, which weekends
--             do not end: a view like attendance_daily with interval '7 days', and one like attendance_streak over it
--             with a gap of 335 hours (one less than two weeks) and a horizon of months.
CREATE MATERIALIZED VIEW attendance_daily WITH (serve = false) AS
SELECT student_id, count(*) AS registrations
FROM behavior
WHERE event_type = 'attendance' AND coalesce(context->>'status', 'present') IN ('present', 'late')
GROUP BY student_id, tumble(interval '1 day', 'America/Mexico_City');

-- `last_day` is the midnight at which the last day attended began.
CREATE MATERIALIZED VIEW attendance_28d WITH (serve = true, analytics = 'daily') AS
SELECT student_id, count(*) AS days, max(window_start) AS last_day
FROM attendance_daily
GROUP BY student_id, hop(interval '1 day', interval '28 days', 'America/Mexico_City');

-- Days in a row, up to today or yesterday; at most about 29, since no day before the horizon counts.
-- A row of attendance_daily counts at its midnight. From one midnight to the next it is 23 to 25 hours, and to the one
-- after that 47 to 49: so a gap of 47 hours joins neighbours and nothing else. For the same reason a streak that went
-- up to yesterday is shown until about 23:00 today, and then only again when the student comes.
CREATE MATERIALIZED VIEW attendance_streak WITH (serve = true, horizon = '28 days') AS
SELECT student_id, count(*) AS days
FROM attendance_daily
GROUP BY student_id, session(interval '47 hours');
