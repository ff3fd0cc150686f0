-- One row per reply with a score: its valuation and its level.
-- sqlfluff:templater:placeholder:out:'out'
COPY (
    SELECT
        id,
        thread_id,
        subreddit,
        split,
        use,
        score,
        valuation,
        level
    FROM valued
    ORDER BY thread_id, id
) TO $out (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1, ROW_GROUP_SIZE 100000);
