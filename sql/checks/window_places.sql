-- The first and last input and target of every window are at the correct positions in the user's
-- order, so that the targets directly follow the inputs.
-- Grain: one row per misplaced item; the check passes by returning no rows.
-- Parameters: $input_length, $target_length, events.
-- Reads: windows, targets, sequences.
with

-- Lists are looked at before the joins, which at scale have no memory for them.
edges as (
    select
        window_id,
        if(
            item_ids[1] > 0, item_ids[1], list_filter(item_ids, lambda item: item > 0)[1]
        ) as first_input,
        item_ids[-1] as last_input,
        target_ids[1] as first_target,
        target_ids[-1] as last_target
    from windows
),

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
            edges.first_input, edges.last_input, edges.first_target, edges.last_target
        ]) as item_id
    from targets
    inner join edges on targets.window_id = edges.window_id
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
