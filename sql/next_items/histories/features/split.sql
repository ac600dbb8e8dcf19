-- The rows of one split, in order, with the codes of the features of their events, but not of the
-- targets of judged rows: an event after the other, each with one code per feature.
-- Grain: one row per row of the split.
-- Parameters: $split; $num_features.
-- Reads: windows, targets, user_codes.
with

places as (
    select
        window_id,
        start_place * $num_features + 1 as first_code,
        if(split = 'train', end_target, first_target) * $num_features as last_code
    from targets
    where split = $split
)

select
    windows.window_id,
    windows.user_id,
    windows.user_features,
    windows.num_context,
    windows.item_ids,
    windows.ratings,
    windows.times,
    windows.seen_ids,
    if(
        windows.split = 'train' and not list_contains(windows.target_ids, 0),
        []::integer[],
        windows.target_ids
    ) as target_ids,
    if(windows.split = 'train', []::float[], windows.target_ratings) as target_ratings,
    if(windows.split = 'train', []::bigint[], windows.target_times) as target_times,
    list_slice(user_codes.codes, places.first_code, places.last_code) as event_features
from windows
inner join places on windows.window_id = places.window_id
inner join user_codes on windows.user_id = user_codes.user_id
order by windows.window_id
