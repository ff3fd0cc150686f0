-- One row if the comments are not the conversations and the filtered ones together.
WITH counts AS (
    SELECT
        (SELECT count(*) FROM comments) AS comments,
        (SELECT count(*) FROM read_parquet($out)) AS conversations,
        (
            SELECT count(*) FROM verdicts
            WHERE reason IS NOT NULL
        ) AS filtered
)

SELECT
    comments,
    conversations,
    filtered
FROM counts
WHERE comments != conversations + filtered
