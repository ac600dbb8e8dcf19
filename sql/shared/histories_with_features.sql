-- The input of recommendations, with the codes of the features of every user's latest events.
-- Grain: one row per kept user, by user_id; event_features are left-padded with 0 like the other
-- lists, with one code per feature of each event.
-- Parameters: $num_codes, of the input length.
-- Reads: histories, user_codes.
with

latest as (
    select
        user_id,
        list_concat(
            list_resize([]::integer[], greatest($num_codes - len(codes), 0)::integer, 0),
            list_slice(codes, greatest(len(codes) - $num_codes, 0) + 1, len(codes))
        ) as codes
    from user_codes
)

select
    histories.user_id,
    histories.user_features,
    histories.item_ids,
    histories.ratings,
    histories.times,
    histories.seen_ids,
    latest.codes as event_features
from histories
inner join latest on histories.user_id = latest.user_id
order by histories.user_id
