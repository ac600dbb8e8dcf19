-- What each event serves as, in training and in one evaluation split.
-- Grain: one row per event that a row of either uses. The last event of a training row is a target
-- alone, and every event before it an input; a target that is 0 in target_ids is none.
-- Parameters: $split, the evaluation split.
-- Reads: targets, windows, sequences.
with

used as (
    select
        targets.user_id,
        targets.split,
        if(targets.split = 'train', targets.end_target - 1, targets.first_target) as end_input,
        unnest(range(targets.start_place, targets.end_target)) as place,
        unnest(
            list_concat(
                list_resize([]::integer[], targets.first_target - targets.start_place, 0),
                windows.target_ids
            )
        ) as target_id
    from targets
    inner join windows on targets.window_id = windows.window_id
    where targets.split = 'train' or targets.split = $split
),

uses as (
    select
        user_id,
        place,
        bool_or(split = 'train' and place < end_input) as is_training_input,
        bool_or(split = 'train' and target_id != 0) as is_training_target,
        bool_or(split = $split and place < end_input) as is_evaluation_input,
        bool_or(split = $split and target_id != 0) as is_evaluation_target
    from used
    group by user_id, place
),

event_uses as (
    select
        uses.user_id,
        uses.place,
        uses.is_training_input,
        uses.is_training_target,
        uses.is_evaluation_target,
        sequences.event_time,
        sequences.is_counted,
        uses.is_training_input or uses.is_training_target as is_training,
        uses.is_evaluation_input or uses.is_evaluation_target as is_evaluation
    from uses
    inner join sequences on uses.user_id = sequences.user_id and uses.place = sequences.place
)

select
    user_id,
    place,
    event_time,
    is_counted,
    is_training_input,
    is_training_target,
    is_training,
    is_evaluation_target,
    is_evaluation
from event_uses
