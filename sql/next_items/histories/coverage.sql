-- How many users and events are in no row.
-- Grain: one row per split, in order, and before them the row any, of all splits together: the
-- users that the split should judge or teach, their events there, and how many of both are in none
-- of its rows, neither as context nor as target.
-- Parameters: $is_for_all, whether a split should have every kept user, or only those with events
-- in its range.
-- Reads: kept_users, ranges, targets.
with

spans as (
    select
        user_id,
        'any' as split,
        0 as first_place,
        num_events as end_place
    from kept_users
    union all
    select
        user_id,
        split,
        first_target as first_place,
        end_target as end_place
    from ranges
    where $is_for_all or first_target < end_target
),

placed as (
    select
        user_id,
        'any' as split,
        start_place,
        end_target
    from targets
    union all
    select
        user_id,
        split,
        start_place,
        end_target
    from targets
),

added as (
    select
        placed.user_id,
        placed.split,
        greatest(
            placed.end_target - greatest(
                spans.first_place,
                placed.start_place,
                coalesce(
                    max(placed.end_target) over (
                        partition by placed.user_id, placed.split
                        order by placed.start_place, placed.end_target
                        rows between unbounded preceding and 1 preceding
                    ),
                    0
                )
            ),
            0
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
        sum(spans.end_place - spans.first_place)::bigint as num_events,
        sum(
            spans.end_place - spans.first_place - coalesce(covered.num_events, 0)
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
