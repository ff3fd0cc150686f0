-- One row per pair of replies to the same parent: the preferred one has the higher score. The
-- margin is the difference of their valuations, at least 0 (the two may differ in age).
-- sqlfluff:templater:placeholder:out:'out'
-- sqlfluff:templater:placeholder:min_margin:2
-- sqlfluff:templater:placeholder:min_ratio:2
-- sqlfluff:templater:placeholder:later_preferred:true
COPY (
    WITH capped AS (
        SELECT
            id,
            thread_id,
            parent_id,
            created_utc,
            split,
            use,
            score,
            valuation
        FROM valued
        QUALIFY
            row_number() OVER (PARTITION BY thread_id, parent_id ORDER BY md5(id), id) <= $siblings
    ),

    compared AS (
        SELECT
            preferred.thread_id,
            preferred.parent_id,
            preferred.split,
            preferred.use,
            preferred.id AS preferred,
            rejected.id AS rejected,
            greatest(preferred.valuation - rejected.valuation, 0) AS margin
        FROM capped AS preferred
        INNER JOIN capped AS rejected
            ON
                preferred.thread_id = rejected.thread_id
                AND preferred.parent_id = rejected.parent_id
                AND preferred.score > rejected.score
        WHERE
            preferred.score - rejected.score >= $min_margin
            AND (
                $min_ratio IS NULL
                OR preferred.score >= $min_ratio * greatest(rejected.score, 1)
            )
            AND (NOT $later_preferred OR preferred.created_utc >= rejected.created_utc)
    )

    SELECT
        thread_id,
        parent_id,
        split,
        use,
        preferred,
        rejected,
        cast(margin AS DOUBLE) AS margin
    FROM compared
    QUALIFY
        row_number() OVER (
            PARTITION BY thread_id, parent_id
            ORDER BY md5(preferred || ' ' || rejected), preferred, rejected
        ) <= $per_parent
    ORDER BY thread_id, parent_id, preferred, rejected
) TO $out (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1, ROW_GROUP_SIZE 100000);
