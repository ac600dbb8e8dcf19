-- The windows of one split, in order.
-- Grain: one row per window.
-- Parameters: $split.
-- Reads: windows, which is in the order of window_id.
select
    window_id,
    user_id,
    user_features,
    item_ids,
    ratings,
    times,
    target_ids,
    target_ratings,
    target_time
from windows
where split = $split
