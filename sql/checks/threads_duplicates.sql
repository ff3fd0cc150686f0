-- One row per reply that shares a band with the first comment to have it, in another use's thread.
-- sqlfluff:templater:placeholder:out:'out'
-- sqlfluff:templater:placeholder:duplicate_chars:8
-- sqlfluff:templater:placeholder:test:0.1
-- sqlfluff:templater:placeholder:validation:0.1
-- sqlfluff:templater:placeholder:sft:0.1
-- sqlfluff:templater:placeholder:reward:0.1
-- sqlfluff:templater:placeholder:gold:0.1
WITH firsts AS (
    SELECT
        thread_id,
        id,
        first_value(thread_id) OVER (
            PARTITION BY band
            ORDER BY created_utc, id, thread_id
        ) AS first_thread
    FROM bands
),

uses AS (
    SELECT
        thread_id,
        id,
        use_of(first_thread, $test, $validation, $sft, $reward, $gold) AS first_use
    FROM firsts
    WHERE first_thread != thread_id
)

SELECT
    replies.id,
    uses.first_use
FROM read_parquet($out) AS replies
INNER JOIN uses ON replies.thread_id = uses.thread_id AND replies.id = uses.id
WHERE
    len(replies.reply) >= $duplicate_chars
    AND coalesce(replies.use, replies.split) != uses.first_use
