-- Where rows stand. A training history is cut from its newest event on into chunks of step targets
-- with the events before them as context; a judged user has the newest max_length events.
-- Grain: one row per row of a split: the positions start <= event < first_target of its context
-- and first_target <= target < end_target of its targets. window_id counts from 0 in the order of
-- (user_id, end_target), training first.
-- Parameters: $step, targets of a chunk; $context, events before the targets of a chunk;
-- $max_length, events before the targets of a judged user.
-- Reads: ranges, judged.
with

chunk_ends as (
    select
        user_id,
        unnest(range(end_target, 1, -$step::bigint)) as end_target
    from ranges
    where split = 'train'
),

rows_of_splits as (
    select
        user_id,
        'train' as split,
        greatest(greatest(end_target - $step, 1) - $context, 0) as start_place,
        greatest(end_target - $step, 1) as first_target,
        end_target
    from chunk_ends
    union all
    select
        user_id,
        split,
        greatest(first_target - $max_length, 0) as start_place,
        first_target,
        end_target
    from judged
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
