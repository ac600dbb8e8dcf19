-- The windows themselves, in order.
-- Grain: one row per window: input_length items, oldest first, with their ratings and times, and
-- the target_length items that follow.
-- Parameters: $input_length, $target_length, events; $last_target, events from a window's first
-- target to its last, that is target_length - 1.
-- Reads: sequences, targets, users.
with

framed as (
    select
        user_id,
        place,
        event_time,
        list(item_id) over frame as items,
        list(rating) over frame as frame_ratings,
        list(event_time) over frame as frame_times
    from sequences
    window
        frame as (
            partition by user_id
            order by place
            rows between $input_length preceding and $last_target following
        )
),

windows as (
    select
        targets.window_id,
        targets.split,
        targets.user_id,
        users.user_features,
        list_slice(framed.items, 1, $input_length) as item_ids,
        list_slice(framed.frame_ratings, 1, $input_length) as ratings,
        list_slice(framed.frame_times, 1, $input_length) as times,
        list_slice(framed.items, $input_length + 1, $input_length + $target_length) as target_ids,
        list_slice(
            framed.frame_ratings, $input_length + 1, $input_length + $target_length
        ) as target_ratings,
        framed.event_time as target_time
    from targets
    inner join framed
        on
            targets.user_id = framed.user_id
            and targets.target_place = framed.place
    inner join users on targets.user_id = users.user_id
)

select
    window_id,
    split,
    user_id,
    user_features,
    item_ids,
    ratings,
    times,
    target_ids,
    target_ratings,
    target_time
from windows
order by window_id
