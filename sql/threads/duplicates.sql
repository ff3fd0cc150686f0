-- One row per reply that says what an earlier one says in a thread of another split or use.
-- Case, spaces and line ends make no difference.
-- sqlfluff:templater:placeholder:duplicate_chars:8
UPDATE verdicts
SET reason = 'duplicate'
FROM (
    SELECT
        comments.rowid AS comment,
        coalesce(uses.use, uses.split) AS use,
        first_value(coalesce(uses.use, uses.split)) OVER (
            PARTITION BY md5(lower(replace(replace(comments.text, ' ', ''), chr(10), '')))
            ORDER BY comments.created_utc, comments.id
        ) AS first_use
    FROM comments
    INNER JOIN verdicts ON comments.rowid = verdicts.comment
    INNER JOIN uses ON comments.thread_id = uses.thread_id
    WHERE verdicts.reason IS NULL AND len(comments.text) >= $duplicate_chars
) AS repeats
WHERE verdicts.comment = repeats.comment AND repeats.use != repeats.first_use
