-- Rows are as long as they should be, with at least one event before the targets and one target,
-- and their lists agree in length. Among the targets of a training row some may be 0.
-- Grain: one row per row that is not; the check passes by returning no rows.
-- Parameters: $max_length, $target_length, events.
-- Reads: windows.
select window_id
from windows
where
    num_context < 1
    or num_context > $max_length
    or len(item_ids) != num_context + if(split = 'train', len(target_ids), 0)
    or len(item_ids) > $max_length + if(split = 'train', 1, 0)
    or len(ratings) != len(item_ids)
    or len(times) != len(item_ids)
    or len(target_ids) < 1
    or (split != 'train' and len(target_ids) > $target_length)
    or len(target_ratings) != len(target_ids)
    or len(target_times) != len(target_ids)
    or (split != 'train' and len(seen_ids) < 1)
    or list_min(item_ids) < 1
    or list_min(target_ids) < if(split = 'train', 0, 1)
    or list_max(target_ids) < 1
