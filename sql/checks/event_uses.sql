-- The uses of events, in training and in one evaluation split.
-- Grain: one row per run of consecutive events of a user with the same uses, of which there is at
-- least one: positions first_place <= event < end_place.
-- Parameters: $split, the evaluation split; $input_length, $target_length, events.
-- Reads: targets.
with

-- Where the inputs of a window begin, where they end and its targets begin, and where these end.
marks as (
    select
        user_id,
        split = 'train' as is_training,
        unnest([
            greatest(target_place - $input_length, 0), target_place, target_place + $target_length
        ]) as place,
        unnest([1, -1, 0]) as num_inputs,
        unnest([0, 1, -1]) as num_targets
    from targets
    where split = 'train' or split = $split
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
