-- Users in consecutive ranges of about equally many ratings.
-- Grain: one row per range, in order: its first and last user. A user is in one range.
-- Parameters: $events_per_block, ratings of a range.
-- Reads: ratings, user_keys.
with

sizes as (
    select
        user_source_id,
        count(*) as num_ratings
    from ratings
    group by user_source_id
),

accumulated as (
    select
        user_keys.user_key,
        sum(sizes.num_ratings) over (order by user_keys.user_key) - sizes.num_ratings as num_before
    from sizes
    inner join user_keys on sizes.user_source_id = user_keys.user_source_id
),

ranges as (
    select
        min(user_key) as first_key,
        max(user_key) as last_key
    from accumulated
    group by num_before // $events_per_block
)

select
    first_key,
    last_key
from ranges
order by first_key
