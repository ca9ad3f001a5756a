-- The views of views.sql, from the definitions of windows and aggregates, for DuckDB. Independent of the product's code.
--
-- There are `events` (student_id, event_id, event_type, value: whole clicks, ms: milliseconds since 1970 in UTC), already
-- no later than the clock, and `clock` (ms). Every query answers student_id, the view's outputs as the API shows them, and
-- the window's bounds in milliseconds.
--
-- A window at clock T: with P = pane(T) and n = size / slide, the events whose pane is in P - n + 1 .. P; panes are as wide
-- as the slide and start at 1970-01-01 UTC; with a zone they are local days, or weeks from Monday on.

CREATE OR REPLACE MACRO t() AS (SELECT ms FROM clock);
CREATE OR REPLACE MACRO day_ms() AS 86400000::BIGINT;
CREATE OR REPLACE MACRO pane(ms, days) AS ms // (days * day_ms());
CREATE OR REPLACE MACRO within(ms, slide, size) AS
  pane(ms, slide) BETWEEN pane(t(), slide) - size // slide + 1 AND pane(t(), slide);
CREATE OR REPLACE MACRO from_ms(slide, size) AS (pane(t(), slide) + 1 - size // slide) * slide * day_ms();
CREATE OR REPLACE MACRO to_ms(slide) AS (pane(t(), slide) + 1) * slide * day_ms();

CREATE OR REPLACE MACRO instant(ms) AS timezone('UTC', make_timestamp(ms * 1000));
CREATE OR REPLACE MACRO local_day(ms, zone) AS timezone(zone, instant(ms))::DATE;
CREATE OR REPLACE MACRO midnight_ms(day, zone) AS epoch_ms(timezone(zone, day::TIMESTAMP));
CREATE OR REPLACE MACRO monday(ms, zone) AS date_trunc('week', local_day(ms, zone))::DATE;

-- Exact numbers are millionths. A quotient is rounded once, half away from zero.
CREATE OR REPLACE MACRO quotient(a, b) AS sign(a)::HUGEINT * ((2 * abs(a::HUGEINT) + b) // (2 * b));
CREATE OR REPLACE MACRO mean(total, n) AS quotient(1000000::HUGEINT * total, n);
CREATE OR REPLACE MACRO slope(n, y, x, xy, xx) AS
  CASE WHEN n * xx > x * x THEN quotient(1000000::HUGEINT * (n * xy - x * y), n * xx - x * x) END;
-- The root of (n * squares - total²) / n² in millionths, r: (2r - 1)² n² <= 4 * 10^12 * (n * squares - total²) < (2r + 1)² n².
-- The guess in doubles is at most one off, and is put right in whole numbers.
CREATE OR REPLACE MACRO guess(v, n) AS round(1e6 * sqrt(v::DOUBLE) / n)::HUGEINT;
CREATE OR REPLACE MACRO reaches(v, n, r) AS r <= 0 OR (2 * r - 1) * (2 * r - 1) * n * n <= 4000000000000::HUGEINT * v;
CREATE OR REPLACE MACRO root(v, n) AS CASE
  WHEN reaches(v, n, guess(v, n) + 1) THEN guess(v, n) + 1
  WHEN reaches(v, n, guess(v, n)) THEN guess(v, n)
  ELSE guess(v, n) - 1 END;
CREATE OR REPLACE MACRO deviation(n, total, squares) AS root(n::HUGEINT * squares - total::HUGEINT * total, n::HUGEINT);

-- Millionths as they are shown: "12.5", "-0.25", "7".
CREATE OR REPLACE MACRO shown(m) AS CASE WHEN m < 0 THEN '-' ELSE '' END || (abs(m) // 1000000)::VARCHAR
  || CASE WHEN abs(m) % 1000000 = 0 THEN '' ELSE '.' || rtrim(lpad((abs(m) % 1000000)::VARCHAR, 6, '0'), '0') END;
CREATE OR REPLACE MACRO whole(n) AS n::HUGEINT::VARCHAR;
CREATE OR REPLACE MACRO rfc3339(ms) AS strftime(make_timestamp(ms * 1000), '%Y-%m-%dT%H:%M:%S.%gZ');

-- Every event with the number of its session: less than the gap lies between one and the next.
CREATE OR REPLACE MACRO numbered(gap_days) AS TABLE
  SELECT *, sum(starts) OVER (PARTITION BY student_id ORDER BY ms, event_id) AS session FROM (
    SELECT *, coalesce(ms - lag(ms) OVER (PARTITION BY student_id ORDER BY ms, event_id) >= gap_days * day_ms(), true)::INT
      AS starts
    FROM events);

-- view: today
SELECT student_id, count(*) AS visits, whole(sum(value)) AS clicks, shown(mean(sum(value), count(*))) AS mean_clicks,
  whole(min(value)) AS least, whole(max(value)) AS most, from_ms(1, 1), to_ms(1)
FROM events WHERE within(ms, 1, 1) GROUP BY student_id;

-- view: week
SELECT student_id, count(*) AS visits, count(DISTINCT event_type) AS kinds,
  shown(deviation(count(*), sum(value), sum(value * value))) AS spread,
  first(event_type ORDER BY ms, event_id) AS first_kind, last(event_type ORDER BY ms, event_id) AS last_kind,
  from_ms(1, 7), to_ms(1)
FROM events WHERE within(ms, 1, 7) GROUP BY student_id;

-- view: month
SELECT student_id, count(*) FILTER (WHERE value > 3) AS long_visits, whole(sum(value)) AS clicks,
  whole(max(value) - min(value)) AS span, from_ms(7, 28), to_ms(7)
FROM events WHERE within(ms, 7, 28) AND event_type IN ('forumng', 'oucontent', 'quiz') GROUP BY student_id;

-- view: year
SELECT student_id, count(*) AS visits, shown(mean(sum(value), count(*))) AS mean_clicks,
  shown(deviation(count(*), sum(value), sum(value * value))) AS spread,
  shown(slope(count(*), sum(value), sum(pane(ms, 1)), sum(value * pane(ms, 1)), sum(pane(ms, 1) * pane(ms, 1)))) AS trend,
  count(DISTINCT value) AS lengths, min(event_type) AS least_kind, max(event_type) AS greatest_kind,
  rfc3339(min(ms)) AS since, whole(last(value ORDER BY ms, event_id)) AS last_clicks, rfc3339(max(ms)) AS seen,
  from_ms(7, 364), to_ms(7)
FROM events WHERE within(ms, 7, 364) GROUP BY student_id;

-- view: open_session
SELECT student_id, count(*) AS visits, whole(sum(value)) AS clicks, first(event_type ORDER BY ms, event_id) AS first_kind,
  last(event_type ORDER BY ms, event_id) AS last_kind, count(DISTINCT ms) AS days,
  shown(deviation(count(*), sum(value), sum(value * value))) AS spread, rfc3339(max(ms) + 3 * day_ms()) AS ends,
  min(ms), max(ms) + 3 * day_ms()
FROM numbered(3) GROUP BY student_id, session HAVING max(ms) + 3 * day_ms() > t();

-- view: long_session
-- Seen are ten panes of seven days. The filter comes first: pages that it leaves out keep no session open.
WITH events AS (FROM events WHERE event_type <> 'homepage' AND within(ms, 7, 70)),
starting AS (
  SELECT *, coalesce(ms - lag(ms) OVER (PARTITION BY student_id ORDER BY ms, event_id) >= 7 * day_ms(), true) AS starts
  FROM events),
sessions AS (
  SELECT *, count(*) FILTER (WHERE starts) OVER (PARTITION BY student_id ORDER BY ms, event_id) AS session FROM starting)
SELECT student_id, count(*) AS visits, whole(max(value)) AS most, rfc3339(min(ms)) AS since,
  shown(slope(count(*), sum(value), sum(pane(ms, 1)), sum(value * pane(ms, 1)), sum(pane(ms, 1) * pane(ms, 1)))) AS trend,
  min(ms), max(ms) + 7 * day_ms()
FROM sessions GROUP BY student_id, session HAVING max(ms) + 7 * day_ms() > t();

-- view: auckland_day
SELECT student_id, count(*) AS visits, whole(sum(value)) AS clicks, last(event_type ORDER BY ms, event_id) AS last_kind,
  rfc3339(midnight_ms(local_day(t(), 'Pacific/Auckland'), 'Pacific/Auckland')) AS midnight,
  midnight_ms(local_day(t(), 'Pacific/Auckland'), 'Pacific/Auckland'),
  midnight_ms(local_day(t(), 'Pacific/Auckland') + 1, 'Pacific/Auckland')
FROM events WHERE local_day(ms, 'Pacific/Auckland') = local_day(t(), 'Pacific/Auckland') GROUP BY student_id;

-- view: auckland_month
SELECT student_id, shown(mean(sum(value), count(*))) AS mean_clicks, count(DISTINCT event_type) AS kinds,
  whole(first(value ORDER BY ms, event_id)) AS first_clicks, whole(min(value)) AS least,
  midnight_ms(local_day(t(), 'Pacific/Auckland') - 27, 'Pacific/Auckland'),
  midnight_ms(local_day(t(), 'Pacific/Auckland') + 1, 'Pacific/Auckland')
FROM events
WHERE local_day(ms, 'Pacific/Auckland') BETWEEN local_day(t(), 'Pacific/Auckland') - 27 AND local_day(t(), 'Pacific/Auckland')
GROUP BY student_id;

-- view: london_week
SELECT student_id, count(*) AS visits, whole(sum(value)) AS clicks, max(event_type) AS greatest_kind,
  midnight_ms(monday(t(), 'Europe/London'), 'Europe/London'), midnight_ms(monday(t(), 'Europe/London') + 7, 'Europe/London')
FROM events WHERE monday(ms, 'Europe/London') = monday(t(), 'Europe/London') GROUP BY student_id;

-- view: daily_trend
WITH days AS (
  SELECT student_id, pane(ms, 1) AS day, count(*) AS visits, sum(value) AS clicks, mean(sum(value), count(*)) AS mean_clicks
  FROM events GROUP BY ALL)
SELECT student_id, count(*) AS days,
  shown(slope(count(*), sum(visits), sum(day), sum(visits * day), sum(day * day))) AS trend,
  shown(quotient(sum(mean_clicks), count(*))) AS mean_of_means, whole(max(clicks)) AS most,
  last(visits ORDER BY day) AS last_visits, from_ms(7, 56), to_ms(7)
FROM days WHERE within(day * day_ms(), 7, 56) GROUP BY student_id;

-- view: rhythm
-- A session counts where it starts.
WITH sessions AS (
  SELECT student_id, session, min(ms) AS starts, max(ms) + 3 * day_ms() AS ends, count(*) AS visits, sum(value) AS clicks,
    last(event_type ORDER BY ms, event_id) AS last_kind
  FROM numbered(3) GROUP BY ALL)
SELECT student_id, count(*) AS sessions, shown(mean(sum((ends - starts) // 1000), count(*))) AS seconds,
  shown(deviation(count(*), sum(visits), sum(visits * visits))) AS spread, whole(last(clicks ORDER BY starts)) AS last_clicks,
  first(last_kind ORDER BY starts) AS first_last_kind, from_ms(1, 28), to_ms(1)
FROM sessions WHERE within(starts, 1, 28) GROUP BY student_id;

-- view: streak
-- Weeks whose Mondays are less than 14 days apart, of the last ten panes of 14 days.
WITH weeks AS (
  SELECT student_id, midnight_ms(monday(ms, 'Europe/London'), 'Europe/London') AS starts, count(*) AS visits,
    sum(value) AS clicks, max(event_type) AS greatest_kind
  FROM events GROUP BY ALL),
breaks AS (
  SELECT *, coalesce(starts - lag(starts) OVER (PARTITION BY student_id ORDER BY starts) >= 14 * day_ms(), true) AS breaks
  FROM weeks WHERE within(starts, 14, 140)),
sessions AS (
  SELECT *, count(*) FILTER (WHERE breaks) OVER (PARTITION BY student_id ORDER BY starts) AS session FROM breaks)
SELECT student_id, count(*) AS weeks, whole(sum(clicks)) AS clicks, min(visits) AS least_visits,
  first(greatest_kind ORDER BY starts) AS first_kind, min(starts), max(starts) + 14 * day_ms()
FROM sessions GROUP BY student_id, session HAVING max(starts) + 14 * day_ms() > t();

-- changed: week
SELECT student_id, count(*) AS visits, whole(sum(value)) AS clicks, count(DISTINCT event_type) AS kinds,
  shown(deviation(count(*), sum(value), sum(value * value))) AS spread,
  first(event_type ORDER BY ms, event_id) AS first_kind, last(event_type ORDER BY ms, event_id) AS last_kind,
  from_ms(1, 7), to_ms(1)
FROM events WHERE within(ms, 1, 7) GROUP BY student_id;

-- changed: month
SELECT student_id, count(*) FILTER (WHERE value > 3) AS long_visits, whole(sum(value)) AS clicks,
  whole(max(value) - min(value)) AS span, from_ms(7, 56), to_ms(7)
FROM events WHERE within(ms, 7, 56) AND event_type IN ('forumng', 'oucontent', 'quiz') GROUP BY student_id;

-- changed: open_session
SELECT student_id, count(*) AS visits, whole(sum(value)) AS clicks, first(event_type ORDER BY ms, event_id) AS first_kind,
  last(event_type ORDER BY ms, event_id) AS last_kind, count(DISTINCT ms) AS days,
  shown(deviation(count(*), sum(value), sum(value * value))) AS spread, rfc3339(max(ms) + 5 * day_ms()) AS ends,
  min(ms), max(ms) + 5 * day_ms()
FROM numbered(5) GROUP BY student_id, session HAVING max(ms) + 5 * day_ms() > t();

-- changed: rhythm
WITH sessions AS (
  SELECT student_id, session, min(ms) AS starts, max(ms) + 5 * day_ms() AS ends, count(*) AS visits, sum(value) AS clicks,
    last(event_type ORDER BY ms, event_id) AS last_kind
  FROM numbered(5) GROUP BY ALL)
SELECT student_id, count(*) AS sessions, shown(mean(sum((ends - starts) // 1000), count(*))) AS seconds,
  shown(deviation(count(*), sum(visits), sum(visits * visits))) AS spread, whole(last(clicks ORDER BY starts)) AS last_clicks,
  first(last_kind ORDER BY starts) AS first_last_kind, from_ms(1, 28), to_ms(1)
FROM sessions WHERE within(starts, 1, 28) GROUP BY student_id;

-- changed: hours
SELECT student_id, count(*) AS visits, whole(max(value)) AS most, first(event_type ORDER BY ms, event_id) AS first_kind,
  (t() // 28800000 - 4) * 28800000, (t() // 28800000 + 1) * 28800000
FROM events WHERE ms // 28800000 BETWEEN t() // 28800000 - 4 AND t() // 28800000 GROUP BY student_id;
