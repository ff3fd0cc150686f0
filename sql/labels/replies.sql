-- One row per reply with a score: the cell that it is compared within. A part of the cell that the
-- recipe does not ask for is the same for all; an unknown subreddit is one of its own.
CREATE TEMP TABLE replies AS
SELECT
    conversations.id,
    conversations.thread_id,
    conversations.parent_id,
    conversations.subreddit,
    conversations.created_utc,
    conversations.score,
    conversations.split,
    conversations.use,
    CASE WHEN $by_subreddit THEN coalesce(conversations.subreddit, '') ELSE '' END
        AS cell_subreddit,
    CASE
        WHEN NOT $by_age THEN 0
        WHEN conversations.age IS NULL THEN -1
        ELSE (
            SELECT count(*)
            FROM unnest($age_bounds) AS bounds (bound)
            WHERE bounds.bound <= conversations.age
        )
    END AS cell_age
FROM read_parquet($files) AS conversations
WHERE conversations.score IS NOT NULL;
