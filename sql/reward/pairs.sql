-- One row per pair of the chosen replies ($threads and $ids), in the order of a stable hash.
-- sqlfluff:templater:placeholder:pairs:'pairs'
-- sqlfluff:templater:placeholder:threads:['a']
-- sqlfluff:templater:placeholder:ids:['b']
with chosen as (
    select
        unnest($threads) as thread_id,
        unnest($ids) as id
)

select
    pairs.thread_id,
    pairs.preferred,
    pairs.rejected,
    pairs.split
from read_parquet($pairs) as pairs
inner join chosen as preferred
    on
        pairs.thread_id = preferred.thread_id
        and pairs.preferred = preferred.id
inner join chosen as rejected
    on
        pairs.thread_id = rejected.thread_id
        and pairs.rejected = rejected.id
order by
    md5(pairs.thread_id || '/' || pairs.preferred || '/' || pairs.rejected),
    pairs.thread_id,
    pairs.preferred,
    pairs.rejected
