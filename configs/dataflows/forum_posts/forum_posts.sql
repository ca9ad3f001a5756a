-- Forum posts of the last seven days: how much a student says, and in how many threads.
--
-- Means       posts and replies that were written. `threads` counts each thread once. `last_post_length` is of the newest.
-- Not         reading; quality. A post that is deleted in the forum still counts: behaviour events are not taken back.
-- Units       counts; lengths in characters. The window moves on every hour.
-- Expects     event_type 'forum', with "context": { "action": "post", "thread": "t-17", "text": "…" }; `action` is
--             'post', 'reply' or something else, which does not count. Without "text" lengths are null; without
--             "thread" a post counts in no thread.
-- To change   one course only: AND context->>'course' = '…' in WHERE, in a view with a name of its own.
CREATE MATERIALIZED VIEW forum_posts_7d WITH (serve = true, analytics = 'daily', explain = 20) AS
SELECT
  student_id,
  count(*)                                                     AS posts,
  count(*) FILTER (WHERE context->>'action' = 'reply')         AS replies,
  count(distinct context->>'thread')                           AS threads,
  round(avg(length(context->>'text')), 1)                      AS mean_length,
  last(length(context->>'text'))                               AS last_post_length
FROM behavior
WHERE event_type = 'forum' AND context->>'action' IN ('post', 'reply')
GROUP BY student_id, hop(interval '1 hour', interval '7 days');
