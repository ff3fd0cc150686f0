-- One row if reached and unreachable comments do not add up to all, each counted on its own.
WITH counts AS (
    SELECT
        (SELECT count(*) FROM comments) AS comments,
        (SELECT count(*) FROM paths) AS walked,
        (
            SELECT count(*) FROM comments
            ANTI JOIN paths ON comments.rowid = paths.comment
        ) AS circular
)

SELECT
    comments,
    walked,
    circular
FROM counts
WHERE comments != walked + circular
