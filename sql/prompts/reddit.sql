-- One row per prompt: the context of one reply a parent, chosen by a hash, so that no two prompts
-- are the same conversation.
-- sqlfluff:templater:placeholder:files:'files'
-- sqlfluff:templater:placeholder:count:10
-- sqlfluff:templater:placeholder:test_count:10
WITH eligible AS (
    SELECT
        id,
        thread_id,
        parent_id,
        CASE WHEN split = 'test' THEN 'test' ELSE 'train' END AS kind
    FROM read_parquet($files)
    WHERE
        (use = 'ppo' OR split = 'test')
        AND len(context) > 0
),

one_per_parent AS (
    SELECT
        thread_id,
        id,
        kind,
        md5('prompt ' || id) AS place
    FROM eligible
    QUALIFY row_number() OVER (PARTITION BY thread_id, parent_id ORDER BY md5(id), id) = 1
),

-- The texts come last, so that memory holds those of the chosen prompts and no more.
chosen AS (
    SELECT
        thread_id,
        id,
        kind,
        place
    FROM one_per_parent
    QUALIFY
        row_number() OVER (PARTITION BY kind ORDER BY place, thread_id, id)
        <= CASE WHEN kind = 'test' THEN $test_count ELSE $count END
)

SELECT
    chosen.id,
    chosen.thread_id,
    chosen.kind AS split,
    conversations.context AS turns,
    conversations.reply,
    conversations.subreddit,
    conversations.depth,
    conversations.delay,
    conversations.hour,
    conversations.parent_score
FROM chosen
INNER JOIN read_parquet($files) AS conversations
    ON
        chosen.thread_id = conversations.thread_id
        AND chosen.id = conversations.id
ORDER BY chosen.kind, chosen.place, chosen.thread_id, chosen.id;
