-- All users with a rating.
-- Grain: one row per user; user_id counts from 1 in the order of user_key. split is train if the
-- user has a training rating: only these users define the values of the user features.
-- Reads: dealt.
with

counts as (
    select
        user_key,
        count(*) as num_events,
        bool_or(split = 'train') as is_known
    from dealt
    group by user_key
),

kept_users as (
    select
        user_key,
        num_events,
        (row_number() over (order by user_key))::integer as user_id,
        if(is_known, 'train', 'unknown') as split
    from counts
)

select
    user_key,
    user_id,
    num_events,
    split
from kept_users
