-- One row per reply that nearly says what an earlier comment says in a thread of another use.
-- sqlfluff:templater:placeholder:duplicate_chars:8
-- sqlfluff:templater:placeholder:test:0.1
-- sqlfluff:templater:placeholder:validation:0.1
-- sqlfluff:templater:placeholder:sft:0.1
-- sqlfluff:templater:placeholder:reward:0.1
-- sqlfluff:templater:placeholder:gold:0.1
-- The first comment to have a band decides which use may learn from it. Later comments change
-- nothing of that, so a new month never changes what stands.
UPDATE verdicts
SET reason = 'duplicate'
FROM (
    WITH owners AS (
        SELECT
            band,
            arg_min(thread_id, row(created_utc, id, thread_id)) AS thread_id
        FROM bands
        GROUP BY band
    )

    SELECT DISTINCT comments.rowid AS comment
    FROM verdicts
    INNER JOIN comments ON verdicts.comment = comments.rowid
    INNER JOIN bands ON comments.thread_id = bands.thread_id AND comments.id = bands.id
    INNER JOIN owners ON bands.band = owners.band
    WHERE
        verdicts.reason IS NULL
        AND len(comments.text) >= $duplicate_chars
        -- Most comments are the first to have their band, and a use costs two hashes.
        AND CASE
            WHEN comments.thread_id != owners.thread_id
                THEN
                    use_of(comments.thread_id, $test, $validation, $sft, $reward, $gold)
                    != use_of(owners.thread_id, $test, $validation, $sft, $reward, $gold)
        END
) AS repeats
WHERE verdicts.comment = repeats.comment
