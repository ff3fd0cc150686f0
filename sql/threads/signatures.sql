-- One row per comment whose text is long enough: two hashes, of which near-duplicates share one.
-- sqlfluff:templater:placeholder:out:'out'
-- sqlfluff:templater:placeholder:duplicate_chars:8
-- sqlfluff:templater:placeholder:bots:TRUE
-- Min-hashing with one permutation (Li, Owen and Zhang 2012): every three words in a row are
-- hashed, and the smallest hash is kept in each of eight parts. The two hashes are bands of four of
-- these: texts that share the part J of their word triples agree in one with 1 - (1 - J^4)^2.
COPY (
    WITH comments AS (
        SELECT
            line,
            thread_range,
            thread_id,
            id,
            created_utc,
            body
        FROM read_parquet($comments)
        WHERE len(body) >= $duplicate_chars AND ($bots OR NOT bot)
    ),

    texts AS (
        SELECT
            line,
            list_filter(
                string_split(
                    lower(replace(replace(body, chr(13), ' '), chr(10), ' ')), ' '
                ),
                LAMBDA word: word != ''
            ) AS words
        FROM comments
    ),

    triples AS (
        SELECT
            line,
            unnest(
                CASE
                    WHEN len(words) < 3 THEN [md5_number_lower(array_to_string(words, ' '))]
                    ELSE
                        list_transform(
                            range(1, len(words) - 1),
                            LAMBDA i:
                            md5_number_lower(
                                words[i] || ' ' || words[i + 1] || ' ' || words[i + 2]
                            )
                        )
                END
            ) AS triple
        FROM texts
    ),

    bands AS (
        SELECT
            line,
            concat_ws(
                ',',
                'a',
                coalesce(min(triple) FILTER (WHERE triple % 8 = 0)::VARCHAR, ''),
                coalesce(min(triple) FILTER (WHERE triple % 8 = 1)::VARCHAR, ''),
                coalesce(min(triple) FILTER (WHERE triple % 8 = 2)::VARCHAR, ''),
                coalesce(min(triple) FILTER (WHERE triple % 8 = 3)::VARCHAR, '')
            ) AS low,
            concat_ws(
                ',',
                'b',
                coalesce(min(triple) FILTER (WHERE triple % 8 = 4)::VARCHAR, ''),
                coalesce(min(triple) FILTER (WHERE triple % 8 = 5)::VARCHAR, ''),
                coalesce(min(triple) FILTER (WHERE triple % 8 = 6)::VARCHAR, ''),
                coalesce(min(triple) FILTER (WHERE triple % 8 = 7)::VARCHAR, '')
            ) AS high
        FROM triples
        GROUP BY line
    )

    SELECT
        comments.thread_range,
        comments.thread_id,
        comments.id,
        comments.created_utc,
        -- A band without any triple says nothing.
        md5_number_lower(nullif(bands.low, 'a,,,,')) AS low,
        md5_number_lower(nullif(bands.high, 'b,,,,')) AS high
    FROM bands
    INNER JOIN comments ON bands.line = comments.line
    ORDER BY comments.line
) TO $out (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1, ROW_GROUP_SIZE 61440)
