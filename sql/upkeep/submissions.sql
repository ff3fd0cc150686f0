-- One row per range of thread ids in which posts are an author's or a thread's own.
SELECT DISTINCT thread_range
FROM read_parquet($file)
WHERE
    list_contains($authors, author)
    OR list_contains($profiles, subreddit)
    OR list_contains($threads, id)
ORDER BY thread_range
