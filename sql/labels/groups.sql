-- One row per group of training replies, of three scopes: 2 a cell (subreddit and age), 1 a
-- subreddit, 0 all of them. A key that the scope leaves out is '' or -2.
CREATE TEMP TABLE groups AS
SELECT
    2 - grouping_id(cell_age) - grouping_id(cell_subreddit) AS scope,
    coalesce(cell_subreddit, '') AS group_subreddit,
    coalesce(cell_age, -2) AS group_age,
    count(*) AS total
FROM replies
WHERE split = 'train'
GROUP BY GROUPING SETS ((cell_subreddit, cell_age), (cell_subreddit), ());
