"""The committed tables of the benchmarks."""

from pathlib import Path

import pandas as pd

from gla.files import atomic


def put_row(path: Path, row: dict) -> None:
    """Replace the row of ``row["environment"]`` in a CSV, or add it, and print it."""
    old = pd.read_csv(path) if path.exists() else pd.DataFrame(columns=list(row))
    table = pd.concat([old[old["environment"] != row["environment"]], pd.DataFrame([row])]).sort_values("environment")
    with atomic(path) as temporary:
        table.to_csv(temporary, index=False)
    print(pd.DataFrame([row]).to_string(index=False), flush=True)
