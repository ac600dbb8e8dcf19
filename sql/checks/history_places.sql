-- The first and last event and target of every row stand where they should in the user's order.
-- Grain: one row per misplaced item; the check passes by returning no rows.
-- Reads: windows, targets, sequences.
with

-- Lists are looked at before the joins, which at scale have no memory for them.
edges as (
    select
        window_id,
        item_ids[1] as first_input,
        item_ids[num_context] as last_input,
        target_ids[1] as first_target,
        target_ids[-1] as last_target
    from windows
),

-- Materialized, since DuckDB 2.0 may fail on a join whose build side comes from unnest.
corners as materialized (
    select
        targets.window_id,
        targets.user_id,
        unnest([
            targets.start_place,
            targets.first_target - 1,
            targets.first_target,
            targets.end_target - 1
        ]) as place,
        unnest([
            edges.first_input,
            edges.last_input,
            edges.first_target,
            edges.last_target
        ]) as item_id
    from targets
    inner join edges on targets.window_id = edges.window_id
)

select
    corners.window_id,
    corners.place
from corners
left join sequences
    on corners.user_id = sequences.user_id and corners.place = sequences.place
where corners.item_id is distinct from sequences.item_id
