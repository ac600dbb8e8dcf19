-- The uses of each event, in training and in one evaluation split.
-- Grain: one row per event that a window of either uses.
-- Parameters: $split, the evaluation split; $input_length, $target_length, events.
-- Reads: targets, sequences.
with

used as (
    select
        user_id,
        target_place,
        split,
        unnest(
            range(greatest(target_place - $input_length, 0), target_place + $target_length)
        ) as place
    from targets
    where split = 'train' or split = $split
),

uses as (
    select
        user_id,
        place,
        bool_or(split = 'train' and place < target_place) as is_training_input,
        bool_or(split = 'train' and place >= target_place) as is_training_target,
        bool_or(split = $split and place < target_place) as is_evaluation_input,
        bool_or(split = $split and place >= target_place) as is_evaluation_target
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
