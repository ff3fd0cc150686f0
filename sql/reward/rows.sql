-- One row per reply that a reward model learns from (train) or is measured on (validation, test),
-- at most $train and $heldout a split, all replies of a parent together.
with conversations as (
    select
        id,
        thread_id,
        parent_id,
        context,
        reply,
        depth,
        delay,
        hour,
        parent_score,
        age
    from read_parquet($conversations)
),

labelled as (
    select
        id,
        thread_id,
        subreddit,
        split,
        score,
        valuation,
        level
    from read_parquet($valuations)
    where
        split in ('validation', 'test')
        or (split = 'train' and use = $use)
),

replies as (
    select
        labelled.*,
        conversations.parent_id
    from labelled
    inner join conversations
        on
            labelled.id = conversations.id
            and labelled.thread_id = conversations.thread_id
),

parents as (
    select
        split,
        thread_id,
        parent_id,
        count(*) as replies,
        md5(thread_id || '/' || parent_id) as place
    from replies
    group by split, thread_id, parent_id
),

queued as (
    select
        split,
        thread_id,
        parent_id,
        place,
        sum(replies) over (partition by split order by place, thread_id, parent_id) as upto
    from parents
),

chosen as (
    select
        split,
        thread_id,
        parent_id,
        place
    from queued
    where upto <= case when split = 'train' then $train else $heldout end
)

select
    replies.id,
    replies.thread_id,
    replies.parent_id,
    replies.subreddit,
    replies.split,
    replies.score,
    replies.valuation,
    replies.level,
    conversations.context,
    conversations.reply,
    conversations.depth,
    conversations.delay,
    conversations.hour,
    conversations.parent_score,
    conversations.age
from replies
inner join chosen
    on
        replies.split = chosen.split
        and replies.thread_id = chosen.thread_id
        and replies.parent_id = chosen.parent_id
inner join conversations
    on
        replies.id = conversations.id
        and replies.thread_id = conversations.thread_id
order by replies.split, chosen.place, replies.thread_id, replies.parent_id, replies.id
