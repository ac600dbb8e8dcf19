-- Users in consecutive ranges of about equally many ratings.
-- Grain: one row per range, in order: its first and last user. A user is in one range.
-- Parameters: $events_per_block, ratings of a range.
-- Reads: user_keys.
with

accumulated as (
    select
        user_key,
        sum(num_ratings) over (order by user_key) - num_ratings as num_before
    from user_keys
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
