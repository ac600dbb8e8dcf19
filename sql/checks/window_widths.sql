-- Windows are full: of the correct widths, without items outside the catalogue, and padded only
-- where fewer events precede the targets, before the first of them.
-- Grain: one row per window that is not; the check passes by returning no rows.
-- Parameters: $input_length, $target_length, events.
-- Reads: windows, targets, catalogue.
with

catalogue_size as (
    select max(item_id) as num_items
    from catalogue
),

padded as (
    select
        windows.window_id,
        greatest($input_length - coalesce(targets.target_place, $input_length), 0) as num_padding
    from windows
    left join targets on windows.window_id = targets.window_id
)

select windows.window_id
from windows
inner join padded on windows.window_id = padded.window_id
cross join catalogue_size
where
    len(windows.item_ids) != $input_length
    or len(windows.ratings) != $input_length
    or len(windows.times) != $input_length
    or len(windows.target_ids) != $target_length
    or len(windows.target_ratings) != $target_length
    or list_min(windows.item_ids[padded.num_padding + 1:]) < 1
    or coalesce(list_max(windows.item_ids[:padded.num_padding]), 0) > 0
    or list_min(windows.target_ids) < 1
    or list_max(windows.item_ids) > catalogue_size.num_items
    or list_max(windows.target_ids) > catalogue_size.num_items
