-- One row per depth that occurs, null for an unknown one, all from the deepest bin on together: how
-- many replies.
-- sqlfluff:templater:placeholder:deepest:8
SELECT
    CASE WHEN depth IS NOT NULL THEN least(depth, $deepest) END AS bin,
    count(*) AS replies
FROM read_parquet($files)
GROUP BY bin
ORDER BY bin;
