-- When the first target of an evaluation split happened.
-- Grain: one row; null if there is no target.
-- Reads: event_uses, sequences.
with

target_users as (
    select
        user_id,
        min(first_place) as first_place
    from event_uses
    where is_evaluation_target
    group by user_id
)

select min(sequences.event_time) as first_time
from target_users
inner join sequences
    on
        target_users.user_id = sequences.user_id
        and target_users.first_place = sequences.place
