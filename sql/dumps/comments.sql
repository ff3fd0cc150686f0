-- One row per usable line of a file of comments, thread by thread, so that a range lies together.
-- sqlfluff:templater:placeholder:out:'out'
COPY (
    SELECT
        id,
        thread_id,
        parent_id,
        parent_kind,
        author,
        author_deleted,
        bot,
        subreddit,
        body,
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
    ORDER BY thread_number NULLS LAST, thread_range, thread_id, created_utc, id, line
) TO $out (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1, ROW_GROUP_SIZE 61440)
