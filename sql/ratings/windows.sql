-- One window per rating: the rating to be predicted, and the user's latest training ratings before
-- it in the user's order.
-- Grain: one row per rating; the inputs are oldest first, left-padded with 0 to the input length.
-- A held-out rating is never an input, so that sequential and other models are trained on the same
-- ratings and evaluated with the same knowledge.
-- Parameters: $input_length, ratings; $ratings_before, input_length - 1.
-- Reads: sequences, users.
with

training as (
    select
        user_id,
        num_before as training_place,
        list(item_id) over latest as items,
        list(rating) over latest as given,
        list(event_time) over latest as moments
    from sequences
    where split = 'train'
    window
        latest as (
            partition by user_id
            order by num_before
            rows between $ratings_before preceding and current row
        )
),

framed as (
    select
        sequences.window_id,
        sequences.split,
        sequences.user_id,
        users.user_features,
        sequences.item_id,
        sequences.rating,
        sequences.event_time,
        coalesce(training.items, []::integer[]) as items,
        coalesce(training.given, []::float[]) as given,
        coalesce(training.moments, []::bigint[]) as moments
    from sequences
    inner join users on sequences.user_id = users.user_id
    left join training
        on
            sequences.user_id = training.user_id
            and sequences.num_before - 1 = training.training_place
),

windows as (
    select
        window_id,
        split,
        user_id,
        user_features,
        list_concat(list_resize([]::integer[], $input_length - len(items), 0), items) as item_ids,
        list_concat(list_resize([]::float[], $input_length - len(given), 0), given) as ratings,
        list_concat(list_resize([]::bigint[], $input_length - len(moments), 0), moments) as times,
        [item_id] as target_ids,
        [rating] as target_ratings,
        event_time as target_time
    from framed
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
