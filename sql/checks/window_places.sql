-- The first and last input and target of every window are at the correct positions in the user's
-- order, so that the targets directly follow the inputs.
-- Grain: one row per misplaced item; the check passes by returning no rows.
-- Parameters: $input_length, $target_length, events.
-- Reads: windows, targets, sequences.
with

-- Materialized, since DuckDB 2.0 may fail on a join whose build side comes from unnest.
corners as materialized (
    select
        targets.window_id,
        targets.user_id,
        targets.target_place,
        unnest([
            -least(targets.target_place, $input_length)::integer,
            -1,
            0,
            $target_length::integer - 1
        ]) as corner,
        unnest([
            windows.item_ids[$input_length - least(targets.target_place, $input_length) + 1],
            windows.item_ids[-1],
            windows.target_ids[1],
            windows.target_ids[-1]
        ]) as item_id
    from targets
    inner join windows on targets.window_id = windows.window_id
)

select
    corners.window_id,
    corners.corner
from corners
left join sequences
    on
        corners.user_id = sequences.user_id
        and corners.target_place + corners.corner = sequences.place
where corners.item_id is distinct from sequences.item_id
