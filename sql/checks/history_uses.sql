-- What events serve as, in training and in one evaluation split. The last event of a training row
-- is a target alone, and every event before it an input; a target that is 0 in target_ids is none.
-- Grain: one row per run of consecutive events of a user with the same uses, of which there is at
-- least one: positions first_place <= event < end_place.
-- Parameters: $split, the evaluation split.
-- Reads: targets, windows.
with

-- Lists are looked at before the join, which at scale has no memory for them.
gaps as (
    select
        window_id,
        list_min(target_ids) = 0 as has_gaps,
        if(list_min(target_ids) = 0, target_ids, null) as target_ids
    from windows
),

rows_of_splits as (
    select
        targets.user_id,
        targets.start_place,
        targets.first_target,
        targets.end_target,
        gaps.target_ids,
        gaps.has_gaps,
        targets.split = 'train' as is_training
    from targets
    inner join gaps on targets.window_id = gaps.window_id
    where targets.split = 'train' or targets.split = $split
),

single as (
    select
        user_id,
        is_training,
        unnest(range(first_target, end_target)) as place,
        unnest(target_ids) as target_id
    from rows_of_splits
    where has_gaps
),

-- Where the inputs of a row begin and end, and its targets.
marks as (
    select
        user_id,
        is_training,
        unnest([
            start_place, if(is_training, end_target - 1, first_target), first_target, end_target
        ]) as place,
        unnest([1, -1, 0, 0]) as num_inputs,
        unnest(if(has_gaps, [0, 0, 0, 0], [0, 0, 1, -1])) as num_targets
    from rows_of_splits
    union all
    select
        user_id,
        is_training,
        unnest([place, place + 1]) as place,
        0 as num_inputs,
        unnest([1, -1]) as num_targets
    from single
    where target_id != 0
),

changes as (
    select
        user_id,
        place,
        sum(if(is_training, num_inputs, 0)) as training_inputs,
        sum(if(is_training, num_targets, 0)) as training_targets,
        sum(if(is_training, 0, num_inputs)) as evaluation_inputs,
        sum(if(is_training, 0, num_targets)) as evaluation_targets
    from marks
    group by user_id, place
),

ordered as (
    select
        user_id,
        place,
        training_inputs,
        training_targets,
        evaluation_inputs,
        evaluation_targets
    from changes
    order by user_id, place
),

-- What begins ends, so that all sums are 0 again after the last change of a user.
runs as (
    select
        user_id,
        place as first_place,
        lead(place) over () as end_place,
        sum(training_inputs) over so_far > 0 as is_training_input,
        sum(training_targets) over so_far > 0 as is_training_target,
        sum(evaluation_inputs) over so_far > 0 as is_evaluation_input,
        sum(evaluation_targets) over so_far > 0 as is_evaluation_target
    from ordered
    window so_far as (rows between unbounded preceding and current row)  -- noqa: PRS
)

select
    user_id,
    first_place,
    end_place,
    is_training_input,
    is_training_target,
    is_evaluation_target,
    is_training_input or is_training_target as is_training,
    is_evaluation_input or is_evaluation_target as is_evaluation
from runs
where is_training_input or is_training_target or is_evaluation_input or is_evaluation_target
