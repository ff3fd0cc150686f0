-- One row per usable line of a file of submissions, in the order of their ids.
-- sqlfluff:templater:placeholder:out:'out'
COPY (
    SELECT
        id,
        author,
        author_deleted,
        bot,
        subreddit,
        title,
        selftext,
        score,
        created_utc,
        retrieved_on,
        retrieved_2nd_on,
        edited,
        stickied,
        distinguished,
        over_18,
        line,
        range_name(thread_number, $width, created_utc) AS thread_range
    FROM read_parquet($parts)
    WHERE reason IS NULL
    ORDER BY thread_number NULLS LAST, thread_range, id, created_utc, line
) TO $out (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1, ROW_GROUP_SIZE 61440)
