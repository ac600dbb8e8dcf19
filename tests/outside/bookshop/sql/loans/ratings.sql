-- Loans, in the order of the file.
-- Grain: one row per line.
-- Parameters: $path, the file; $separator, what stands between its values.
select
    reader as user_source_id,
    book as item_source_id,
    epoch(lent_on)::bigint as event_time,
    stars as rating
from
    read_csv(
        $path,
        hive_partitioning = false,
        delim = $separator,
        header = false,
        auto_detect = false,
        columns = {
            'reader': 'varchar',
            'book': 'varchar',
            'lent_on': 'date',
            'stars': 'double'
        },
        store_rejects = true,
        rejects_limit = 100
    )
