-- Every target of a window of training is learned from in exactly one training row, and nothing
-- else is: no target of a held-out window.
-- Grain: one row per event of which that is not so; the check passes by returning no rows.
-- Reads: learned_places, targets, windows, sequences.
with

-- Materialized, since DuckDB 2.0 may fail on a join whose build side comes from unnest.
wanted as materialized (
    select
        learned_places.user_id,
        learned_places.place,
        sequences.item_id
    from learned_places
    inner join sequences
        on
            learned_places.user_id = sequences.user_id
            and learned_places.place = sequences.place
),

found as materialized (
    select
        targets.user_id,
        unnest(range(targets.first_target, targets.end_target)) as place,
        unnest(windows.target_ids) as item_id
    from targets
    inner join windows on targets.window_id = windows.window_id
    where targets.split = 'train'
),

counted as (
    select
        user_id,
        place,
        min(item_id) as item_id,
        count(*) as num_targets
    from found
    where item_id != 0
    group by user_id, place
),

held_out as (
    select
        counted.user_id,
        counted.place
    from counted
    inner join targets
        on
            counted.user_id = targets.user_id
            and counted.place >= targets.first_target
            and counted.place < targets.end_target
    where targets.split != 'train'
)

select
    coalesce(wanted.user_id, counted.user_id) as user_id,
    coalesce(wanted.place, counted.place) as place,
    counted.num_targets
from wanted
full join counted on wanted.user_id = counted.user_id and wanted.place = counted.place
where
    wanted.user_id is null
    or counted.num_targets is distinct from 1
    or counted.item_id is distinct from wanted.item_id
union all
select
    user_id,
    place,
    1 as num_targets
from held_out
