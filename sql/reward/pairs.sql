-- One row per pair of replies to the same parent, in the order of a stable hash.
select
    thread_id,
    preferred,
    rejected,
    split
from read_parquet($pairs)
where
    split in ('validation', 'test')
    or (split = 'train' and use = $use)
order by md5(thread_id || '/' || preferred || '/' || rejected), thread_id, preferred, rejected
