-- One row per group of training replies and score that occurs in it: how many lie below, how many
-- are equal. A histogram and its running sum, so that no window runs over the replies themselves.
CREATE TEMP TABLE percentiles AS
WITH histogram AS (
    SELECT
        2 - grouping_id(cell_age) - grouping_id(cell_subreddit) AS scope,
        coalesce(cell_subreddit, '') AS group_subreddit,
        coalesce(cell_age, -2) AS group_age,
        score,
        count(*) AS equal
    FROM replies
    WHERE split = 'train'
    GROUP BY GROUPING SETS ((cell_subreddit, cell_age, score), (cell_subreddit, score), (score))
)

SELECT
    scope,
    group_subreddit,
    group_age,
    score,
    equal,
    sum(equal) OVER running - equal AS below
FROM histogram
WINDOW
    running AS (
        PARTITION BY scope, group_subreddit, group_age
        ORDER BY score
    );
