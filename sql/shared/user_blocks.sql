-- Users in consecutive blocks of about equally many events, to be worked on one after the other.
-- Grain: one row per block, in order: its first and last user. A user is in one block.
-- Parameters: $events_per_block.
-- Reads: kept_users.
with

accumulated as (
    select
        user_id,
        sum(num_events) over (order by user_id) - num_events as num_before
    from kept_users
),

blocks as (
    select
        min(user_id) as first_user,
        max(user_id) as last_user
    from accumulated
    group by num_before // $events_per_block
)

select
    first_user,
    last_user
from blocks
order by first_user
