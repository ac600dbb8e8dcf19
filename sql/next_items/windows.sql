-- The windows themselves, in order.
-- Grain: one row per window: input_length items, oldest first, with their ratings and times, and
-- the target_length items that follow. Where fewer events precede the targets, the inputs are
-- left-padded with 0.
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

cut as (
    select
        targets.window_id,
        targets.split,
        targets.user_id,
        users.user_features,
        framed.items,
        framed.frame_ratings,
        framed.frame_times,
        least(targets.target_place, $input_length)::integer as num_inputs,
        framed.event_time as target_time
    from targets
    inner join framed
        on
            targets.user_id = framed.user_id
            and targets.target_place = framed.place
    inner join users on targets.user_id = users.user_id
),

windows as (
    select
        window_id,
        split,
        user_id,
        user_features,
        target_time,
        list_concat(
            list_resize([]::integer[], ($input_length - num_inputs)::integer, 0),
            list_slice(items, 1, num_inputs)
        ) as item_ids,
        list_concat(
            list_resize([]::float[], ($input_length - num_inputs)::integer, 0),
            list_slice(frame_ratings, 1, num_inputs)
        ) as ratings,
        list_concat(
            list_resize([]::bigint[], ($input_length - num_inputs)::integer, 0),
            list_slice(frame_times, 1, num_inputs)
        ) as times,
        list_slice(items, num_inputs + 1, num_inputs + $target_length) as target_ids,
        list_slice(
            frame_ratings, num_inputs + 1, num_inputs + $target_length
        ) as target_ratings
    from cut
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
