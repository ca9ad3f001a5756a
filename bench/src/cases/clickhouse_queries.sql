-- Questions of analysts about the Open University dataset, as `POST /v1/sql` takes them: a title, and the query.

-- How are the grades distributed?
SELECT subject, period, floor(score / 10) * 10 AS from_score, count(*) AS students
FROM grades WHERE score IS NOT NULL GROUP BY subject, period, from_score ORDER BY subject, period, from_score

-- Which modules do best, and how much do they spread?
SELECT subject, period, count(*) AS students, avg(score) AS mean, stddevPop(score) AS deviation, avg(passing) AS passed
FROM grades GROUP BY subject, period ORDER BY mean DESC

-- Who failed by less than five points?
SELECT student, subject, period, score FROM grades WHERE NOT passing AND score >= 35 ORDER BY score DESC LIMIT 100

-- How many grades were there at the end of each month?
SELECT toStartOfMonth(clock) AS month, sum(diff) AS came, count(*) AS changes FROM grades_changes GROUP BY month ORDER BY month

-- How did each module's mean go, week by week?
SELECT subject, week, sum(s) OVER (PARTITION BY subject ORDER BY week) / sum(n) OVER (PARTITION BY subject ORDER BY week) AS mean
FROM (SELECT subject, toMonday(clock) AS week, sum(score * diff) AS s, sum(diff) AS n FROM grades_changes GROUP BY subject, week)
ORDER BY subject, week

-- What were the grades on one day?
SELECT subject, period, count(*) AS grades, avg(score) AS mean FROM grades_as_of(t = '2014-03-01') GROUP BY subject, period ORDER BY subject

-- Whose grade fell most between two days?
SELECT a.student, a.subject, a.score AS score_before, b.score AS score_after
FROM grades_as_of(t = '2014-03-01') AS a
JOIN grades_as_of(t = '2014-05-01') AS b ON a.student = b.student AND a.subject = b.subject AND a.period = b.period
WHERE b.score < a.score ORDER BY b.score - a.score LIMIT 20

-- How often does a grade change?
SELECT changes, count(*) AS grades FROM (SELECT student, subject, period, countIf(diff = 1) AS changes FROM grades_changes
GROUP BY student, subject, period) GROUP BY changes ORDER BY changes

-- Who is active now?
SELECT count(*) AS students, sum(events) AS all_events, sum(clicks) AS all_clicks, max(clicks) AS most FROM clicks_7d

-- Who is most active on one day?
SELECT student, events, clicks FROM clicks_7d_as_of(t = '2014-02-15') ORDER BY clicks DESC LIMIT 50

-- How many students were active in each week?
SELECT toMonday(clock) AS week, uniq(student) AS students, count(*) AS rows FROM clicks_7d_changes WHERE diff = 1 GROUP BY week ORDER BY week

-- How many had a row on each day?
SELECT day, sum(n) OVER (ORDER BY day) AS students FROM (SELECT toDate(clock) AS day, sum(diff) AS n FROM clicks_7d_changes GROUP BY day)
ORDER BY day

-- One student's weeks
SELECT clock, events, clicks FROM clicks_7d_changes WHERE diff = 1 AND student = (SELECT min(student) FROM clicks_7d_changes) ORDER BY clock

-- Do those who click more pass more?
SELECT quartile, count(*) AS grades, avg(g.passing) AS passed FROM grades AS g JOIN (SELECT student, ntile(4) OVER (ORDER BY clicks) AS
quartile FROM clicks_7d_as_of(t = '2014-03-01')) AS q ON q.student = g.student GROUP BY quartile ORDER BY quartile

-- Does talking go with passing?
SELECT s.student IS NOT NULL AS talked, count(*) AS grades, avg(g.score) AS mean FROM grades AS g
LEFT JOIN social_7d_as_of(t = '2014-03-01') AS s ON s.student = g.student GROUP BY talked

-- Who stopped between two weeks?
SELECT count(*) AS stopped FROM clicks_7d_as_of(t = '2014-03-01')
WHERE student NOT IN (SELECT student FROM clicks_7d_as_of(t = '2014-03-08'))

-- Material or navigation?
SELECT floor(material_share * 10) / 10 AS share, count(*) AS students, avg(material_clicks) AS material
FROM study_mix_7d_as_of(t = '2014-03-01') GROUP BY share ORDER BY share

-- How much do quizzes move in a week?
SELECT toMonday(clock) AS week, quantile(0.5)(clicks) AS median, quantile(0.9)(clicks) AS most FROM quizzes_7d_changes WHERE diff = 1
GROUP BY week ORDER BY week

-- How did the cohorts go?
SELECT subject, period, clock, mean, pass_rate FROM cohorts_changes WHERE diff = 1 ORDER BY subject, period, clock

-- Features before the outcome
SELECT g.student, g.subject, g.passing, c.clicks, q.visits, m.material_share FROM grades AS g
LEFT JOIN clicks_7d_as_of(t = '2014-03-01') AS c ON c.student = g.student
LEFT JOIN quizzes_7d_as_of(t = '2014-03-01') AS q ON q.student = g.student
LEFT JOIN study_mix_7d_as_of(t = '2014-03-01') AS m ON m.student = g.student
ORDER BY g.student, g.subject LIMIT 1000
