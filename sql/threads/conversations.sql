-- One row per eligible reply: the conversation before it, and what is known of both.
-- sqlfluff:templater:placeholder:out:'out'
-- sqlfluff:templater:placeholder:deleted:'[deleted]'
-- sqlfluff:templater:placeholder:post:TRUE
COPY (
    WITH kept AS (
        SELECT
            paths.comment,
            paths.whole,
            paths.depth,
            paths.above,
            links.parent
        FROM paths
        INNER JOIN verdicts ON paths.comment = verdicts.comment
        INNER JOIN links ON paths.comment = links.comment
        WHERE verdicts.reason IS NULL
    ),

    openings AS (
        SELECT
            id,
            CASE
                WHEN NOT $post THEN []
                ELSE
                    list_filter(
                        [
                            {
                                role: 'title',
                                text: CASE WHEN titled THEN coalesce(title, $deleted) END
                            },
                            { role: 'text', text: text }
                        ],
                        LAMBDA turn: turn['text'] IS NOT NULL
                    )
            END AS turns
        FROM posts
    )

    SELECT
        replies.id,
        replies.thread_id,
        replies.parent_id,
        replies.subreddit,
        replies.author,
        replies.created_utc,
        replies.score,
        -- How deep a chain lies whose beginning is missing nobody knows.
        CASE WHEN kept.whole THEN kept.depth END AS depth,
        list_concat(coalesce(openings.turns, []), kept.above) AS context,
        replies.text AS reply,
        CASE
            WHEN kept.parent IS NOT NULL THEN parents.score
            WHEN kept.whole THEN posts.score
        END AS parent_score,
        -- A reply that is older than what it answers has a wrong clock somewhere.
        CASE
            WHEN kept.parent IS NOT NULL AND replies.created_utc >= parents.created_utc
                THEN replies.created_utc - parents.created_utc
            WHEN kept.parent IS NULL AND kept.whole AND replies.created_utc >= posts.created_utc
                THEN replies.created_utc - posts.created_utc
        END AS delay,
        (replies.created_utc // 3600 % 24)::INTEGER AS hour,
        replies.age,
        uses.split,
        uses.use
    FROM kept
    INNER JOIN comments AS replies ON kept.comment = replies.rowid
    INNER JOIN uses ON replies.thread_id = uses.thread_id
    LEFT JOIN comments AS parents ON kept.parent = parents.rowid
    LEFT JOIN posts ON replies.thread_id = posts.id
    LEFT JOIN openings ON replies.thread_id = openings.id
    ORDER BY replies.thread_id, replies.created_utc, replies.id
) TO $out (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1, ROW_GROUP_SIZE 61440)
