-- Windows are full: of the correct widths, without padding or items outside the catalogue.
-- Grain: one row per window that is not; the check passes by returning no rows.
-- Parameters: $input_length, $target_length, events.
-- Reads: windows, catalogue.
with

catalogue_size as (
    select max(item_id) as num_items
    from catalogue
)

select windows.window_id
from windows
cross join catalogue_size
where
    len(windows.item_ids) != $input_length
    or len(windows.ratings) != $input_length
    or len(windows.times) != $input_length
    or len(windows.target_ids) != $target_length
    or len(windows.target_ratings) != $target_length
    or list_min(windows.item_ids) < 1
    or list_min(windows.target_ids) < 1
    or list_max(windows.item_ids) > catalogue_size.num_items
    or list_max(windows.target_ids) > catalogue_size.num_items
