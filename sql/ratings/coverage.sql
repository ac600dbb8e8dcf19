-- How many users have no window. Every rating has one, so only a single split can lack a user.
-- Grain: one row per split that has ratings, in order, and before them the row any, for all splits
-- together: the users that the split should evaluate or train on, and how many of them have no
-- rating in it; its ratings, none of which is without a window.
-- Parameters: $is_for_all, whether a split should include every user, or only those it has.
-- Reads: dealt.
with

placed as (
    select
        user_key,
        'any' as split
    from dealt
    union all
    select
        user_key,
        split
    from dealt
),

everyone as (
    select
        count(distinct user_key) as num_users,
        $is_for_all as is_wanted
    from dealt
),

counts as (
    select
        split,
        count(distinct user_key) as num_users,
        count(*) as num_events
    from placed
    group by split
),

coverage as (
    select
        counts.split,
        if(everyone.is_wanted, everyone.num_users, counts.num_users) as num_users,
        if(everyone.is_wanted, everyone.num_users - counts.num_users, 0) as num_users_without,
        counts.num_events,
        0 as num_events_without
    from counts
    cross join everyone
)

select
    split,
    num_users,
    num_users_without,
    num_events,
    num_events_without
from coverage
order by list_position(['any', 'train', 'validation', 'test'], split)
