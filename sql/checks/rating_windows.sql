-- Every rating became one window, with the correct number, target and width.
-- Grain: one row per rating that did not; the check passes by returning no rows.
-- Parameters: $input_length, ratings.
-- Reads: windows, sequences.
with

counted as (
    select
        rowid as row_number,
        window_id,
        split,
        target_ids,
        target_ratings,
        len(item_ids) as num_items,
        len(ratings) as num_ratings,
        len(times) as num_times,
        len(list_filter(item_ids, lambda item: item > 0)) as num_inputs
    from windows
)

select
    sequences.window_id,
    counted.window_id as found
from sequences
full join counted on sequences.window_id = counted.window_id
where
    sequences.window_id is null
    or counted.window_id is null
    or counted.row_number != counted.window_id
    or counted.split != sequences.split
    or counted.target_ids != [sequences.item_id]
    or counted.target_ratings != [sequences.rating]
    or counted.num_items != $input_length
    or counted.num_ratings != $input_length
    or counted.num_times != $input_length
    or counted.num_inputs != least(sequences.num_before, $input_length)
