-- One row per reply with a score: its percentile among the training replies of its group, ties at
-- their middle, and its level of endorsement. Dumps may give an id again in another thread.
CREATE TEMP TABLE valued AS
WITH grouped AS (
    SELECT
        replies.thread_id,
        replies.id,
        replies.score,
        replies.subreddit,
        cells.scope,
        cells.group_subreddit,
        cells.group_age,
        groups.total
    FROM replies
    INNER JOIN cells
        ON
            replies.cell_subreddit = cells.cell_subreddit
            AND replies.cell_age = cells.cell_age
    INNER JOIN groups
        ON
            cells.scope = groups.scope
            AND cells.group_subreddit = groups.group_subreddit
            AND cells.group_age = groups.group_age
),

ranked AS (
    SELECT
        grouped.thread_id,
        grouped.id,
        grouped.scope,
        -- The training score at or next below this one; none means that all lie above.
        coalesce(
            CASE
                WHEN percentiles.score = grouped.score
                    THEN percentiles.below + percentiles.equal / 2
                ELSE percentiles.below + percentiles.equal
            END,
            0
        ) / grouped.total AS valuation
    FROM grouped
    ASOF LEFT JOIN percentiles
        ON
            grouped.scope = percentiles.scope
            AND grouped.group_subreddit = percentiles.group_subreddit
            AND grouped.group_age = percentiles.group_age
            AND grouped.score >= percentiles.score
),

known AS (
    SELECT DISTINCT group_subreddit
    FROM cuts
    WHERE scope = 1
),

levelled AS (
    SELECT
        replies.thread_id,
        replies.id,
        count(cuts.level) AS level
    FROM replies
    LEFT JOIN known
        ON coalesce(replies.subreddit, '') = known.group_subreddit
    LEFT JOIN cuts
        ON
            coalesce(known.group_subreddit, '') = cuts.group_subreddit
            AND replies.score > cuts.cut
            AND cuts.scope = CASE WHEN known.group_subreddit IS NULL THEN 0 ELSE 1 END
    GROUP BY replies.thread_id, replies.id
)

SELECT
    replies.id,
    replies.thread_id,
    replies.parent_id,
    replies.subreddit,
    replies.created_utc,
    replies.split,
    replies.use,
    replies.score,
    cast(ranked.valuation AS DOUBLE) AS valuation,
    cast(levelled.level AS INTEGER) AS level,
    ranked.scope
FROM replies
INNER JOIN ranked
    ON
        replies.thread_id = ranked.thread_id
        AND replies.id = ranked.id
INNER JOIN levelled
    ON
        replies.thread_id = levelled.thread_id
        AND replies.id = levelled.id;
