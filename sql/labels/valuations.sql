-- One row per reply with a score: raw and log score, valuation and level.
-- sqlfluff:templater:placeholder:out:'out'
COPY (
    SELECT
        id,
        thread_id,
        subreddit,
        split,
        use,
        score,
        -- Signed, so that a downvoted reply lies below one that nobody voted on.
        sign(score) * ln(1 + abs(cast(score AS DOUBLE))) AS log_score,
        valuation,
        level
    FROM valued
    ORDER BY thread_id, id
) TO $out (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1, ROW_GROUP_SIZE 100000);
