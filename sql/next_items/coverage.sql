-- How many users and events have no window.
-- Grain: one row per split, in order, and before them the row any, for all splits together: the
-- users that the split should evaluate or train on, their events there, and how many of both are in
-- none of its windows, neither as input nor as target. Where windows are assigned to splits at
-- random, any is the only row.
-- Parameters: $input_length, $target_length, events; $is_for_all, whether a split should include
-- every kept user, or only those with events in its range.
-- Reads: kept_users, ranges, targets.
with

spans as (
    select
        user_id,
        'any' as split,
        0 as first_target,
        num_events as end_target
    from kept_users
    union all
    select
        user_id,
        split,
        first_target,
        end_target
    from ranges
    where split is not null and ($is_for_all or first_target < end_target)
),

placed as (
    select
        user_id,
        'any' as split,
        target_place
    from targets
    union all
    select
        user_id,
        split,
        target_place
    from targets
),

added as (
    select
        placed.user_id,
        placed.split,
        placed.target_place + $target_length - greatest(
            spans.first_target,
            placed.target_place - $input_length,
            lag(placed.target_place + $target_length, 1, 0) over (
                partition by placed.user_id, placed.split
                order by placed.target_place
            )
        ) as num_events
    from placed
    inner join spans on placed.user_id = spans.user_id and placed.split = spans.split
),

covered as (
    select
        user_id,
        split,
        sum(num_events) as num_events
    from added
    group by user_id, split
),

coverage as (
    select
        spans.split,
        count(*) as num_users,
        count(*) filter (where covered.user_id is null) as num_users_without,
        sum(spans.end_target - spans.first_target)::bigint as num_events,
        sum(
            spans.end_target - spans.first_target - coalesce(covered.num_events, 0)
        )::bigint as num_events_without
    from spans
    left join covered on spans.user_id = covered.user_id and spans.split = covered.split
    group by spans.split
)

select
    split,
    num_users,
    num_users_without,
    num_events,
    num_events_without
from coverage
order by list_position(['any', 'train', 'validation', 'test'], split)
