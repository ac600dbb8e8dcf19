-- The rows of one split, in order, with the codes of the features of their events, but not of the
-- targets of judged rows: an event after the other, each with one code per feature.
-- Grain: one row per row of the split.
-- Parameters: $split; $num_features.
-- Reads: windows, targets, user_codes.
select
    windows.window_id,
    windows.user_id,
    windows.user_features,
    windows.num_context,
    windows.item_ids,
    windows.ratings,
    windows.times,
    windows.seen_ids,
    if(windows.split = 'train', []::integer[], windows.target_ids) as target_ids,
    if(windows.split = 'train', []::float[], windows.target_ratings) as target_ratings,
    if(windows.split = 'train', []::bigint[], windows.target_times) as target_times,
    list_slice(
        user_codes.codes,
        targets.start_place * $num_features + 1,
        (targets.start_place + len(windows.item_ids)) * $num_features
    ) as event_features
from windows
inner join targets on windows.window_id = targets.window_id
inner join user_codes on windows.user_id = user_codes.user_id
where windows.split = $split
order by windows.window_id
