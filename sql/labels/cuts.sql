-- One row per subreddit (scope 1) or all replies (scope 0) and level that can be reached: the score
-- that a reply of this level exceeds. Level 1 starts above karma 1; what lies above a cut is cut
-- again at its median, up to level 7 (Fang et al. 2016, as docs/paper.md reads them).
CREATE TEMP TABLE cuts AS
WITH RECURSIVE scores AS (
    SELECT
        1 AS scope,
        coalesce(subreddit, '') AS group_subreddit,
        score,
        count(*) OVER (PARTITION BY coalesce(subreddit, '')) AS total
    FROM replies
    WHERE split = 'train'
    UNION ALL
    SELECT
        0 AS scope,
        '' AS group_subreddit,
        score,
        $min_group AS total
    FROM replies
    WHERE split = 'train'
),

cut_again AS (
    SELECT DISTINCT
        scope,
        group_subreddit,
        1 AS level,
        cast(1 AS BIGINT) AS cut
    FROM scores
    WHERE total >= $min_group
    UNION ALL
    SELECT
        cut_again.scope,
        cut_again.group_subreddit,
        cut_again.level + 1 AS level,
        quantile_disc(scores.score, 0.5) AS cut
    FROM cut_again
    INNER JOIN scores
        ON
            cut_again.scope = scores.scope
            AND cut_again.group_subreddit = scores.group_subreddit
            AND cut_again.cut < scores.score
    WHERE cut_again.level < 7
    GROUP BY cut_again.scope, cut_again.group_subreddit, cut_again.level
)

SELECT
    scope,
    group_subreddit,
    level,
    cut
FROM cut_again;
