-- One row: how many conversations are an author's or of a thread.
SELECT count(*) AS held
FROM read_parquet($file)
WHERE
    list_contains($authors, author)
    OR list_contains($profiles, subreddit)
    OR list_contains($threads, thread_id)
