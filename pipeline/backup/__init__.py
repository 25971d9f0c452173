"""`tacho backup` and `tacho restore`: tables as Parquet files with their hashes."""
