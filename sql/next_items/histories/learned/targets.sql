-- Where rows stand, without training rows that nothing is learned from. The others begin to have
-- targets at the first event that is learned from and end with the last.
-- Grain: one row per row of a split. window_id counts from 0 in the order of (user_id, end_target),
-- training first.
-- Reads: targets, learned_places.
with

-- Materialized, since DuckDB 2.0 may fail on a join whose build side comes from unnest.
learned as materialized (
    select
        user_id,
        place
    from learned_places
),

rows_of_splits as (
    select
        targets.user_id,
        targets.split,
        targets.start_place,
        min(learned.place) as first_target,
        max(learned.place) + 1 as end_target
    from targets
    inner join learned
        on
            targets.user_id = learned.user_id
            and targets.first_target <= learned.place
            and targets.end_target > learned.place
    where targets.split = 'train'
    group by targets.user_id, targets.split, targets.start_place, targets.window_id
    union all
    select
        user_id,
        split,
        start_place,
        first_target,
        end_target
    from targets
    where split != 'train'
)

select
    row_number() over (order by user_id, end_target, split = 'train' desc) - 1 as window_id,
    user_id,
    split,
    start_place::integer as start_place,
    first_target::integer as first_target,
    end_target::integer as end_target
from rows_of_splits
order by window_id
