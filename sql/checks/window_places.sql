-- The first and last input and target of every window are at the correct positions in the user's
-- order, so that the targets directly follow the inputs. Events are found by their row, as they are
-- in order, which is checked with the others.
-- Grain: one row per misplaced item; the check passes by returning no rows.
-- Parameters: $input_length, $target_length, events.
-- Reads: windows, targets, kept_users, sequences (its rowid is its order).
with

starts as (
    select
        user_id,
        (sum(num_events) over (order by user_id) - num_events)::bigint as first_row
    from kept_users
),

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
        starts.first_row,
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
    inner join starts on targets.user_id = starts.user_id
)

select
    corners.window_id,
    corners.corner
from corners
left join sequences on corners.first_row + corners.target_place + corners.corner = sequences.rowid
where
    corners.item_id is distinct from sequences.item_id
    or corners.user_id is distinct from sequences.user_id
    or corners.target_place + corners.corner is distinct from sequences.place
