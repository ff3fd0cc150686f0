-- One row per record of a chunk of a CSV file, as the dumps write a comment or a submission.
-- sqlfluff:templater:placeholder:shaped:'shaped'
COPY (
    SELECT
        id,
        link_id,
        parent_name(nullif(parent_id, ''), link_id) AS parent_id,
        nullif(author, '') AS author,
        nullif(subreddit, '') AS subreddit,
        -- An empty cell is a missing value, and an empty text where a text belongs.
        title,
        selftext,
        body,
        nullif(score, '') AS score,
        coalesce(instant(created_utc)::VARCHAR, created_utc) AS created_utc,
        coalesce(instant(retrieved_on)::VARCHAR, nullif(retrieved_on, '')) AS retrieved_on,
        CASE WHEN edited = '' OR NOT try_cast(edited AS BOOLEAN) THEN 'false' ELSE edited END
            AS edited,
        nullif(stickied, '') AS stickied,
        nullif(distinguished, '') AS distinguished,
        nullif(over_18, '') AS over_18
    FROM
        read_ndjson(
            $chunk,
            maximum_object_size = 17825792,
            columns = {
                id: 'VARCHAR',
                link_id: 'VARCHAR',
                parent_id: 'VARCHAR',
                author: 'VARCHAR',
                subreddit: 'VARCHAR',
                title: 'VARCHAR',
                selftext: 'VARCHAR',
                body: 'VARCHAR',
                score: 'VARCHAR',
                created_utc: 'VARCHAR',
                retrieved_on: 'VARCHAR',
                edited: 'VARCHAR',
                stickied: 'VARCHAR',
                distinguished: 'VARCHAR',
                over_18: 'VARCHAR'
            }
        )
) TO $shaped (FORMAT json)
