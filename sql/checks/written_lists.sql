-- Categories that are a list or record written as text, such as ['War', 'Drama'].
-- Grain: one row, the first such row, or none: the check passes by returning no rows.
-- Parameters: $features, names in the order of feature_lists.
-- Reads: source_items (its rowid is the table's row order).
with

columns_of_items as (
    select
        rowid + 1 as row_number,
        unnest($features::varchar[]) as feature,
        unnest(feature_lists) as feature_values
    from source_items
),

facts as (
    select
        row_number,
        feature,
        unnest(feature_values) as feature_value
    from columns_of_items
)

select
    row_number,
    feature,
    feature_value
from facts
where regexp_matches(feature_value, '^\s*(\[\s*[''"{\[]|\{\s*[''"])')
order by row_number
limit 1
