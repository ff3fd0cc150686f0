-- One row per comment: the first reason why it is no reply to learn from, or null.
-- sqlfluff:templater:placeholder:drop_orphans:TRUE
-- sqlfluff:templater:placeholder:subreddits:[]
-- sqlfluff:templater:placeholder:exclude_subreddits:[]
-- sqlfluff:templater:placeholder:drop_bots:TRUE
-- sqlfluff:templater:placeholder:drop_stickied:TRUE
-- sqlfluff:templater:placeholder:drop_over_18:TRUE
-- sqlfluff:templater:placeholder:min_age:8
-- sqlfluff:templater:placeholder:min_chars:8
-- sqlfluff:templater:placeholder:max_chars:8
CREATE TABLE verdicts AS
SELECT
    comments.rowid AS comment,
    CASE
        WHEN paths.comment IS NULL OR ($drop_orphans AND NOT paths.whole) THEN 'orphan'
        WHEN
            len($subreddits::VARCHAR[]) > 0
            AND NOT coalesce(
                list_contains($subreddits::VARCHAR[], lower(comments.subreddit)), FALSE
            )
            THEN 'subreddit'
        WHEN
            list_contains($exclude_subreddits::VARCHAR[], lower(comments.subreddit))
            THEN 'subreddit'
        WHEN comments.text IS NULL THEN 'deleted'
        WHEN $drop_bots AND comments.bot THEN 'bot'
        WHEN $drop_stickied AND comments.stickied THEN 'stickied'
        WHEN $drop_over_18 AND (posts.over_18 OR comments.over_18) THEN 'over_18'
        WHEN comments.age < $min_age THEN 'immature'
        WHEN len(comments.text) < $min_chars THEN 'short'
        WHEN len(comments.text) > $max_chars THEN 'long'
    END AS reason
FROM comments
LEFT JOIN paths ON comments.rowid = paths.comment
LEFT JOIN posts ON comments.thread_id = posts.id
