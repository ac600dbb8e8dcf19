-- The mark around values of a text file, as DuckDB makes it out.
-- Grain: one row; '' or '(empty)' where values are taken as they are.
-- Parameters: $file, a path; $header, whether the first line has the names of the columns.
select quote as quote_mark
from sniff_csv($file, sample_size = -1, header = $header, all_varchar = true)
