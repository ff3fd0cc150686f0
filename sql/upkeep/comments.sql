-- One row per range of thread ids in which comments are an author's or of a thread.
SELECT DISTINCT thread_range
FROM read_parquet($file)
WHERE
    list_contains($authors, author)
    OR list_contains($profiles, subreddit)
    OR list_contains($threads, thread_id)
ORDER BY thread_range
