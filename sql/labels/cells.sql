-- One row per cell that any reply lies in: the finest group with enough training replies, for its
-- percentiles and, without the age, for its levels. The group of all replies needs no minimum.
-- sqlfluff:templater:placeholder:min_group:50
CREATE TEMP TABLE cells AS
WITH every_cell AS (
    SELECT DISTINCT
        cell_subreddit,
        cell_age
    FROM replies
),

sized AS (
    SELECT
        every_cell.cell_subreddit,
        every_cell.cell_age,
        coalesce(cell.total, 0) >= $min_group AS cell_holds,
        coalesce(subreddit.total, 0) >= $min_group AS subreddit_holds
    FROM every_cell
    LEFT JOIN groups AS cell
        ON
            cell.scope = 2
            AND every_cell.cell_subreddit = cell.group_subreddit
            AND every_cell.cell_age = cell.group_age
    LEFT JOIN groups AS subreddit
        ON
            subreddit.scope = 1
            AND every_cell.cell_subreddit = subreddit.group_subreddit
)

SELECT
    cell_subreddit,
    cell_age,
    CASE WHEN cell_holds THEN 2 WHEN subreddit_holds THEN 1 ELSE 0 END AS scope,
    CASE WHEN cell_holds OR subreddit_holds THEN cell_subreddit ELSE '' END AS group_subreddit,
    CASE WHEN cell_holds THEN cell_age ELSE -2 END AS group_age
FROM sized;
