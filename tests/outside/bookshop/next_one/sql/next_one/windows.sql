-- One window per event that has another before it.
-- Grain: one row per event but the first of each user; inputs are left-padded with 0.
-- Parameters: $input_length, events.
-- Reads: sequences, users.
with

framed as (
    select
        user_id,
        place,
        split,
        item_id,
        rating,
        event_time,
        list(item_id) over earlier as items,
        list(rating) over earlier as given,
        list(event_time) over earlier as moments
    from sequences
    window
        earlier as (
            partition by user_id
            order by place
            rows between $input_length preceding and 1 preceding
        )
),

padded as (
    select
        user_id,
        split,
        row_number() over (order by user_id, place) - 1 as window_id,
        list_concat(list_resize([]::integer[], $input_length - len(items), 0), items) as item_ids,
        list_concat(list_resize([]::float[], $input_length - len(given), 0), given) as ratings,
        list_concat(list_resize([]::bigint[], $input_length - len(moments), 0), moments) as times,
        [item_id] as target_ids,
        [rating] as target_ratings,
        event_time as target_time
    from framed
    where place > 0
)

select
    padded.window_id,
    padded.split,
    padded.user_id,
    users.user_features,
    padded.item_ids,
    padded.ratings,
    padded.times,
    padded.target_ids,
    padded.target_ratings,
    padded.target_time
from padded
inner join users on padded.user_id = users.user_id
order by padded.window_id
