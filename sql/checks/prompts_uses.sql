-- One row per prompt that comes from a thread of another use or split than its own kind may see.
-- sqlfluff:templater:placeholder:prompts:'prompts'
-- sqlfluff:templater:placeholder:files:'files'
SELECT
    prompts.id,
    prompts.split,
    conversations.split AS thread_split,
    conversations.use AS thread_use
FROM read_parquet($prompts) AS prompts
LEFT JOIN read_parquet($files) AS conversations
    ON
        prompts.thread_id = conversations.thread_id
        AND prompts.id = conversations.id
WHERE
    conversations.id IS NULL
    OR (prompts.split = 'train' AND conversations.use IS DISTINCT FROM 'ppo')
    OR (prompts.split = 'test' AND conversations.split <> 'test');
