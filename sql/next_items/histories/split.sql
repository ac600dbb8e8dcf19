-- The rows of one split, in order. The targets of a training row are its events after num_context,
-- so they are not written again unless some of these are none, for which target_ids holds 0.
-- Grain: one row per row of the split.
-- Parameters: $split.
-- Reads: windows, which stands in the order of window_id.
select
    window_id,
    user_id,
    user_features,
    num_context,
    item_ids,
    ratings,
    times,
    seen_ids,
    if(
        split = 'train' and not list_contains(target_ids, 0), []::integer[], target_ids
    ) as target_ids,
    if(split = 'train', []::float[], target_ratings) as target_ratings,
    if(split = 'train', []::bigint[], target_times) as target_times
from windows
where split = $split
