# Copies the table `users` of one database into another with dlt, by Arrow
# batches: `python3 dlt_users.py SOURCE TARGET`, both as SQLAlchemy URLs.
import sys
import tempfile

import dlt
from dlt.sources.sql_database import sql_table

source, target = sys.argv[1:]
with tempfile.TemporaryDirectory() as directory:
    users = sql_table(credentials=source, table="users", backend="pyarrow", chunk_size=50_000)
    pipeline = dlt.pipeline(
        "users",
        destination=dlt.destinations.postgres(target),
        dataset_name="public",
        pipelines_dir=directory,
    )
    pipeline.run(users, write_disposition="replace")
