-- Inputs that a window must not have, found independently of the positions used to build windows.
-- Grain: one row:
--   inputs            inputs of all windows of training and of one evaluation split
--   inputs_not_before of those, not a rating that the user gave before the target in order
--   inputs_held_out   of those, a rating that the user gave before, but that is held out
-- Parameters: $split, the evaluation split.
-- Reads: windows, sequences.
with

used as (
    select
        windows.user_id,
        windows.window_id,
        unnest(windows.item_ids) as item_id,
        unnest(windows.ratings) as rating
    from windows
    where windows.split = 'train' or windows.split = $split
),

inputs as (
    select
        user_id,
        window_id,
        item_id,
        rating
    from used
    where item_id != 0
),

judged as (
    select
        inputs.window_id,
        inputs.item_id,
        bool_or(coalesce(sequences.window_id < inputs.window_id, false)) as is_before,
        bool_or(
            coalesce(sequences.window_id < inputs.window_id and sequences.split = 'train', false)
        ) as is_training
    from inputs
    left join sequences
        on
            inputs.user_id = sequences.user_id
            and inputs.item_id = sequences.item_id
            and inputs.rating = sequences.rating
    group by inputs.window_id, inputs.item_id
)

select
    (select count(*) from inputs) as inputs,
    count(*) filter (where not is_before) as inputs_not_before,
    count(*) filter (where is_before and not is_training) as inputs_held_out
from judged
