-- One row per utterance of a chunk of a ConvoKit corpus, as the dumps write it: the one that opens
-- its conversation is the post and has a title, all others are comments and have a body.
-- sqlfluff:templater:placeholder:shaped:'shaped'
COPY (
    WITH lines AS (
        SELECT
            row_number() OVER () AS line,
            said.id,
            -- ConvoKit's names have changed over the years.
            coalesce(said.conversation_id, said.root) AS conversation,
            coalesce(said.speaker, said.user) AS speaker,
            coalesce(said.reply_to, said."reply-to") AS parent,
            said.text,
            said.timestamp,
            said.meta
        FROM
            read_ndjson(
                $chunk,
                maximum_object_size = 17825792,
                columns = {
                    id: 'VARCHAR',
                    conversation_id: 'VARCHAR',
                    root: 'VARCHAR',
                    speaker: 'JSON',
                    'user': 'JSON',
                    reply_to: 'VARCHAR',
                    'reply-to': 'VARCHAR',
                    text: 'VARCHAR',
                    timestamp: 'VARCHAR',
                    meta: 'JSON'
                }
            ) AS said
    ),

    utterances AS (
        SELECT
            lines.line,
            lines.id,
            lines.conversation,
            lines.parent,
            lines.text,
            lines.timestamp,
            coalesce(lines.id = lines.conversation, FALSE) AS post,
            CASE
                WHEN json_type(lines.speaker) = 'OBJECT' THEN lines.speaker ->> '$.id'
                ELSE lines.speaker ->> '$'
            END AS author,
            lines.meta ->> '$.score' AS score,
            lines.meta ->> '$.retrieved_on' AS retrieved_on,
            lines.meta ->> '$.stickied' AS stickied,
            coalesce(lines.meta ->> '$.subreddit', conversations.subreddit) AS subreddit,
            conversations.title
        FROM lines
        LEFT JOIN conversations ON lines.conversation = conversations.id
    )

    SELECT
        id,
        CASE WHEN NOT post THEN conversation END AS link_id,
        parent_name(parent, conversation) AS parent_id,
        author,
        subreddit,
        CASE WHEN post THEN coalesce(title, '') END AS title,
        CASE WHEN post THEN text END AS selftext,
        CASE WHEN NOT post THEN text END AS body,
        -- ConvoKit writes −1 for a number that was missing.
        CASE WHEN integral(score) = -1 THEN NULL ELSE score END AS score,
        coalesce(instant(timestamp)::VARCHAR, timestamp) AS created_utc,
        CASE WHEN integral(retrieved_on) = -1 THEN NULL ELSE retrieved_on END AS retrieved_on,
        stickied
    FROM utterances
    ORDER BY line
) TO $shaped (FORMAT json)
