-- One row per thread: the split that it belongs to and, for training, the use.
CREATE TABLE uses AS
WITH threads AS (
    SELECT
        thread_id,
        share('split', thread_id) AS split_share,
        share('use', thread_id) AS use_share
    FROM comments
    GROUP BY thread_id
),

splits AS (
    SELECT
        thread_id,
        use_share,
        CASE
            WHEN split_share < $test THEN 'test'
            WHEN split_share < $test + $validation THEN 'validation'
            ELSE 'train'
        END AS split
    FROM threads
)

SELECT
    thread_id,
    split,
    CASE
        WHEN split != 'train' THEN NULL
        WHEN use_share < $sft THEN 'sft'
        WHEN use_share < $sft + $reward THEN 'reward'
        WHEN use_share < $sft + $reward + $gold THEN 'gold'
        ELSE 'ppo'
    END AS use
FROM splits
