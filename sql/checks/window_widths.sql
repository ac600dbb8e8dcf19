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

-- Lists are looked at before the join, which at scale has no memory for them.
padded as (
    select
        window_id,
        item_ids,
        target_ids,
        len(item_ids) != $input_length
        or len(ratings) != $input_length
        or len(times) != $input_length
        or len(target_ids) != $target_length
        or len(target_ratings) != $target_length
        or list_min(target_ids) < 1 as is_wrong,
        if(
            list_min(item_ids) > 0, 0, len(list_filter(item_ids, lambda item: item < 1))
        ) as num_padding
    from windows
),

measured as (
    select
        padded.window_id,
        padded.num_padding,
        padded.is_wrong
        or list_max(padded.item_ids) > catalogue_size.num_items
        or list_max(padded.target_ids) > catalogue_size.num_items
        or (
            padded.num_padding > 0
            and list_min(padded.item_ids[padded.num_padding + 1:]) < 1
        ) as is_wrong
    from padded
    cross join catalogue_size
)

select measured.window_id
from measured
left join targets on measured.window_id = targets.window_id
where
    measured.is_wrong
    or measured.num_padding
    != greatest($input_length - coalesce(targets.target_place, $input_length), 0)
