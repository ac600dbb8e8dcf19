-- The kept events with their features, none of which has a code yet.
-- Grain: one row per event of sequences; is_training is whether it is in a row of training.
-- Reads: sequences, targets, event_features.
with

training as (
    select
        user_id,
        max(end_target) as end_place
    from targets
    where split = 'train'
    group by user_id
)

select
    sequences.user_id,
    sequences.place,
    event_features.feature_values,
    coalesce(sequences.place < training.end_place, false) as is_training,
    []::integer[] as codes
from sequences
inner join event_features on sequences.source_row = event_features.source_row
left join training on sequences.user_id = training.user_id
