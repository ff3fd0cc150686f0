-- One row per thread: the split that it belongs to and, for training, the use.
-- sqlfluff:templater:placeholder:test:0.1
-- sqlfluff:templater:placeholder:validation:0.1
-- sqlfluff:templater:placeholder:sft:0.1
-- sqlfluff:templater:placeholder:reward:0.1
-- sqlfluff:templater:placeholder:gold:0.1
CREATE TABLE uses AS
WITH threads AS (
    SELECT
        thread_id,
        use_of(thread_id, $test, $validation, $sft, $reward, $gold) AS word
    FROM comments
    GROUP BY thread_id
)

SELECT
    thread_id,
    CASE WHEN word IN ('test', 'validation') THEN word ELSE 'train' END AS split,
    CASE WHEN word NOT IN ('test', 'validation') THEN word END AS use
FROM threads
