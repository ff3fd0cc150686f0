-- One row per conversation of a ConvoKit corpus: what its utterances do not say.
CREATE TABLE conversations AS
WITH lines AS (
    SELECT
        row_number() OVER () AS line,
        id,
        title,
        subreddit
    FROM
        read_ndjson(
            $lines,
            maximum_object_size = 17825792,
            columns = { id: 'VARCHAR', title: 'VARCHAR', subreddit: 'VARCHAR' }
        )
)

SELECT
    id,
    -- Of a conversation that stands twice the last counts, as for any key of a JSON object.
    last(title ORDER BY line) AS title,
    last(subreddit ORDER BY line) AS subreddit
FROM lines
GROUP BY id
